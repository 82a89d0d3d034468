# -*- test-case-name: vnet.test.test_destinations -*-
"""
To how many addresses something is sent through a NAT that has few mappings to give: each may cost one.
"""

from __future__ import annotations

from collections import OrderedDict

from vnet.values import Address

__all__ = ["Destinations"]


class Destinations:
    """
    The addresses in use.
    """

    def __init__(self, most: int, lifetime: float, each: int | None = None) -> None:
        """
        @param most: addresses in use at once.
        @param each: those that are in use because of one peer: whoever names many leaves some for others.
        @param lifetime: seconds for which one counts after it was used last: so long a NAT may keep the mapping.
        """
        self._most = most
        self._lifetime = lifetime
        self._each = most if each is None else each
        self._usedAt: OrderedDict[Address, tuple[float, bytes]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._usedAt)

    def allow(self, address: Address, now: float, peer: bytes = b"") -> bool:
        """
        Something is to be sent to an address because of a peer.

        @return: whether it may be: the address is in use, or there is room for one more.
        """
        while self._usedAt:
            oldest, (usedAt, _) = next(iter(self._usedAt.items()))
            if now - usedAt <= self._lifetime:
                break
            del self._usedAt[oldest]
        if address not in self._usedAt:
            ofPeer = sum(each == peer for _, each in self._usedAt.values())
            if len(self._usedAt) >= self._most or ofPeer >= self._each:
                return False
        self._usedAt[address] = now, peer
        self._usedAt.move_to_end(address)
        return True
