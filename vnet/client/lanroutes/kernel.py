# -*- test-case-name: vnet.test.priv.test_lan_routes -*-
"""
What routing needs of the operating system.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Collection, Mapping
from contextlib import suppress
from ipaddress import ip_network
from pathlib import Path
from typing import Protocol

from attrs import define, field

from vnet.client.lanroutes.firsthop import Probe, SocketProbe
from vnet.client.lanroutes.forwarding import Forwarding, ProcSysctls, thisKernel
from vnet.client.lanroutes.plan import Connected, Surroundings
from vnet.client.links import connectedNetworks
from vnet.rtnetlink import Route, RouteSocket

__all__ = ["ORIGIN", "Kernel", "LinuxKernel"]

ORIGIN = 118
"""Who has made the routes (rtnetlink(7), C{rtm_protocol}): nobody else uses this number."""

_ON = "1"
# The virtual interface has none by itself, and nobody else on its link.
_LINK_LOCAL, _LINK_LENGTH, _IFA_F_NODAD = "fe80::1", 64, 0x02


class Kernel(Protocol):
    """
    Addresses, routes and forwarding of this computer.  Methods raise L{OSError} where it refuses.
    """

    def recover(self) -> None:
        """
        Give back what a program that died has left.
        """

    def surroundings(self, interface: str, needed: Collection[str]) -> Surroundings:
        """
        @param interface: the virtual one, which does not count.
        """

    def setRoutes(
        self, interface: str, routes: Mapping[str, str], sources: Collection[str]
    ) -> dict[str, str]:
        """
        Have these routes by the virtual interface, and no others of ours.

        @param routes: the gateway to each prefix; empty: it is on the link.
        @param sources: our addresses.
        @return: why there is no route, by prefix.
        """

    def setLinkLocal(self, interface: str, isWanted: bool) -> None:
        """
        Give an interface a link-local address, or take it away.  What this computer forwards to a neighbour it asks for with that
        (RFC 4861 section 7.2.2).
        """

    def probe(self, host: str) -> Probe:
        """
        Send a datagram that lives for one hop.
        """

    def lacking(self, interfaces: Collection[str]) -> frozenset[str]:
        """
        See L{Forwarding.lacking}.
        """

    def hold(self, interfaces: Collection[str]) -> None:
        """
        See L{Forwarding.hold}.
        """


@define(eq=False)
class LinuxKernel:
    """
    Those of Linux.

    @ivar _memory: the file that remembers, over a crash, for which interfaces forwarding was turned on: C{forwarding.json} in the
        state directory.
    """

    _memory: Path
    _sysctls: ProcSysctls = field(factory=ProcSysctls, init=False)
    _forwarding: Forwarding = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._forwarding = Forwarding(self._memory, self._sysctls, thisKernel())

    def recover(self) -> None:
        """See L{Kernel}."""
        self._forwarding.recover()

    def surroundings(self, interface: str, needed: Collection[str]) -> Surroundings:
        """See L{Kernel}."""
        connected = [
            Connected(ip_network(each.prefix), each.interface)
            for each in connectedNetworks(excluding=(interface,))
        ]
        return Surroundings(connected, self._sysctls.read(6, "all") == _ON, needed)

    def setRoutes(
        self, interface: str, routes: Mapping[str, str], sources: Collection[str]
    ) -> dict[str, str]:
        """See L{Kernel}."""
        index = socket.if_nametoindex(interface)
        problems: dict[str, str] = {}
        with RouteSocket() as kernel:
            present = _present(kernel, index)
            for prefix, found in present.items():
                if routes.get(prefix) != found.gateway:
                    with suppress(ProcessLookupError):
                        # Somebody else may have been faster.
                        kernel.deleteRoute(index, found.destination, found.prefixLength, origin=ORIGIN)
            for prefix, gateway in routes.items():
                if prefix in present and present[prefix].gateway == gateway:
                    continue
                address, _, length = prefix.partition("/")
                source = next((each for each in sources if (":" in each) == (":" in prefix)), "")
                try:
                    kernel.addRoute(
                        index, address, int(length), origin=ORIGIN, gateway=gateway, source=source
                    )
                except OSError as error:
                    why = os.strerror(error.errno or 0)
                    problems[prefix] = f"the system does not take the route to {prefix}: {why}"
        return problems

    def setLinkLocal(self, interface: str, isWanted: bool) -> None:
        """See L{Kernel}."""
        index = socket.if_nametoindex(interface)
        with RouteSocket() as kernel:
            isThere = any(each.index == index and each.address == _LINK_LOCAL for each in kernel.addresses())
            if isWanted and not isThere:
                kernel.addAddress(index, _LINK_LOCAL, _LINK_LENGTH, flags=_IFA_F_NODAD)
            elif isThere and not isWanted:
                kernel.deleteAddress(index, _LINK_LOCAL, _LINK_LENGTH)

    def probe(self, host: str) -> Probe:
        """See L{Kernel}."""
        return SocketProbe(host)

    def lacking(self, interfaces: Collection[str]) -> frozenset[str]:
        """See L{Kernel}."""
        return self._forwarding.lacking(interfaces)

    def hold(self, interfaces: Collection[str]) -> None:
        """See L{Kernel}."""
        self._forwarding.hold(interfaces)


def _present(kernel: RouteSocket, index: int) -> dict[str, Route]:
    """
    @return: our routes by an interface, by prefix.
    """
    return {
        f"{each.destination}/{each.prefixLength}": each
        for version in (4, 6)
        for each in kernel.routes(version)
        if each.origin == ORIGIN and each.hops == (index,) and each.destination
    }
