# -*- test-case-name: vnet.test.test_slices -*-
"""
How long the kernel lets this thread compute before another one has its turn.

A node forwards packets in many short pieces of work, beside programs that compute on and on.  Who asks Linux (6.12 and later) for
short slices gets not more of the processor, but gets it sooner: sched_setattr(2), C{sched_runtime} of SCHED_OTHER.
"""

from __future__ import annotations

import os
import platform
import struct
from typing import Any

from cffi import FFI

__all__ = ["SLICE", "askForSlices", "sliceNow"]

SLICE = 400_000
"""Nanoseconds: a segment train or two."""

#: The numbers of sched_setattr(2) and sched_getattr(2), for which neither Python nor older C libraries have names.
_CALLS = {
    "x86_64": (314, 315),
    "aarch64": (274, 275),
    "riscv64": (274, 275),
    "ppc64le": (355, 356),
    "s390x": (345, 346),
}
#: struct sched_attr: size, policy, flags, nice, priority, runtime, deadline, period.
_attributes = struct.Struct("=IIQiIQQQ")

_ffi = FFI()
_ffi.cdef("long syscall(long number, ...);")


def _call(which: int, attributes: bytearray, *more: int) -> bool:
    numbers = _CALLS.get(platform.machine())
    if numbers is None:
        return False
    library: Any = _ffi.dlopen(None)
    rest = [_ffi.cast("unsigned", each) for each in (*more, 0)]
    at = _ffi.from_buffer("char[]", attributes)
    return bool(library.syscall(numbers[which], _ffi.cast("int", 0), at, *rest) == 0)


def sliceNow() -> int:
    """
    @return: the slice of this thread, nanoseconds; 0: it is not known.
    """
    attributes = bytearray(_attributes.size)
    return int(_attributes.unpack(attributes)[5]) if _call(1, attributes, len(attributes)) else 0


def askForSlices(nanoseconds: int = SLICE) -> bool:
    """
    Have this thread computed in slices of this length, unless it has another scheduler than the usual one.

    @return: whether the kernel has taken it; older ones take it, and do not care.
    """
    if os.sched_getscheduler(0) != os.SCHED_OTHER:
        return False
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    values = (_attributes.size, os.SCHED_OTHER, 0, nice, 0, nanoseconds, 0, 0)
    return _call(0, bytearray(_attributes.pack(*values)))
