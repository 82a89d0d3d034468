# -*- test-case-name: vnet.test.test_natcells -*-
"""
What pairs of NATs are measured for, and what came out: one L{Cell} for each pair of kinds.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from typing import Any

import attrs

from vnet.test import natfigures

__all__ = ["KINDS", "Cell", "asJson", "figure", "pairs"]

#: Those in namespaces, from the easiest to the hardest, and what each is called in memory.
KINDS = {
    "public": "P",
    "full-cone": "F",
    "address-restricted": "A",
    "port-restricted": "R",
    "double": "D",
    "symmetric-sequential": "S1",
    "symmetric-block": "B",
    "symmetric-random": "X",
    "udp-blocked": "T",
}

#: So unlikely a result is none that chance has made; with so many attempts there is no such excuse.
_CHANCE, _MANY = 0.05, 100


def figure(one: str, other: str) -> float:
    """
    The share of attempts that has to end in a direct path, 0 to 1; in either order.  The kinds may also be two of
    L{vnet.test.natkinds}.

    @raise KeyError: no figure is set for one of these kinds.
    """
    for kind in (one, other):
        if kind not in KINDS and kind not in natfigures.CLASS:
            raise KeyError(kind)
    return natfigures.figure(KINDS.get(one, one), KINDS.get(other, other))


def pairs(kinds: Iterable[str] = KINDS) -> list[tuple[str, str]]:
    """
    Each kind with itself and with each that follows.
    """
    chosen = list(kinds)
    return [(one, other) for index, one in enumerate(chosen) for other in chosen[index:]]


def _atMost(successes: int, trials: int, share: float) -> float:
    """
    How likely it is that of so many trials no more succeed, when each does with this probability.
    """
    return sum(
        math.comb(trials, each) * share**each * (1 - share) ** (trials - each)
        for each in range(successes + 1)
    )


@attrs.frozen
class Cell:
    """
    What became of the attempts of one pair of kinds.

    @ivar one: a kind of NAT; C{other} is the other side's.
    @ivar direct: how many ended in a direct path, C{relayed} in a relayed one, C{failed} in none.
    @ivar directSeconds: of each direct one, the time from when both were online until both sides had the path.
    @ivar pingSeconds: of each that was connected, the time from when both were online to the first packet through.
    """

    one: str
    other: str
    direct: int
    relayed: int
    failed: int
    directSeconds: tuple[float, ...] = ()
    pingSeconds: tuple[float, ...] = ()

    @property
    def attempts(self) -> int:
        """
        All of them.
        """
        return self.direct + self.relayed + self.failed

    @property
    def share(self) -> float:
        """
        The direct ones, 0 to 1.
        """
        return self.direct / self.attempts if self.attempts else 0.0

    @property
    def verdict(self) -> str:
        """
        What most of them came to: C{"direct"}, C{"relayed"} or C{"none"}.
        """
        counts = {"direct": self.direct, "relayed": self.relayed, "none": self.failed}
        return max(counts, key=counts.__getitem__)

    @property
    def below(self) -> bool:
        """
        Whether this is less than the figure asks for, also after what chance does to few attempts; an attempt without
        any path is too little everywhere.
        """
        wanted = figure(self.one, self.other)
        if self.failed or not self.attempts:
            return True
        unlucky = self.attempts < _MANY and _atMost(self.direct, self.attempts, wanted) >= _CHANCE
        return self.share < wanted and not unlucky


def asJson(cells: Iterable[Cell]) -> list[dict[str, Any]]:
    """
    Cells for other programs.
    """
    return [
        {
            **attrs.asdict(cell),
            "figure": figure(cell.one, cell.other),
            "share": round(cell.share, 4),
            "verdict": cell.verdict,
            "below": cell.below,
            "directMedian": median(cell.directSeconds),
            "pingMedian": median(cell.pingSeconds),
        }
        for cell in cells
    ]


def median(seconds: Iterable[float]) -> float | None:
    """
    The middle one; L{None} without any.
    """
    found = sorted(seconds)
    return round(statistics.median(found), 3) if found else None
