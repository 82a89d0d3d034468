"""
Tests for L{vnet.protocols.machine.slots}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.machine.slots import WIDTH, Slots


class SlotsTests(SynchronousTestCase):
    """
    L{Slots}.
    """

    @given(st.binary(min_size=2, max_size=2), st.floats(0.0, 1e9))
    def test_after(self, random: bytes, time: float) -> None:
        """
        The slot is never before the time, and at most a width after it; a slot is its own.
        """
        slots = Slots.drawn(random)
        slot = slots.after(time)
        self.assertTrue(time <= slot <= time + WIDTH + 1e-6, (time, slot))
        self.assertTrue(slots.after(slot) <= slot + 1e-6)

    @given(st.lists(st.floats(100.0, 100.2), min_size=2, max_size=9))
    def test_together(self, times: list[float]) -> None:
        """
        What is due within a slot comes at one time, or at two that are a width apart.
        """
        found = {Slots(0.1).after(time) for time in times}
        self.assertTrue(max(found) - min(found) <= WIDTH + 1e-9)
        self.assertTrue(len(found) <= 2)

    def test_phases(self) -> None:
        """
        Nodes have slots of their own.
        """
        self.assertEqual(Slots.drawn(b"\x00\x00").phase, 0.0)
        self.assertTrue(0.249 < Slots.drawn(b"\xff\xff").phase < WIDTH)
