"""
Tests for L{vnet.test.natmatrix}, and a part of the matrix itself.
"""

from __future__ import annotations

from contextlib import redirect_stdout
from io import StringIO

from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.punch import Attempt
from vnet.test.natfigures import CLASS, KINDS_IN_MATRIX, POPULATIONS, figure, score, unreachable
from vnet.test.natkinds import KINDS
from vnet.test.natmatrix import Cell, main, pairs, runCell, runMatrix
from vnet.test.nattrial import Outcome, Setting, runTrial

_TRIALS = 20
#: So many of 20 may miss where the figure is 95 % or more: chance does that once in 10,000 runs at 98 %.
_SLACK = 3

_EASY = (
    ("P", "X"),
    ("A", "S2"),
    ("R", "D"),
    ("D", "D"),
    ("E", "R"),
    ("V", "E"),
    ("6", "6only"),
    ("DH", "DH"),
    ("LAN", "LAN"),
)
_RELAYED = (("T443", "R"), ("X", "X"), ("R", "U"), ("6only", "R"))
#: The pairs that need prediction or birthday probing.
_HARD = (("R", "S1"), ("R", "S2"), ("R", "B"), ("R", "X"), ("D", "M"), ("S1", "S1"))


class CellTests(SynchronousTestCase):
    """
    Pairs of kinds, 20 trials each, at 2 % loss.
    """

    def cell(self, a: str, b: str, trials: int = _TRIALS, seconds: float = 40.0) -> Cell:
        """
        Run it; all are connected and nothing went wrong.
        """
        cell = runCell(a, b, trials, Setting(seconds))
        self.assertEqual([(each.seed, each.errors) for each in cell.outcomes if each.errors], [], f"{a} {b}")
        self.assertEqual([each.seed for each in cell.outcomes if not each.connected], [], f"{a} {b}")
        return cell

    def assertDirect(self, a: str, b: str, trials: int = _TRIALS) -> None:
        """
        As many are direct as the figure asks for, with some slack for chance.
        """
        cell = self.cell(a, b, trials)
        missed = [each.seed for each in cell.outcomes if not each.direct]
        self.assertLessEqual(
            len(missed), _SLACK + trials * (1 - figure(a, b)), f"{a} {b}: not direct {missed}"
        )

    def test_easy(self) -> None:
        """
        Pairs of which one side is easily met have a direct path.
        """
        for a, b in _EASY:
            self.assertDirect(a, b)

    def test_relayed(self) -> None:
        """
        Pairs that cannot meet are connected through the relay.
        """
        for a, b in _RELAYED:
            cell = self.cell(a, b, trials=10, seconds=15.0)
            self.assertLess(cell.direct, 0.5, f"{a} {b}")

    def test_hard(self) -> None:
        """
        Pairs of which the ports of one side have to be guessed have a direct path as often as is asked for.
        """
        for a, b in _HARD:
            self.assertDirect(a, b, trials=8)

    def test_soon(self) -> None:
        """
        The path of an easy pair is there within a second and a half, in the mean within half of one.
        """
        found = runCell("R", "R", 10, Setting(loss=0.0)).asJson()
        self.assertLess(found["directP50"], 0.5)
        self.assertLess(found["directP95"], 1.5)
        self.assertLess(found["connectedP95"], 1.5)


class RunTests(SynchronousTestCase):
    """
    How trials are run.
    """

    def test_same(self) -> None:
        """
        A trial is the same each time, and another seed gives another.
        """
        one, again, other = (runTrial(("S2", "R"), seed, Setting(seconds=5)) for seed in (3, 3, 4))
        self.assertEqual(one, again)
        self.assertNotEqual((one.roundTrip, one.pathAfter), (other.roundTrip, other.pathAfter))

    def test_processes(self) -> None:
        """
        The cells come in order, each with all its seeds, from whatever process.
        """
        wanted = [("P", "P"), ("P", "R")]
        cells = list(runMatrix(wanted, 12, Setting(seconds=5), seed=5, jobs=2))
        self.assertEqual([(cell.a, cell.b) for cell in cells], wanted)
        self.assertEqual([[each.seed for each in cell.outcomes] for cell in cells], [list(range(5, 17))] * 2)

    def test_line(self) -> None:
        """
        One trial can be read line by line.
        """
        self.patch(Attempt, "remoteSignal", Attempt.remoteSignal)
        with redirect_stdout(StringIO()) as output:
            main(["A=P", "B=T443", "seed=3", "seconds=3", "log=peers"])
        text = output.getvalue()
        for part in (
            "P x T443, seed 3",
            "is told",
            "event Selected",
            "NAT udp False",
            "path Path(",
            "refused",
            "direct ",
        ):
            self.assertIn(part, text)


class FigureTests(SynchronousTestCase):
    """
    L{vnet.test.natfigures}.
    """

    def test_complete(self) -> None:
        """
        Every kind of the matrix and of the populations exists and has figures, the same in either order.
        """
        self.assertEqual([kind for kind in KINDS_IN_MATRIX if kind not in KINDS or kind not in CLASS], [])
        for population in POPULATIONS.values():
            self.assertLessEqual(set(population), set(KINDS_IN_MATRIX))
        for one, other in pairs():
            self.assertEqual(figure(one, other), figure(other, one))
            self.assertTrue(0.0 <= figure(one, other) <= 0.99)

    def test_score(self) -> None:
        """
        A score weighs each pair of kinds by how many have them.
        """
        direct = {("P", "P"): 1.0, ("P", "X"): 0.5, ("X", "X"): 0.0}
        self.assertAlmostEqual(score({"P": 3.0, "X": 1.0}, direct), (9 + 2 * 3 * 0.5) / 16)
        self.assertAlmostEqual(unreachable({"P": 3.0, "X": 1.0}), 1 / 16)
        for name, population in POPULATIONS.items():
            reached = score(population, {(a, b): figure(a, b) for a in population for b in population})
            self.assertLess(reached, 1 - unreachable(population), name)

    def test_cell(self) -> None:
        """
        A cell counts what is direct, relayed and not connected, and is below its figure when it is.
        """
        made = [
            Outcome(
                seed,
                seed != 4,
                seed < 3,
                0.1,
                0.2 + seed,
                None if seed > 2 else 0.3,
                0,
                (10, seed),
                ((seed,), (2, 3)),
            )
            for seed in range(1, 5)
        ]
        found = Cell("R", "D", tuple(made))
        self.assertEqual((found.direct, found.connected, found.below), (0.5, 0.75, True))
        data = found.asJson()
        self.assertEqual((data["failed"], data["relayed"], data["peaks"]), ([4], [3], [[4], [2, 3]]))
        self.assertEqual((data["connectedP50"], data["directP95"]), (3.2, 0.3))
        counts = found.asCounts()
        self.assertEqual((counts.direct, counts.relayed, counts.failed), (2, 1, 1))
        self.assertFalse(Cell("X", "X", tuple(made[:3])).below)
