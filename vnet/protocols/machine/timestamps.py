# -*- test-case-name: vnet.test.test_timestamps -*-
"""
TAI64N timestamps, that make each initiation greater than the one before (whitepaper section 5.1).

The timestamp is 12 bytes, big-endian: 8 of seconds and 4 of nanoseconds, so that comparing bytes compares
times. The low 24 bits of the nanoseconds are cleared, since they would tell a stranger too much of this
computer's clock.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from struct import Struct

import attrs

__all__ = ["NEVER", "TimestampMemory", "Timestamps"]

_BASE = 0x400000000000000A
_BILLION = 1_000_000_000
_STEP = 1 << 24
_TAI64N = Struct(">QI")

#: Less than every timestamp.
NEVER = bytes(12)


@attrs.frozen
class Timestamps:
    """
    @ivar wallClock: nanoseconds since 1970.  It may step: what comes out never goes backwards.
    """

    wallClock: Callable[[], int]

    def after(self, previous: bytes) -> bytes:
        """
        The time now, or the least timestamp after C{previous} where the clock has gone backwards.

        @param previous: what this returned last for the same receiver, or L{NEVER}.
        """
        seconds, nanoseconds = divmod(self.wallClock(), _BILLION)
        now = _TAI64N.pack(max(0, _BASE + seconds), nanoseconds & -_STEP)
        return now if now > previous else _following(previous)


def _following(previous: bytes) -> bytes:
    seconds, nanoseconds = _TAI64N.unpack(previous)
    if nanoseconds + _STEP < _BILLION:
        return _TAI64N.pack(seconds, nanoseconds + _STEP)
    return _TAI64N.pack(seconds + 1, 0)


class TimestampMemory:
    """
    The last timestamps of peers that were removed, so that one that is added again is not open to what was said
    before.  It holds a limited number, and forgets the oldest.
    """

    def __init__(self, limit: int = 4096) -> None:
        self._limit = limit
        self._last: OrderedDict[bytes, tuple[bytes, bytes]] = OrderedDict()

    def keep(self, publicKey: bytes, sent: bytes, received: bytes) -> None:
        """
        Remember the last timestamp that the peer was sent, and the last that came from it.
        """
        self._last.pop(publicKey, None)
        self._last[publicKey] = sent, received
        if len(self._last) > self._limit:
            self._last.popitem(last=False)

    def take(self, publicKey: bytes) -> tuple[bytes, bytes]:
        """
        What is remembered of the peer, or twice L{NEVER}.
        """
        return self._last.pop(publicKey, (NEVER, NEVER))
