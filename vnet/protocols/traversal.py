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

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Protocol

from attrs import define, evolve, field, frozen
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from vnet.protocols.codec.natsignal import Prediction, Traits
from vnet.protocols.codec.signal import Signal
from vnet.protocols.machine.candidates import priority
from vnet.protocols.machine.portguess import HIGHEST, LOWEST, bracket, guesses, meetings, stepOf
from vnet.protocols.machine.ratelimit import KeyedLimit
from vnet.protocols.machine.strategy import Strategy, isRandom, strategy
from vnet.protocols.sampling import Sampler
from vnet.values import Address, Candidate

__all__ = ["Means", "Sockets", "Story", "Target", "Traversal"]

BLOCK_SOCKETS, RANDOM_SOCKETS = 64, 256
"""Spare sockets of one birthday round, for a block of ports and for all of them."""

LIMITED = 48
"""Mappings that all rounds together make in two minutes at a NAT that has few to give."""

PROBES = 2048
"""Checks of one round to ports that are guessed."""

AGAIN = 600.0
"""Seconds until the next try, when all rounds of one were in vain."""

_BURST_PACE, _PACE = 0.005, 0.01
_FEW = 64
_REPEATS = (0.0, 0.1, 0.2, 0.3, 0.5)
_MEETINGS = 48
_HOP_LIMITS = (4, 2)
_ROUNDS = {
    Strategy.REPAIR: 3,
    Strategy.PREDICT: 4,
    Strategy.BIRTHDAY: 1,
    Strategy.MEET: 6,
    Strategy.SCATTER: 6,
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
    Strategy.SCATTER: 33.0,
}
_SECOND_PASS = 8.0
_SOON = 0.2
# A sum of floats may be less than it should be.
_SLACK = 0.001
_MEMORY = 4096
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 60.0
_LIMITED_FOR = 120.0


class Sockets(Protocol):
    """
    Spare sockets: L{vnet.client.dataplane.sockets.SpareSockets}.
    """

    def open(self, count: int) -> tuple[str, ...]: ...
    def close(self, names: Iterable[str]) -> None: ...


class Target(Protocol):
    """
    What a traversal needs of the agent: L{vnet.protocols.machine.agent.Agent}.
    """

    @property
    def isDirect(self) -> bool: ...
    @property
    def sparesInUse(self) -> frozenset[str]: ...
    def probe(self) -> bytes | None: ...


