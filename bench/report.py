"""
What the benchmark has found, as a table for people and as JSON.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import attrs
from machine import machineFacts, versionOf
from measures import Effort, Result
from rich import box
from rich.console import Console
from rich.table import Table

__all__ = ["ROWS", "asJson", "show", "tunnelFacts"]


@attrs.frozen
class Row:
    """
    A line of the table.

    @ivar key: the attribute of L{Result}.
    @ivar digits: after the point.
    """

    title: str
    key: str
    digits: int = 0


ROWS = (
    Row("TCP, one stream, A to B (Mbit/s)", "tcp"),
    Row("TCP, one stream, B to A (Mbit/s)", "tcpBack"),
    Row("UDP, 100 bytes, loss < 1 % (packets/s)", "packets"),
    Row("ping, idle, average (ms)", "pingAvg", 3),
    Row("ping, idle, 99 % (ms)", "pingP99", 3),
    Row("ping under TCP load, average (ms)", "loadedAvg", 2),
    Row("ping under TCP load, 99 % (ms)", "loadedP99", 2),
    Row("CPU of both daemons (s per GB of TCP)", "cpuPerGB", 1),
    Row("memory of one daemon, RSS (MiB)", "rss", 1),
    Row("memory of one daemon, PSS (MiB)", "pss", 1),
    Row("CPU of other programs meanwhile (%)", "others", 0),
)


def values(results: Sequence[Result], key: str) -> list[float]:
    """
    What was measured of one thing.
    """
    return [found for result in results if (found := getattr(result, key)) is not None]


def median(results: Sequence[Result], key: str) -> float | None:
    """
    The middle one; L{None} where nothing was measured.
    """
    found = values(results, key)
    return statistics.median(found) if found else None


def _cell(results: Sequence[Result], row: Row) -> str:
    found = values(results, row.key)
    if not found:
        return "-"
    text = f"{statistics.median(found):,.{row.digits}f}"
    if row.key == "packets" and any(result.senderLimited for result in results):
        text = f">= {text}"
    if len(found) > 1:
        text += f" ({min(found):,.{row.digits}f}-{max(found):,.{row.digits}f})"
    return text


def _ratio(results: Mapping[str, Sequence[Result]], key: str) -> str:
    ours, theirs = (median(results.get(name, ()), key) for name in ("vnet", "wireguard-go"))
    if key == "others" or ours is None or not theirs:
        return "-"
    return f"x {ours / theirs:.2f}"


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


def asJson(
    facts: Mapping[str, Any],
    effort: Effort,
    settings: Mapping[str, str],
    results: Mapping[str, Sequence[Result]],
) -> dict[str, Any]:
    """
    All of it, for other programs.

    @param results: by way, one of each round.
    """
    return {
        "machine": dict(facts),
        "effort": attrs.asdict(effort),
        "settings": dict(settings),
        "medians": {
            name: {row.key: median(found, row.key) for row in ROWS} for name, found in results.items()
        },
        "rounds": {name: [attrs.asdict(result) for result in found] for name, found in results.items()},
    }


def show(
    console: Console,
    facts: Mapping[str, Any],
    settings: Mapping[str, str],
    results: Mapping[str, Sequence[Result]],
) -> None:
    """
    The table, and below it what is to be known of the machine.
    """
    table = Table(box=box.SIMPLE_HEAD if console.is_terminal else None, pad_edge=False)
    table.add_column("median (lowest-highest)", no_wrap=True)
    for name in results:
        table.add_column(name, justify="right", no_wrap=True, style="bold" if name == "vnet" else "")
    both = {"vnet", "wireguard-go"} <= set(results)
    if both:
        table.add_column("vnet / wireguard-go", justify="right", no_wrap=True)
    for row in ROWS:
        cells = [_cell(found, row) for found in results.values()]
        table.add_row(row.title, *cells, *([_ratio(results, row.key)] if both else []))
    console.print(table)
    rounds = max((len(found) for found in results.values()), default=0)
    for line in _notes(facts, settings, rounds):
        console.print(line, style="dim", soft_wrap=True, markup=False)


def _notes(facts: Mapping[str, Any], settings: Mapping[str, str], rounds: int) -> list[str]:
    lines = [f"{name}: {text}" for name, text in settings.items()]
    lines.append(
        f"{facts['processor']}, {facts['cores']} cores, Linux {facts['kernel']}, load average {facts['loadAverage']} "
        f"when it began; rounds: {rounds}. Both hosts and iperf3 share these cores."
    )
    lines.append(
        f"Python {facts['python']}, vnet {facts['vnet']}, Twisted {facts['twisted']}, cryptography "
        f"{facts['cryptography']}, wireguard-go {facts['wireguardGo']}, iperf3 {facts['iperf3']}"
    )
    return lines
