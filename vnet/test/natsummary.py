# -*- test-case-name: vnet.test.test_natsummary -*-
"""
What a matrix of pairs of NATs comes to: the share of direct paths for four kinds of users, and the times of each kind of path.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vnet.test.natcells import Cell
from vnet.test.natfigures import POPULATIONS, TARGETS, score, unreachable, withIpv6

__all__ = ["EVENTS", "scoreRows", "timeRows"]

_EASY = frozenset(["P", "F", "A", "R", "D", "E", "6"])
_OPEN = frozenset(["P", "F", "A"])
_HARD = frozenset(["S1", "S2", "B", "X", "M"])


def _isEasyPair(one: str, other: str) -> bool:
    return {one, other} <= _EASY


def _isOpenPair(one: str, other: str) -> bool:
    return bool({one, other} & _OPEN) and bool({one, other} & _HARD)


def _towards(*hard: str) -> frozenset[frozenset[str]]:
    return frozenset(frozenset([easy, each]) for easy in _EASY - _OPEN for each in hard)


EVENTS = (
    ("direct, both one port for all destinations", _isEasyPair, 0.5, 1.5),
    ("direct, a hard NAT and one that lets its host in", _isOpenPair, 0.6, 2.0),
    ("direct, sequential", lambda one, other: frozenset([one, other]) in _towards("S1", "S2"), 2.0, 5.0),
    ("direct, a carrier's block", lambda one, other: frozenset([one, other]) in _towards("B"), 3.0, 8.0),
    ("direct, random", lambda one, other: frozenset([one, other]) in _towards("X", "M"), 6.0, 20.0),
)
"""Which pairs belong to which event, and the seconds that are aimed at: the median, and the 95th percentile."""

_FIRST_PACKET = ("first packet through the tunnel, UDP on both sides", 0.3, 0.8)


def timeRows(cells: Iterable[Cell]) -> list[tuple[str, str, str, str]]:
    """
    @return: for each event its name, how many there were, median and 95th percentile, and what is aimed at.
    """
    found = list(cells)
    rows = []
    for name, belongs, median, most in EVENTS:
        times = sorted(each for cell in found if belongs(cell.one, cell.other) for each in cell.directSeconds)
        rows.append(_row(name, times, median, most))
    name, median, most = _FIRST_PACKET
    pings = [
        each for cell in found if not {cell.one, cell.other} & {"T", "T443"} for each in cell.pingSeconds
    ]
    rows.append(_row(name, sorted(pings), median, most))
    return [row for row in rows if row[1] != "0"]


def _row(name: str, times: Sequence[float], median: float, most: float) -> tuple[str, str, str, str]:
    aim = f"{median:g} / {most:g} s"
    if not times:
        return name, "0", "", aim
    middle, late = times[len(times) // 2], times[min(len(times) - 1, int(0.95 * len(times)))]
    return name, str(len(times)), f"{middle:.2f} / {late:.2f} s", aim


def scoreRows(cells: Iterable[Cell]) -> list[tuple[str, str, str, str, str]]:
    """
    @return: for each population the share of direct pairs over IPv4 alone, the same where some have IPv6 too, what is aimed
        at, and the share that nobody can have over IPv4; none where a pair is missing.
    """
    direct = {(cell.one, cell.other): cell.share for cell in cells}
    rows = []
    for name, population in POPULATIONS.items():
        try:
            share, both = score(population, direct), withIpv6(population, direct)
        except KeyError:
            continue
        aim = f"{100 * TARGETS[name]:.0f} %" if name in TARGETS else ""
        beyond = f"{100 * unreachable(population):.1f} %"
        rows.append((name, f"{100 * share:.1f} %", f"{100 * both:.1f} %", aim, beyond))
    return rows
