# -*- test-case-name: vnet.test.test_checklist -*-
"""
The checklist of an ICE agent (RFC 8445 section 6.1.2): which pairs there are, which is checked next, and
what is out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from vnet.protocols.machine.candidates import pairPriority, priority
from vnet.protocols.machine.pair import Check, Pair, State
from vnet.values import Address, Candidate

__all__ = ["MAXIMUM_PAIRS", "MAXIMUM_RELAYED", "Checklist"]

MAXIMUM_PAIRS = 64
"""Pairs of one agent.  The peer names the addresses, so this bounds what it can make us send."""

MAXIMUM_RELAYED = 24
"""Those of them that go through this side's allocations."""


class Checklist:
    """
    The pairs of one agent, at most L{MAXIMUM_PAIRS}.
    """

    def __init__(self) -> None:
        self._pairs: dict[Address, Pair] = {}
        self._triggered: dict[Address, Pair] = {}
        self._checks: dict[Check, None] = {}
        self._transmitted: dict[bytes, Check] = {}

    def __iter__(self) -> Iterator[Pair]:
        return iter(self._pairs.values())

    def __len__(self) -> int:
        return len(self._pairs)

    def find(self, address: Address) -> Pair | None:
        return self._pairs.get(address)

    def add(self, candidate: Candidate, selected: Pair | None = None) -> Pair | None:
        """
        Add a candidate of the peer; what a check has revealed gives way to what the peer says.

        @param selected: the pair in use, which does not give way.
        @return: its pair; L{None} when there is no room.
        """
        pair = self._pairs.get(candidate.address)
        if pair is not None:
            if pair.remote.kind == "prflx":
                pair.remote = candidate
            return pair
        if len(self._pairs) >= MAXIMUM_PAIRS and not self._evict(selected, self):
            return None
        pair = self._pairs[candidate.address] = Pair(candidate)
        return pair

    def remove(self, pair: Pair) -> None:
        """
        Forget a pair, and the check that is out for it.
        """
        self._pairs.pop(pair.address, None)
        self._triggered.pop(pair.address, None)
        for check in [check for check in self._checks if check.pair is pair]:
            self.finish(check)

    def trigger(self, pair: Pair) -> None:
        """
        Check this pair before all that wait (RFC 8445 section 6.1.4.1).
        """
        if pair.state is not State.SUCCEEDED:
            pair.state = State.WAITING
        self._triggered[pair.address] = pair

    def nextTriggered(self) -> Pair | None:
        """
        Take the pair that has been triggered for longest.
        """
        address = next(iter(self._triggered), None)
        return None if address is None else self._triggered.pop(address)

    @property
    def hasTriggered(self) -> bool:
        return bool(self._triggered)

    @property
    def hasWaiting(self) -> bool:
        """
        Whether any pair waits, of whatever use it is.
        """
        for pair in self._pairs.values():  # noqa: SIM110  (asked with each datagram, and a generator takes twice as long)
            if pair.state is State.WAITING:
                return True
        return False

    @property
    def isQuiet(self) -> bool:
        """
        Whether nothing is out, and nothing to be sent.
        """
        return not self._checks and not self._triggered and not self.hasWaiting

    @property
    def isKeeping(self) -> bool:
        """
        Whether only pairs that work are being checked.
        """
        return not self._triggered and all(check.pair.state is State.SUCCEEDED for check in self._checks)

    def nextWaiting(self, atLeast: int, controlling: bool, hops: int = 0) -> Pair | None:
        """
        The waiting pair of highest priority.

        @param atLeast: only pairs of at least this L{Pair.potential}.
        @param hops: pairs with so many relays first.
        """
        waiting = [p for p in self if p.state is State.WAITING and p.potential >= atLeast]
        return max(waiting, key=lambda pair: (pair.hops == hops, _order(pair, controlling)), default=None)

    def started(self, check: Check) -> None:
        """
        A check is to be sent.
        """
        if check.pair.state is not State.SUCCEEDED:
            check.pair.state = State.IN_PROGRESS
        self._checks[check] = None

    def transmitted(self, check: Check, transactionId: bytes) -> None:
        """
        A check was sent with this transaction id.
        """
        self._transmitted[transactionId] = check

    def check(self, transactionId: bytes) -> Check | None:
        """
        The check that this answers.
        """
        return self._transmitted.get(transactionId)

    def checkOf(self, pair: Pair) -> Check | None:
        """
        The check that is out for a pair.
        """
        return next((check for check in self._checks if check.pair is pair), None)

    def isBusy(self, pair: Pair) -> bool:
        """
        Whether a check of a pair is out that will be sent again by itself.
        """
        return any(check.pair is pair and not check.isSpent for check in self._checks)

    def nextDue(self) -> Check | None:
        """
        The check that has to be sent again or given up first.
        """
        if not self._checks:
            return None
        return min(self._checks, key=lambda check: check.dueAt)

    def finish(self, check: Check) -> None:
        """
        Do not send it any more, and do not know its answer.
        """
        self._checks.pop(check, None)
        for transactionId in check.transmissions:
            self._transmitted.pop(transactionId, None)

    def cancelBelow(self, preference: int) -> None:
        """
        Stop the search among pairs that cannot be as good as this.
        """
        for check in list(self._checks):
            pair = check.pair
            if pair.state is State.IN_PROGRESS and pair.potential < preference:
                self.finish(check)
                pair.state = State.WAITING

    def restart(self) -> None:
        """
        Forget what has been found: check all pairs again.
        """
        self._reset(State.WAITING)

    def stop(self) -> None:
        """
        Check nothing any more: all pairs have failed.
        """
        self._reset(State.FAILED)

    def _reset(self, state: State) -> None:
        self._checks.clear()
        self._transmitted.clear()
        self._triggered.clear()
        for pair in self:
            pair.state = state
            pair.nominated = False

    def hasRoomForRelayed(self, selected: Pair | None) -> bool:
        """
        Whether there may be one more pair through this side's allocations.  If need be, one that is of least use goes.

        @param selected: the pair in use, which does not give way.
        """
        relayed = [pair for pair in self if pair.address.allocation]
        return len(relayed) < MAXIMUM_RELAYED or self._evict(selected, relayed)

    def _evict(self, selected: Pair | None, among: Iterable[Pair]) -> bool:
        """
        Make room: a pair goes that has failed, or else the one that has answered longest ago.
        """
        busy = {selected, *self._triggered.values(), *(check.pair for check in self._checks)}
        spare = [p for p in among if p.state in (State.FAILED, State.SUCCEEDED) and p not in busy]
        oldest = min(spare, key=lambda p: (p.state is State.SUCCEEDED, p.answeredAt or 0.0), default=None)
        if oldest is None:
            return False
        del self._pairs[oldest.address]
        return True


def _order(pair: Pair, controlling: bool) -> int:
    ours, theirs = priority("host"), pair.remote.priority
    return pairPriority(ours, theirs) if controlling else pairPriority(theirs, ours)
