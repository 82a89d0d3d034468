"""
SIGINT, SIGTERM and SIGHUP as one exception, that waits while something must not be cut in two.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import attrs

__all__ = ["Interrupted", "deferred", "guard"]

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """
    A signal asked this process to end.

    @ivar signal: its number; a program's exit code is by custom 128 more.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signal = signum


@attrs.define
class _State:
    previous: dict[int, Any] = attrs.field(factory=dict)
    guards: int = 0
    depth: int = 0
    pending: int | None = None


_state = _State()


def _deliver(signum: int, frame: FrameType | None) -> None:
    previous = _state.previous.get(signum)
    if callable(previous) and previous is not signal.default_int_handler:
        previous(signum, frame)
    else:
        raise Interrupted(signum)


def _onSignal(signum: int, frame: FrameType | None) -> None:
    if _state.depth:
        _state.pending = signum
    else:
        _deliver(signum, frame)


@contextmanager
def deferred() -> Iterator[None]:
    """
    Signals that arrive in this block act at its end.  Only the main thread's blocks count.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _state.depth += 1
    try:
        yield
    finally:
        _state.depth -= 1
        if not _state.depth and _state.pending is not None:
            signum, _state.pending = _state.pending, None
            _deliver(signum, None)


@contextmanager
def guard() -> Iterator[None]:
    """
    In this block the three signals raise L{Interrupted}.  A handler that somebody else has
    installed keeps its job, but waits for L{deferred} too; an ignored signal stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if not _state.guards:
        for signum in SIGNALS:
            if signal.getsignal(signum) not in (signal.SIG_IGN, None):
                _state.previous[signum] = signal.signal(signum, _onSignal)
    _state.guards += 1
    try:
        yield
    finally:
        _state.guards -= 1
        if not _state.guards:
            while _state.previous:
                number, handler = _state.previous.popitem()
                signal.signal(number, handler)
