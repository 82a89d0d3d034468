"""
Some pairs of the matrix of C{make natmatrix}, with real nodes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from twisted.trial.unittest import SynchronousTestCase

from vnet.test.natcells import Cell, figure
from vnet.test.netlab._space import ROOT
from vnet.test.netlab._system import namespaces
from vnet.test.priv.daemons import waitUntil
from vnet.test.priv.natpairs import LONG, SHORT, Outcome, measure

#: Pairs of which a direct path is asked, but which may be relayed for now.
NOT_YET: set[tuple[str, str]] = set()

PAIRS = [
    ("public", "symmetric-random"),
    ("full-cone", "double"),
    ("address-restricted", "symmetric-block"),
    ("port-restricted", "port-restricted"),
    ("port-restricted", "symmetric-sequential"),
    ("port-restricted", "symmetric-block"),
    ("double", "symmetric-random"),
    ("symmetric-random", "symmetric-random"),
    ("full-cone", "udp-blocked"),
]


@pytest.mark.timeout(120)
class ProgramTests(SynchronousTestCase):
    """
    C{bench/natmatrix.py}.
    """

    def start(self, *options: str) -> subprocess.Popen[str]:
        """
        The program, running.
        """
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "bench/natmatrix.py"), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    def leftovers(self, process: subprocess.Popen[str]) -> list[str]:
        """
        What it has left: namespaces and directories carry its pid.
        """
        prefix = f"vnl-{process.pid}-"
        files = [path.name for path in Path(tempfile.gettempdir()).glob(prefix + "*")]
        return files + [name for name in namespaces() if name.startswith(prefix)]

    def test_namespaces(self) -> None:
        """
        It shows each attempt, writes what it found, ends well when all cells have their figures, and leaves nothing.
        """
        out = Path(self.mktemp())
        process = self.start("--namespaces", "--runs=1", "--kinds=full-cone", f"--out={out}")
        _, errors = process.communicate(timeout=90)
        self.assertEqual(process.returncode, 0, errors)
        self.assertIn("1/1 full-cone - full-cone: direct; path after ", errors)
        self.assertIn("| **full-cone** | 1/1 ", (out / "namespaces.md").read_text())
        self.assertTrue((out / "namespaces.svg").exists())
        self.assertTrue((out / "namespaces.json").exists())
        self.assertEqual(self.leftovers(process), [])

    def test_interrupted(self) -> None:
        """
        When SIGTERM comes while nodes are connecting it ends by that signal, and leaves nothing.
        """
        process = self.start("--namespaces", "--kinds=full-cone,symmetric-random", f"--out={self.mktemp()}")
        nodes = f"vnl-{process.pid}-*/*/control.sock"
        waitUntil(lambda: list(Path(tempfile.gettempdir()).glob(nodes)), 60, "nodes have started")
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
        self.assertEqual(process.returncode, 128 + signal.SIGTERM, errors)
        self.assertEqual(self.leftovers(process), [])

    def test_unknown(self) -> None:
        """
        A kind that there is not is refused with the names of those there are.
        """
        process = self.start("--kinds=public,magic")
        errors = process.communicate(timeout=30)[1]
        self.assertEqual(process.returncode, 2)
        self.assertIn("no such kind: magic; there are public, full-cone,", errors)


@pytest.mark.timeout(240)
@pytest.mark.commands("conntrack")
class MatrixTests(SynchronousTestCase):
    """
    Each of these pairs comes to what the matrix says.
    """

    def test_pairs(self) -> None:
        """
        Nodes that have just been started are connected whatever their NATs are, directly where the matrix asks for that and
        by a relay where no direct path is possible.
        """

        def patience(pair: tuple[str, str]) -> float:
            return SHORT / 2 if pair in NOT_YET or not figure(*pair) else LONG

        def say(cell: Cell, outcomes: list[Outcome]) -> None:
            if os.environ.get("VNET_VERBOSE"):
                print(cell.one, cell.other, outcomes[-1], file=sys.stderr, flush=True)

        found = measure(PAIRS, runs=1, progress=say, patience=patience)
        self.assertEqual(list(found), PAIRS)
        for pair, (outcome,) in found.items():
            with self.subTest(pair=pair):
                if pair not in NOT_YET:
                    self.assertEqual(outcome.path, "direct" if figure(*pair) else "relayed", outcome)
                self.assertNotEqual(outcome.path, "none", outcome)
                self.assertIsNotNone(outcome.ping)