@define(eq=False)
class Means:
    """
    What all traversals of one node share.

    @ivar send: see L{vnet.protocols.punch.Puncher}; C{sendLimited} sends with a hop limit.
    @ivar sockets: L{None}: there are none.
    @ivar server: the STUN server that is asked for samples; L{None} when none answers.
    @ivar traits: of this side's NAT; C{noise}: mappings of others there, a second.
    """

    clock: IReactorTime
    send: Callable[[list[tuple[bytes, Address]]], None]
    sendLimited: Callable[[list[tuple[bytes, Address]], int], None]
    random: Callable[[int], bytes]
    sockets: Sockets | None = None
    server: Address | None = None
    traits: Traits = field(factory=Traits)
    noise: float = 0.0
    sampler: Sampler = field(init=False)
    pace: KeyedLimit = field(factory=lambda: KeyedLimit(400.0, 100, limit=1), init=False)
    triedAt: OrderedDict[bytes, float] = field(factory=OrderedDict, init=False)
    _few: KeyedLimit = field(factory=lambda: KeyedLimit(LIMITED / _LIMITED_FOR, LIMITED, limit=1), init=False)

    def __attrs_post_init__(self) -> None:
        self.sampler = Sampler(self.clock, self.send, self.random)

    def take(self, mappings: int) -> int:
        """
        So many mappings are wanted at this side's NAT.

        @return: how many there may be.
        """
        if not self.traits.limited:
            return mappings
        now = self.clock.seconds()
        return sum(self._few.allow(None, now) for _ in range(min(mappings, LIMITED)))

    def mayTry(self, peer: bytes) -> bool:
        """
        Whether the last birthday round with a peer is long enough ago; if so, this one is noted.
        """
        now = self.clock.seconds()
        last = self.triedAt.get(peer)
        if last is not None and now - last < AGAIN:
            return False
        self.triedAt[peer] = now
        self.triedAt.move_to_end(peer)
        if len(self.triedAt) > _MEMORY:
            self.triedAt.popitem(last=False)
        return True


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
    @ivar _tell: there is another L{prediction} to tell the peer.
    @ivar _found: a candidate of the peer is to be checked.
    @ivar prediction: what the next signal holds.
    """

    _means: Means
    _peer: bytes
    _target: Target
    _controlling: bool
    _startAt: float
    _observed: str
    _tell: Callable[[], None]
    _found: Callable[[Candidate], None]
    _dropped: Callable[[frozenset[str]], None]
    prediction: Prediction | None = field(default=None, init=False)
    _traits: Traits | None = field(default=None, init=False)
    _endpoint: Address | None = field(default=None, init=False)
    _round: int = field(default=0, init=False)
    _tries: int = field(default=0, init=False)
    _pauses: int = field(default=0, init=False)
    _strategy: Strategy | None = field(default=None, init=False)
    _opened: set[str] = field(factory=set, init=False)
    _current: tuple[str, ...] = field(default=(), init=False)
    _theirs: Prediction | None = field(default=None, init=False)
    _calls: set[IDelayedCall] = field(factory=set, init=False)
    _next: IDelayedCall | None = field(default=None, init=False)
    _cancelSampling: Callable[[], None] = field(default=lambda: None, init=False)
    _met: int = field(default=0, init=False)
    _probes: int = field(default=0, init=False)
    _sockets: int = field(default=0, init=False)
    _isOpened: bool = field(default=False, init=False)
    _closed: bool = field(default=False, init=False)

    def begin(self) -> None:
        """
        The attempt has begun.
        """
        self._schedule(max(0.0, self._startAt - self._now()) + _DELAYS[Strategy.PREDICT])

    @property
    def isBusy(self) -> bool:
        """Whether a round is under way that may still succeed."""
        return bool(self._calls)

    @property
    def story(self) -> Story:
        """What was done so far."""
        return Story(
            self._means.traits,
            self._traits,
            "" if self._strategy is None else self._strategy.value,
            self._round,
            self._probes,
            self._sockets,
            self._traits is not None and bool(self._traits.host) and not self._isSeen(self._traits.host),
        )

    def signalled(self, signal: Signal) -> None:
        """
        The peer has told something.
        """
        if signal.traits is not None:
            self._traits = signal.traits
        seen = [
            each for each in signal.candidates if each.kind == "srflx" and self._isSeen(each.address.host)
        ]
        if seen and self._endpoint is None:
            self._endpoint = seen[0].address
            if not self._isOpened and self._now() < self._startAt:
                # Ours is to be the first packet that this side's NAT sees of the two.
                self._isOpened = True
                self._open("", self._endpoint)
        if signal.prediction is not None and signal.prediction != self._theirs:
            self._theirs = signal.prediction
            if not self._target.isDirect and not self._closed:
                self._answer(signal.prediction)

    def pathChanged(self) -> None:
        """
        The agent has selected another path, or lost it.
        """
        if self._closed:
            return
        if self._target.isDirect:
            self._stop()
            self._tries = self._pauses = 0
            self._closeUnused()
        elif not self._calls and self._next is None:
            self._schedule(_FIRST_PAUSE)

    def close(self) -> None:
        """
        Stop, and close all spare sockets.  May be called twice.
        """
        self._closed = True
        self._stop()
        self._closeAll()

    # Rounds.

    def _look(self) -> None:
        self._next = None
        if self._target.isDirect:
            return
        chosen = None if self._traits is None else strategy(self._means.traits, self._traits)
        self._strategy = chosen
        if chosen not in _ROUNDS or self._means.server is None or self._isBlind(chosen):
            # What is known of the NATs may change.
            self._schedule(min(_FIRST_PAUSE * 1.5**self._pauses, _LONGEST_PAUSE))
            self._pauses = min(self._pauses + 1, 20)
            return
        age = self._now() - self._startAt
        if age < _DELAYS[chosen]:
            self._schedule(_DELAYS[chosen] - age + _SLACK)
        elif self._tries >= (1 if self._means.traits.limited else _ROUNDS[chosen]):
            self._tries = 0
            self._closeUnused()
            self._schedule(AGAIN)
        elif chosen is Strategy.BIRTHDAY and not self._means.mayTry(self._peer):
            self._schedule(_LONGEST_PAUSE)
        else:
            self._beginRound(self._round % 255 + 1)

    def _isBlind(self, chosen: Strategy) -> bool:
        """
        Whether the peer's endpoint is not known that this side has to open for.
        """
        return chosen in (Strategy.PREDICT, Strategy.BIRTHDAY) and self._endpoint is None

    def _beginRound(self, number: int) -> None:
        """
        Begin a round by our own decision, or because the peer has begun it.
        """
        self._stop()
        self._closeUnused()
        self._round = number
        self._tries += 1
        self.prediction = None
        chosen, server = self._strategy, self._means.server
        begin = {
            Strategy.REPAIR: self._repair,
            Strategy.PREDICT: self._predict,
            Strategy.BIRTHDAY: self._birthday,
            Strategy.MEET: self._sampleToMeet,
            Strategy.SCATTER: self._sampleToMeet,
        }
        if chosen is not None and server is not None:
            begin[chosen](server)
            self._schedule(_PATIENCE[chosen])

    def _answer(self, theirs: Prediction) -> None:
        """
        The peer tells where its mappings are.
        """
        if theirs.kind == "exact":
            self._repairTo(theirs)
        elif not self._isSeen(theirs.host):
            return
        elif theirs.kind == "ports":
            self._probePorts(theirs)
        else:
            self._meet(theirs)

    # Repair: a fresh socket on both sides.

    def _repair(self, server: Address) -> None:
        self._current = self._openSockets(1)

        def sampled(found: dict[str, Address]) -> None:
            for name, mapped in found.items():
                if name in self._current and ":" not in mapped.host:
                    self._predictAt("exact", mapped.host, mapped.port, mapped.port)
                    if self._theirs is not None and self._theirs.kind == "exact":
                        self._repairTo(self._theirs)

        self._sample(server, self._current, sampled)

    def _repairTo(self, theirs: Prediction) -> None:
        if theirs.round > self._round and self._strategy in (None, Strategy.REPAIR):
            self._strategy = Strategy.REPAIR
            self._beginRound(theirs.round)
            return
        own = self.prediction
        if own is None or own.kind != "exact" or own.round != theirs.round or not self._current:
            return
        name = self._current[0]
        there = Address(theirs.host, theirs.low, name)
        self._open(name, there)
        isFirst = self._controlling == bool(theirs.round % 2)
        candidate = Candidate("srflx", there, priority("srflx", 1000), "repair")
        self._later(0.15 if isFirst else 0.45, lambda: self._found(candidate))

    # Predict: samples before and after.

    def _predict(self, server: Address) -> None:
        names = self._openSockets(5)
        self._current = names[2:3]
        if len(names) < 5 or self._endpoint is None:
            return
        halves: list[dict[str, Address]] = []

        def sampled(found: dict[str, Address]) -> None:
            halves.append(found)
            if len(halves) == 2:
                self._predicted(names, {**halves[0], **halves[1]})

        # The order on the wire is that of these calls.
        self._sample(server, names[:2], sampled)
        self._open(names[2], self._endpoint)
        self._sample(server, names[3:], sampled)

    def _predicted(self, names: Sequence[str], answers: dict[str, Address]) -> None:
        before = [answers[name].port for name in names[:2] if name in answers]
        after = [answers[name].port for name in names[3:] if name in answers]
        hosts = {address.host for address in answers.values()}
        # The opener has taken a port between the samples.
        step = self._means.traits.step or stepOf([*before, *after])
        found = bracket(before, after, step) if step else None
        self._closeSockets([name for name in names if name not in self._current])
        if found is not None and len(hosts) == 1:
            low, high = sorted(found)
            self._predictAt("ports", hosts.pop(), low, high, step)

    # Birthday: many sockets on the random side.

    def _birthday(self, server: Address) -> None:
        traits = self._means.traits
        endpoint = self._endpoint
        if endpoint is None or not traits.host:
            return
        isBlock = traits.allocation == "block" and 0 < traits.low < traits.high
        wanted = RANDOM_SOCKETS
        if isBlock:
            wanted = min(BLOCK_SOCKETS, max(16, (traits.high - traits.low + 1) // 8))
        self._current = names = self._openSockets(wanted)
        low, high = (traits.low, traits.high) if isBlock else (LOWEST, HIGHEST)
        self._openAll(names, endpoint, 0)
        self._later(0.1, lambda: self._predictAt("ports", traits.host, low, high))
        self._later(_SECOND_PASS, lambda: self._openAll(names, endpoint, 1))

    def _openAll(self, names: Sequence[str], endpoint: Address, turn: int) -> None:
        def step(index: int) -> None:
            if index < len(names):
                self._open(names[index], endpoint, index + turn)
                self._later(_BURST_PACE, lambda: step(index + 1))

        step(0)

    def _probePorts(self, theirs: Prediction) -> None:
        """
        The peer's mappings are at some of these ports.
        """
        ports = guesses(theirs, self._means.random, PROBES)
        ports = ports[: self._means.take(len(ports))]
        self._round = theirs.round
        self._tries += 1
        self._stopProbing()
        if len(ports) <= _FEW:
            for delay in _REPEATS:
                self._later(delay, lambda: self._probeAll(ports, theirs.host, "", _BURST_PACE))
        else:
            # A block is gone through twice, since some are lost.
            again = ports if 2 * len(ports) <= PROBES else []
            self._probeAll([*ports, *again], theirs.host, "", _BURST_PACE if again else _PACE)

    # Meet: both are sequential.

    def _sampleToMeet(self, server: Address) -> None:
        names = self._openSockets(5)
        self._current = names[4:]
        if len(names) < 5:
            return
        sampledAt = self._sinceStart()

        def sampled(found: dict[str, Address]) -> None:
            mapped = [found[name] for name in names[:4] if name in found]
            ports = [each.port for each in mapped]
            self._closeSockets(names[:4])
            step = self._means.traits.step or stepOf(ports)
            if step and ports and 1 <= ports[-1] + step <= 65535:
                last = (max if step > 0 else min)(ports) + step
                self._predictAt("next", mapped[-1].host, last, last, step, sampledAt)
                if self._strategy is Strategy.SCATTER:
                    self._scatter()
                elif self._theirs is not None and self._theirs.kind == "next":
                    self._meet(self._theirs)

        self._sample(server, names[:4], sampled)

    def _scatter(self) -> None:
        """
        Guess in the peer's block, from ports at which it aims.
        """
        own, peer = self.prediction, self._traits
        if own is None or peer is None or not self._isSeen(peer.host):
            return
        self._beginSoon(own)
        block = Prediction(own.round, "ports", peer.host, peer.low, peer.high)
        ports = guesses(block, self._means.random, self._means.take(BLOCK_SOCKETS))
        name = next(iter(self._current), "")
        self._later(_SOON, lambda: self._probeAll(ports, block.host, name, _BURST_PACE))

    def _aim(self, theirs: Prediction) -> None:
        """
        Aim at the next ports of a sequential NAT, from a socket for each.
        """
        self._stopProbing()
        self._closeUnused()
        self._round = theirs.round
        self._tries += 1
        names = self._openSockets(BLOCK_SOCKETS)
        delay = max(0.0, theirs.at / 1000 - (self._now() - self._startAt))
        for turn in (0, 1):
            for index, name in enumerate(names):
                there = Address(theirs.host, theirs.low + index * theirs.step, name)
                if 1 <= there.port <= 65535:
                    self._later(
                        delay + turn + index * _BURST_PACE, partial(self._open, name, there, index + turn)
                    )
        self._later(delay + _PATIENCE[Strategy.MEET] + 1, self._closeUnused)

    def _beginSoon(self, own: Prediction) -> int:
        """
        Tell the other side when both begin.
        """
        at = self._sinceStart() + int(_SOON * 1000)
        self.prediction = evolve(own, at=at)
        self._tell()
        return at

    def _meet(self, theirs: Prediction) -> None:
        own = self.prediction
        if isRandom(self._means.traits):
            if theirs.at:
                self._aim(theirs)
            return
        if theirs.round > self._round:
            self._strategy = Strategy.MEET
            self._beginRound(theirs.round)
            return
        if own is None or own.kind != "next" or own.round != theirs.round or self._met == own.round:
            return
        at = theirs.at or own.at
        if not at:
            if not self._controlling:
                return
            at = self._beginSoon(own)
        self._met = own.round
        ports = meetings(own, theirs, self._controlling, at, self._means.take(_MEETINGS))
        name = next(iter(self._current), "")
        delay = max(0.0, at / 1000 - (self._now() - self._startAt))
        for repeat in (0.0, 0.4, 0.8):
            self._later(delay + repeat, lambda: self._probeAll(ports, theirs.host, name, _BURST_PACE))

    # What all of them do.

    def _predictAt(
        self, kind: str, host: str, low: int, high: int, step: int = 1, sampledAt: int = 0
    ) -> None:
        others = min(0xFFFF, round(10 * self._means.noise)) if kind == "next" else 0
        self.prediction = Prediction(self._round, kind, host, low, high, step, others, sampledAt)
        self._tell()

    def _open(self, name: str, there: Address, turn: int | None = None) -> None:
        """
        Make a mapping of a socket towards an address, by a datagram that does not get there.
        """
        data = self._target.probe()
        if data is not None:
            limit = _HOP_LIMITS[(self._round + 1 if turn is None else turn) % len(_HOP_LIMITS)]
            self._means.sendLimited([(data, Address(there.host, there.port, name))], limit)

    def _probeAll(self, ports: Sequence[int], host: str, name: str, pace: float) -> None:
        def step(index: int) -> None:
            if index >= len(ports) or self._target.isDirect:
                return
            if self._means.pace.allow(None, self._now()):
                data = self._target.probe()
                if data is not None:
                    self._probes += 1
                    self._means.send([(data, Address(host, ports[index], name))])
                index += 1
            self._later(pace, lambda: step(index))

        step(0)

    def _sample(
        self, server: Address, names: Sequence[str], done: Callable[[dict[str, Address]], None]
    ) -> None:
        if names:
            cancel, before = self._means.sampler.ask(server, names, done), self._cancelSampling

            def cancelBoth() -> None:
                before()
                cancel()

            self._cancelSampling = cancelBoth

    def _openSockets(self, count: int) -> tuple[str, ...]:
        count = self._means.take(count)
        names = () if self._means.sockets is None or not count else self._means.sockets.open(count)
        self._opened.update(names)
        self._sockets += len(names)
        return names

    def _closeUnused(self) -> None:
        self._closeSockets(self._opened - self._target.sparesInUse)

    def _closeAll(self) -> None:
        self._closeSockets(set(self._opened))

    def _closeSockets(self, names: Iterable[str]) -> None:
        closing = frozenset(names) & self._opened
        if closing and self._means.sockets is not None:
            self._opened -= closing
            self._means.sockets.close(closing)
            self._dropped(closing)

    def _isSeen(self, host: str) -> bool:
        return bool(host) and host == self._observed

    def _now(self) -> float:
        return self._means.clock.seconds()

    def _sinceStart(self) -> int:
        return max(0, int((self._now() - self._startAt) * 1000))

    def _schedule(self, delay: float) -> None:
        if self._next is not None:
            self._next.cancel()
        self._next = self._means.clock.callLater(delay, self._look)

    def _later(self, delay: float, what: Callable[[], object]) -> None:
        def fire() -> None:
            self._calls.discard(call)
            what()

        call = self._means.clock.callLater(delay, fire)
        self._calls.add(call)

    def _stopProbing(self) -> None:
        calls, self._calls = self._calls, set()
        for call in calls:
            call.cancel()

    def _stop(self) -> None:
        self._stopProbing()
        self._cancelSampling()
        self._cancelSampling = lambda: None
        if self._next is not None:
            self._next.cancel()
            self._next = None
