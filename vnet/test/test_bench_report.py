"""
Tests for C{bench/report.py}, C{bench/targets.py} and C{bench/document.py}.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from vnet.errors import ConfigurationError

BENCH = Path(__file__).parents[2] / "bench"


class ReportTestCase(SynchronousTestCase):
    """
    The modules of the benchmark, which is no package.
    """

    def setUp(self) -> None:
        self.patch(sys, "path", [str(BENCH), *sys.path])
        self.report: Any = importlib.import_module("report")
        self.targets: Any = importlib.import_module("targets")
        self.document: Any = importlib.import_module("document")

    def findings(self, link: str = "nic", **ways: list[dict[str, Any]]) -> Any:
        """
        What was found, by way; C{_} in a name stands for C{-}.
        """
        results = {
            way.replace("_", "-"): [self.report.Result(way, **each) for each in rounds]
            for way, rounds in ways.items()
        }
        return self.report.Findings(link, {}, results)


class FindingsTests(ReportTestCase):
    def test_ratio(self) -> None:
        """A ratio is the median of the rounds' ratios, not the ratio of medians; what was not measured does not count."""
        found = self.findings(
            vnet=[{"tcp": 100.0}, {"tcp": 30.0}, {"tcp": 900.0}, {"tcp": None}],
            wireguard_go=[{"tcp": 50.0}, {"tcp": 10.0}, {"tcp": 900.0}, {"tcp": 1.0}],
        )
        self.assertEqual(found.ratio("vnet", "wireguard-go", "tcp"), 2.0)
        self.assertIsNone(found.ratio("vnet", "fastd", "tcp"))

    def test_best(self) -> None:
        """The best packaged program has the most packets, and the shortest round trip."""
        found = self.findings(
            vnet=[{"packets": 9.0, "ping": 9.0}],
            tinc=[{"packets": 3.0, "ping": 3.0}],
            fastd=[{"packets": 2.0, "ping": 2.0}],
        )
        rows = {row.key: row for row in self.report.ROWS}
        self.assertEqual((found.best(rows["packets"]), found.best(rows["ping"])), ("tinc", "fastd"))
        self.assertIsNone(found.best(rows["tcp"]))

    def test_cells(self) -> None:
        """A cell has the median with the extremes, and says where the sender was the limit."""
        found = self.findings(
            vnet=[{"packets": 1000.0, "senderLimited": ["packets"]}, {"packets": 3000.0}, {"packets": 2000.0}]
        )
        rows = {row.key: row for row in self.report.ROWS}
        self.assertEqual(found.cell("vnet", rows["packets"]), ">= 2,000 (1,000-3,000)")
        self.assertEqual(found.cell("vnet", rows["tcp"]), "-")


class TargetTests(ReportTestCase):
    def test_targets(self) -> None:
        """Each target that was measured is judged by its own measure: ratios by link, and limits."""
        found = self.findings(
            "wire",
            vnet=[{"tcp": 130.0, "tcpBack": 120.0, "secondPingP99": 5.1, "rss": 44.0, "packets": 104.0}],
            wireguard_go=[{"tcp": 100.0, "tcpBack": 100.0}],
            tinc=[{"packets": 100.0}],
            vnet_relayed=[{"tcp": 65.0}],
        )
        said = {target.title.partition(": ")[::2]: target.met for target in self.targets.targets([found])}
        self.assertEqual(
            said,
            {
                ("TCP, one stream, A to B", "vnet / wireguard-go"): True,
                ("TCP, one stream, B to A", "vnet / wireguard-go"): False,
                ("TCP, one stream, A to B", "vnet-relayed / vnet"): True,
                ("UDP, 100 bytes, loss < 1 %", "vnet / tinc"): False,
                ("ping to another peer meanwhile, 99 %", "vnet"): False,
                ("memory of a daemon, RSS", "vnet"): True,
            },
        )


class DocumentTests(ReportTestCase):
    def test_fill(self) -> None:
        """What is between the two lines of a name is replaced, again too, and nothing else."""
        path = Path(self.mktemp())
        path.write_text("a\n<!-- x: how -->\n<!-- end of x -->\n<!-- xy: how -->\nkept\n<!-- end of xy -->\n")
        for text in ("old\n", "new \\1\n"):
            self.document.fill(path, "x", text)
        self.assertEqual(
            path.read_text(),
            "a\n<!-- x: how -->\n\nnew \\1\n\n<!-- end of x -->\n<!-- xy: how -->\nkept\n<!-- end of xy -->\n",
        )

    def test_noPlace(self) -> None:
        """A document without the place is refused."""
        path = Path(self.mktemp())
        path.write_text("nothing\n")
        self.assertRaises(ConfigurationError, self.document.fill, path, "x", "text")
        self.assertEqual(path.read_text(), "nothing\n")

    def test_performance(self) -> None:
        """The document of the project has a place for each program's tables."""
        text = (BENCH.parent / "docs" / "performance.md").read_text()
        for name in ("tunnel", "idle", "profile", "profile of small datagrams", "primitives"):
            self.assertEqual(text.count(f"<!-- {name}: "), 1, name)
            self.assertEqual(text.count(f"<!-- end of {name} -->"), 1, name)
