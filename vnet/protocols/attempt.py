# -*- test-case-name: vnet.test.test_punch -*-
"""
One attempt of the puncher: the path to one peer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from attrs import define, field

from vnet.driver import Driver
from vnet.protocols.codec.natsignal import Traits
from vnet.protocols.codec.signal import Credentials, Signal
from vnet.protocols.gauge import Gauge
from vnet.protocols.machine.agent import Agent
from vnet.protocols.machine.agentevents import AgentEvent
from vnet.protocols.machine.pair import Path
from vnet.protocols.machine.pathmtu import BASE, PathMtu
from vnet.protocols.traversal import Story, Traversal
from vnet.protocols.traversaltools import Means, Tools
from vnet.values import Address, Candidate

__all__ = ["Attempt", "Owner"]

_RELAYS = 128


class Owner(Protocol):
    """
    What an attempt needs of the puncher: L{vnet.protocols.punch.Puncher}.
    """

    @property
    def accepts(self) -> Callable[[Address], bool]: ...
    @property
    def candidates(self) -> tuple[Candidate, ...]: ...
    @property
    def traits(self) -> Traits | None: ...
    def seconds(self) -> float: ...
    def forget(self, attempt: Attempt) -> None: ...


@define(eq=False, repr=False)
class Attempt:
    """
    The path to one peer: the search for it and, once it is found, the checks that keep it.

    It ends with L{close} only: a path that was lost is searched again, and after a failure a check of the
    peer or L{search} revives it.  One that has failed is closed when there are too many.

    @ivar peer: who it is, as the owner calls it.
    @ivar credentials: this side's, for the peer.
    """

    peer: bytes
    credentials: Credentials
    _owner: Owner
    _agent: Agent
    _driver: Driver[AgentEvent]
    _traversal: Traversal = field(init=False)
    _gauge: Gauge | None = field(default=None, init=False)
    _theirRelays: dict[Address, None] = field(factory=dict, init=False)

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """
        This side's candidates as they are known now, for the peer.
        """
        return self._owner.candidates

    @property
    def selected(self) -> Path | None:
        """
        The path to use; L{None} when there is none.
        """
        return self._agent.selected

    @property
    def size(self) -> int:
        """
        Bytes of a datagram that the path to use carries whole, as far as is known.
        """
        return BASE if self._gauge is None else self._gauge.size

    @property
    def sizeIsSettled(self) -> bool:
        """
        Whether nothing larger is being looked for.
        """
        return self._gauge is None or self._gauge.isSettled

    @property
    def failedAt(self) -> float | None:
        """
        When the last search failed; L{None} while there is one, or a path.
        """
        return self._agent.failedAt

    @property
    def tried(self) -> tuple[Address, ...]:
        """
        The addresses of the peer that were checked.
        """
        return self._agent.tried

    @property
    def heard(self) -> tuple[Address, ...]:
        """
        The addresses from which the peer was heard.
        """
        return self._agent.heard

    @property
    def theirRelays(self) -> tuple[Address, ...]:
        """
        Where relays take datagrams for the peer, as far as it has told.
        """
        return tuple(self._theirRelays)

    def signal(self, start: int, final: bool = False) -> Signal:
        """
        What the peer has to be told, sealed, for this attempt; again when L{Puncher} calls C{onMapped}.

        @param start: the rendezvous that this answers.
        """
        traits, prediction = self._owner.traits, self._traversal.prediction
        return Signal(start, self.credentials, self.candidates, final, traits, prediction)

    def remoteSignal(self, signal: Signal) -> None:
        """
        The peer has told its credentials and candidates; may be called again with more.

        The caller has seen to it that the signal belongs to the same rendezvous.
        """
        self._agent.setRemoteCredentials(signal.credentials)
        now = self._owner.seconds()
        for candidate in signal.candidates:
            if self._owner.accepts(candidate.address):
                self._agent.addRemoteCandidate(candidate, now)
                if candidate.kind == "relay" and len(self._theirRelays) < _RELAYS:
                    self._theirRelays[candidate.address] = None
        self._traversal.signalled(signal)
        self._driver.wake()

    @property
    def isBusy(self) -> bool:
        """
        Whether ports of the peer's NAT are being guessed, so that a path may still be found.
        """
        return self._traversal.isBusy

    @property
    def story(self) -> Story:
        """
        What was done about the NATs between.
        """
        return self._traversal.story

    def search(self) -> None:
        """
        After C{Failed}: search again, with the credentials and candidates that are known.
        """
        self._agent.search(self._owner.seconds())
        self._driver.wake()

    def check(self) -> None:
        """
        Ask the peer at once whether it is there: C{Alive} or C{Dead} follows.
        """
        self._agent.check(self._owner.seconds())
        self._driver.wake()

    @property
    def standby(self) -> Path | None:
        """
        The path that takes over at once when the selected one is given up.
        """
        return self._agent.standby

    def isReady(self, addr: Address) -> bool:
        """
        Whether a path to this address, other than the selected one, is known to work.
        """
        return self._agent.isReady(addr, self._owner.seconds())

    def doubt(self) -> bool:
        """
        What is sent on the path gets no answer: if it does not work, C{Selected} follows at once with another that is ready.

        @return: whether it was asked.
        """
        asked = self._agent.doubt(self._owner.seconds())
        if asked:
            self._driver.wake()
        if self._gauge is not None:
            self._gauge.doubt()
        return asked

    def noteTraffic(self) -> None:
        """
        The path carries traffic.  Cheap enough for each batch.
        """
        if self._agent.noteTraffic(self._owner.seconds()):
            self._driver.wake()
        if self._gauge is not None:
            self._gauge.noteTraffic()

    def addressHeard(self, addr: Address) -> None:
        """
        What the path carries has proved that the peer sends from this address.
        """
        if self._agent.addressHeard(addr, self._owner.seconds()):
            self._driver.wake()

    def close(self) -> None:
        """
        Forget this peer.  No event follows.  May be called twice.
        """
        self._driver.stop()
        if self._gauge is not None:
            self._gauge.close()
        self._traversal.close()
        self._owner.forget(self)

    def received(self, data: bytes, addr: Address) -> None:
        """
        Take a datagram that the puncher has found to belong to this attempt.
        """
        if self._gauge is None or not self._gauge.takes(data, addr):
            self._driver.datagramReceived(data, addr)

    def learnRelays(self, relays: Mapping[str, Sequence[Address]]) -> None:
        """
        Know this side's allocations.
        """
        self._agent.setRelays(relays, self._owner.seconds())
        self._driver.wake()

    def traverse(self, means: Means, startAt: float, observed: str, onSignal: Callable[[], None]) -> None:
        """
        Be ready for NATs that need more than checks.
        """
        tools = Tools(means, self._agent, startAt, observed, onSignal, self._dropped)
        self._traversal = Traversal(tools, self.peer, self._agent.controlling, startAt, self._found)
        self._traversal.begin()

    def measure(
        self, means: Means, largest: int, send: Callable[[bytes, Address], bool], changed: Callable[[], None]
    ) -> None:
        """
        Find out how long the datagrams may be that the path carries whole.

        @param largest: bytes that are of use; C{send}: sends a datagram whole; C{changed}: called when L{size} has changed.
        """
        machine = PathMtu(largest, self._agent.padded, self._agent.isAnswer, means.random)
        self._gauge = Gauge(machine, means.clock, send, changed)

    def networkChanged(self) -> None:
        """
        This computer may be elsewhere.
        """
        if self._gauge is not None:
            self._gauge.restart()

    def pathChanged(self) -> None:
        """
        The agent has selected a path, or lost it.
        """
        self._traversal.pathChanged()
        if self._gauge is not None:
            self._gauge.select(self._agent.selected)

    def _found(self, candidate: Candidate) -> None:
        if self._owner.accepts(candidate.address):
            self._agent.addRemoteCandidate(candidate, self._owner.seconds())
            self._driver.wake()

    def _dropped(self, names: frozenset[str]) -> None:
        self._agent.dropSpares(names, self._owner.seconds())
        self._driver.wake()

    def learnLocal(self, candidates: Iterable[Candidate]) -> None:
        """
        Know more of this side's candidates.
        """
        for candidate in candidates:
            self._agent.addLocalCandidate(candidate)
