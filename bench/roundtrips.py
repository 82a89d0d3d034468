"""
Round trips on the idle way, and while a TCP stream fills it.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import attrs
from spent import p99
from streams import running
from way import Way

__all__ = ["Loaded", "Times", "idle", "loaded"]

_IDLE_INTERVAL, _LOADED_INTERVAL = 0.01, 0.02
_ASKED_INTERVAL = 0.1


@attrs.frozen
class Times:
    """
    Milliseconds; L{None}: nothing was measured.
    """

    median: float | None = None
    p99: float | None = None

    @classmethod
    def of(cls, millis: Sequence[float]) -> Times:
        """
        Those of some round trips.
        """
        return cls(statistics.median(millis), p99(millis)) if millis else cls()


@attrs.frozen
class Loaded:
    """
    What was measured while a stream went from near to far.

    @ivar same: to the peer that gets the stream.
    @ivar second: to another peer.
    @ivar mediator: to the mediator, over the control connection.
    """

    same: Times
    second: Times
    mediator: Times


def idle(way: Way, count: int) -> Times:
    """
    While nothing else happens.
    """
    return Times.of(way.near.ping(way.target, count, interval=_IDLE_INTERVAL).millis)


def loaded(way: Way, count: int) -> Loaded:
    """
    While a TCP stream runs.
    """
    seconds = math.ceil(count * _LOADED_INTERVAL + 0.8)
    with running(way, seconds), ThreadPoolExecutor(3) as threads:
        same, second = (
            threads.submit(way.near.ping, target, count, 1.0, _LOADED_INTERVAL) if target else None
            for target in (way.target, way.second)
        )
        asked = threads.submit(_ask, way, count * _LOADED_INTERVAL) if way.askMediator else None
        return Loaded(
            Times.of(same.result().millis if same else ()),
            Times.of(second.result().millis if second else ()),
            Times.of(asked.result() if asked else ()),
        )


def _ask(way: Way, seconds: float) -> list[float]:
    """
    Ask the mediator again and again.

    @return: how long each answer took, milliseconds.
    """
    found = []
    end = time.monotonic() + seconds
    while way.askMediator is not None and time.monotonic() < end:
        start = time.perf_counter()
        way.askMediator()
        found.append((time.perf_counter() - start) * 1000)
        time.sleep(_ASKED_INTERVAL)
    return found
