# -*- test-case-name: vnet.test.test_agent -*-
"""
What an ICE agent holds, and what it does when its state changes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from vnet.protocols.codec.signal import Credentials
from vnet.protocols.machine.agentevents import AgentEvent, ConsentLost, Failed, Selected
from vnet.protocols.machine.budget import Budget
from vnet.protocols.machine.check import Signer
from vnet.protocols.machine.checklist import Checklist
from vnet.protocols.machine.consent import Consent, Liveness
from vnet.protocols.machine.election import Election
from vnet.protocols.machine.pair import PROBING, Pair
from vnet.protocols.machine.prober import Prober
from vnet.protocols.machine.ratelimit import KeyedLimit
from vnet.protocols.machine.responder import Responder
from vnet.values import Address

__all__ = ["FAILURE", "Search"]

FAILURE = 10.0
"""Seconds until a search without result fails."""

_LATE_CANDIDATE = 5.0


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
    """

    def __init__(
        self,
        controlling: bool,
        local: Credentials,
        startAt: float,
        random: Callable[[int], bytes],
        pace: KeyedLimit | None,
    ) -> None:
        self._random = random
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

    def deadline(self) -> float | None:
        """
        When one of the times here is reached.
        """
        timers = [timer.deadline() for timer in (self.consent, self.liveness) if timer is not None]
        times = [self.startAt, self.exhaustedAt, self.prober.deadline(), *timers]
        return min((time for time in times if time is not None), default=None)

    def search(self, now: float) -> None:
        self.checklist.restart()
        self.resume(now)

    def resume(self, now: float) -> None:
        self.startAt = self.failedAt = None
        self.exhaustedAt = now + FAILURE
        self._latestEnd = now + 2 * FAILURE
        self.prober.searching = True

    def select(self, pair: Pair, now: float) -> None:
        self.startAt = self.exhaustedAt = self.failedAt = None
        self.election.selected = pair
        self.consent = Consent(self._random, now, self.trafficAt)
        self.checklist.cancelBelow(pair.preference)
        if self.signer.controlling:
            # A nomination, as selected pairs are checked with USE-CANDIDATE (RFC 8445 section 8.1.1).
            self.prober.begin(pair, PROBING, now)
        self.events.append(Selected(pair.path()))

    def searchAgain(self, now: float) -> None:
        self.consent = self.liveness = self.election.selected = None
        self.events.append(ConsentLost())
        self.search(now)

    def fail(self, now: float) -> None:
        self.exhaustedAt, self.failedAt = None, now
        self.prober.searching = False
        self.checklist.stop()
        self.events.append(Failed(self._reason()))

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
