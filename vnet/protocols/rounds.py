# -*- test-case-name: vnet.test.test_traversal -*-
"""
The rounds of a traversal, one kind for each L{Strategy}, and how the peer's are answered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from attrs import define, evolve, field

from vnet.protocols.codec.natsignal import Prediction, Traits
from vnet.protocols.machine.candidates import priority
from vnet.protocols.machine.portguess import HIGHEST, LOWEST, bracket, guesses, meetings, stepOf
from vnet.protocols.machine.strategy import Strategy
from vnet.protocols.traversaltools import BURST_PACE, Tools
from vnet.values import Address, Candidate

__all__ = [
    "BLOCK_SOCKETS",
    "PROBES",
    "RANDOM_SOCKETS",
    "Birthday",
    "Meet",
    "Predict",
    "Repair",
    "Round",
    "Scatter",
    "aim",
    "isWide",
    "probePorts",
]

BLOCK_SOCKETS, RANDOM_SOCKETS = 64, 256
"""Spare sockets of one birthday round, for a block of ports and for all of them."""

PROBES = 2048
"""Checks of one round to ports that are guessed."""

_LEAST = 16
_PACE = 0.01
_FEW = 64
_REPEATS = (0.0, 0.1, 0.2, 0.3, 0.5)
_MEETINGS = 48
_SECOND_PASS = 8.0
_SOON = 0.2
_FIRST, _SECOND = 0.15, 0.45


class Round(Protocol):
    """
    One round of this side.
    """

    @property
    def strategy(self) -> Strategy:
        """What it belongs to."""

    @property
    def number(self) -> int:
        """Which one it is; both sides count the same where both have rounds."""

    def begin(self, server: Address) -> None:
        """Begin; the server is asked for samples."""

    def answered(self, theirs: Prediction) -> None:
        """The peer's prediction of the same round has come."""


@define(eq=False, repr=False)
class Repair:
    """
    Both sides use a fresh socket, and take turns in who is first.
    """

    _tools: Tools
    number: int
    _controlling: bool
    _found: Callable[[Candidate], None]
    _name: str = field(default="", init=False)
    _theirs: Prediction | None = field(default=None, init=False)
    _mapped: bool = field(default=False, init=False)
    _met: bool = field(default=False, init=False)
    strategy = Strategy.REPAIR

    def begin(self, server: Address) -> None:
        """See L{Round.begin}."""
        self._tools.sample(server, self._tools.openSockets(1), self._sampled)

    def _sampled(self, found: dict[str, Address]) -> None:
        for name, mapped in found.items():
            self._name, self._mapped = name, True
            self._tools.predict(Prediction(self.number, "exact", mapped.host, mapped.port, mapped.port))
            if self._theirs is not None:
                self.answered(self._theirs)

    def answered(self, theirs: Prediction) -> None:
        """See L{Round.answered}."""
        self._theirs = theirs
        there = Address(theirs.host, theirs.low, self._name)
        if not self._mapped or self._met or not self._tools.means.accepts(there):
            return
        self._met = True
        self._tools.open(self._name, there, self.number + 1)
        isFirst = self._controlling == bool(self.number % 2)
        candidate = Candidate("srflx", there, priority("srflx", 1000), "repair")
        self._tools.later(_FIRST if isFirst else _SECOND, partial(self._found, candidate))


@define(eq=False, repr=False)
class Predict:
    """
    A sequential NAT: samples before and after the mapping towards the peer.
    """

    _tools: Tools
    number: int
    _endpoint: Address
    strategy = Strategy.PREDICT

    def begin(self, server: Address) -> None:
        """See L{Round.begin}."""
        tools, names, halves = self._tools, self._tools.openSockets(5, 5), list[dict[str, Address]]()
        if not names:
            return

        def sampled(found: dict[str, Address]) -> None:
            halves.append(found)
            if len(halves) == 2:
                self._predict(names, {**halves[0], **halves[1]})

        # The order on the wire is that of these calls.
        tools.sample(server, names[:2], sampled)
        tools.open(names[2], self._endpoint, self.number + 1)
        tools.sample(server, names[3:], sampled)

    def _predict(self, names: Sequence[str], answers: dict[str, Address]) -> None:
        before = [answers[name].port for name in names[:2] if name in answers]
        after = [answers[name].port for name in names[3:] if name in answers]
        hosts = {address.host for address in answers.values()}
        # The opener has taken a port between the samples.
        step = self._tools.means.traits.step or stepOf([*before, *after])
        found = bracket(before, after, step) if step else None
        self._tools.closeSockets([*names[:2], *names[3:]])
        if found is not None and len(hosts) == 1:
            low, high = sorted(found)
            self._tools.predict(Prediction(self.number, "ports", hosts.pop(), low, high, step))

    def answered(self, theirs: Prediction) -> None:
        """See L{Round.answered}."""


