# -*- test-case-name: vnet.test.test_residentpages -*-
"""
Gives back what only the start of a program has touched.

Most of a library is used once, to load it; its pages then count as resident in each process that did, though the system has
them in its page cache anyway.  Here they leave the process: what is used again is mapped again, at the first touch, without a
read from the disk as long as the cache has it.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator, Set
from pathlib import Path

__all__ = ["Area", "cleanFileAreas", "fileAreas", "giveBack"]

_MAPS, _SMAPS = Path("/proc/self/maps"), Path("/proc/self/smaps")
_DONTNEED = 4
# Private, not writable, and of a file.
_AREA = re.compile(rb"^([0-9a-f]+)-([0-9a-f]+) r-[x-]p [0-9a-f]+ \S+ [1-9]\d* +/", re.MULTILINE)

Area = tuple[int, int]
"""An area of memory: its first address, and the first behind it."""


def _area(found: re.Match[bytes]) -> Area:
    return int(found[1], 16), int(found[2], 16)


def fileAreas() -> frozenset[Area]:
    """
    The areas of this process that show a file and cannot be written; none where the system does not tell.
    """
    try:
        return frozenset(map(_area, _AREA.finditer(_MAPS.read_bytes())))
    except OSError:
        return frozenset()


def cleanFileAreas(smaps: bytes) -> Iterator[Area]:
    """
    Those that have resident pages, all of which are in the file.

    @param smaps: see smaps(5).
    """
    for lines in smaps.split(b"\nVmFlags:"):
        found = _AREA.search(lines)
        # Relocated parts of a library have pages of their own, which are in no file.
        isClean = b"\nAnonymous:             0 kB\n" in lines
        if found and isClean and b"\nRss:                   0 kB\n" not in lines:
            yield _area(found)


def giveBack(known: Set[Area]) -> int:
    """
    Give back the pages of libraries, and unused memory of the C library's heap.

    @param known: areas that were there some seconds ago.  No other is touched: a thread may be about to load a library there.
    @return: bytes of address space that were given back; 0 where the system cannot do it.
    """
    try:
        smaps = _SMAPS.read_bytes()
        library = ctypes.CDLL(None)
        advise, trim = library.madvise, library.malloc_trim
    except (OSError, AttributeError):
        return 0
    advise.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    trim.argtypes = (ctypes.c_size_t,)
    trim(0)
    given = 0
    for start, end in known & set(cleanFileAreas(smaps)):
        if advise(start, end - start, _DONTNEED) == 0:
            given += end - start
    return given
