"""
Some pairs of the matrix of C{make natmatrix}, with real nodes.
"""

from __future__ import annotations

import os
import sys

import pytest
from twisted.trial.unittest import SynchronousTestCase

from vnet.test.natcells import Cell, figure
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
