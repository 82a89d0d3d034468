"""
What the relays' benchmark has found, as a table for people and as JSON.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
from links import LINKS
from machine import machineFacts, versionOf
from rich import box
from rich.console import Console
from rich.table import Table
from turnload import LARGE, MANY

__all__ = ["ALLOCATION_ROWS", "FLOW_ROWS", "Findings", "relayFacts", "show"]

#: What waits less than this share of the time may be what the others wait for.
_HARDLY = 0.03

Found = Mapping[str, Any]
"""What L{turnload} prints of one turn."""


@attrs.frozen
class Row:
    """
    A line of the table.

    @ivar value: what it shows of a turn.
    @ivar digits: after the point.
    @ivar bound: what stands before the number where the load was too slow to find out more.
    @ivar flow: what is looked at for that.
    """

    key: str
    title: str
    value: Callable[[Found], float]
    digits: int = 0
    bound: str = ""
    flow: str = ""

    def isLimited(self, found: Found) -> bool:
        """
        Whether the load was as slow as the server.
        """
        if self.flow:
            return found[self.flow]["waited"] < _HARDLY
        return bool(self.bound) and found["load"] > found["server"]


def _large(key: str, title: str) -> tuple[Row, Row]:
    """
    How much, and what it costs.
    """
    return (
        Row(f"{key}", f"{title} (Mbit/s)", lambda found: found[key]["rate"] * LARGE * 8 / 1e6, 0, ">= ", key),
        Row(
            f"{key}Cpu",
            "    CPU (s per GB)",
            lambda found: found[key]["server"] / found[key]["rate"] / LARGE * 1e9,
            2,
        ),
    )


def _small(key: str, title: str) -> tuple[Row, Row]:
    return (
        Row(f"{key}", f"{title} (packets/s)", lambda found: found[key]["rate"], 0, ">= ", key),
        Row(
            f"{key}Cpu",
            "    CPU (us per packet)",
            lambda found: found[key]["server"] / found[key]["rate"] * 1e6,
            1,
        ),
    )


FLOW_ROWS = (
    *_large("upTrains", "one flow to the peer, sent in trains"),
    *_large("downTrains", "one flow from the peer, sent in trains"),
    *_large("upSingle", "one flow to the peer, sent one by one"),
    *_large("downSingle", "one flow from the peer, sent one by one"),
    *_small("upSmall", f"100 bytes, {MANY} allocations, to the peer"),
    *_small("downSmall", f"100 bytes, {MANY} allocations, from the peer"),
    Row("latency", "added to a round trip, median (us)", lambda found: found["latency"] * 1e6),
    Row("latencyP99", "added to a round trip, 99 % (us)", lambda found: found["latencyP99"] * 1e6),
)

ALLOCATION_ROWS = (
    Row("memory", "memory of an allocation (KiB)", lambda found: found["memory"] / 1024, 1),
    Row("boundMemory", "memory of one with a channel (KiB)", lambda found: found["bound"] / 1024, 1),
    Row("allocationsSeconds", "time to make them (s)", lambda found: found["seconds"], 2, "<= "),
    Row(
        "allocationCpu",
        "    CPU (ms per allocation)",
        lambda found: found["server"] / found["count"] * 1e3,
        2,
    ),
)


@attrs.define
class Findings:
    """
    All that was found.

    @ivar flows: by link and server, one of each round.
    @ivar allocations: by server.
    """

    flows: dict[str, dict[str, list[Found]]]
    allocations: dict[str, list[Found]]

    def asJson(self, facts: Found, effort: Found) -> dict[str, Any]:
        """
        All of it, for other programs.
        """
        medians: dict[str, Any] = {link: _medians(FLOW_ROWS, found) for link, found in self.flows.items()}
        medians["allocations"] = _medians(ALLOCATION_ROWS, self.allocations)
        rounds = {**self.flows, "allocations": self.allocations}
        return {"machine": dict(facts), "effort": dict(effort), "medians": medians, "rounds": rounds}

    def loss(self, server: str) -> float:
        """
        The highest of a server.
        """
        turns = [turn for found in self.flows.values() for turn in found.get(server, ())]
        return max(
            (flow["loss"] for turn in turns for flow in turn.values() if isinstance(flow, dict)), default=0.0
        )


def _medians(rows: Sequence[Row], found: Mapping[str, list[Found]]) -> dict[str, dict[str, float | None]]:
    return {name: {row.key: _median(row, turns) for row in rows} for name, turns in found.items()}


def _median(row: Row, turns: Sequence[Found]) -> float | None:
    return statistics.median(map(row.value, turns)) if turns else None


def _cell(row: Row, turns: Sequence[Found]) -> str:
    if not turns:
        return "-"
    values = [row.value(turn) for turn in turns]
    bound = row.bound if any(map(row.isLimited, turns)) else ""
    text = f"{bound}{statistics.median(values):,.{row.digits}f}"
    if len(values) > 1:
        text += f" ({min(values):,.{row.digits}f}-{max(values):,.{row.digits}f})"
    return text


def _ratio(row: Row, found: Mapping[str, list[Found]]) -> str:
    ours, theirs = (_median(row, found.get(name, ())) for name in ("vnet-relay", "coturn"))
    return f"x {ours / theirs:.2f}" if ours is not None and theirs else "-"


def relayFacts() -> dict[str, Any]:
    """
    Where this was measured, and with what.
    """
    return {**machineFacts(), "coturn": versionOf("turnserver", "--version")}


def show(console: Console, facts: Found, findings: Findings) -> None:
    """
    The table, and below it what is to be known of the machine.
    """
    table = Table(box=box.SIMPLE_HEAD if console.is_terminal else None, pad_edge=False)
    names = list(findings.allocations)
    table.add_column("median (lowest-highest)", no_wrap=True)
    for name in names:
        table.add_column(name, justify="right", no_wrap=True, style="bold" if name == "vnet-relay" else "")
    table.add_column("vnet-relay / coturn", justify="right", no_wrap=True)
    for link, found in findings.flows.items():
        table.add_row(f"link: {link}")
        _addRows(table, FLOW_ROWS, found)
    if any(findings.allocations.values()):
        count = next(turn["count"] for turns in findings.allocations.values() for turn in turns)
        table.add_row(f"{count:,} allocations")
        _addRows(table, ALLOCATION_ROWS, findings.allocations)
    console.print(table, markup=False)
    for line in _notes(facts, findings):
        console.print(line, style="dim", soft_wrap=True, markup=False)


def _addRows(table: Table, rows: Sequence[Row], found: Mapping[str, list[Found]]) -> None:
    for row in rows:
        cells = [_cell(row, turns) for turns in found.values()]
        table.add_row(f"  {row.title}", *cells, _ratio(row, found))


def _notes(facts: Found, findings: Findings) -> list[str]:
    others = [
        turn["others"] for found in findings.flows.values() for turns in found.values() for turn in turns
    ]
    rounds = max(len(turns) for found in findings.flows.values() for turns in found.values())
    lines = [f"{link}: {LINKS[link]}" for link in findings.flows]
    lines.append(
        "Highest loss of a flow: "
        + ", ".join(f"{name} {findings.loss(name):.2%}" for name in findings.allocations)
        + ". With >= and <= the load may have been the slower one."
    )
    lines.append(
        f"{facts['processor']}, {facts['cores']} cores, Linux {facts['kernel']}, load average {facts['loadAverage']} "
        f"when it began, other programs used {statistics.median(others):.0f} % meanwhile; rounds: {rounds}. "
        "The servers, their clients and the peer share these cores."
    )
    lines.append(
        f"Python {facts['python']}, vnet {facts['vnet']}, Twisted {facts['twisted']}, coturn {facts['coturn']}"
    )
    return lines
