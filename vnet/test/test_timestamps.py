"""
Tests for TAI64N timestamps.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.machine.timestamps import NEVER, TimestampMemory, Timestamps
from vnet.test.wgpair import Wall


class TimestampsTests(SynchronousTestCase):
    """
    L{Timestamps}.
    """

    def test_format(self) -> None:
        """
        Second 0 of 1970 is 2**62 + 10, and the low 24 bits of the nanoseconds are cleared.
        """
        stamps = Timestamps(Wall(5_000_000_000 + 0x1234567))
        self.assertEqual(stamps.after(NEVER).hex(), "400000000000000f" + "01000000")

    def test_backwards(self) -> None:
        """
        When the clock steps back, timestamps still grow, by the least step.
        """
        wall = Wall(10**18)
        stamps = Timestamps(wall)
        first = stamps.after(NEVER)
        wall.nanoseconds -= 3600 * 10**9
        second = stamps.after(first)
        self.assertGreater(second, first)
        self.assertEqual(second[:8], first[:8])
        wall.nanoseconds += 7200 * 10**9
        self.assertGreater(stamps.after(second)[:8], second[:8])

    @given(st.lists(st.integers(-(10**12), 10**19), min_size=1, max_size=50))
    def test_grow(self, clock: list[int]) -> None:
        """
        Whatever the clock shows, each timestamp is greater than the one before, and a valid TAI64N.
        """
        last = NEVER
        for nanoseconds in clock:
            for _ in range(70):
                stamp = Timestamps(Wall(nanoseconds)).after(last)
                self.assertEqual(len(stamp), 12)
                self.assertGreater(stamp, last)
                self.assertLess(int.from_bytes(stamp[8:], "big"), 10**9)
                last = stamp


class TimestampMemoryTests(SynchronousTestCase):
    """
    L{TimestampMemory}.
    """

    def test_limit(self) -> None:
        """
        What was kept is taken once; the oldest is forgotten when there is no room.
        """
        memory = TimestampMemory(2)
        for peer in (b"a", b"b", b"a", b"c"):
            memory.keep(peer, peer * 12, NEVER)
        self.assertEqual(memory.take(b"a"), (b"a" * 12, NEVER))
        self.assertEqual(memory.take(b"a"), (NEVER, NEVER))
        self.assertEqual(memory.take(b"b"), (NEVER, NEVER))
        self.assertEqual(memory.take(b"c"), (b"c" * 12, NEVER))
