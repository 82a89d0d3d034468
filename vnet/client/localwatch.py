# -*- test-case-name: vnet.test.test_localwatch -*-
"""
One watcher on the local control socket: what it is told, and what is kept for it while it does not read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from attrs import define, field

from vnet.interfaces import INode

__all__ = ["MAXIMUM_KEPT", "Watcher"]

MAXIMUM_KEPT = 256


def _nothing() -> None:
    """
    There is nothing to stop.
    """


@define(eq=False, repr=False)
class Watcher:
    """
    Sends events, the oldest first.

    @ivar _send: sends one.
    """

    _send: Callable[[dict[str, Any]], None]
    _paused: bool = field(default=False, init=False)
    _kept: deque[dict[str, Any]] = field(factory=deque, init=False)
    _missed: int = field(default=0, init=False)
    _missedAt: str = field(default="", init=False)
    _stop: Callable[[], None] = field(default=_nothing, init=False)

    def start(self, node: INode) -> None:
        """
        Be told of what happens.
        """
        self._stop = node.watch(self.tell)

    def stop(self) -> None:
        """
        Hear no more.  May be called twice.
        """
        stop, self._stop = self._stop, _nothing
        stop()

    def tell(self, event: dict[str, Any]) -> None:
        """
        Something happened.
        """
        if not self._paused:
            self._send(event)
        elif len(self._kept) < MAXIMUM_KEPT and not self._missed:
            self._kept.append(event)
        else:
            self._missed += 1
            self._missedAt = event["time"]

    def pause(self) -> None:
        """
        Send nothing until L{resume}.
        """
        self._paused = True

    def resume(self) -> None:
        """
        Send what was kept, and how many events were not.
        """
        self._paused = False
        while self._kept and not self._paused:
            self._send(self._kept.popleft())
        if self._missed and not self._paused:
            missed, self._missed = self._missed, 0
            self._send({"time": self._missedAt, "event": "missed", "count": missed})
