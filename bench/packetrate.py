"""
How many datagrams a way carries: the highest rate at which less than 1 % are lost.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import attrs
from spent import cpuSeconds
from way import Way

from vnet.test.netlab import LabError, stop

__all__ = ["Rate", "searchRate"]

DATAGRAM_PORT = 5301
LOSS = 0.01
#: The search ends when the highest good rate and the lowest bad one are so close.
_CLOSE = 1.06
#: What the sender must reach of the rate that it was asked for, or it is the sender that is too slow.
_REACHED = 0.93


@attrs.frozen
class Flow:
    """
    What became of the datagrams of one flow.

    @ivar offered: how many were sent per second.
    @ivar rate: how many arrived per second.
    @ivar loss: the share that did not arrive.
    @ivar cpu: microseconds of CPU of both daemons for each that arrived.
    """

    offered: float
    rate: float
    loss: float
    cpu: float


@attrs.frozen
class Rate:
    """
    What a search has found.

    @ivar perSecond: datagrams that arrive per second; L{None}: no rate was without loss.
    @ivar cpu: microseconds of CPU of both daemons for each, at that rate; L{None} where there are none.
    @ivar senderLimited: whether the sender was too slow to find out more.
    """

    perSecond: float | None
    cpu: float | None
    senderLimited: bool


def flow(way: Way, size: int, rate: float, seconds: float) -> Flow:
    """
    Send datagrams from near to far.

    @param size: of each, bytes.
    @param rate: datagrams per second.
    """
    program = [sys.executable, str(Path(__file__).resolve().with_name("datagrams.py"))]
    before = cpuSeconds(*way.daemons)
    listening = [*program, "receive", str(DATAGRAM_PORT), str(size)]
    receiver = way.far.popen(listening, stdout=subprocess.PIPE)
    try:
        if receiver.stdout is None or "ready" not in receiver.stdout.readline():
            raise LabError(f"{way.far.name}: the receiver of datagrams did not start")
        arguments = ["send", way.target, str(DATAGRAM_PORT), str(size), str(rate), str(seconds)]
        sent = json.loads(way.near.run([*program, *arguments], timeout=seconds * 4 + 10).stdout)
        arrived = json.loads(receiver.communicate(timeout=20)[0])
    finally:
        stop(receiver)
    count = min(arrived["count"], sent["count"])
    # What waited in queues arrived after the sender had ended: the receiver's time is the longer one then.
    took = max(sent["seconds"], arrived["seconds"])
    spent = (cpuSeconds(*way.daemons) - before) / max(count, 1) * 1e6
    return Flow(sent["count"] / sent["seconds"], count / took, 1 - count / sent["count"], spent)


def searchRate(way: Way, size: int, start: float, steps: int, seconds: float) -> Rate:
    """
    Find the highest rate with less than 1 % loss.

    @param size: of each datagram, bytes.
    @param start: where to begin.
    @param steps: at most.
    @param seconds: of each step.
    """
    rate, good, bad, limited = start, 0.0, math.inf, 0
    best: Flow | None = None
    for _ in range(steps):
        found = flow(way, size, rate, seconds)
        if found.loss < LOSS:
            good = max(good, rate)
            best = found if best is None or found.rate > best.rate else best
            limited += found.offered < _REACHED * rate
        else:
            bad = min(bad, rate)
        if limited == 2 or bad / max(good, 1.0) < _CLOSE:
            break
        if limited:
            continue
        rate = _nextRate(good, bad, found.rate)
    if best is None:
        return Rate(None, None, False)
    return Rate(best.rate, best.cpu if way.daemons else None, limited > 0)


def _nextRate(good: float, bad: float, arrived: float) -> float:
    if not good:
        return max(500.0, min(arrived, bad * 0.8))
    return good * 1.5 if bad == math.inf else math.sqrt(good * bad)
