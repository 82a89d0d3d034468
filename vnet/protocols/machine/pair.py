# -*- test-case-name: vnet.test.test_checklist -*-
"""
A candidate pair, and the check that is out for it.

All local candidates share one socket bound to the wildcard address, so a pair is told by its remote
address alone; which local candidate it uses is known only when the peer answers and says what it sees.
"""

from __future__ import annotations

import enum

import attrs

from vnet.values import Address, Candidate

__all__ = ["CONSENT_LAST", "LIVENESS", "PROBING", "Check", "Pair", "Path", "State", "Transmission"]

PROBING = (0.1, 0.2, 0.4, 0.5, 0.5, 0.5, 0.5, 0.5, 0.8, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
"""
Seconds to wait after each transmission of a check that looks for a path.  Two NATs open for each other
only when both sides have sent, so the first ones follow soon; ten seconds in all.
"""

LIVENESS = (0.5,) * 10
"""The same for a check that asks whether a path is alive."""

CONSENT_LAST = 4.0
"""Seconds to wait after the last transmission of a consent check; then the next one follows (RFC 7675 section 5.1)."""

_LAST_ANSWER = 2.0
_REST, _LONGEST_REST = 2.0, 60.0


class State(enum.Enum):
    """
    RFC 8445 section 6.1.2.6, without Frozen: with one socket and one component there is nothing to thaw.
    """

    WAITING = "waiting"
    IN_PROGRESS = "in progress"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@attrs.frozen
class Path:
    """
    A pair that works.

    @ivar address: where to send.
    @ivar rtt: seconds of a round trip.
    @ivar localKind: the kind of the candidate by which the peer sees us.
    @ivar remoteKind: the kind of the peer's candidate.
    """

    address: Address
    rtt: float
    localKind: str
    remoteKind: str

    @property
    def allocation(self) -> str:
        """The name of this node's allocation that it goes through; empty when it goes through none."""
        return self.address.allocation

    @property
    def relayed(self) -> bool:
        """Whether it goes through a relay, of this side or the other."""
        return bool(self.address.allocation) or self.remoteKind == "relay"


@attrs.define(eq=False, repr=False)
class Pair:
    """
    @ivar state: of the search for a path; a pair that has succeeded stays so until it is reset.
    @ivar localKind: the kind of our candidate as the peer sees it; meaningful once it has succeeded.
    @ivar rtt: seconds, smoothed; L{None} before the first answer.
    @ivar answeredAt: when the peer answered last; C{provenAt}: when that check was sent.
    @ivar triedAt: when a check was sent last.
    @ivar nominated: whether the controlling peer nominated it last.
    @ivar demotions: how often it was given up because it did not answer.
    @ivar restsUntil: it is not taken again before, unless there is nothing else.
    """

    remote: Candidate
    state: State = State.WAITING
    localKind: str = "host"
    rtt: float | None = None
    answeredAt: float | None = None
    provenAt: float = float("-inf")
    triedAt: float | None = None
    nominated: bool = False
    demotions: int = 0
    restsUntil: float = float("-inf")

    @property
    def address(self) -> Address:
        return self.remote.address

    @property
    def preference(self) -> int:
        """
        3 when no NAT and no relay is between (a LAN, or IPv6), 1 when a relay is, 0 when two are, else 2.  Both sides
        find the same.
        """
        hops = self.hops
        return 2 - hops if hops else 3 if {self.remote.kind, self.localKind} == {"host"} else 2

    @property
    def hops(self) -> int:
        """
        How many relays are between.
        """
        return bool(self.address.allocation) + (self.remote.kind == "relay")

    @property
    def potential(self) -> int:
        """
        The best L{preference} that it may turn out to have.
        """
        hops = self.hops
        return 2 - hops if hops else 3 if self.remote.kind == "host" else 2

    def answered(self, localKind: str, sample: float, now: float) -> None:
        """
        The peer answered a check.

        @param sample: seconds that this took.
        """
        self.localKind = localKind
        self.state = State.SUCCEEDED
        self.answeredAt, self.provenAt = now, now - sample
        self.rtt = sample if self.rtt is None else self.rtt + (sample - self.rtt) / 4

    def demote(self, now: float) -> None:
        """
        It did not answer, and another one was ready: it has to prove itself, longer each time.
        """
        self.restsUntil = now + min(_REST * 2**self.demotions, _LONGEST_REST)
        self.demotions += 1

    def path(self) -> Path:
        return Path(self.address, self.rtt or 0.0, self.localKind, self.remote.kind)


@attrs.frozen
class Transmission:
    """
    One request.  Each has a transaction id of its own, so that its answer tells the round trip exactly.

    @ivar controlling: the role that it was sent in.
    """

    at: float
    controlling: bool


@attrs.define(eq=False, repr=False)
class Check:
    """
    A request that waits for its answer, sent again and again.

    @ivar waits: seconds to wait after each transmission.
    @ivar transmissions: what was sent, by transaction id.
    @ivar dueAt: when it is sent again or, after the last of C{waits}, given up.
    @ivar isSpent: whether it is not to be sent again.
    """

    pair: Pair
    waits: tuple[float, ...]
    transmissions: dict[bytes, Transmission] = attrs.field(factory=dict)
    sentAt: float = 0.0
    dueAt: float = 0.0
    isSpent: bool = False

    def sent(self, transactionId: bytes, controlling: bool, now: float) -> None:
        self.sentAt = self.pair.triedAt = now
        self.dueAt = now + self.waits[len(self.transmissions)]
        self.transmissions[transactionId] = Transmission(now, controlling)
        self.revive()

    def revive(self) -> bool:
        """
        The peer was heard: go on, if not all transmissions were used.

        @return: whether there is one more.
        """
        self.isSpent = len(self.transmissions) >= len(self.waits)
        return not self.isSpent

    def end(self, now: float) -> None:
        """
        Do not send it again, and wait for an answer for a little longer.
        """
        self.isSpent = True
        self.dueAt = now + _LAST_ANSWER
