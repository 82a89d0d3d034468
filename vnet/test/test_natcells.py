"""
Tests for L{vnet.test.natcells}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from vnet.test.natcells import KINDS, Cell, asJson, figure, pairs
from vnet.test.netlab import NAT_KINDS


class FigureTests(SynchronousTestCase):
    """
    What is asked of each pair.
    """

    def test_pairs(self) -> None:
        """
        Nine kinds, which the lab has, make 45 pairs; each has one figure, in whatever order.
        """
        self.assertEqual(set(KINDS) - set(NAT_KINDS), set())
        self.assertEqual(len(set(pairs())), 45)
        for one, other in pairs():
            self.assertEqual(figure(one, other), figure(other, one))
        self.assertEqual(figure("symmetric-random", "port-restricted"), 0.9)
        self.assertEqual(figure("udp-blocked", "public"), 0)
        self.assertRaises(KeyError, figure, "public", "magic")


class CellTests(SynchronousTestCase):
    """
    When a cell has what is asked of it.
    """

    def cell(self, direct: int, relayed: int, failed: int = 0, one: str = "double") -> Cell:
        """
        A cell of two NATs.
        """
        return Cell(one, one, direct, relayed, failed)

    def test_enough(self) -> None:
        """
        A cell at its figure, or below it by no more than chance explains, is not below it.
        """
        for good in (
            self.cell(3, 0),
            self.cell(98, 2),
            self.cell(47, 2),
            self.cell(1, 2, one="symmetric-sequential"),
            self.cell(0, 3, one="symmetric-random"),
            self.cell(3, 0, one="symmetric-random"),
        ):
            self.assertFalse(good.below, good)

    def test_below(self) -> None:
        """
        A cell clearly below its figure is, also with few attempts; so is one that was not connected once, and one that was
        not tried.
        """
        for bad in (
            self.cell(1, 2),
            self.cell(0, 3),
            self.cell(97, 3),
            self.cell(90, 10),
            self.cell(0, 3, one="symmetric-sequential"),
            self.cell(0, 199, 1, one="udp-blocked"),
            self.cell(0, 0),
        ):
            self.assertTrue(bad.below, bad)

    def test_verdict(self) -> None:
        """
        The verdict is what most attempts came to.
        """
        self.assertEqual(self.cell(2, 1).verdict, "direct")
        self.assertEqual(self.cell(1, 2).verdict, "relayed")
        self.assertEqual(self.cell(0, 1, 2).verdict, "none")

    def test_json(self) -> None:
        """
        Other programs get the verdict and the medians beside the figure.
        """
        cell = Cell("public", "full-cone", 2, 1, 0, (0.5, 0.7), (0.1, 0.2, 0.9))
        (found,) = asJson([cell])
        self.assertEqual(
            (found["figure"], found["share"], found["verdict"], found["below"]),
            (0.99, 0.6667, "direct", True),
        )
        self.assertEqual((found["directMedian"], found["pingMedian"]), (0.6, 0.2))
