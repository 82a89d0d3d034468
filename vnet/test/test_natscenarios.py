"""
Long lives of nodes behind NATs, in memory.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from vnet.test.natscenarios import budget, lifetime
from vnet.test.nattrial import Setting, runTrial

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
        found = lifetime(("V", "V"), minutes=10, seed=3)
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


class SteadyTests(SynchronousTestCase):
    """
    Pairs that have found each other.
    """

    def test_noFlapping(self) -> None:
        """
        Within ten minutes at 2 % loss no path is left for another, be it direct, from a spare socket, or relayed.
        """
        for kinds in (("R", "R"), ("R", "B"), ("S1", "S1"), ("X", "X")):
            outcome = runTrial(kinds, 3, Setting(watch=600.0))
            self.assertEqual((outcome.connected, outcome.changes), (True, 0), kinds)
