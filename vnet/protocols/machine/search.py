# -*- test-case-name: vnet.test.test_agent -*-
"""
What an ICE agent holds, and what it does when its state changes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from math import inf

from vnet.protocols.codec.signal import Credentials
from vnet.protocols.machine.agentevents import AgentEvent, ConsentLost, Failed, Selected, Suspect
from vnet.protocols.machine.budget import Budget
from vnet.protocols.machine.check import Signer
from vnet.protocols.machine.checklist import Checklist
from vnet.protocols.machine.consent import INTERVAL_IDLE, Consent, Liveness, jittered
from vnet.protocols.machine.doubt import Doubt
from vnet.protocols.machine.election import Election
from vnet.protocols.machine.lifetime import KeepAlive
from vnet.protocols.machine.pair import PROBING, Pair
from vnet.protocols.machine.prober import Prober
from vnet.protocols.machine.ratelimit import KeyedLimit
from vnet.protocols.machine.responder import Responder
from vnet.protocols.machine.slots import Slots
from vnet.values import Address

__all__ = ["FAILURE", "Search"]

FAILURE = 10.0
"""Seconds until a search without result fails."""

_LATE_CANDIDATE = 5.0
_STANDBY_FIRST, _STANDBY_ACTIVE, _STANDBY_IDLE = 0.3, 10.0, 40.0
_ACTIVE = 15.0
_RETRY_FIRST, _RETRY_LONGEST = 5.0, 300.0
_DOUBT_PAUSE, _DOUBT_WIDTH = 0.3, 8
_STEADY = 120.0
_ONCE = (1.0,)


class Search:
    """
    The core of an agent: it implements L{vnet.protocols.machine.lifecycle.Actions}.

    @ivar startAt: when both sides begin; L{None} once this side has begun.
    @ivar exhaustedAt: when the search has failed; L{None} while there is none.
    @ivar failedAt: when the last search failed; L{None} while there is one, or a path.
    @ivar consent: of the selected pair.
    @ivar liveness: while the peer is being asked whether it is there.
    @ivar trafficAt: when the tunnel carried a packet last.
    @ivar heard: the addresses that authentic datagrams came from, in order.
    @ivar relays: the addresses of our allocations, by the name of each.
    @ivar standbyAt: when a pair that may take over is checked.
    @ivar retryAt: when direct pairs are tried again, while the selected one goes through a relay.
    @ivar doubting: while the selected pair is doubted.
    @ivar keepAlive: how often an idle path needs a packet; L{None}: the usual interval.
    @ivar why: the reason of the next selection, see L{Selected}.
    """

    def __init__(
        self,
        controlling: bool,
        local: Credentials,
        startAt: float,
        random: Callable[[int], bytes],
        pace: KeyedLimit | None,
        keepAlive: KeepAlive | None = None,
        slots: Slots | None = None,
    ) -> None:
        self._random = random
        self._slots = slots
        self._latestEnd = 0.0
        self.signer = Signer(local, controlling, random)
        self.checklist = Checklist()
        self.election = Election()
        self.budget = Budget(pace)
        self.prober = Prober(self.signer, self.checklist, self.election, random, self.budget)
        self.responder = Responder(self.signer)
        self.consent: Consent | None = None
        self.events: deque[AgentEvent] = deque()
        self.heard: dict[Address, None] = {}
        self.startAt: float | None = startAt
        self.exhaustedAt: float | None = None
        self.failedAt: float | None = None
        self.liveness: Liveness | None = None
        self.trafficAt = startAt
        self.relays: dict[str, tuple[Address, ...]] = {}
        self.standbyAt: float | None = None
        self.retryAt: float | None = None
        self.doubting: Doubt | None = None
        self.why = "found"
        self.keepAlive = keepAlive
        self._retries = 0
        self._doubtedAt = float("-inf")
        self._selectedAt = float("-inf")

    @property
    def isSuspect(self) -> bool:
        """
        Whether the selected pair fails to answer.
        """
        return self.consent is not None and self.consent.isSuspect

    @property
    def rtt(self) -> float:
        """
        Seconds of a round trip on the selected pair, 0 when that is not known.
        """
        return 0.0 if self.election.selected is None else self.election.selected.rtt or 0.0

    def transactionId(self) -> bytes:
        """
        A new one.
        """
        return self._random(12)

    def deadline(self) -> float | None:
        """
        When one of the times here is reached.
        """
        consent, isQuiet = self.consent, self.checklist.isQuiet
        times = [self.startAt, self.exhaustedAt, None if isQuiet else self.prober.deadline()]
        if consent is not None:
            times.append(consent.deadline())
        if self.liveness is not None:
            times.append(self.liveness.deadline())
        if self.election.selected is not None:
            times += (self.standbyAt, self.retryAt)
            if self.doubting is not None:
                times.append(self.doubting.deadline())
        first = inf
        for time in times:
            if time is not None and time < first:
                first = time
        if first == inf:
            return None
        if self._slots is None or consent is None or not consent.isCalm:
            return first
        isCalm = self.liveness is None and self.doubting is None and (isQuiet or self.prober.isKeeping)
        return self._slots.after(first) if isCalm else first

    def noteTraffic(self, now: float) -> bool:
        """
        The tunnel carries traffic.

        @return: whether L{deadline} has moved.
        """
        resumes, self.trafficAt = now - self.trafficAt > _ACTIVE, now
        if self.consent is None:
            return False
        if resumes:
            # Those that may have to take over were asked more seldom.
            self.standbyAt = now
        return self.consent.noteTraffic(now) or resumes

    def search(self, now: float) -> None:
        self.checklist.restart()
        self.resume(now)

    def resume(self, now: float) -> None:
        self.startAt = self.failedAt = None
        self.exhaustedAt = now + FAILURE
        self._latestEnd = now + 2 * FAILURE
        self.prober.searching = True

    def select(self, pair: Pair, now: float) -> None:
        self.startAt = self.exhaustedAt = self.failedAt = self.doubting = None
        old = self.election.selected
        reason = "better" if old is not None and self.why == "found" else self.why
        provenAt = float("-inf") if old is None else old.provenAt
        self.why = "found"
        if not pair.hops:
            self.retryAt, self._retries = None, 0
        elif self.retryAt is None:
            self.retryAt = now + _RETRY_FIRST
        self.standbyAt = now + _STANDBY_FIRST
        self._selectedAt = now
        self.election.selected = pair
        self.consent = Consent(self._random, now, self.trafficAt, self._idleInterval)
        self.checklist.cancelBelow(pair.preference)
        if self.signer.controlling:
            # A nomination, as selected pairs are checked with USE-CANDIDATE (RFC 8445 section 8.1.1).
            self.prober.begin(pair, PROBING, now)
        self.events.append(Selected(pair.path(), reason, provenAt))

    def searchAgain(self, now: float) -> None:
        self.consent = self.liveness = self.election.selected = self.doubting = None
        self.budget.renew()
        self.events.append(ConsentLost())
        self.search(now)

    def fail(self, now: float) -> None:
        self.exhaustedAt, self.failedAt = None, now
        self.prober.searching = False
        self.checklist.stop()
        self.events.append(Failed(self._reason()))

    def _idleInterval(self) -> float:
        return INTERVAL_IDLE if self.keepAlive is None else self.keepAlive.interval

    # A pair that takes over, and the way back

    def standby(self, now: float) -> Pair | None:
        """
        The pair that takes over when the selected one is given up.
        """
        return next(iter(self.election.standbys(self.checklist, now)), None)

    def keepStandby(self, now: float) -> None:
        """
        Ask pairs that may take over whether they work: the best, and one that shares no relay with the selected one, which
        may be what dies.
        """
        interval = _STANDBY_ACTIVE if now - self.trafficAt <= _ACTIVE else _STANDBY_IDLE
        self.standbyAt = now + jittered(interval, self._random)
        selected = self.election.selected
        ready = self.election.standbys(self.checklist, now)
        avoided = frozenset() if selected is None else self._relaysOf(selected)
        wanted = dict.fromkeys(
            [self._toKeep(ready, now, frozenset()), *([self._toKeep(ready, now, avoided)] if avoided else [])]
        )
        for pair in wanted:
            if pair is not None and not self.checklist.isBusy(pair):
                if pair.triedAt is None:
                    # Soon the next one, until one answers.
                    self.standbyAt = now + _STANDBY_FIRST
                self.prober.begin(pair, _ONCE, now)

    def _toKeep(self, ready: Iterable[Pair], now: float, avoided: frozenset[str]) -> Pair | None:
        """
        A pair to be kept ready, or else the next one to be tried.

        @param avoided: relays that it must not go through.
        """
        found = next((pair for pair in ready if not avoided & self._relaysOf(pair)), None)
        others = [
            pair
            for pair in self.checklist
            if pair is not self.election.selected and pair.hops and not avoided & self._relaysOf(pair)
        ]
        return found or min(others, key=lambda pair: (pair.triedAt or 0.0, -pair.potential), default=None)

    def _relaysOf(self, pair: Pair) -> frozenset[str]:
        """
        The hosts of the relays that a pair goes through.
        """
        own = self.relays.get(pair.address.allocation, ())
        theirs = (pair.address,) if pair.remote.kind == "relay" else ()
        return frozenset(each.host for each in (*own, *theirs))

    def doubt(self, now: float) -> bool:
        """
        The selected pair may be dead: ask it, and do not wait long.

        @return: whether it was asked.
        """
        selected = self.election.selected
        if selected is None or self.doubting is not None or now - self._doubtedAt < _DOUBT_PAUSE:
            return False
        self._doubtedAt = now
        standby = self.standby(now)
        standbyRtt = 0.0 if standby is None else standby.rtt or 0.0
        self.doubting = Doubt.begun(now, selected.rtt or 0.0, standbyRtt)
        self.prober.begin(selected, self.doubting.waits, now)
        return True

    def _widenDoubt(self, now: float) -> None:
        """
        The doubted pair is late: see which others answer.
        """
        for pair in self.election.standbys(self.checklist, now)[:_DOUBT_WIDTH]:
            if not self.checklist.isBusy(pair):
                self.prober.begin(pair, _ONCE, now)

    def judgeDoubt(self, doubt: Doubt, now: float) -> Pair | None:
        """
        See whether the doubted pair has to give way.

        @return: the pair that takes over.
        """
        selected = self.election.selected
        if doubt.widensAt is not None and now >= doubt.widensAt:
            doubt.widensAt = None
            self._widenDoubt(now)
        if doubt.lateAt is not None and now >= doubt.lateAt:
            doubt.lateAt = None
            if selected is not None and not self._answered(doubt, now):
                self._askAll(selected, now)
        if now >= doubt.endsAt:
            self.doubting = None
        answered = self._answered(doubt, now) if doubt.isLate else None
        if answered is not None and selected is not None:
            self._giveUp(selected, now)
        return answered

    def _answered(self, doubt: Doubt, now: float) -> Pair | None:
        """
        The best pair that has answered since a doubt began.
        """
        ready = self.election.standbys(self.checklist, now, doubt.since)
        return next((pair for pair in ready if (pair.answeredAt or 0.0) >= doubt.since), None)

    def _giveUp(self, selected: Pair, now: float) -> None:
        self.doubting = None
        if now - self._selectedAt > _STEADY:
            selected.demotions = 0
        selected.demote(now)
        self.checklist.trigger(selected)
        self.why = "doubt"
        self._retries = 0
        self.retryAt = selected.restsUntil

    def _askAll(self, selected: Pair, now: float) -> None:
        if self.consent is not None:
            self.consent.hasten(now, self.rtt)
        for pair in self.checklist:
            if pair is selected or not self.checklist.isBusy(pair):
                self.checklist.trigger(pair)
        self.events.append(Suspect(selected.path()))

    def retry(self, now: float) -> None:
        """
        Try the direct pairs again.
        """
        self.retryAt = now + min(_RETRY_FIRST * 2**self._retries, _RETRY_LONGEST)
        self._retries = min(self._retries + 1, 10)
        self.budget.renew()
        for pair in self.checklist:
            if not pair.hops and not self.checklist.isBusy(pair):
                self.checklist.trigger(pair)

    def retrySoon(self, now: float) -> None:
        """
        There is news that makes a direct pair likelier.
        """
        if self.retryAt is not None:
            self.retryAt, self._retries = now, 0

    def extend(self, now: float) -> None:
        """
        A candidate, or a check of the peer, came late: give it time, but not for ever.
        """
        if self.exhaustedAt is not None:
            self.exhaustedAt = max(self.exhaustedAt, min(now + _LATE_CANDIDATE, self._latestEnd))

    def _reason(self) -> str:
        if self.signer.remote is None:
            return "the peer sent no signal"
        if not len(self.checklist):
            return "no remote candidates"
        if not self.heard:
            return "heard nothing"
        return "the peer's checks arrive, but none of ours was answered"
