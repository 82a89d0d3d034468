"""
Tests for L{vnet.residentpages}.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from vnet.residentpages import cleanFileAreas, fileAreas, giveBack

_PAGE = mmap.PAGESIZE
_LINES = (
    "{place} {rights} 00001000 fe:00 {inode} {name}\nSize: 8 kB\nRss:{rss:20d} kB\n"
    "Anonymous:{own:14d} kB\nSwap: 0 kB\nVmFlags: rd\n"
)


def _area(number: int, rights: str, inode: int, name: str, rss: int, own: int) -> str:
    place = f"{number:x}000-{number + 2:x}000"
    return _LINES.format(place=place, rights=rights, inode=inode, name=name, rss=rss, own=own)


class CleanTests(SynchronousTestCase):
    """
    L{cleanFileAreas}.
    """

    def test_areas(self) -> None:
        """
        Only what is private, not writable, of a file, resident and without pages of its own can be given back.
        """
        areas = [
            _area(0x10, "r--p", 7, "   /usr/bin/python3", 8, 0),
            _area(0x12, "r-xp", 7, "   /usr/lib/a name.so", 4, 0),
            _area(0x14, "r-xp", 7, "   /usr/lib/broken.so", 8, 4),
            _area(0x16, "r--p", 7, "   /usr/lib/relocated.so", 8, 8),
            _area(0x18, "rw-p", 7, "   /usr/lib/data.so", 8, 0),
            _area(0x1A, "r--s", 7, "   /usr/lib/shared", 8, 0),
            _area(0x1C, "r-xp", 7, "   /usr/lib/untouched.so", 0, 0),
            _area(0x1E, "---p", 7, "   /usr/lib/gap.so", 8, 0),
            _area(0x20, "rw-p", 0, "   [heap]", 8, 8),
            _area(0x22, "r-xp", 0, "   [vdso]", 4, 0),
            _area(0x24, "r--p", 0, "", 4, 0),
        ]
        found = list(cleanFileAreas("".join(areas).encode()))
        self.assertEqual(found, [(0x10000, 0x12000), (0x12000, 0x14000)])


class GiveBackTests(SynchronousTestCase):
    """
    L{giveBack}, with this process.
    """

    def _map(self, text: bytes, access: int) -> mmap.mmap:
        path = Path(self.mktemp())
        path.write_bytes(text)
        with path.open("r+b") as opened:
            mapped = mmap.mmap(opened.fileno(), 0, mmap.MAP_PRIVATE, access)
        self.addCleanup(mapped.close)
        self.path = path
        return mapped

    def _resident(self) -> int:
        """
        KiB of the file that are resident.
        """
        pattern = rf"{re.escape(str(self.path.absolute()))}\n(?:(?!Rss).*\n)*Rss: +(\d+) kB"
        found = re.search(pattern, Path("/proc/self/smaps").read_text())
        assert found
        return int(found[1])

    def test_untouched(self) -> None:
        """
        Pages of a file leave the process, and come again when they are read.
        """
        text = os.urandom(4 * _PAGE)
        mapped = self._map(text, mmap.PROT_READ)
        self.assertEqual(mapped[:], text)
        self.assertEqual(self._resident(), 4 * _PAGE // 1024)
        self.assertGreaterEqual(giveBack(fileAreas()), 4 * _PAGE)
        self.assertEqual(self._resident(), 0)
        self.assertEqual(mapped[:], text)

    def test_unknown(self) -> None:
        """
        An area that has come since is not touched.
        """
        known = fileAreas()
        mapped = self._map(bytes(_PAGE), mmap.PROT_READ)
        self.assertEqual(mapped[0], 0)
        self.assertGreater(giveBack(known), 0)
        self.assertEqual(self._resident(), _PAGE // 1024)

    def test_own(self) -> None:
        """
        What a process has written stays, though it cannot be written any more: so are relocated libraries.
        """
        mapped = self._map(bytes(_PAGE), mmap.PROT_READ | mmap.PROT_WRITE)
        mapped[:4] = b"mine"
        held = ctypes.c_char.from_buffer(mapped)
        protect = ctypes.CDLL(None, use_errno=True).mprotect
        protect.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
        self.assertEqual(protect(ctypes.addressof(held), _PAGE, mmap.PROT_READ), 0)
        del held
        self.assertGreater(giveBack(fileAreas()), 0)
        self.assertEqual(mapped[:4], b"mine")
