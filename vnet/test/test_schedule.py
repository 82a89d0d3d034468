"""
Tests for the schedule of deadlines.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.machine.schedule import Schedule

_UPDATES = st.lists(st.tuples(st.sampled_from("abcd"), st.one_of(st.none(), st.integers(0, 50))), max_size=40)


class ScheduleTests(SynchronousTestCase):
    """
    L{Schedule}.
    """

    @given(_UPDATES)
    def test_neverLate(self, updates: list[tuple[str, int | None]]) -> None:
        """
        No key comes up later than its last deadline; a key without one does not come up.
        """
        schedule: Schedule[str] = Schedule()
        wanted: dict[str, float | None] = {}
        for key, at in updates:
            schedule.update(key, at)
            wanted[key] = at
        times = [at for at in wanted.values() if at is not None]
        deadline = schedule.deadline()
        self.assertEqual(deadline is None, not times)
        if deadline is not None:
            self.assertLessEqual(deadline, min(times))
        for now in range(51):
            for key in schedule.due(now):
                due = wanted[key]
                if due is None or due > now:
                    schedule.update(key, due)
                else:
                    del wanted[key]
        self.assertEqual(set(wanted.values()) - {None}, set())
        self.assertIsNone(schedule.deadline())

    def test_bounded(self) -> None:
        """
        A deadline that keeps moving leaves no heap of old ones.
        """
        schedule: Schedule[str] = Schedule()
        for number in range(10_000):
            schedule.update("a", None)
            schedule.update("a", 10_000.0 - number)
        self.assertLess(len(schedule._heap), 100)
        self.assertEqual(schedule.due(10_000), ["a"])
