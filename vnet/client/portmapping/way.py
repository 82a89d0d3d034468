# -*- test-case-name: vnet.test.test_portmapper -*-
"""
What the ways to a mapping have in common: PCP, NAT-PMP and UPnP.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Protocol

from attrs import frozen

from vnet.errors import VnetError
from vnet.values import Address

__all__ = ["LIFETIME", "Grant", "NoMapping", "Silent", "Way", "believe", "believeHost"]

LIFETIME = 7200
"""Seconds that are asked for (RFC 6886 section 3.3)."""

_LONGEST = 86400
# This network, loopback, link-local, multicast, reserved and broadcast.
_NOWHERE = tuple(IPv4Network(each) for each in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3"))
# RFC 6887 section 11.2.1: not more often than once in 4 s.
_SHORTEST_WAIT = 5.0


class NoMapping(VnetError):
    """
    There is no mapping in this way.  The text says why: a clause about the router.
    """


class Silent(NoMapping):
    """
    The router does not speak this protocol, or nothing reaches it.
    """


@frozen
class Grant:
    """
    A mapping of the node's UDP port.

    @ivar external: where the router takes datagrams for the node.
    @ivar lifetime: seconds; 0: until it is removed.
    @ivar madeAt: when the router said so.
    """

    external: Address
    lifetime: int
    madeAt: float

    @property
    def renewAt(self) -> float:
        """When half of it is over."""
        return self.madeAt + max(self.lifetime / 2, _SHORTEST_WAIT) if self.lifetime else float("inf")


class Way(Protocol):
    """
    One protocol towards one router, for one port of the node.  Everything but L{close} may raise L{NoMapping}, and nothing
    else.
    """

    @property
    def name(self) -> str:
        """
        C{"pcp"}, C{"nat-pmp"} or C{"upnp"}.
        """

    async def find(self) -> None:
        """
        See whether the router speaks it.
        """

    async def obtain(self, port: int) -> Grant:
        """
        Get a mapping, after L{find}.

        @param port: the external port that is wished for; 0 for any.
        """

    async def keep(self, grant: Grant, due: bool) -> Grant:
        """
        See whether the mapping is there, and make it again where it is not.

        @param due: whether it has to be renewed in any case.
        """

    async def remove(self, grant: Grant) -> None:
        """
        Remove the mapping.
        """

    def close(self) -> None:
        """
        Forget everything; what is being waited for fails.
        """


def believeHost(host: str) -> str:
    """
    Judge what a router says that its address outside is.

    @return: it, dotted; it need not be one of the Internet's.
    @raise NoMapping: no datagram gets there.
    """
    address = IPv4Address(host)
    if address.is_unspecified:
        raise NoMapping("it has no connection to the Internet")
    if any(address in network for network in _NOWHERE):
        raise NoMapping(f"it takes {address} for its address on the Internet")
    return str(address)


def believe(host: str, port: int, lifetime: int, now: float) -> Grant:
    """
    Judge what a router says that it gives.

    @param lifetime: seconds, 0 for none.
    @raise NoMapping: it is none.
    """
    if not 1 <= port <= 65535:
        raise NoMapping("it gives port 0")
    if lifetime < 1:
        raise NoMapping("it gives a mapping for no time")
    return Grant(Address(believeHost(host), port), min(lifetime, _LONGEST), now)
