# -*- test-case-name: vnet.test.test_client_peer -*-
"""
When a path to a peer is sought again: after longer and longer pauses, that are never quite the same.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["LONGEST_RETRY", "Retries"]

LONGEST_RETRY = 60.0
"""Seconds between one request to the mediator and the next, at most."""

_FIRST_RETRY = 0.75
_FIRST_ALONE, _LONGEST_ALONE = 6.25, 50.0


@define(eq=False, repr=False)
class Retries:
    """
    One timer.

    @ivar _again: called when it is time.
    @ivar asked: requests to the mediator since something came of one; C{alone}: searches without it.
    """

    _clock: IReactorTime
    _again: Callable[[], None]
    asked: int = field(default=0, init=False)
    alone: int = field(default=0, init=False)
    _timer: IDelayedCall | None = field(default=None, init=False)

    @property
    def isArmed(self) -> bool:
        """
        Whether a time is set.
        """
        return self._timer is not None

    def schedule(self, delay: float) -> None:
        """
        Try again in so many seconds, and not before.
        """
        self.cancel()
        self._timer = self._clock.callLater(delay, self._fired)

    def scheduleAsking(self) -> None:
        """
        Ask the mediator again when it is time.
        """
        self.schedule(_pause(_FIRST_RETRY, self.asked, LONGEST_RETRY))

    def scheduleAlone(self) -> None:
        """
        Search again without the mediator when it is time.
        """
        self.schedule(_pause(_FIRST_ALONE, self.alone, _LONGEST_ALONE))

    def succeeded(self) -> None:
        """
        There is a path.
        """
        self.cancel()
        self.asked = self.alone = 0

    def cancel(self) -> None:
        """
        Do not try again.
        """
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def _fired(self) -> None:
        self._timer = None
        self._again()


def _pause(first: float, times: int, longest: float) -> float:
    pause: float = min(first * 2 ** min(times, 8), longest)
    return pause * random.uniform(0.8, 1.2)
