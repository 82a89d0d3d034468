"""
Long lives of nodes behind NATs, in memory.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from vnet.test.natscenarios import budget, lifetime

_PEERS = ("P", "R", "S1", "B", "X")
_SMALL = ("L", "LX", "LF")


class LifetimeTests(SynchronousTestCase):
    """
    NATs that forget soon.
    """

    def test_fifteenSeconds(self) -> None:
        """
        Behind a NAT whose mappings live for 15 seconds nothing is interrupted within 30 minutes of idling and traffic.
        """
        found = lifetime(("V", "R"), minutes=30)
        self.assertEqual((found.gaps, found.pathLost), ((), 0))
        self.assertLess(found.longestGap, 1.0)
        # One in 25 at 2 % loss on each way, and some more on the way through the relay.
        self.assertLess(found.lost, found.sent * 0.08)

    def test_bothSides(self) -> None:
        """
        The same with such a NAT on both sides.
        """
        found = lifetime(("V", "V"), minutes=10, seed=2)
        self.assertEqual((found.gaps, found.pathLost), ((), 0))


class BudgetTests(SynchronousTestCase):
    """
    NATs that have few mappings for each subscriber.
    """

    def test_modest(self) -> None:
        """
        A node never takes more than 64 of them, however many peers it has and whatever these are behind; all are connected.
        """
        for kind in _SMALL:
            found = budget(kind, _PEERS, minutes=1.5)
            self.assertEqual([row for row in found.paths.values() if "none" in row], [], kind)
            self.assertLessEqual(found.peak, 64, kind)
            self.assertEqual(found.refused, 0, kind)
