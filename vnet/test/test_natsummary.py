"""
What a matrix comes to.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from vnet.test.natcells import Cell, pairs
from vnet.test.natfigures import KINDS_IN_MATRIX, figure
from vnet.test.natsummary import scoreRows, timeRows


class SummaryTests(SynchronousTestCase):
    def test_scores(self) -> None:
        """Where every pair is at its figure, each population is at what is aimed at; where all are direct, at all."""
        cells = [
            Cell(one, other, round(100 * figure(one, other)), 100 - round(100 * figure(one, other)), 0)
            for one, other in pairs(KINDS_IN_MATRIX)
        ]
        rows = {name: (float(both.split()[0]), aim) for name, _, both, aim, _ in scoreRows(cells)}
        self.assertEqual(set(rows), {"global", "home", "mobile-heavy", "corporate"})
        for share, aim in rows.values():
            if aim:
                self.assertGreaterEqual(share, float(aim.split()[0]) - 3)
        perfect = [Cell(one, other, 10, 0, 0) for one, other in pairs(KINDS_IN_MATRIX)]
        self.assertEqual({row[1:3] for row in scoreRows(perfect)}, {("100.0 %", "100.0 %")})
        self.assertEqual(scoreRows(perfect[1:]), [])

    def test_ipv6(self) -> None:
        """IPv6 helps where both sides have it, and no UDP is blocked."""
        relayed = [
            Cell(one, other, *((10, 0, 0) if (one, other) == ("6", "6") else (0, 10, 0)))
            for one, other in pairs(KINDS_IN_MATRIX)
        ]
        for name, alone, both, *_ in scoreRows(relayed):
            self.assertEqual(alone, "0.0 %")
            self.assertTrue(0 < float(both.split()[0]) <= 100 * 0.45**2 + 0.1, name)

    def test_times(self) -> None:
        """Each event has the times of its pairs, and no others."""
        cells = [
            Cell("R", "R", 3, 0, 0, (0.1, 0.2, 0.3), (0.4, 0.4, 0.4)),
            Cell("R", "S1", 1, 0, 0, (0.8,), (0.4,)),
            Cell("P", "X", 1, 0, 0, (0.25,), (0.4,)),
            Cell("X", "X", 0, 1, 0, (), (0.5,)),
            Cell("R", "T443", 0, 1, 0, (), (9.0,)),
        ]
        rows = {name: (count, found) for name, count, found, _ in timeRows(cells)}
        self.assertEqual(
            rows,
            {
                "direct, both one port for all destinations": ("3", "0.20 / 0.30 s"),
                "direct, a hard NAT and one that lets its host in": ("1", "0.25 / 0.25 s"),
                "direct, sequential": ("1", "0.80 / 0.80 s"),
                "first packet through the tunnel, UDP on both sides": ("6", "0.40 / 0.50 s"),
            },
        )
