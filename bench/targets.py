"""
What the tunnel is asked for beside the packaged programs, and whether it is so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs
from report import OURS, REFERENCE, ROWS, Findings

__all__ = ["Target", "markdownTargets", "targets"]

#: TCP in ratio to wireguard-go, by link.
TCP_RATIOS = {"veth": 4.2, "nic": 3.5, "wire": 1.25}
_SMALL_RATIO, _LARGE_RATIO = 1.05, 1.0
_PING_RATIO, _SECOND_PING, _MEDIATOR, _MEMORY = 1.5, 5.0, 50.0, 45.0
_RELAYED_RATIO = 0.5
_WITHOUT_REFERENCE = ("fastd", "tinc", "openvpn")
_TITLES = {row.key: row.title.rpartition(" (")[0] for row in ROWS}


@attrs.frozen
class Target:
    """
    One thing that is asked for.

    @ivar least: whether the asked value is the lowest that will do; else it is the highest.
    """

    link: str
    title: str
    asked: float
    found: float
    least: bool

    @property
    def met(self) -> bool:
        """
        Whether it is so.
        """
        return self.found >= self.asked if self.least else self.found <= self.asked

    @property
    def cells(self) -> list[str]:
        """
        The line of a table.
        """
        sign = "at least" if self.least else "at most"
        verdict = "yes" if self.met else "**no**"
        return [self.link, self.title, f"{sign} {self.asked:g}", f"{self.found:.2f}", verdict]


def _ratios(found: Findings) -> Iterator[tuple[str, str, str, float, bool]]:
    """
    @return: way, other way, what, the asked ratio, and whether it is the least.
    """
    for key in ("tcp", "tcpBack"):
        yield OURS, REFERENCE, key, TCP_RATIOS[found.link], True
        yield "vnet-relayed", OURS, key, _RELAYED_RATIO, True
        yield "vnet-wireguard-go", REFERENCE, key, 1.0, True
    rows = {row.key: row for row in ROWS}
    for key, asked in (("packets", _SMALL_RATIO), ("largePackets", _LARGE_RATIO)):
        if (best := found.best(rows[key], _WITHOUT_REFERENCE)) is not None:
            yield OURS, best, key, asked, True
    yield OURS, "fastd", "ping", _PING_RATIO, False
    yield OURS, REFERENCE, "loadedPingP99", 1.0, False


def targets(found: Sequence[Findings]) -> list[Target]:
    """
    All that can be said of what was measured.
    """
    said = []
    for each in found:
        for way, other, key, asked, least in _ratios(each):
            if (ratio := each.ratio(way, other, key)) is not None:
                said.append(Target(each.link, f"{_TITLES[key]}: {way} / {other}", asked, ratio, least))
        for key, asked in (("secondPingP99", _SECOND_PING), ("mediatorP99", _MEDIATOR), ("rss", _MEMORY)):
            if (median := each.median(OURS, key)) is not None:
                said.append(Target(each.link, f"{_TITLES[key]}: {OURS}", asked, median, False))
    return said


def markdownTargets(said: Sequence[Target]) -> str:
    """
    As a table of Markdown.
    """
    head = ["link", "", "asked", "found", "met"]
    lines = [head, ["---"] * len(head), *(target.cells for target in said)]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in lines)
