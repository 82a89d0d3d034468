# -*- test-case-name: vnet.test.test_largepages -*-
"""
Large pages for the memory of a process that has become busy.

Python's objects lie all over its memory, and where pages are of 4 KiB the processor spends much of its time on finding them.
In pages of 2 MiB (madvise(2) with MADV_COLLAPSE, since Linux 6.1) the same work takes less; but what is not used of a page
counts as resident too, so this is for programs that have something to do.
"""

from __future__ import annotations

import ctypes
import re
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

__all__ = ["LARGE", "MUCH", "LargePages", "largeAreas"]

LARGE = 2 << 20
"""Bytes of a large page."""

MUCH = 16 << 20
"""Bytes a second that are worth large pages."""

_SMAPS = Path("/proc/self/smaps")
_COLLAPSE = 25
# Private, writable, and of no file.
_AREA = re.compile(rb"^([0-9a-f]+)-([0-9a-f]+) rw-p [0-9a-f]+ \S+ 0 *(?:\[heap\])?\n", re.MULTILINE)
_RESIDENT = re.compile(rb"^Rss: +(\d+) kB$", re.MULTILINE)
#: Of an area at least so much is resident: the rest would become so.
_FULL = 0.75
#: Between one page and the next, each of which is copied: some 0.3 milliseconds, in which nothing else happens.
_PAUSE = 0.01


def largeAreas(smaps: bytes) -> Iterator[int]:
    """
    The large pages that may be made of areas that are nearly all resident.

    @param smaps: see smaps(5).
    @return: the first address of each.
    """
    for lines in smaps.split(b"\nVmFlags:"):
        area, resident = _AREA.search(lines), _RESIDENT.search(lines)
        if area is None or resident is None:
            continue
        start, end = int(area[1], 16), int(area[2], 16)
        if int(resident[1]) * 1024 >= (end - start) * _FULL:
            yield from range(-(-start // LARGE) * LARGE, end - LARGE + 1, LARGE)


def _collapse(address: int) -> bool:
    """
    Make one large page.

    @return: whether it is one now: old systems cannot, and others may have no memory for it.
    """
    try:
        advise = ctypes.CDLL(None).madvise
    except (OSError, AttributeError):
        return False
    advise.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    return bool(advise(address, LARGE, _COLLAPSE) == 0)


@define(eq=False, repr=False)
class LargePages:
    """
    Makes them once, when much has been carried for the first time.
    """

    _clock: IReactorTime
    _seen: tuple[float, int] | None = field(default=None, init=False)
    _waiting: deque[int] | None = field(default=None, init=False)

    def carried(self, total: int) -> None:
        """
        So many bytes have been carried in all.  To be told now and then.
        """
        if self._waiting is not None:
            return
        now, before = self._clock.seconds(), self._seen
        self._seen = now, total
        if before is not None and total - before[1] >= MUCH * (now - before[0]) > 0:
            try:
                self._waiting = deque(largeAreas(_SMAPS.read_bytes()))
            except OSError:
                self._waiting = deque()
            self._next()

    def _next(self) -> None:
        if self._waiting:
            _collapse(self._waiting.popleft())
            self._clock.callLater(_PAUSE, self._next)
