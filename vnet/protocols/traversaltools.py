# -*- test-case-name: vnet.test.test_traversal -*-
"""
What all traversals of one node share, and what one has at hand: spare sockets, samples, datagrams that die on the way, checks to
guessed ports, and timers.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from vnet.protocols.codec.natsignal import Prediction, Traits
from vnet.protocols.machine.candidates import checkable, isPublic
from vnet.protocols.machine.destinations import Destinations
from vnet.protocols.machine.ratelimit import KeyedLimit, KeyedWindow
from vnet.protocols.sampling import Sampler
from vnet.values import Address

__all__ = [
    "AGAIN",
    "BURST_PACE",
    "DESTINATIONS",
    "LIMITED",
    "WIDE_COST",
    "Means",
    "Sockets",
    "Target",
    "Tools",
]

LIMITED = 20
"""Mappings that all rounds together make in two minutes at a NAT that has few to give."""

DESTINATIONS = 16
"""Addresses of peers to which something is sent through such a NAT at once; others are reached through a relay."""

AGAIN = 600.0
"""Seconds until the next try, when all rounds of one were in vain."""

BURST_PACE = 0.005
"""Seconds between two datagrams of a burst."""

WIDE_COST = 4
"""What a round costs in which all ports of a peer, or those of a block, are guessed; others cost 1."""

_LIMITED_FOR = 120.0
# Rounds of one peer that are answered at once, and a second.
_ANSWERS, _ANSWERS_RATE = 8, 1 / 30
_HOP_LIMITS = (4, 2)
_MEMORY = 4096
_LATEST = 0xFFFF0000
_LONGEST_WAIT = 5.0
_SOON_AGAIN = 60.0


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


@define(eq=False, repr=False)
class Means:
    """
    What all traversals of one node share.

    @ivar send: see L{vnet.protocols.punch.Puncher}; C{sendLimited} sends with a hop limit.
    @ivar sockets: L{None}: there are none.
    @ivar accepts: whether something may be sent to an address that a peer names.
    @ivar server: the STUN server that is asked for samples; L{None} when none answers.
    @ivar traits: of this side's NAT; C{noise}: mappings of others there, a second.
    @ivar meeting: whose mappings are the next ones of a sequential NAT, and C{meetingEnds} until when: others would take
        the ports that it has predicted.
    @ivar pace: of all checks to guessed ports; C{answers}: of the rounds of each peer that this side takes part in.
    """

    clock: IReactorTime
    send: Callable[[list[tuple[bytes, Address]]], None]
    sendLimited: Callable[[list[tuple[bytes, Address]], int], None]
    random: Callable[[int], bytes]
    sockets: Sockets | None = None
    accepts: Callable[[Address], bool] = checkable
    server: Address | None = None
    traits: Traits = field(factory=Traits)
    noise: float = 0.0
    sampler: Sampler = field(init=False)
    pace: KeyedLimit = field(factory=lambda: KeyedLimit(400.0, 100, limit=1), init=False)
    answers: KeyedLimit = field(
        factory=lambda: KeyedLimit(_ANSWERS_RATE, _ANSWERS, limit=_MEMORY), init=False
    )
    meeting: object = field(default=None, init=False)
    meetingEnds: float = field(default=0.0, init=False)
    triedAt: OrderedDict[bytes, float] = field(factory=OrderedDict, init=False)
    _destinations: Destinations = field(
        factory=lambda: Destinations(DESTINATIONS, _LIMITED_FOR, DESTINATIONS // 2), init=False
    )
    _few: KeyedWindow = field(factory=lambda: KeyedWindow(LIMITED, _LIMITED_FOR, limit=1), init=False)

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

    def giveBack(self, mappings: int) -> None:
        """
        So many of those that L{take} has allowed were not made.
        """
        for _ in range(mappings if self.traits.limited else 0):
            self._few.giveBack(None)

    def mayMeet(self, who: object, seconds: float) -> bool:
        """
        Whether no one else predicts ports now; if so, C{who} does for some seconds.
        """
        now = self.clock.seconds()
        if self.meeting not in (None, who) and now < self.meetingEnds:
            return False
        self.meeting, self.meetingEnds = who, now + seconds
        return True

    def meetingOver(self, who: object) -> None:
        """
        C{who} needs no ports any more.
        """
        if self.meeting is who:
            self.meeting = None

    def admits(self, address: Address, peer: bytes) -> bool:
        """
        Whether a check may be sent to an address: a NAT that has few mappings to give may have to make one.
        """
        if not self.traits.limited or address.allocation or ":" in address.host:
            return True
        return self._destinations.allow(address, self.clock.seconds(), peer)

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

    def succeeded(self, peer: bytes) -> None:
        """
        There is a direct path, which may have been the last birthday round's: if it is lost, the next may be soon.
        """
        if peer in self.triedAt:
            soon = self.clock.seconds() - AGAIN + _SOON_AGAIN
            self.triedAt[peer] = min(self.triedAt[peer], soon)


@define(eq=False, repr=False)
class Tools:
    """
    What one traversal has at hand.

    @ivar observed: where the mediator sees the peer; empty: nowhere.
    @ivar tell: there is another L{prediction} to tell the peer.
    @ivar prediction: what the next signal holds.
    @ivar probes: checks to guessed ports so far, C{sockets}: spare sockets that were opened so far.
    """

    means: Means
    target: Target
    _startAt: float
    observed: str
    tell: Callable[[], None]
    _dropped: Callable[[frozenset[str]], None]
    prediction: Prediction | None = field(default=None, init=False)
    probes: int = field(default=0, init=False)
    sockets: int = field(default=0, init=False)
    _opened: set[str] = field(factory=set, init=False)
    _calls: set[IDelayedCall] = field(factory=set, init=False)
    _cancels: list[Callable[[], None]] = field(factory=list, init=False)

    @property
    def isBusy(self) -> bool:
        """Whether something of a round is still to be done."""
        return bool(self._calls)

    @property
    def now(self) -> float:
        """Seconds of the clock."""
        return self.means.clock.seconds()

    @property
    def sinceStart(self) -> int:
        """Milliseconds since the start, 0 before; after 49 days they are not counted any more."""
        return min(max(0, int((self.now - self._startAt) * 1000)), _LATEST)

    def until(self, at: int) -> float:
        """
        @param at: milliseconds after the start.
        @return: seconds until then, 0 after it, 5 at most.
        """
        return min(max(0.0, at / 1000 - (self.now - self._startAt)), _LONGEST_WAIT)

    def isSeen(self, host: str) -> bool:
        """
        Whether the mediator sees the peer at this address, and it is the same host from here: a private one is, if this
        side's NAT has one too.
        """
        if not host or host != self.observed or not self.means.accepts(Address(host, 1)):
            return False
        own = self.means.traits.host
        return isPublic(host) or (bool(own) and not isPublic(own))

    def later(self, delay: float, what: Callable[[], object]) -> None:
        """Do something later, unless this round is over then."""

        def fire() -> None:
            self._calls.discard(call)
            what()

        call = self.means.clock.callLater(delay, fire)
        self._calls.add(call)

    def stop(self) -> None:
        """Nothing more of what was begun."""
        calls, self._calls = self._calls, set()
        for call in calls:
            call.cancel()
        cancels, self._cancels = self._cancels, []
        for cancel in cancels:
            cancel()

    def sample(
        self, server: Address, names: Sequence[str], done: Callable[[dict[str, Address]], None]
    ) -> None:
        """See L{Sampler.ask}."""
        if names:
            self._cancels.append(self.means.sampler.ask(server, names, done))

    def predict(self, prediction: Prediction) -> None:
        """Tell the peer."""
        self.prediction = prediction
        self.tell()

    def open(self, name: str, there: Address, turn: int) -> None:
        """
        Make a mapping of a socket towards an address, by a datagram that does not get there.

        @param turn: the hop limit alternates: more NATs of this side may be on the way, or the other side may be near.
        """
        data = self.target.probe()
        if data is not None:
            limit = _HOP_LIMITS[turn % len(_HOP_LIMITS)]
            self.means.sendLimited([(data, Address(there.host, there.port, name))], limit)

    def openAll(self, openings: Sequence[tuple[str, Address]], turn: int) -> None:
        """
        The same for many, not all at once.
        """

        def step(index: int) -> None:
            if index < len(openings):
                self.open(*openings[index], index + turn)
                self.later(BURST_PACE, lambda: step(index + 1))

        step(0)

    def probeAll(self, ports: Sequence[int], host: str, name: str, pace: float) -> None:
        """
        Send a check to each port, until there is a direct path.

        @param name: the spare socket to send from, or empty.
        @param pace: seconds between two.
        """

        def step(index: int) -> None:
            if index >= len(ports) or self.target.isDirect:
                return
            if self.means.pace.allow(None, self.now):
                data = self.target.probe()
                if data is not None:
                    self.probes += 1
                    self.means.send([(data, Address(host, ports[index], name))])
                index += 1
            self.later(pace, lambda: step(index))

        step(0)

    def openSockets(self, count: int, least: int = 1) -> tuple[str, ...]:
        """
        @param least: if there are not so many, there is none.
        @return: the names of so many spare sockets, or of fewer.
        """
        means, sockets = self.means, self.means.sockets
        granted = means.take(count)
        names = () if sockets is None or granted < least else sockets.open(granted)
        if sockets is not None and len(names) < least:
            sockets.close(names)
            names = ()
        means.giveBack(granted - len(names))
        self._opened.update(names)
        self.sockets += len(names)
        return names

    def closeUnused(self) -> None:
        """Close the spare sockets that lead nowhere."""
        self.closeSockets(self._opened - self.target.sparesInUse)

    def closeAll(self) -> None:
        """Close all of them."""
        self.closeSockets(set(self._opened))

    def closeSockets(self, names: Iterable[str]) -> None:
        """Close some of them."""
        closing = frozenset(names) & self._opened
        if closing and self.means.sockets is not None:
            self._opened -= closing
            self.means.sockets.close(closing)
            self._dropped(closing)
