# -*- test-case-name: vnet.test.test_addresses -*-
"""
The addresses of nodes: an IPv4 address from the pool, and an IPv6 address that the node's key decides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Network

from attrs import frozen

__all__ = ["Pool", "network6Of", "parsePool"]

_REFUSED = (
    ("0.0.0.0/8", "which means 'this network'"),
    ("10.0.0.0/8", "which home and office networks use"),
    ("127.0.0.0/8", "which is loopback"),
    ("169.254.0.0/16", "which is link-local"),
    ("172.16.0.0/12", "which home and office networks use"),
    ("192.168.0.0/16", "which home and office networks use"),
    ("224.0.0.0/4", "which is multicast"),
    ("240.0.0.0/4", "which is reserved"),
)
_LONGEST, _SHORTEST = 24, 8
_DRAWS = 32


@frozen
class Pool:
    """
    The block that addresses are given from: all of it but the network's address, the first and the broadcast
    address.
    """

    network: IPv4Network

    @property
    def first(self) -> int:
        """The lowest address that is given."""
        return int(self.network.network_address) + 2

    @property
    def last(self) -> int:
        """The highest address that is given."""
        return int(self.network.broadcast_address) - 1

    def holds(self, address: str) -> bool:
        """
        Whether an address is one of the block.
        """
        return IPv4Address(address) in self.network

    def choose(
        self,
        draw: Callable[[int], int],
        isGiven: Callable[[int], bool],
        given: Callable[[int, int], Sequence[int]],
    ) -> int | None:
        """
        Choose an address that was never given.

        @param draw: a random number below its argument.
        @param given: all given addresses from the first to the last argument, in order.  Asked for only when
            the pool is
            so full that drawing found nothing.
        @return: the address, or L{None}: all are given.
        """
        size = self.last - self.first + 1
        for _ in range(_DRAWS):
            address = self.first + draw(size)
            if not isGiven(address):
                return address
        return self._gap(given(self.first, self.last))

    def _gap(self, given: Sequence[int]) -> int | None:
        expected = self.first
        for address in given:
            if address > expected:
                break
            expected = address + 1
        return expected if expected <= self.last else None


def parsePool(text: str) -> Pool:
    """
    Read the block of addresses.

    @raise ValueError: it cannot be used; the text is one line.
    """
    try:
        network = IPv4Network(text)
    except ValueError:
        raise ValueError(f"the pool {text!r} is no IPv4 block in CIDR form, like 100.64.0.0/10") from None
    for block, why in _REFUSED:
        if network.overlaps(IPv4Network(block)):
            raise ValueError(
                f"the pool {network} overlaps {block}, {why}: take 100.64.0.0/10 or a part of it"
            )
    if not _SHORTEST <= network.prefixlen <= _LONGEST:
        raise ValueError(f"the pool {network} has to be from /{_SHORTEST} to /{_LONGEST}")
    return Pool(network)


def network6Of(prefix6: bytes) -> IPv6Network:
    """
    @param prefix6: 6 bytes of the database.
    @return: the mediator's unique local /48 (RFC 4193).
    """
    return IPv6Network((int.from_bytes(prefix6.ljust(16, b"\0"), "big"), 48))


def dotted(address: int) -> str:
    """
    @return: an IPv4 address as text.
    """
    return str(IPv4Address(address))
