# -*- test-case-name: vnet.test.test_overlay -*-
"""
Which addresses lie in the overlay itself, or are reached through it.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from attrs import define, field

__all__ = ["Overlay"]

_MAX_CACHED = 4096


@define(eq=False, repr=False)
class Overlay:
    """
    The overlay's blocks, and the prefixes that are behind members.  A peer whose datagrams come from there sends them through a
    tunnel: the answers would go into that tunnel too, and each of them would be a packet for it again, for ever.
    """

    _blocks: tuple[IPv4Network | IPv6Network, ...] = field(default=(), init=False)
    _routed: tuple[IPv4Network | IPv6Network, ...] = field(default=(), init=False)
    _known: dict[str, bool] = field(factory=dict, init=False)

    def setBlocks(self, *blocks: str) -> None:
        """
        These are the overlay's blocks, CIDR.

        @raise ValueError: one is none.
        """
        self._blocks = tuple(ip_network(block) for block in blocks)
        self._known.clear()

    def setRouted(self, *prefixes: str) -> None:
        """
        These are reached through the overlay, CIDR.

        @raise ValueError: one is none.
        """
        self._routed = tuple(ip_network(prefix) for prefix in prefixes)
        self._known.clear()

    def holds(self, host: str) -> bool:
        """
        Whether an address lies in the overlay.  Cheap enough for each datagram.

        @param host: an IP literal.
        """
        known = self._known.get(host)
        if known is None:
            if len(self._known) >= _MAX_CACHED:
                self._known.clear()
            address = ip_address(host)
            known = self._known[host] = any(address in block for block in (*self._blocks, *self._routed))
        return known
