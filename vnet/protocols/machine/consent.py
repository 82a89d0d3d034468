# -*- test-case-name: vnet.test.test_consent -*-
"""
Consent of the peer to be sent to (RFC 7675), and the keep-alive of the NATs between, by the same checks.

While the tunnel carries traffic a check goes out every 5 seconds, 20 percent more or less.  A check that is not answered makes
the next follow after 5 seconds at any time.

Without traffic the path is checked every 20 seconds, or as often as the NAT wants it: see
L{vnet.protocols.machine.lifetime}.  There a check of the peer and its answer are as good for the NATs on the way, so both sides
take turns::

    this side has checked          its next check is due after 1.1 to 1.2 intervals
    the peer has checked           0.9 to 1.05 intervals after that, but at most 2.2 after this side's last
    it repeats its check           5 seconds after this side's last: our answers do not seem to arrive

Consent is what our own checks are answered, and nothing else: the peer's only put them off.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import attrs

from vnet.protocols.machine.pair import CONSENT_LAST
from vnet.values import Address

__all__ = [
    "EXPIRY",
    "INTERVAL_ACTIVE",
    "INTERVAL_IDLE",
    "LIVENESS_LIMIT",
    "Consent",
    "Liveness",
    "jittered",
]

INTERVAL_ACTIVE = 5.0
INTERVAL_IDLE = 20.0

EXPIRY = 30.0
"""Seconds without an answer after which there is no consent any more (RFC 7675 section 5.1)."""

LIVENESS_LIMIT = 5.0
"""Seconds in which a peer has to answer that was asked whether it is there."""

_WIDEN = 1.0
_UNANSWERED = 20.0
_QUIET = 15.0
# Three transmissions of a check and their answers.
_SUSPECT = 2.0
_HURRY = 1.0
_PATIENCE = 0.1
_LAPSES, _JUDGED = 3, 4
_INSTANT = 0.001
_AGAIN = 0.2
# Well below the active interval: who is still in that does not repeat itself.
_REPEATED = 3.0
# Shares of the idle interval.
_AFTER_OURS, _AFTER_THEIRS, _LONGEST = (1.1, 1.2), (0.9, 1.05), 2.2


def jittered(interval: float, random: Callable[[int], bytes]) -> float:
    """
    The interval times 0.8 to 1.2.
    """
    return _between(interval, (0.8, 1.2), random)


def _between(interval: float, shares: tuple[float, float], random: Callable[[int], bytes]) -> float:
    least, most = shares
    return interval * (least + (most - least) * int.from_bytes(random(2), "big") / 0xFFFF)


@attrs.define(eq=False, repr=False)
class Consent:
    """
    The timers of one selected path.

    @ivar answeredAt: when the peer answered last.
    @ivar unansweredSince: when the first check was sent that no answer followed.
    @ivar dueAt: when the next check is to be sent.
    @ivar suspectAt: when L{missed} is to be called, because an answer is late.
    @ivar idleInterval: gives the seconds between two checks without traffic.
    @ivar isCalm: whether there is neither traffic nor doubt, so that nothing is in a hurry.
    """

    _random: Callable[[int], bytes]
    answeredAt: float
    trafficAt: float
    idleInterval: Callable[[], float] = lambda: INTERVAL_IDLE
    dueAt: float = attrs.field(init=False)
    unansweredSince: float | None = attrs.field(default=None, init=False)
    suspectAt: float | None = attrs.field(default=None, init=False)
    isCalm: bool = attrs.field(default=False, init=False)
    _checkedAt: float = attrs.field(init=False)
    _heardAt: float = attrs.field(default=float("-inf"), init=False)
    _patience: float = attrs.field(default=_SUSPECT, init=False)
    _isIdle: bool = attrs.field(default=False, init=False)
    _afterIdle: bool = attrs.field(default=False, init=False)
    _lost: deque[bool] = attrs.field(factory=lambda: deque(maxlen=_JUDGED), init=False)
    _mapped: Address | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._checkedAt = self.answeredAt
        self.dueAt = self.answeredAt + jittered(INTERVAL_ACTIVE, self._random)

    def noteTraffic(self, now: float) -> bool:
        """
        The tunnel carried a packet.

        @return: whether L{deadline} has moved.
        """
        idle = now - self.trafficAt > _QUIET
        self.trafficAt = now
        self.isCalm = False
        soon = self._checkedAt + INTERVAL_ACTIVE
        if not idle or soon >= self.dueAt:
            return False
        self.dueAt = max(now, soon)
        return True

    def hasten(self, now: float, rtt: float) -> None:
        """
        There is reason to doubt the path: check it now, and do not wait long for the answer.

        @param rtt: seconds of a round trip.
        """
        self.isCalm = False
        self._patience = min(_HURRY, _PATIENCE + 2 * rtt)
        self.dueAt = min(self.dueAt, max(now, self._checkedAt + self._patience))
        if self.suspectAt is not None:
            self.suspectAt = min(self.suspectAt, max(now, self._checkedAt) + self._patience)

    def heard(self, now: float) -> None:
        """
        The peer has checked this path, with a check that was not heard before.
        """
        again, self._heardAt = now - self._heardAt < _REPEATED, now
        if self.unansweredSince is not None or now - self.trafficAt <= _QUIET or self._patience != _SUSPECT:
            return
        if again:
            self.dueAt = min(self.dueAt, max(now, self._checkedAt + INTERVAL_ACTIVE))
            return
        interval = self.idleInterval()
        longest = self._checkedAt + _LONGEST * interval
        self.dueAt = max(self.dueAt, min(now + _between(interval, _AFTER_THEIRS, self._random), longest))

    def checked(self, now: float) -> None:
        """
        A check was sent.
        """
        self._checkedAt = now
        active = self.unansweredSince is not None or now - self.trafficAt <= _QUIET
        if self.unansweredSince is None:
            self.unansweredSince = now
            self.suspectAt = now + self._patience
            self._afterIdle = self._isIdle
        self._isIdle = self.isCalm = not active
        if active:
            self.dueAt = now + jittered(INTERVAL_ACTIVE, self._random)
        else:
            self.dueAt = now + _between(self.idleInterval(), _AFTER_OURS, self._random)

    @staticmethod
    def waits(rtt: float) -> tuple[float, ...]:
        """
        How long to wait after each transmission of a check: a single loss must not make a path suspect.

        @param rtt: seconds of a round trip.
        """
        again = _AGAIN + 2 * rtt
        return (again, again, CONSENT_LAST)

    def missed(self, now: float) -> None:
        """
        A check got no answer in time: the next follows as if there were traffic.
        """
        self.suspectAt = None
        self.isCalm = False
        self.dueAt = min(self.dueAt, max(now, self._checkedAt + INTERVAL_ACTIVE))

    def answered(self, now: float, sentAt: float | None = None, mapped: Address | None = None) -> bool:
        """
        The peer answered.

        @param sentAt: when it was asked; C{mapped}: the address at which it sees us.
        @return: whether the path seems to have been lost because it was idle: another port of the NAT, or the first checks
            after a silence again and again without an answer that later ones got.
        """
        first, before = self.unansweredSince, self._mapped
        lost = first is not None and sentAt is not None and sentAt > first + _INSTANT
        remapped = (
            mapped is not None and before is not None and mapped[0] == before[0] and mapped[1] != before[1]
        )
        if first is not None and self._afterIdle:
            self._lost.append(lost)
        lapsed = self._afterIdle and ((lost and remapped) or self._lost.count(True) >= _LAPSES)
        self._afterIdle, self._mapped = False, mapped or before
        self.answeredAt = now
        self.unansweredSince = self.suspectAt = None
        self._patience = _SUSPECT
        return lapsed

    @property
    def isSuspect(self) -> bool:
        """
        Whether an answer is so late that any other path which answers is better.
        """
        return self.unansweredSince is not None and self.suspectAt is None

    @property
    def expiresAt(self) -> float | None:
        """
        When the consent ends: not before several checks were lost, however long the path was idle.
        """
        if self.unansweredSince is None:
            return None
        return max(self.answeredAt + EXPIRY, self.unansweredSince + _UNANSWERED)

    def deadline(self) -> float:
        """
        When L{dueAt}, L{suspectAt} or L{expiresAt} is reached.
        """
        first = self.dueAt
        if self.suspectAt is not None and self.suspectAt < first:
            first = self.suspectAt
        expiresAt = self.expiresAt
        return first if expiresAt is None else min(first, expiresAt)


@attrs.define(eq=False, repr=False)
class Liveness:
    """
    The timers of one question whether the peer is there.

    @ivar endsAt: when no answer means that it is not.
    @ivar widensAt: when the other pairs are asked too; L{None} once they were.
    """

    endsAt: float
    widensAt: float | None

    @classmethod
    def asked(cls, now: float) -> Liveness:
        """
        The selected pair is asked now.
        """
        return cls(now + LIVENESS_LIMIT, now + _WIDEN)

    @property
    def isWide(self) -> bool:
        """Whether the other pairs have been asked too."""
        return self.widensAt is None

    def deadline(self) -> float:
        """
        When L{widensAt} or L{endsAt} is reached.
        """
        return self.endsAt if self.widensAt is None else min(self.endsAt, self.widensAt)
