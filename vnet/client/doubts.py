# -*- test-case-name: vnet.test.test_client_peer -*-
"""
Whether the path in use is in doubt: it was asked, and the answer is late.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["Doubts"]


@define(eq=False, repr=False)
class Doubts:
    """
    One timer.

    @ivar _late: called when no answer has come in time.
    @ivar isLate: whether that is so.
    @ivar silentSince: when the path was asked first of those times that it has not answered.
    """

    _clock: IReactorTime
    _late: Callable[[], None]
    isLate: bool = field(default=False, init=False)
    silentSince: float = field(default=0.0, init=False)
    _timer: IDelayedCall | None = field(default=None, init=False)

    def begin(self, patience: float) -> None:
        """
        The path is asked now.

        @param patience: seconds until the answer is late.
        """
        now, timer = self._clock.seconds(), self._timer
        if timer is None or not timer.active():
            if not self.isLate:
                self.silentSince = now
            self._timer = self._clock.callLater(patience, self._fired)
        elif timer.getTime() > now + patience:
            timer.reset(patience)

    def end(self) -> None:
        """
        The path answers, or there is none any more.
        """
        timer, self._timer, self.isLate = self._timer, None, False
        if timer is not None and timer.active():
            timer.cancel()

    def _fired(self) -> None:
        self._timer, self.isLate = None, True
        self._late()
