# -*- test-case-name: vnet.test.test_boottime -*-
"""
The clock of the reactor.

Twisted's reactor measures time by the wall clock, which steps.  Ours is CLOCK_BOOTTIME: it never goes back,
and unlike CLOCK_MONOTONIC it counts while the computer sleeps.
"""

from __future__ import annotations

import time
from typing import Any

__all__ = ["bootSeconds", "installBootClock"]


def bootSeconds() -> float:
    """
    Seconds of CLOCK_BOOTTIME (CLOCK_MONOTONIC where the system has none).
    """
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def installBootClock(reactor: Any) -> None:
    """
    Make a reactor run on L{bootSeconds}.  Call it before anything is scheduled: what was, keeps its old time.

    @param reactor: any reactor of Twisted's; it must not be running yet.
    """
    reactor.seconds = bootSeconds
