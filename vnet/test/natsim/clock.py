"""
A L{Clock} for simulations: a heap of calls, and time that goes from one call to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heapify, heappop, heappush
from typing import Any

from twisted.internet.base import DelayedCall
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock

__all__ = ["HeapClock"]

_FEW = 64


class HeapClock(Clock):
    """
    As L{Clock}, but a call costs the logarithm of how many wait, not all of them.

    Calls of one moment run in the order in which they were made.
    """

    def __init__(self) -> None:
        super().__init__()
        self._heap: list[tuple[float, int, DelayedCall]] = []
        self._made = 0
        self._dead = 0

    def callLater(self, delay: float, callable: Callable[..., object], *args: Any, **kw: Any) -> IDelayedCall:
        """
        See L{twisted.internet.interfaces.IReactorTime.callLater}.
        """
        call = DelayedCall(
            self.rightNow + delay, callable, args, kw, self._cancelled, self._moved, self.seconds
        )
        self._push(call)
        return call

    def _push(self, call: DelayedCall) -> None:
        self._made += 1
        heappush(self._heap, (call.getTime(), self._made, call))

    def _cancelled(self, call: DelayedCall) -> None:
        self._dead += 1
        if self._dead > _FEW and self._dead * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if not entry[2].cancelled]
            heapify(self._heap)
            self._dead = 0

    def _moved(self, call: DelayedCall) -> None:
        # To an earlier time.  The entry for the later one does nothing when it comes.
        self._push(call)

    def getDelayedCalls(self) -> Sequence[IDelayedCall]:
        """
        See L{twisted.internet.interfaces.IReactorTime.getDelayedCalls}.
        """
        alive = {id(entry[2]): entry[2] for entry in self._heap if self._isAlive(entry[2])}
        return sorted(alive.values(), key=lambda call: call.getTime())

    @staticmethod
    def _isAlive(call: DelayedCall) -> bool:
        return not call.cancelled and not call.called

    def nextTime(self) -> float | None:
        """
        When the next call is due; L{None} when none waits.
        """
        heap = self._heap
        while heap:
            time, _, call = heap[0]
            if call.cancelled or call.called:
                heappop(heap)
                self._dead -= bool(call.cancelled)
            elif call.getTime() > time:
                heappop(heap)
                call.activate_delay()
                self._push(call)
            else:
                return time
        return None

    def advance(self, amount: float) -> None:
        """
        See L{Clock.advance}: time jumps, and then all that was due runs.
        """
        self.rightNow += amount
        while (time := self.nextTime()) is not None and time <= self.rightNow:
            self._runFirst()

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> bool:
        """
        Let time go from one call to the next, so that each sees the time for which it was made.

        @param until: asked after each moment: whether that is enough.
        @return: whether it was.
        """
        end = self.rightNow + seconds
        while (time := self.nextTime()) is not None and time <= end:
            self.rightNow = max(self.rightNow, time)
            while self.nextTime() == time:
                self._runFirst()
            if until is not None and until():
                return True
        self.rightNow = max(self.rightNow, end)
        return False

    def _runFirst(self) -> None:
        call = heappop(self._heap)[2]
        call.called = 1
        call.func(*call.args, **call.kw)
