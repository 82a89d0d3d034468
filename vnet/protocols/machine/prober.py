# -*- test-case-name: vnet.test.test_agent -*-
"""
How an ICE agent sends checks: one in each slot of 20 ms, triggered ones first (RFC 8445 sections 6.1.4.2
and 14.2).

Until a path is found, pairs through no relay, one and two take turns, and those that wait with those that are sent again:
a computer may have many addresses that lead nowhere, and a relay works nearly always.
"""

from __future__ import annotations

from collections.abc import Callable

from vnet.protocols.machine.budget import Budget, Verdict
from vnet.protocols.machine.candidates import priority
from vnet.protocols.machine.check import Signer
from vnet.protocols.machine.checklist import Checklist
from vnet.protocols.machine.election import Election
from vnet.protocols.machine.pair import PROBING, Check, Pair, State
from vnet.values import Address

__all__ = ["PACE", "Prober"]

PACE = 0.02
"""Seconds between two checks of one agent (Ta of RFC 8445 section 14.2)."""

_TURNS = (0, 1, 0, 2)
_TRIED = 128
_POSTPONED = 0.1


class Prober:
    """
    Sends the checks of one agent.

    @ivar searching: whether the pairs that wait are checked too.
    @ivar tried: the addresses that checks were sent to, in order, at most 128.
    """

    def __init__(
        self,
        signer: Signer,
        checklist: Checklist,
        election: Election,
        random: Callable[[int], bytes],
        budget: Budget,
    ) -> None:
        self._signer = signer
        self._checklist = checklist
        self._election = election
        self._random = random
        self._budget = budget
        self._outbox: list[tuple[bytes, Address]] = []
        self._nextSlot = 0.0
        self._slots = self._started = 0
        self.searching = False
        self.tried: dict[Address, None] = {}

    def begin(self, pair: Pair, waits: tuple[float, ...], now: float) -> None:
        """
        Send a check of this pair now, whatever the slot.  Nothing happens before the peer's credentials
        are known.

        @param waits: see L{Check}.
        """
        if self._signer.remote is not None:
            check = Check(pair, waits)
            self._checklist.started(check)
            self._transmit(check, now)

    def reply(self, data: bytes, addr: Address) -> None:
        """
        Send an answer to a check of the peer.
        """
        self._outbox.append((data, addr))

    def pump(self, now: float) -> None:
        """
        Use the slots that have come.
        """
        if self._signer.remote is None or now < self._nextSlot:
            return
        if not self._checklist.isQuiet and self._transmitOne(now):
            self._nextSlot = now + PACE

    def datagramsToSend(self) -> list[tuple[bytes, Address]]:
        outbox, self._outbox = self._outbox, []
        return outbox

    def deadline(self) -> float | None:
        """
        When L{pump} has something to do.
        """
        if self._signer.remote is None:
            return None
        if self._checklist.hasTriggered or self._nextWaiting() is not None:
            return self._nextSlot
        due = self._checklist.nextDue()
        return None if due is None else max(due.dueAt, self._nextSlot)

    @property
    def isKeeping(self) -> bool:
        """
        Whether no path is sought, and only those that work are checked.
        """
        return self._checklist.isKeeping and self._nextWaiting() is None

    def _transmitOne(self, now: float) -> bool:
        """
        @return: whether a check was sent.
        """
        while (pair := self._checklist.nextTriggered()) is not None:
            if self._start(pair, now):
                return True
        self._slots += 1
        first, second = (self._transmitDue, self._transmitWaiting)[:: 1 if self._slots % 2 else -1]
        return first(now) or second(now)

    def _transmitDue(self, now: float) -> bool:
        while (check := self._checklist.nextDue()) is not None and check.dueAt <= now:
            if not check.isSpent:
                if self._continue(check, now):
                    return True
                continue
            self._checklist.finish(check)
            if check.pair.state is State.IN_PROGRESS:
                check.pair.state = State.FAILED
        return False

    def _transmitWaiting(self, now: float) -> bool:
        while (waiting := self._nextWaiting()) is not None:
            self._started += 1
            if self._start(waiting, now):
                return True
        return False

    def _start(self, pair: Pair, now: float) -> bool:
        """
        Begin the check of a pair, if the budget allows it.
        """
        check = Check(pair, PROBING)
        self._checklist.started(check)
        return self._continue(check, now)

    def _continue(self, check: Check, now: float) -> bool:
        """
        Send a check, or see that it is not due any more.

        @return: whether it was sent.
        """
        verdict = self._budget.take(check.pair.address, now)
        if verdict is Verdict.SEND:
            self._transmit(check, now)
            return True
        if verdict is Verdict.LATER:
            check.dueAt = now + _POSTPONED
        elif check.transmissions:
            check.end(now)
        else:
            self._checklist.finish(check)
            if check.pair.state is State.IN_PROGRESS:
                check.pair.state = State.FAILED
        return False

    def _nextWaiting(self) -> Pair | None:
        if not self.searching or not self._checklist.hasWaiting:
            return None
        hops = _TURNS[self._started % len(_TURNS)] if self._election.selected is None else 0
        return self._checklist.nextWaiting(self._election.preference, self._signer.controlling, hops)

    def _transmit(self, check: Check, now: float) -> None:
        controlling = self._signer.controlling
        nominates = controlling and check.pair is self._election.selected
        transactionId = self._random(12)
        # By its priority the peer tells that this comes through a relay (RFC 8445 section 7.1.1).
        kind = "relay" if check.pair.address.allocation else "prflx"
        data = self._signer.request(transactionId, priority(kind), nominates)
        check.sent(transactionId, controlling, now)
        self._checklist.transmitted(check, transactionId)
        if len(self.tried) < _TRIED:
            self.tried.setdefault(check.pair.address)
        self._outbox.append((data, check.pair.address))
