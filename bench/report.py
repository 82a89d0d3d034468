"""
What the benchmark has found, as a table for people, as Markdown and as JSON.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import attrs
from links import LINKS
from machine import machineFacts, versionOf
from measures import Effort, Result
from rich import box
from rich.console import Console
from rich.table import Table

__all__ = ["ROWS", "Findings", "asJson", "markdown", "show", "tunnelFacts"]

OURS, REFERENCE = "vnet", "wireguard-go"
#: What Debian has in packages.
PACKAGED = ("wireguard-go", "fastd", "tinc", "openvpn")


@attrs.frozen
class Row:
    """
    A line of the table.

    @ivar key: the attribute of L{Result}.
    @ivar digits: after the point.
    @ivar best: of several values the one that is best; L{None}: none is.
    """

    title: str
    key: str
    digits: int = 0
    best: Callable[[Sequence[float]], float] | None = min


ROWS = (
    Row("TCP, one stream, A to B (Mbit/s)", "tcp", 0, max),
    Row("TCP, one stream, B to A (Mbit/s)", "tcpBack", 0, max),
    Row("UDP, 100 bytes, loss < 1 % (packets/s)", "packets", 0, max),
    Row("UDP, 1,400 bytes, loss < 1 % (packets/s)", "largePackets", 0, max),
    Row("ping, idle, median (ms)", "ping", 3),
    Row("ping, idle, 99 % (ms)", "pingP99", 3),
    Row("ping under TCP load, median (ms)", "loadedPing", 2),
    Row("ping under TCP load, 99 % (ms)", "loadedPingP99", 2),
    Row("ping to another peer meanwhile, median (ms)", "secondPing", 2),
    Row("ping to another peer meanwhile, 99 % (ms)", "secondPingP99", 2),
    Row("request to the mediator meanwhile, median (ms)", "mediator", 1),
    Row("request to the mediator meanwhile, 99 % (ms)", "mediatorP99", 1),
    Row("CPU of both daemons, A to B (s per GB of TCP)", "cpuPerGB", 2),
    Row("CPU of both daemons, B to A (s per GB of TCP)", "cpuPerGBBack", 2),
    Row("CPU of both daemons (us per 100-byte packet)", "cpuPerPacket", 1),
    Row("memory of a daemon, RSS (MB)", "rss", 1),
    Row("memory of a daemon, PSS (MB)", "pss", 1),
    Row("CPU of other programs meanwhile (%)", "others", 0, None),
)


def values(results: Sequence[Result], key: str) -> list[float]:
    """
    What was measured of one thing.
    """
    return [found for result in results if (found := getattr(result, key)) is not None]


@attrs.frozen
class Findings:
    """
    All that was found on one kind of link.

    @ivar link: one of L{LINKS}.
    @ivar settings: what is to be known of each way.
    @ivar results: by way, one of each round.
    """

    link: str
    settings: Mapping[str, str]
    results: Mapping[str, Sequence[Result]]

    @property
    def rounds(self) -> int:
        """
        How many.
        """
        return max((len(found) for found in self.results.values()), default=0)

    def median(self, way: str, key: str) -> float | None:
        """
        The middle one; L{None} where nothing was measured.
        """
        found = values(self.results.get(way, ()), key)
        return statistics.median(found) if found else None

    def ratio(self, way: str, other: str, key: str) -> float | None:
        """
        One way in ratio to another: the median of the rounds' ratios, since what disturbs a round disturbs both.
        """
        pairs = zip(self.results.get(way, ()), self.results.get(other, ()), strict=False)
        found = [(getattr(one, key), getattr(two, key)) for one, two in pairs]
        ratios = [one / two for one, two in found if one is not None and two]
        return statistics.median(ratios) if ratios else None

    def best(self, row: Row, among: Sequence[str] = PACKAGED) -> str | None:
        """
        The best of some ways.
        """
        known = {way: found for way in among if (found := self.median(way, row.key)) is not None}
        if row.best is None or not known:
            return None
        wanted = row.best(list(known.values()))
        return next(way for way, found in known.items() if found == wanted)

    def cell(self, way: str, row: Row) -> str:
        """
        The median, and the lowest and highest.
        """
        found = values(self.results[way], row.key)
        if not found:
            return "-"
        text = f"{statistics.median(found):,.{row.digits}f}"
        if any(row.key in result.senderLimited for result in self.results[way]):
            text = f">= {text}"
        if len(found) > 1:
            text += f" ({min(found):,.{row.digits}f}-{max(found):,.{row.digits}f})"
        return text

    def _ratios(self, row: Row) -> list[str]:
        best = self.best(row)
        found = [self.ratio(OURS, other, row.key) if other else None for other in (REFERENCE, best)]
        if row.best is None:
            return ["-", "-"]
        first, second = ("-" if each is None else f"x {each:.2f}" for each in found)
        return [first, second if best in (None, REFERENCE) else f"{second} ({best})"]

    def table(self) -> tuple[list[str], list[list[str]]]:
        """
        @return: the head, and the lines.
        """
        ways = list(self.results)
        isCompared = OURS in ways and any(way in ways for way in PACKAGED)
        head = ["median (lowest-highest)", *ways]
        head += [f"{OURS} / {REFERENCE}", f"{OURS} / the best packaged"] if isCompared else []
        lines = [
            [
                row.title,
                *(self.cell(way, row) for way in ways),
                *(self._ratios(row) if isCompared else []),
            ]
            for row in ROWS
        ]
        return head, lines

    def asJson(self) -> dict[str, Any]:
        """
        All of it, for other programs.
        """
        return {
            "settings": dict(self.settings),
            "medians": {name: {row.key: self.median(name, row.key) for row in ROWS} for name in self.results},
            "rounds": {
                name: [attrs.asdict(result) for result in found] for name, found in self.results.items()
            },
        }


def tunnelFacts() -> dict[str, Any]:
    """
    Where this was measured, and with what.
    """
    return {
        **machineFacts(),
        "cryptography": version("cryptography"),
        "wireguardGo": versionOf("wireguard-go", "--version").removeprefix("wireguard-go "),
        "iperf3": versionOf("iperf3", "--version").removeprefix("iperf ").partition(" ")[0],
    }


def asJson(facts: Mapping[str, Any], effort: Effort, found: Sequence[Findings]) -> dict[str, Any]:
    """
    All of it, for other programs.
    """
    return {
        "machine": dict(facts),
        "effort": attrs.asdict(effort),
        "links": {each.link: each.asJson() for each in found},
    }


def show(console: Console, facts: Mapping[str, Any], found: Sequence[Findings]) -> None:
    """
    The tables, and below them what is to be known of the machine.
    """
    for each in found:
        table = Table(
            title=f"link {each.link}: {LINKS[each.link]}",
            title_justify="left",
            box=box.SIMPLE_HEAD if console.is_terminal else None,
            pad_edge=False,
        )
        head, lines = each.table()
        for name in head:
            justify: Any = "left" if name == head[0] else "right"
            table.add_column(name, justify=justify, no_wrap=True, style="bold" if name == OURS else "")
        for line in lines:
            table.add_row(*line)
        console.print(table)
    for line in notes(facts, found):
        console.print(line, style="dim", soft_wrap=True, markup=False)


def notes(facts: Mapping[str, Any], found: Sequence[Findings]) -> list[str]:
    """
    What is to be known of the ways and of the machine.
    """
    lines = [f"{name}: {text}" for name, text in (found[0].settings if found else {}).items()]
    rounds = max((each.rounds for each in found), default=0)
    lines.append(
        f"{facts['processor']}, {facts['cores']} cores, Linux {facts['kernel']}, load average {facts['loadAverage']} "
        f"when it began; rounds: {rounds}. Both hosts and iperf3 share these cores."
    )
    lines.append(
        f"Python {facts['python']}, vnet {facts['vnet']}, Twisted {facts['twisted']}, cryptography "
        f"{facts['cryptography']}, wireguard-go {facts['wireguardGo']}, iperf3 {facts['iperf3']}"
    )
    return lines


def markdown(facts: Mapping[str, Any], found: Sequence[Findings]) -> str:
    """
    The same for documents.
    """
    parts = []
    for each in found:
        head, lines = each.table()
        table = [head, ["---"] * len(head), *lines]
        parts.append(f"Link `{each.link}`: {LINKS[each.link]}.\n")
        parts += ["| " + " | ".join(cells) + " |" for cells in table]
        parts.append("")
    parts += [f"* {line}" for line in notes(facts, found)]
    return "\n".join(parts) + "\n"
