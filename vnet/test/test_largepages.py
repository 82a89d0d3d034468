"""
Tests for L{vnet.largepages}.
"""

from __future__ import annotations

import ctypes
import mmap
import re
from pathlib import Path
from unittest.mock import patch

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from vnet import largepages
from vnet.largepages import LARGE, MUCH, LargePages, largeAreas

_LINES = "{start:x}-{end:x} {rights} 00000000 00:00 {inode}{name}\nSize: 8 kB\nRss: {rss} kB\nVmFlags: rd\n"


def area(start: int, end: int, rights: str = "rw-p", inode: int = 0, name: str = "", empty: int = 0) -> str:
    """
    What smaps(5) says of an area.

    @param empty: bytes that are not resident.
    """
    rss = (end - start - empty) // 1024
    return _LINES.format(start=start, end=end, rights=rights, inode=inode, name=name, rss=rss)


class AreasTests(SynchronousTestCase):
    """
    L{largeAreas}.
    """

    def found(self, *areas: str) -> list[int]:
        """The large pages of these areas."""
        return list(largeAreas("".join(areas).encode()))

    def test_places(self) -> None:
        """
        Large pages lie at multiples of their size, and wholly in the area.
        """
        self.assertEqual(self.found(area(LARGE, 3 * LARGE)), [LARGE, 2 * LARGE])
        self.assertEqual(self.found(area(LARGE + 4096, 3 * LARGE + 8192)), [2 * LARGE])
        self.assertEqual(self.found(area(LARGE + 4096, 2 * LARGE + 8192)), [])
        self.assertEqual(self.found(area(LARGE, 2 * LARGE, name="   [heap]")), [LARGE])

    def test_others(self) -> None:
        """
        Files, code, stacks and areas that are mostly empty are left alone.
        """
        others = [
            area(LARGE, 2 * LARGE, inode=7, name="  /usr/lib/a.so"),
            area(LARGE, 2 * LARGE, rights="r-xp"),
            area(LARGE, 2 * LARGE, rights="rw-s"),
            area(LARGE, 2 * LARGE, name="   [stack]"),
            area(LARGE, 2 * LARGE, empty=LARGE // 2),
        ]
        self.assertEqual(self.found(*others), [])


class LargePagesTests(SynchronousTestCase):
    """
    L{LargePages}.
    """

    def setUp(self) -> None:
        """A process that has three areas."""
        self.clock = Clock()
        self.made: list[int] = []
        smaps = "".join(area(place * LARGE, (place + 1) * LARGE) for place in (1, 3, 5)).encode()

        def collapse(address: int) -> bool:
            self.made.append(address)
            return False

        self.patch(largepages, "_collapse", collapse)
        read = patch.object(Path, "read_bytes", return_value=smaps)
        self.reads = read.start()
        self.addCleanup(read.stop)
        self.pages = LargePages(self.clock)

    def test_busy(self) -> None:
        """
        When much is carried, each page is made, one after the other, and once; one that cannot be made stops nothing.
        """
        self.pages.carried(0)
        self.clock.advance(0.5)
        self.pages.carried(MUCH)
        self.assertEqual(self.made, [LARGE])
        self.clock.pump([0.01] * 5)
        self.assertEqual(self.made, [LARGE, 3 * LARGE, 5 * LARGE])
        self.clock.advance(0.5)
        self.pages.carried(3 * MUCH)
        self.clock.pump([0.01] * 5)
        self.assertEqual((len(self.made), self.reads.call_count), (3, 1))

    def test_quiet(self) -> None:
        """
        A node that carries little stays small, however long.
        """
        for second in range(100):
            self.pages.carried(second * (MUCH - 1))
            self.clock.advance(1)
        self.pages.carried(100 * (MUCH - 1))
        self.pages.carried(200 * MUCH)
        self.assertEqual(self.made, [])


class CollapseTests(SynchronousTestCase):
    """
    One large page of this process.
    """

    def test_real(self) -> None:
        """
        What lies in it stays as it is; where the system has large pages, it is one.
        """
        room = mmap.mmap(-1, 3 * LARGE, mmap.MAP_PRIVATE)
        self.addCleanup(room.close)
        place = ctypes.c_char.from_buffer(room)
        start = -(-ctypes.addressof(place) // LARGE) * LARGE - ctypes.addressof(place)
        address = ctypes.addressof(place) + start
        del place
        for offset in range(0, len(room), 4096):
            room[offset] = offset // 4096 & 0xFF
        before = room[:]
        done = largepages._collapse(address)
        self.assertEqual(room[:], before)
        large = [
            int(kilobytes)
            for lines in Path("/proc/self/smaps").read_text().split("\nVmFlags:")
            if (found := re.search(r"^([0-9a-f]+)-([0-9a-f]+) ", lines, re.MULTILINE))
            and int(found[1], 16) <= address < int(found[2], 16)
            for kilobytes in re.findall(r"^AnonHugePages: +(\d+) kB$", lines, re.MULTILINE)
        ]
        self.assertEqual(done, bool(large and large[0]))

    def test_nothing(self) -> None:
        """
        Where there is no memory, there is no page, and no harm.
        """
        self.assertFalse(largepages._collapse(LARGE))
