# -*- test-case-name: vnet.test.test_allowedips -*-
"""
Cryptokey routing (whitepaper section 2): which peer owns an inner address.

Addresses are L{bytes} in network order: 4 of IPv4, 16 of IPv6.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, ip_network
from typing import Generic, TypeVar

__all__ = ["AllowedIps"]

Owner = TypeVar("Owner")


class AllowedIps(Generic[Owner]):
    """
    A table of prefixes.  A whole address is found by one dictionary look-up, a shorter prefix by one for each
    length in use, longest first.

    @ivar hosts: the owners of whole addresses (/32 and /128), for the data path to look at; not to be
        changed.
    """

    def __init__(self) -> None:
        self.hosts: dict[bytes, Owner] = {}
        self._prefixes: dict[tuple[int, int], dict[int, Owner]] = {}
        self._lengths: dict[int, list[int]] = {4: [], 16: []}

    def find(self, address: bytes) -> Owner | None:
        """
        The owner of the longest prefix that holds C{address}; L{None} if there is none, or if this is no
        address.
        """
        owner = self.hosts.get(address)
        if owner is not None:
            return owner
        size = len(address)
        lengths = self._lengths.get(size)
        if not lengths:
            return None
        number = int.from_bytes(address, "big")
        for length in lengths:
            owner = self._prefixes[size, length].get(number >> (size * 8 - length))
            if owner is not None:
                return owner
        return None

    def add(self, prefix: str, owner: Owner) -> None:
        """
        Give a prefix to C{owner}, taking it from whoever had it.

        @param prefix: C{"address/length"} or an address; host bits are ignored.
        @raise ValueError: when it is neither.
        """
        size, length, number = _parse(prefix)
        if length == size * 8:
            self.hosts[number.to_bytes(size, "big")] = owner
            return
        self._prefixes.setdefault((size, length), {})[number >> (size * 8 - length)] = owner
        if length not in self._lengths[size]:
            self._lengths[size].append(length)
            self._lengths[size].sort(reverse=True)

    def discard(self, prefixes: Iterable[str], owner: Owner) -> None:
        """
        Take from C{owner} those of C{prefixes} that it still has.
        """
        for prefix in prefixes:
            size, length, number = _parse(prefix)
            if length == size * 8:
                address = number.to_bytes(size, "big")
                if self.hosts.get(address) is owner:
                    del self.hosts[address]
            else:
                self._discardPrefix(size, length, number >> (size * 8 - length), owner)

    def _discardPrefix(self, size: int, length: int, number: int, owner: Owner) -> None:
        table = self._prefixes.get((size, length), {})
        if table.get(number) is not owner:
            return
        del table[number]
        if not table:
            del self._prefixes[size, length]
            self._lengths[size].remove(length)


def _parse(prefix: str) -> tuple[int, int, int]:
    network = ip_network(prefix, strict=False)
    size = 4 if isinstance(network, IPv4Network) else 16
    return size, network.prefixlen, int(network.network_address)
