# -*- test-case-name: vnet.test.test_timeslice -*-
"""
Short turns on the processor.

Linux's scheduler (EEVDF, since 6.12) lets a thread say how long its turns are to be: who takes short ones gets them sooner, and
no more of them together (sched_setattr(2), C{sched_runtime}).  What carries packets for other programs works for some hundred
microseconds each time, and then others wait for it.
"""

from __future__ import annotations

import ctypes
import os
import struct

__all__ = ["SHORTEST", "takeShortTurns", "turn"]

SHORTEST = 0.0001
"""Seconds: the least that the kernel takes."""

#: Of sched_setattr and sched_getattr, which the C library does not always have.
_CALLS = {"x86_64": (314, 315), "aarch64": (274, 275), "riscv64": (274, 275)}
#: linux/sched/types.h: size, policy, flags, nice, priority, runtime, deadline, period, in nanoseconds.
_ATTRIBUTES = struct.Struct("=IIQiIQQQ")


def turn() -> float | None:
    """
    @return: how long the turns of this thread are, seconds; L{None}: the system does not say.
    """
    found = _call(1, bytes(_ATTRIBUTES.size), _ATTRIBUTES.size, 0)
    return None if found is None else _ATTRIBUTES.unpack(found)[5] / 1e9 or None


def takeShortTurns() -> bool:
    """
    Have this thread take short turns, unless somebody has given it another scheduling policy than the usual one.

    @return: whether the system has taken that; old ones take it and do nothing.
    """
    try:
        policy, nice = os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0)
    except (AttributeError, OSError):
        return False
    if policy != os.SCHED_OTHER:
        return False
    wanted = _ATTRIBUTES.pack(_ATTRIBUTES.size, policy, 0, nice, 0, int(SHORTEST * 1e9), 0, 0)
    return _call(0, wanted, 0) is not None


def _call(which: int, attributes: bytes, *more: int) -> bytes | None:
    """
    @return: the attributes afterwards; L{None}: the system refuses, or is another.
    """
    numbers = _CALLS.get(os.uname().machine)
    if numbers is None:
        return None
    try:
        call = ctypes.CDLL(None).syscall
    except (OSError, AttributeError):
        return None
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    failed = call(ctypes.c_long(numbers[which]), 0, buffer, *map(ctypes.c_uint, more or (0,)))
    return None if failed else buffer.raw
