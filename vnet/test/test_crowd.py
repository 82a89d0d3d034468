"""
Connections that have not shown who they are.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.machine.crowd import Crowd


class CrowdTests(SynchronousTestCase):
    """
    L{Crowd}.
    """

    def setUp(self) -> None:
        self.dropped: list[object] = []

    def enter(self, crowd: Crowd, key: object, host: str) -> None:
        crowd.enter(key, host, lambda: self.dropped.append(key))

    def test_perSource(self) -> None:
        """One source has so many strangers, others have theirs, and each that leaves makes room."""
        crowd = Crowd(perSource=3)
        for number in range(3):
            self.assertTrue(crowd.admits("192.0.2.1"))
            self.enter(crowd, number, "192.0.2.1")
        self.assertEqual((crowd.admits("192.0.2.1"), crowd.refused), (False, 1))
        self.assertTrue(crowd.admits("192.0.2.2"))
        crowd.leave(1)
        self.assertEqual((crowd.admits("192.0.2.1"), len(crowd), crowd.refused), (True, 2, 1))

    def test_networks(self) -> None:
        """An IPv6 source is its /64, and all of a /48 have eight times as many."""
        crowd = Crowd(perSource=2)
        for number in range(2):
            self.enter(crowd, number, f"2001:db8::{number}")
        self.assertFalse(crowd.admits("2001:db8::ffff:1"))
        for number in range(14):
            self.assertTrue(crowd.admits(f"2001:db8:0:{number + 1}::1"))
            self.enter(crowd, f"x{number}", f"2001:db8:0:{number + 1}::1")
        self.assertFalse(crowd.admits("2001:db8:0:ff::1"))
        self.assertTrue(crowd.admits("2001:db8:1::1"))

    def test_oldest(self) -> None:
        """When there are too many in all, the oldest gives way: who comes is never turned away for the others' sake."""
        crowd = Crowd(total=3)
        for number in range(5):
            self.assertTrue(crowd.admits(f"192.0.2.{number}"))
            self.enter(crowd, number, f"192.0.2.{number}")
        self.assertEqual((self.dropped, len(crowd), crowd.displaced), ([0, 1], 3, 2))
        crowd.leave(3)
        self.enter(crowd, 5, "192.0.2.5")
        self.assertEqual(self.dropped, [0, 1])

    def test_leaveTwice(self) -> None:
        """Who has left may leave again, and who never came too."""
        crowd = Crowd()
        self.enter(crowd, "a", "192.0.2.1")
        for key in ("a", "a", "b"):
            crowd.leave(key)
        self.assertEqual((len(crowd), crowd._bySource), (0, {}))

    @given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3)), max_size=200))
    def test_counts(self, steps: list[tuple[int, int]]) -> None:
        """Whatever comes and goes, the limits hold, and nothing is left of who is gone."""
        crowd, inside = Crowd(perSource=4, total=8), dict[int, str]()

        def drop(key: int) -> None:
            del inside[key]

        for key, network in steps:
            host = f"2001:db8:0:{network}::{key}"
            if key in inside:
                del inside[key]
                crowd.leave(key)
            elif crowd.admits(host):
                crowd.enter(key, host, lambda key=key: drop(key))  # type: ignore[misc]
                inside[key] = host
            self.assertEqual(len(crowd), len(inside))
            self.assertLessEqual(len(inside), 8)
        for key in list(inside):
            crowd.leave(key)
        self.assertEqual((len(crowd), crowd._bySource), (0, {}))
