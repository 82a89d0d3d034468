"""
Tests for L{vnet.protocols.machine.epoch}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.machine.epoch import Epoch


class EpochTests(SynchronousTestCase):
    """
    Whether a router has restarted.
    """

    def judge(self, *answers: tuple[int, float]) -> list[bool]:
        epoch = Epoch()
        return [epoch.goesOn(server, now) for server, now in answers]

    def test_goesOn(self) -> None:
        """
        The first answer tells nothing; afterwards the router's clock may be a sixteenth too fast or too slow, and an
        answer may be late or overtaken by another.
        """
        self.assertEqual(self.judge((5, 100.0), (65, 160.0), (125, 220.0)), [True] * 3)
        self.assertEqual(self.judge((5, 100.0), (5 + 1030, 1100.0), (5 + 1980, 2100.0)), [True] * 3)
        self.assertEqual(self.judge((5, 100.0), (4, 100.1)), [True, True])

    def test_restarted(self) -> None:
        """
        An epoch that went back, that passed too slowly, or that ran ahead is one of a router that has restarted; from then
        on the new one counts.
        """
        self.assertEqual(self.judge((1000, 100.0), (3, 160.0), (63, 220.0)), [True, False, True])
        self.assertEqual(self.judge((0, 100.0), (30, 160.0)), [True, False])
        self.assertEqual(self.judge((0, 100.0), (90, 160.0)), [True, False])
        self.assertEqual(self.judge((10, 100.0), (8, 100.0)), [True, False])
        self.assertEqual(self.judge((2**32 - 1, 0.0), (0, 1.0)), [True, False])
