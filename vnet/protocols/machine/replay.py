# -*- test-case-name: vnet.test.test_replay -*-
"""
The anti-replay window of RFC 6479: a ring of blocks, so that moving on never shifts bits.
"""

from __future__ import annotations

__all__ = ["MOST_AHEAD", "WINDOW", "ReplayWindow"]

#: Counters in a row that are marked at once.
MOST_AHEAD = 64

#: Bits of the ring.
_BITS = 8192

#: How far behind the greatest counter a packet may be: the ring less one block of 64 bits, as in the kernel.
WINDOW = _BITS - 64

# The ring is kept in bytes, since small numbers cost no allocation.
_BLOCKS = _BITS // 8
_BLOCK_MASK = _BLOCKS - 1


class ReplayWindow:
    """
    Which counters have been seen, of one key.

    @ivar greatest: the greatest counter accepted, or -1.
    """

    __slots__ = ("_ring", "greatest")

    def __init__(self) -> None:
        self.greatest = -1
        self._ring = bytearray(_BLOCKS)

    def acceptAhead(self, first: int, count: int) -> bool:
        """
        Mark counters in a row as seen, if all of them are beyond the greatest.  To be called only when their packets are
        authentic.

        @param count: at most L{MOST_AHEAD}.
        @return: whether that is so; if not, nothing is marked.
        """
        greatest = self.greatest
        if first <= greatest:
            return False
        last = first + count - 1
        ring = self._ring
        block, end = first >> 3, last >> 3
        begin = block & _BLOCK_MASK
        if first == greatest + 1 and (stop := begin + end - block + 1) <= _BLOCKS:
            # What follows at once, as nearly always: the bits of one block are joined, the other blocks are new.
            bits = (1 << count) - 1 << (first & 7)
            if first & 7:
                bits |= ring[begin]
            ring[begin:stop] = bits.to_bytes(stop - begin, "little")
            self.greatest = last
            return True
        ahead = end - (greatest >> 3)
        if ahead >= _BLOCKS:
            ring[:] = bytes(_BLOCKS)
        elif ahead:
            for fresh in range(end - ahead + 1, end + 1):
                ring[fresh & _BLOCK_MASK] = 0
        bits = (1 << count) - 1 << (first & 7)
        for slot in range(block, end + 1):
            ring[slot & _BLOCK_MASK] |= bits & 0xFF
            bits >>= 8
        self.greatest = last
        return True

    def accept(self, counter: int) -> bool:
        """
        Mark a counter as seen.  To be called only when its packet is authentic.

        @return: whether it is new and inside the window.
        """
        block = counter >> 3
        ring = self._ring
        greatest = self.greatest
        if counter > greatest:
            ahead = block - (greatest >> 3)
            if ahead >= _BLOCKS:
                ring[:] = bytes(_BLOCKS)
            elif ahead:
                for fresh in range(block - ahead + 1, block + 1):
                    ring[fresh & _BLOCK_MASK] = 0
            self.greatest = counter
        elif greatest - counter > WINDOW:
            return False
        slot = block & _BLOCK_MASK
        bit = 1 << (counter & 7)
        if ring[slot] & bit:
            return False
        ring[slot] |= bit
        return True
