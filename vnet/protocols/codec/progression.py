# -*- test-case-name: vnet.test.test_runs -*-
"""
Headers that grow by the same amount from one to the next, all at once: as one number.
"""

from __future__ import annotations

__all__ = ["progression"]

_KEPT = 64

#: By size, step and count: what is to be added to a header that is repeated.
_sums: dict[tuple[int, int, int], int] = {}


def progression(head: bytes, step: int, count: int) -> bytes:
    """
    The headers that follow on one, one after the other.

    @param head: the one before them, as a number big-endian; it plus C{count * step} fits in its bytes, and none of the sums
        is below 0.
    @param step: by how much each is more than the one before.
    @return: C{count} headers.
    """
    size = len(head)
    added = _sums.get((size, step, count))
    if added is None:
        if len(_sums) >= _KEPT:
            _sums.clear()
        added = 0
        for number in range(1, count + 1):
            added = (added << size * 8) + number * step
        _sums[size, step, count] = added
    return (int.from_bytes(head * count, "big") + added).to_bytes(size * count, "big")
