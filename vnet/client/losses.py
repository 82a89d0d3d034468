# -*- test-case-name: vnet.test.test_losses -*-
"""
What a node has dropped, and why: the counters of all its parts in one value.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from vnet.client.lossreasons import SERIOUS, reasonsOf

__all__ = ["PERIOD", "Losses", "countersOf"]

PERIOD = 60.0
"""Seconds.  What was dropped lately is from the one that runs, and the one before it."""


def countersOf(part: Any) -> Counter[str]:
    """
    @param part: a device or a port, which need not tell.
    @return: what it has dropped, by the names of its counters.
    """
    dropped = getattr(part, "dropped", None)
    found: Counter[str] = Counter() if dropped is None else dropped()
    return found


@define(eq=False, repr=False)
class Losses:
    """
    What one node has dropped since it was started.

    @ivar _parts: gives the counters of the parts, as they are now.
    """

    _clock: IReactorTime
    _parts: Callable[[], Sequence[tuple[str, Mapping[str, int]]]]
    _before: Counter[str] = field(factory=Counter, init=False)
    _latest: Counter[str] = field(factory=Counter, init=False)
    _call: IDelayedCall | None = field(default=None, init=False)

    def start(self) -> None:
        """
        Begin to look what is dropped lately.
        """
        self._call = self._clock.callLater(PERIOD, self._tick)

    def stop(self) -> None:
        """
        Look no more.
        """
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _tick(self) -> None:
        self._before, self._latest = self._latest, self._now()
        self.start()

    def _now(self) -> Counter[str]:
        return sum((reasonsOf(part, counters) for part, counters in self._parts()), Counter[str]())

    def dropped(self) -> dict[str, int]:
        """
        @return: how much of what this node had to send, or has received, was dropped, by reason; none is 0.
        """
        return dict(sorted(self._now().items()))

    def lately(self) -> dict[str, int]:
        """
        @return: those of L{SERIOUS} that have grown in the last minute or two, and by how much.
        """
        now = self._now()
        return {
            reason: now[reason] - self._before[reason]
            for reason in SERIOUS
            if now[reason] > self._before[reason]
        }
