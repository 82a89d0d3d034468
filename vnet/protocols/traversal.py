# -*- test-case-name: vnet.test.test_traversal -*-
"""
Through NATs for which the checks of ICE alone do not suffice: see L{vnet.protocols.machine.strategy}.

One L{Traversal} belongs to one attempt.  It works in rounds until the attempt has a direct path: it opens spare sockets,
makes their mappings at this side's NAT by datagrams that die on the way (low TTL), tells the peer where these mappings
are as far as it knows, and sends checks to where the peer's are.  A check that gets through is answered by the peer's
agent with one of its own, from which the agents go on by themselves.

What it sends goes only to the public address at which the mediator sees the peer, each datagram but those that die is an
authentic check, and their number is bounded: L{vnet.protocols.machine.strategy} says when, and the limits are here.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field, frozen
from twisted.internet.interfaces import IDelayedCall

from vnet.protocols.codec.natsignal import Prediction, Traits
from vnet.protocols.codec.signal import Signal
from vnet.protocols.machine.strategy import Strategy, isEasy, isRandom, strategy
from vnet.protocols.rounds import Birthday, Meet, Predict, Repair, Round, Scatter, aim, isWide, probePorts
from vnet.protocols.traversaltools import AGAIN, WIDE_COST, Tools
from vnet.values import Address, Candidate

__all__ = ["Story", "Traversal"]

_ROUNDS = {
    Strategy.REPAIR: 3,
    Strategy.PREDICT: 4,
    Strategy.BIRTHDAY: 1,
    Strategy.MEET: 6,
    Strategy.SCATTER: 3,
}
_DELAYS = {
    Strategy.REPAIR: 1.5,
    Strategy.PREDICT: 0.3,
    Strategy.BIRTHDAY: 1.0,
    Strategy.MEET: 0.4,
    Strategy.SCATTER: 1.0,
}
# The mappings of one round are gone when the next begins, where few are at once or there is but little chance.
_PATIENCE = {
    Strategy.REPAIR: 2.0,
    Strategy.PREDICT: 2.5,
    Strategy.BIRTHDAY: 26.0,
    Strategy.MEET: 2.5,
    Strategy.SCATTER: 40.0,
}
# Their predictions fail when another round takes the ports.
_PREDICTING = (Strategy.MEET, Strategy.SCATTER)
_MEETING, _BUSY = 2.4, 0.5
_SETTLED = 5.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 60.0
# A sum of floats may be less than it should be.
_SLACK = 0.001


@frozen
class Story:
    """
    What a traversal has done, for a person.

    @ivar own: the traits of this side's NAT, C{peer} of the other one's; L{None}: not known.
    @ivar strategy: see L{Strategy}; empty when the peer was not heard of yet.
    @ivar rounds: so many have begun.
    @ivar probes: checks to guessed ports, C{sockets} the spare sockets that were opened for it.
    @ivar unseen: whether the mediator sees the peer elsewhere than its NAT's address, so that nothing is guessed.
    """

    own: Traits
    peer: Traits | None
    strategy: str
    rounds: int
    probes: int
    sockets: int
    unseen: bool


@define(eq=False, repr=False)
class Traversal:
    """
    @ivar _found: a candidate of the peer is to be checked.
    """

    _tools: Tools
    _peer: bytes
    _controlling: bool
    _startAt: float
    _found: Callable[[Candidate], None]
    _traits: Traits | None = field(default=None, init=False)
    _endpoint: Address | None = field(default=None, init=False)
    _strategy: Strategy | None = field(default=None, init=False)
    _round: Round | None = field(default=None, init=False)
    _number: int = field(default=0, init=False)
    _tries: int = field(default=0, init=False)
    _pauses: int = field(default=0, init=False)
    _restsUntil: float = field(default=float("-inf"), init=False)
    _theirs: Prediction | None = field(default=None, init=False)
    _next: IDelayedCall | None = field(default=None, init=False)
    _settling: bool = field(default=False, init=False)
    _closed: bool = field(default=False, init=False)

    def begin(self) -> None:
        """
        The attempt has begun.
        """
        self._schedule(max(0.0, self._startAt - self._tools.now) + _DELAYS[Strategy.PREDICT])

    @property
    def isBusy(self) -> bool:
        """Whether a round is under way that may still succeed."""
        return self._tools.isBusy

    @property
    def prediction(self) -> Prediction | None:
        """What the next signal holds."""
        return self._tools.prediction

    @property
    def story(self) -> Story:
        """What was done so far."""
        traits, tools = self._traits, self._tools
        return Story(
            tools.means.traits,
            traits,
            "" if self._strategy is None else self._strategy.value,
            self._number,
            tools.probes,
            tools.sockets,
            traits is not None and bool(traits.host) and not tools.isSeen(traits.host),
        )

    def signalled(self, signal: Signal) -> None:
        """
        The peer has told something.
        """
        if signal.traits is not None:
            self._traits = signal.traits
        seen = [
            each.address
            for each in signal.candidates
            if each.kind != "relay" and self._tools.isSeen(each.address.host)
        ]
        if seen:
            isFirst, self._endpoint = self._endpoint is None, seen[0]
            if isFirst and self._tools.now < self._startAt:
                # Ours is to be the first packet that this side's NAT sees of the two.
                self._tools.open("", seen[0], 0)
        if signal.prediction is not None and signal.prediction != self._theirs:
            self._theirs = signal.prediction
            if not self._tools.target.isDirect and not self._closed:
                self._answer(signal.prediction)

    def pathChanged(self) -> None:
        """
        The agent has selected another path, or lost it.
        """
        if self._closed:
            return
        if self._tools.target.isDirect:
            if not self._settling:
                self._stop()
                self._tools.means.meetingOver(self)
                self._tools.means.succeeded(self._tried)
                self._tries = self._pauses = 0
                self._restsUntil = float("-inf")
                # Until then both sides use the same socket.
                self._schedule(_SETTLED)
            self._settling = True
        elif not self.isBusy and self._next is None:
            self._schedule(_FIRST_PAUSE)

    def close(self) -> None:
        """
        Stop, and close all spare sockets.  May be called twice.
        """
        self._closed = True
        self._stop()
        self._tools.means.meetingOver(self)
        self._tools.closeAll()

    def _look(self) -> None:
        """
        See whether it is time for a round.
        """
        self._next, self._settling = None, False
        means = self._tools.means
        if self._tools.target.isDirect:
            self._tools.closeUnused()
            return
        chosen = None if self._traits is None else strategy(means.traits, self._traits)
        self._strategy = chosen
        if chosen not in _ROUNDS or means.server is None or self._isBlind(chosen):
            # What is known of the NATs may change, or has: nothing comes of what was begun any more.
            self._tools.closeUnused()
            self._schedule(min(_FIRST_PAUSE * 1.5**self._pauses, _LONGEST_PAUSE))
            self._pauses = min(self._pauses + 1, 20)
            return
        age, rest = self._tools.now - self._startAt, self._restsUntil - self._tools.now
        if age < _DELAYS[chosen]:
            self._schedule(_DELAYS[chosen] - age + _SLACK)
        elif rest > 0:
            # What the peer had begun is over; if it led to others of this side, both would go on and on.
            self._tools.closeUnused()
            self._schedule(rest + _SLACK)
        elif self._tries >= (1 if means.traits.limited else _ROUNDS[chosen]):
            self._tries = 0
            self._tools.closeUnused()
            self._restsUntil = self._tools.now + AGAIN
            self._schedule(AGAIN)
        elif chosen is Strategy.BIRTHDAY and not means.mayTry(self._tried):
            self._schedule(_LONGEST_PAUSE)
        else:
            self._beginRound(chosen, self._number % 255 + 1)

    @property
    def _tried(self) -> bytes:
        """
        What birthday rounds are counted for: a peer that has moved is another one.
        """
        return self._peer + self._tools.observed.encode()

    def _isBlind(self, chosen: Strategy) -> bool:
        """
        Whether the peer's endpoint is not known that this side has to open for.
        """
        return chosen in (Strategy.PREDICT, Strategy.BIRTHDAY) and self._endpoint is None

    def _beginRound(self, chosen: Strategy, number: int) -> bool:
        """
        Begin a round by our own decision, or because the peer has begun it.

        @return: whether it is this one's turn.
        """
        tools, means, server = self._tools, self._tools.means, self._tools.means.server
        if chosen in _PREDICTING and not means.mayMeet(self, _MEETING):
            self._schedule(_BUSY)
            return False
        self._beginAnew(number)
        tools.prediction = None
        self._strategy, self._round = chosen, self._make(chosen, number)
        if self._round is not None and server is not None:
            self._round.begin(server)
        if isinstance(self._round, Birthday) and not self._round.hasBegun:
            # Others have the sockets now.
            means.triedAt.pop(self._tried, None)
            self._tries -= 1
        self._schedule(_PATIENCE[chosen])
        return True

    def _beginAnew(self, number: int) -> None:
        self._stop()
        self._tools.closeUnused()
        self._number = number
        self._tries += self._tools.now >= self._restsUntil
        self._round = None

    def _make(self, chosen: Strategy, number: int) -> Round | None:
        tools, endpoint = self._tools, self._endpoint
        if chosen is Strategy.REPAIR:
            return Repair(tools, number, self._controlling, self._found)
        if chosen is Strategy.MEET:
            return Meet(tools, number, self._controlling)
        if chosen is Strategy.SCATTER and self._traits is not None:
            return Scatter(tools, number, self._traits)
        if endpoint is None:
            return None
        return (Predict if chosen is Strategy.PREDICT else Birthday)(tools, number, endpoint)

    def _answer(self, theirs: Prediction) -> None:
        """
        The peer tells where its mappings are.
        """
        means = self._tools.means
        if theirs.kind != "exact" and not self._tools.isSeen(theirs.host):
            return
        isAim = theirs.kind == "next" and isRandom(means.traits)
        isGuess = theirs.kind == "ports"
        if (isAim and not theirs.at) or (isGuess and not isEasy(means.traits)):
            return
        isNew = 0 < (theirs.round - self._number) % 255 < 128
        begins = isAim or isGuess or isNew
        cost = WIDE_COST if isGuess and isWide(theirs) else 1
        if begins and not means.answers.allow(self._peer, self._tools.now, cost):
            return
        if isAim or isGuess:
            self._beginAnew(theirs.round)
            (aim if isAim else probePorts)(self._tools, theirs)
            self._schedule(_LONGEST_PAUSE)
            return
        chosen = Strategy.REPAIR if theirs.kind == "exact" else Strategy.MEET
        if begins and not self._beginRound(chosen, theirs.round):
            # The next one is new to the peer.
            self._number = theirs.round
        if self._round is not None and self._round.strategy is chosen and self._round.number == theirs.round:
            self._round.answered(theirs)

    def _schedule(self, delay: float) -> None:
        if self._next is not None:
            self._next.cancel()
        self._next = self._tools.means.clock.callLater(delay, self._look)

    def _stop(self) -> None:
        self._tools.stop()
        if self._next is not None:
            self._next.cancel()
            self._next = None
