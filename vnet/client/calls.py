# -*- test-case-name: vnet.test.test_relays -*-
"""
Calls that are put off, by name.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["Calls"]


@define(eq=False, repr=False)
class Calls:
    """
    At most one call of each name.
    """

    _clock: IReactorTime
    _calls: dict[str, IDelayedCall] = field(factory=dict, init=False)

    def __contains__(self, name: str) -> bool:
        return name in self._calls

    def later(self, name: str, delay: float, what: Callable[[], None]) -> None:
        """
        Call something after some seconds, in place of what has this name already.
        """
        self.cancel(name)
        self._calls[name] = self._clock.callLater(delay, self._fire, name, what)

    def _fire(self, name: str, what: Callable[[], None]) -> None:
        self._calls.pop(name, None)
        what()

    def cancel(self, name: str) -> None:
        """
        Do not call it, if it was to be called.
        """
        call = self._calls.pop(name, None)
        if call is not None and call.active():
            call.cancel()

    def cancelAll(self) -> None:
        """
        Call nothing any more.
        """
        for name in list(self._calls):
            self.cancel(name)
