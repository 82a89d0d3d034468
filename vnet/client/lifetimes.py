# -*- test-case-name: vnet.test.test_client_lifetimes -*-
"""
Finds out, in the background and with one spare socket, for how long the NAT keeps a mapping that is not used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_network

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from vnet.client.calls import Calls
from vnet.client.dataplane.sockets import SpareSockets
from vnet.driver import Driver
from vnet.protocols.machine.lifetime import Died, Hidden, LifetimeEvent, LifetimeProbe, Lived
from vnet.protocols.punch import Puncher
from vnet.values import Address

__all__ = ["LifetimeWatch", "networksOf"]

_FIRST, _AGAIN = 30.0, 1800.0


def networksOf(hosts: Iterable[str]) -> frozenset[str]:
    """
    The networks of addresses of this computer, as far as addresses tell.
    """
    return frozenset(str(ip_network(f"{host}/{64 if ':' in host else 24}", strict=False)) for host in hosts)


@define(eq=False, repr=False)
class LifetimeWatch:
    """
    Runs one L{LifetimeProbe} at a time; its results go to the L{Puncher.keepAlive}.  Implements
    L{vnet.protocols.punch.Asker}.

    @ivar _send: sends datagrams, also through spare sockets.
    @ivar _sockets: of this node; L{None}: there are none, and nothing is found out.
    @ivar _proven: called with the seconds that a mapping is known to live; L{None}: not known.
    """

    _clock: IReactorTime
    _puncher: Puncher
    _send: Callable[[list[tuple[bytes, Address]]], None]
    _random: Callable[[int], bytes]
    _sockets: SpareSockets | None
    _proven: Callable[[float | None], None]
    _networks: frozenset[str] | None = field(default=None, init=False)
    _servers: tuple[Address, ...] = field(default=(), init=False)
    _probe: LifetimeProbe | None = field(default=None, init=False)
    _driver: Driver[LifetimeEvent] | None = field(default=None, init=False)
    _names: tuple[str, ...] = field(default=(), init=False)
    _calls: Calls = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._calls = Calls(self._clock)
        self._puncher.askers.append(self)

    def setLocal(self, hosts: Sequence[str]) -> None:
        """
        This computer has these addresses now.
        """
        networks = networksOf(hosts)
        if networks == self._networks:
            return
        self._networks = networks
        self._puncher.keepAlive.enter(networks)
        self._learnt()
        self._later(_FIRST)

    def setServers(self, servers: Sequence[Address]) -> None:
        """
        These are the STUN servers.
        """
        if tuple(servers) != self._servers:
            self._servers = tuple(servers)
            self._later(_FIRST)

    def close(self) -> None:
        """
        Find out nothing any more.
        """
        self._calls.cancelAll()
        self._stop()

    def expects(self, transactionId: bytes, addr: Address) -> bool:
        """
        See L{vnet.protocols.punch.Asker.expects}.
        """
        return self._probe is not None and self._probe.expects(transactionId, addr)

    def datagramReceived(self, data: bytes, addr: Address) -> None:
        """
        See L{vnet.protocols.punch.Asker.datagramReceived}.
        """
        if self._driver is not None:
            self._driver.datagramReceived(data, addr)

    def _later(self, delay: float) -> None:
        self._stop()
        self._calls.later("begin", delay, self._begin)

    def _begin(self) -> None:
        # IPv6 has no NATs, and its firewalls are not seen in mapped addresses.
        server = next((each for each in self._servers if ":" not in each.host), None)
        if server is None or self._sockets is None or self._puncher.keepAlive.isSettled:
            return
        self._names = self._sockets.open(1)
        for name in self._names:
            probe = self._probe = LifetimeProbe(
                Address(server.host, server.port, name),
                self._sockets.portOf(name),
                random=self._random,
                now=self._clock.seconds(),
            )
            self._driver = Driver(probe, self._clock, self._send, self._happened)
            self._driver.wake()

    def _happened(self, event: LifetimeEvent) -> None:
        keepAlive = self._puncher.keepAlive
        if isinstance(event, Lived):
            keepAlive.lived(event.seconds)
        elif isinstance(event, Died):
            keepAlive.died(event.seconds)
        self._learnt()
        if isinstance(event, Hidden) or keepAlive.isSettled:
            self._later(_AGAIN)

    def _learnt(self) -> None:
        self._puncher.keepAliveChanged()
        self._proven(self._puncher.keepAlive.proven)

    def _stop(self) -> None:
        driver, self._driver, self._probe = self._driver, None, None
        names, self._names = self._names, ()
        if driver is not None:
            driver.stop()
        if self._sockets is not None:
            self._sockets.close(names)