@define(eq=False, repr=False)
class Birthday:
    """
    A random NAT: many sockets, of which the peer is to hit one.

    @ivar hasBegun: whether there were enough sockets.
    """

    _tools: Tools
    number: int
    _endpoint: Address
    hasBegun: bool = field(default=False, init=False)
    strategy = Strategy.BIRTHDAY

    def begin(self, server: Address) -> None:
        """See L{Round.begin}."""
        tools, traits = self._tools, self._tools.means.traits
        if not traits.host:
            return
        low, high, wanted = LOWEST, HIGHEST, RANDOM_SOCKETS
        if traits.allocation == "block" and 0 < traits.low < traits.high:
            low, high = traits.low, traits.high
            wanted = min(BLOCK_SOCKETS, max(_LEAST, (high - low + 1) // 8))
        names = tools.openSockets(wanted, _LEAST)
        if not names:
            return
        self.hasBegun = True
        openings = [(name, self._endpoint) for name in names]
        prediction = Prediction(self.number, "ports", traits.host, low, high)
        tools.openAll(openings, 0)
        tools.later(0.1, partial(tools.predict, prediction))
        tools.later(_SECOND_PASS, partial(tools.openAll, openings, 1))

    def answered(self, theirs: Prediction) -> None:
        """See L{Round.answered}."""


@define(eq=False, repr=False)
class _Next:
    """
    A sequential NAT of which the next port is predicted.

    @ivar _name: a socket that has no mapping yet.
    """

    _tools: Tools
    number: int
    _name: str = field(default="", init=False)
    _own: Prediction | None = field(default=None, init=False)

    def begin(self, server: Address) -> None:
        """See L{Round.begin}."""
        names, sampledAt = self._tools.openSockets(5, 5), self._tools.sinceStart
        if names:
            self._name = names[4]
            self._tools.sample(server, names[:4], partial(self._sampled, names[:4], sampledAt))

    def _sampled(self, names: Sequence[str], sampledAt: int, found: dict[str, Address]) -> None:
        tools = self._tools
        mapped = [found[name] for name in names if name in found]
        ports = [each.port for each in mapped]
        tools.closeSockets(names)
        step = tools.means.traits.step or stepOf(ports)
        first = (max if step > 0 else min)(ports, default=0) + step
        if step and ports and 1 <= first <= 65535:
            others = min(0xFFFF, round(10 * tools.means.noise))
            self._own = Prediction(
                self.number, "next", mapped[-1].host, first, first, step, others, sampledAt
            )
            self._predicted()

    def _predicted(self) -> None:
        """The prediction is there."""

    def _beginSoon(self, own: Prediction) -> int:
        """
        Tell the other side when both begin.
        """
        at = self._tools.sinceStart + int(_SOON * 1000)
        self._own = evolve(own, at=at)
        self._tools.predict(self._own)
        return at


@define(eq=False, repr=False)
class Meet(_Next):
    """
    Both NATs are sequential: both begin at once, at each other's next ports.
    """

    _controlling: bool
    _theirs: Prediction | None = field(default=None, init=False)
    _met: bool = field(default=False, init=False)
    strategy = Strategy.MEET

    def _predicted(self) -> None:
        if self._own is not None:
            self._tools.predict(self._own)
        if self._theirs is not None:
            self.answered(self._theirs)

    def answered(self, theirs: Prediction) -> None:
        """See L{Round.answered}."""
        self._theirs, own, tools = theirs, self._own, self._tools
        if own is None or self._met:
            return
        at = theirs.at or own.at
        if not at:
            if not self._controlling:
                return
            at = self._beginSoon(own)
        self._met = True
        ports = meetings(own, theirs, self._controlling, at, tools.means.take(_MEETINGS))
        for repeat in (0.0, 0.4, 0.8):
            tools.later(
                tools.until(at) + repeat,
                partial(tools.probeAll, ports, theirs.host, self._name, BURST_PACE),
            )


@define(eq=False, repr=False)
class Scatter(_Next):
    """
    A sequential NAT guesses in the peer's block, from ports at which the peer aims.
    """

    _peer: Traits
    strategy = Strategy.SCATTER

    def _predicted(self) -> None:
        own, peer, tools = self._own, self._peer, self._tools
        if own is None or not tools.isSeen(peer.host):
            return
        self._beginSoon(own)
        block = Prediction(self.number, "ports", peer.host, peer.low, peer.high)
        ports = guesses(block, tools.means.random, tools.means.take(BLOCK_SOCKETS))
        tools.later(_SOON, partial(tools.probeAll, ports, peer.host, self._name, BURST_PACE))

    def answered(self, theirs: Prediction) -> None:
        """See L{Round.answered}."""


def isWide(theirs: Prediction) -> bool:
    """
    Whether a prediction names many ports.
    """
    return (theirs.high - theirs.low) // abs(theirs.step) >= _FEW


def probePorts(tools: Tools, theirs: Prediction) -> None:
    """
    The peer's mappings are at some of these ports: send checks there.
    """
    ports = guesses(theirs, tools.means.random, PROBES)
    ports = ports[: tools.means.take(len(ports))]
    if len(ports) <= _FEW:
        for delay in _REPEATS:
            tools.later(delay, partial(tools.probeAll, ports, theirs.host, "", BURST_PACE))
    else:
        # A block is gone through twice, since some are lost.
        again = ports if 2 * len(ports) <= PROBES else []
        tools.probeAll([*ports, *again], theirs.host, "", BURST_PACE if again else _PACE)


def aim(tools: Tools, theirs: Prediction) -> None:
    """
    The peer's NAT gives these ports next: aim at each of them from a socket of its own.
    """
    openings = [
        (name, Address(theirs.host, port, name))
        for index, name in enumerate(tools.openSockets(BLOCK_SOCKETS))
        if 1 <= (port := theirs.low + index * theirs.step) <= 65535
    ]
    for turn in (0, 1):
        tools.later(tools.until(theirs.at) + turn, partial(tools.openAll, openings, turn))
    tools.later(tools.until(theirs.at) + 3.0, tools.closeUnused)
