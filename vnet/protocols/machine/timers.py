# -*- test-case-name: vnet.test.test_session -*-
"""
The timers of one WireGuard session (whitepaper section 6).
"""

from __future__ import annotations

import attrs

__all__ = [
    "ERASE_AFTER_TIME",
    "JITTER",
    "KEEPALIVE_TIMEOUT",
    "REKEY_ATTEMPT_TIME",
    "REKEY_TIMEOUT",
    "Timers",
]

#: Between one try of a handshake and the next, with up to L{JITTER} more.
REKEY_TIMEOUT = 5.0
JITTER = 0.333

#: How long a handshake is tried.
REKEY_ATTEMPT_TIME = 90.0

#: How long one may receive without sending anything.
KEEPALIVE_TIMEOUT = 10.0

#: After the last session, its keys are erased.
ERASE_AFTER_TIME = 540.0


@attrs.define
class Timers:
    """
    When each is due, L{None} where it is not set.

    @ivar handshake: try the handshake again, or give up.
    @ivar keepalive: send a keepalive, since something was received and nothing sent.
    @ivar silence: begin a handshake, since something was sent and nothing received.
    @ivar expiry: the current session becomes too old.
    @ivar erasure: erase all keys.
    """

    handshake: float | None = None
    keepalive: float | None = None
    silence: float | None = None
    expiry: float | None = None
    erasure: float | None = None

    def deadline(self) -> float | None:
        """
        When the first of them is due.
        """
        first = self.expiry
        for time in (self.handshake, self.keepalive, self.silence, self.erasure):
            if time is not None and (first is None or time < first):
                first = time
        return first
