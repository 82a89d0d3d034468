"""
Tests for the replay window.
"""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.machine.replay import MOST_AHEAD, WINDOW, ReplayWindow

# Steps that matter: small ones, those about a block, those about the window, and leaps.
_STEPS = st.one_of(
    st.integers(-20, 20),
    st.integers(-WINDOW - 70, -WINDOW + 70),
    st.integers(WINDOW - 70, WINDOW + 140),
    st.integers(0, 2**62),
)


class Model:
    """
    The window as a set of all that was seen.
    """

    def __init__(self) -> None:
        self.seen: set[int] = set()
        self.greatest = -1

    def accept(self, counter: int) -> bool:
        """
        What L{ReplayWindow.accept} must say.
        """
        if counter in self.seen or self.greatest - counter > WINDOW:
            return False
        self.seen.add(counter)
        self.greatest = max(self.greatest, counter)
        return True


class ReplayWindowTests(SynchronousTestCase):
    """
    L{ReplayWindow}.
    """

    def test_edges(self) -> None:
        """
        8,128 behind the greatest is inside, 8,129 is not; each counter is accepted once.
        """
        self.assertEqual(WINDOW, 8128)
        for offset in range(70):
            window = ReplayWindow()
            top = WINDOW + 1 + offset
            self.assertTrue(window.accept(top))
            self.assertFalse(window.accept(top))
            self.assertFalse(window.accept(top - WINDOW - 1))
            self.assertTrue(window.accept(top - WINDOW))
            self.assertFalse(window.accept(top - WINDOW))
            self.assertEqual(window.greatest, top)

    def test_backwards(self) -> None:
        """
        A whole window that comes in reverse order is accepted, once.
        """
        window = ReplayWindow()
        order = list(range(WINDOW, -1, -1))
        self.assertTrue(all(window.accept(counter) for counter in order))
        self.assertFalse(any(window.accept(counter) for counter in order))

    def test_leap(self) -> None:
        """
        After a leap further than the ring nothing of before is taken for seen.
        """
        window = ReplayWindow()
        for counter in range(3 * WINDOW):
            self.assertTrue(window.accept(counter))
        self.assertTrue(window.accept(2**63))
        self.assertTrue(all(window.accept(2**63 - behind) for behind in range(1, WINDOW + 1)))

    @given(st.lists(_STEPS, max_size=60))
    def test_model(self, steps: list[int]) -> None:
        """
        The window decides as the set does, whatever the order.
        """
        window, model, counter = ReplayWindow(), Model(), 0
        for step in steps:
            counter = max(0, min(2**64 - 1, counter + step))
            self.assertEqual(window.accept(counter), model.accept(counter))
            self.assertEqual(window.greatest, model.greatest)

    @given(st.lists(st.tuples(_STEPS, st.integers(1, MOST_AHEAD), st.booleans()), max_size=60))
    def test_ahead(self, steps: list[tuple[int, int, bool]]) -> None:
        """
        Counters in a row that are marked at once are marked as if one by one, or none of them is.
        """
        window, plain, counter = ReplayWindow(), ReplayWindow(), 0
        for step, count, atOnce in steps:
            counter = max(0, min(2**64 - 1 - MOST_AHEAD, counter + step))
            if not atOnce:
                self.assertEqual(window.accept(counter), plain.accept(counter))
                continue
            isAhead = counter > plain.greatest
            self.assertEqual(window.acceptAhead(counter, count), isAhead)
            if isAhead:
                self.assertTrue(all(plain.accept(each) for each in range(counter, counter + count)))
                counter += count - 1
            self.assertEqual((window.greatest, window._ring), (plain.greatest, plain._ring))

    def test_longRun(self) -> None:
        """
        The window decides as the set does over 100,000 counters that are shuffled, lost and repeated.
        """
        source = random.Random(16)
        window, model, top = ReplayWindow(), Model(), 0
        for _ in range(100_000):
            top += source.choice((0, 1, 1, 1, 2, 9))
            counter = max(0, top - source.choice((0, 0, 0, 1, 3, 100, 8120, 8140)))
            self.assertEqual(window.accept(counter), model.accept(counter))
