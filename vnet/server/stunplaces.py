# -*- test-case-name: vnet.test.test_stunplaces -*-
"""
Where STUN is served besides where the operator said: on a second port, and on a second address where the host has one, which is
what RFC 5780 needs.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import Any, Protocol

from attrs import define, field, frozen

from vnet.interfaceaddresses import InterfaceAddress
from vnet.protocols.machine.stunorigins import Origins
from vnet.values import Address

__all__ = ["ADVERTISED", "StunHost", "StunPlaces", "publicPairs", "serveSecond"]

ADVERTISED = 8
"""How many STUN servers a node takes."""

#: Not on the Internet, or behind a NAT.
_PRIVATE = tuple(
    ip_network(block)
    for block in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/3", "::/8", "fc00::/7", "fe80::/10", "ff00::/8"),
    )
)


class StunHost(Protocol):
    """
    What opens sockets for STUN.
    """

    @property
    def origins(self) -> Origins[Any]:
        """
        The sockets that are open.
        """

    def listenUdp(self, host: str, port: int) -> int:
        """
        Serve STUN on a UDP port.

        @param host: empty: all addresses of this host.
        @return: the port.
        @raise OSError: it cannot be taken.
        """


@frozen
class StunPlaces:
    """
    Where STUN is served.

    @ivar advertised: as nodes are told, the first C{ADVERTISED} of it: of the two addresses and ports first A1:P1, A1:P2, A2:P1,
        A2:P2.
    @ivar lines: for the log.
    """

    advertised: tuple[Address, ...]
    lines: tuple[str, ...]


def _isPublic(host: str) -> bool:
    address = ip_address(host)
    return not any(address in block for block in _PRIVATE if block.version == address.version)


def publicPairs(found: Sequence[InterfaceAddress], outward: Mapping[int, str]) -> Iterator[tuple[str, str]]:
    """
    Of each family the address that faces the Internet, and the next one of the same interface, if both are public: for others a
    router may not let out what has that source.

    @param outward: see L{vnet.server.outward.outwardAddresses}.
    """
    for version, first in sorted(outward.items()):
        at = [each.interface for each in found if each.address == first and not each.temporary]
        others = [
            each.address
            for each in found
            if each.interface in at
            and each.address != first
            and ip_address(each.address).version == version
            and each.usable
            and not each.temporary
            and _isPublic(each.address)
        ]
        if others and _isPublic(first):
            yield first, others[0]


def serveSecond(
    server: StunHost,
    served: Sequence[Address],
    detected: Sequence[tuple[str, str]],
    option: str,
    translated: Collection[str] = (),
) -> StunPlaces:
    """
    Serve the second port, and let the two addresses stand in for each other.

    @param served: where it is served by now, at least one; an empty host is all addresses of this host.
    @param detected: pairs of addresses of this host, which count where all of them are served.
    @param option: what names addresses.
    @param translated: addresses that others see as another one: these are in no pair, for others could not use it.
    """
    return _Second(server, served, detected, option, translated).serve()


@define(eq=False)
class _Second:
    _server: StunHost
    _served: Sequence[Address]
    _detected: Sequence[tuple[str, str]]
    _option: str
    _translated: Collection[str]
    _open: list[Address] = field(init=False)
    _lines: list[str] = field(factory=list, init=False)

    def serve(self) -> StunPlaces:
        self._open = list(self._served)
        hosts = list(dict.fromkeys(each.host for each in self._served))
        ports = self._ports()
        found = self._detected if "" in hosts else list(_named(hosts))
        pairs = [pair for pair in found if not set(pair).intersection(self._translated)]
        for one, other in pairs:
            self._server.origins.pairHosts(one, other)
        if len(ports) > 1:
            self._server.origins.pairPorts(*ports)
            for host in hosts:
                for port in ports:
                    self._add(Address(host, port))
        self._describe(pairs, ports)
        # IPv4 first: that is where the NATs are.
        shown = [*(pairs[0] if "" in hosts and pairs else ()), *hosts]
        return StunPlaces(tuple(self._advertised(shown, ports)), tuple(self._lines))

    def _ports(self) -> list[int]:
        ports = list(dict.fromkeys(each.port for each in self._served))
        following = [port for port in (ports[0] + 1,) if port < 65536]
        return (ports + following)[:2]

    def _add(self, address: Address) -> None:
        if address in self._open or address in self._server.origins:
            return
        try:
            self._server.listenUdp(address.host, address.port)
        except OSError as error:
            where = f"UDP port {address.port}" + (f" of {address.host}" if address.host else "")
            self._lines.append(f"STUN goes without {where}: {os.strerror(error.errno or 0)}")
        else:
            self._open.append(address)

    def _describe(self, pairs: Sequence[tuple[str, str]], ports: Sequence[int]) -> None:
        origins, said = self._server.origins, " and ".join(map(str, ports))
        full = [pair for pair in pairs if origins.other(Address(pair[0], ports[0])) is not None]
        if full:
            names = ", ".join(" and ".join(pair) for pair in full)
            self._lines.append(f"STUN as in RFC 5780, on two addresses: {names}, ports {said}")
        elif not pairs:
            self._lines.append(
                "STUN on one address: nodes learn only in part what their NATs do. RFC 5780 needs two public addresses "
                f"of one family, on the interface that faces the Internet or named by {self._option}"
            )

    def _advertised(self, hosts: Sequence[str], ports: Sequence[int]) -> Iterator[Address]:
        found: dict[Address, None] = {}
        for host in hosts:
            own = [each for each in self._served if each.host == host]
            for address in dict.fromkeys([*(Address(host, port) for port in ports), *own]):
                if address in self._open or address in self._server.origins:
                    found[address] = None
        if len(found) > ADVERTISED:
            # What the operator named is more to the point than second ports.
            return iter([*self._served, *(each for each in found if each not in self._served)])
        return iter(found)


def _named(hosts: Sequence[str]) -> Iterator[tuple[str, str]]:
    for version in (4, 6):
        same = [host for host in hosts if ip_address(host).version == version]
        if len(same) > 1:
            yield same[0], same[1]
