# -*- test-case-name: vnet.test.test_client_nat -*-
"""
What this node knows of the NAT in front of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from vnet.protocols.punch import Puncher
from vnet.values import Address, NatReport

__all__ = ["NatDiscovery"]

_PATIENCE = 5.0


@define(eq=False, repr=False)
class NatDiscovery:
    """
    Tells the puncher where this computer is, and reads from its reflexive addresses what the NAT does.
    """

    _clock: IReactorTime
    _puncher: Puncher
    _hosts: tuple[str, ...] = field(default=(), init=False)
    _servers: tuple[Address, ...] = field(default=(), init=False)
    _askedAt: float = field(default=0.0, init=False)

    def setLocal(self, hosts: Sequence[str], port: int) -> None:
        """
        See L{Puncher.setLocal}.
        """
        self._hosts = tuple(hosts)
        self._askedAt = self._clock.seconds()
        self._puncher.setLocal(hosts, port)

    def setServers(self, servers: Sequence[Address]) -> None:
        """
        See L{Puncher.setServers}.
        """
        if tuple(servers) != self._servers:
            self._servers = tuple(servers)
            self._askedAt = self._clock.seconds()
        self._puncher.setServers(servers)

    def report(self) -> NatReport:
        """
        @return: what is known now.
        """
        seen = [address for address in self._puncher.reflexive if ":" not in address.host]
        seen6 = [address for address in self._puncher.reflexive if ":" in address.host]
        servers = [server for server in self._servers if ":" not in server.host]
        return NatReport(
            udp=self._udp(),
            publicAddress=seen[0] if seen else None,
            publicAddress6=seen6[0] if seen6 else None,
            natted=seen[0].host not in self._hosts if seen else None,
            mappingVaries=len(seen) > 1 if seen and len(servers) > 1 else None,
        )

    def _udp(self) -> bool | None:
        if self._puncher.reflexive:
            return True
        waiting = self._clock.seconds() - self._askedAt < _PATIENCE
        return None if waiting or not self._servers else False
