# -*- test-case-name: vnet.test.test_agent -*-
"""
An ICE agent for one peer (RFC 8445, trickled as in RFC 8838, consent as in RFC 7675).

It differs from a full agent of RFC 8445 where one UDP socket for all peers makes it simpler or WireGuard
makes it better: there is one component and one base; the first pair that works is selected at once and a
better one takes over, since the tunnel accepts its packets from any address; each selection by the
controlling side is a nomination, so that other implementations agree.

Only authentic checks are answered.  All else is dropped in silence, and counted in L{Agent.ignored}.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from vnet.errors import DecodeError
from vnet.protocols.codec.signal import Credentials
from vnet.protocols.codec.stun import BINDING, Class, Message, decode
from vnet.protocols.machine.agentevents import AgentEvent, Dead
from vnet.protocols.machine.candidates import LIMIT, priority, relayable
from vnet.protocols.machine.consent import Liveness
from vnet.protocols.machine.exchange import PEER_REFLEXIVE, Exchange
from vnet.protocols.machine.lifecycle import lifecycle
from vnet.protocols.machine.lifetime import KeepAlive
from vnet.protocols.machine.pair import LIVENESS, Pair, Path, State
from vnet.protocols.machine.ratelimit import KeyedLimit
from vnet.protocols.machine.search import Search
from vnet.protocols.machine.slots import Slots
from vnet.protocols.machine.vigil import Vigil
from vnet.values import Address, Candidate

__all__ = ["Agent"]

_RETRY = 1.0
_ASK_AGAIN = 0.1
_ONCE = (1.0,)
_SPARES = 8


class Agent:
    """
    The machine.  See L{vnet.driver.DatagramMachine} for its five verbs; wake the driver after calling any
    other method.

    @ivar ignored: how many datagrams were dropped.
    """

    def __init__(
        self,
        *,
        controlling: bool,
        local: Credentials,
        startAt: float,
        random: Callable[[int], bytes],
        pace: KeyedLimit | None = None,
        keepAlive: KeepAlive | None = None,
        slots: Slots | None = None,
    ) -> None:
        """
        @param controlling: whether this side decides; when both or neither do, one gives way.
        @param local: this side's credentials.
        @param startAt: when both sides begin.
        @param random: returns so many unpredictable bytes.
        @param pace: see L{vnet.protocols.machine.budget.Budget}.
        @param keepAlive: how often an idle path needs a packet; L{None}: each 20 seconds.
        @param slots: when an idle path is looked after, together with others; L{None}: just when it is time.
        """
        self._core = Search(controlling, local, startAt, random, pace, keepAlive, slots)
        self._lifecycle = lifecycle(self._core)
        self._vigil = Vigil(self._core, self._lifecycle)
        self._exchange = Exchange(self._core, self._lifecycle, self._vigil)
        self._now = 0.0
        self.ignored = 0

    @property
    def selected(self) -> Path | None:
        """
        The path to use; L{None} when there is none.
        """
        pair = self._core.election.selected
        return None if pair is None else pair.path()

    @property
    def controlling(self) -> bool:
        """
        The role, which a conflict may have changed.
        """
        return self._core.signer.controlling

    @property
    def failedAt(self) -> float | None:
        """
        When the last search failed; L{None} while there is one, or a path.
        """
        return self._core.failedAt

    @property
    def tried(self) -> tuple[Address, ...]:
        """
        The addresses that checks were sent to, in order.
        """
        return tuple(self._core.prober.tried)

    @property
    def heard(self) -> tuple[Address, ...]:
        """
        The addresses that authentic checks or answers came from, in order.
        """
        return tuple(self._core.heard)

    @property
    def isDirect(self) -> bool:
        """
        Whether there is a path without a relay.
        """
        pair = self._core.election.selected
        return pair is not None and not pair.hops

    @property
    def sparesInUse(self) -> frozenset[str]:
        """
        The spare sockets that lead, or may lead, to a path: when there is a direct one, those of it and of the one that takes
        over if it is given up, else at most 8 more.
        """
        core = self._core
        selected, standby = core.election.selected, core.standby(self._now)
        used = [each for each in (selected, standby) if each is not None]
        if not self.isDirect:
            spares = [pair for pair in core.checklist if pair.address.spare]
            used += [pair for pair in spares if pair.state is not State.FAILED][-_SPARES:]
        return frozenset(pair.address.spare for pair in used if pair.address.spare)

    def dropSpares(self, names: frozenset[str], now: float) -> None:
        """
        These spare sockets are closed.
        """
        self._drop([pair for pair in self._core.checklist if pair.address.spare in names], now)

    def probe(self) -> bytes | None:
        """
        A check to somewhere where the peer may be: if it is, it answers with a check of its own.

        @return: L{None} when the peer's credentials are not known yet.
        """
        signer = self._core.signer
        return (
            None
            if signer.remote is None
            else signer.request(self._core.transactionId(), priority(PEER_REFLEXIVE), False)
        )

    def padded(self, transactionId: bytes, address: Address, size: int) -> bytes | None:
        """
        A check that is as long as a path is to be tried with; its answer is for whoever asks with L{isAnswer}.

        @param size: bytes, a multiple of 4; 0: as short as it is.
        @return: L{None} when the peer's credentials are not known yet.
        """
        signer, kind = self._core.signer, "relay" if address.allocation else PEER_REFLEXIVE
        if signer.remote is None:
            return None
        return signer.request(transactionId, priority(kind), False, size)

    def isAnswer(self, message: Message) -> bool:
        """
        Whether the peer has made this answer to a check, and has nothing against that.
        """
        response = self._core.signer.readResponse(message)
        return response is not None and response.klass is Class.SUCCESS

    def addLocalCandidate(self, candidate: Candidate) -> None:
        """
        Know one of this side's candidates, to tell by which one the peer sees it.
        """
        if len(self._exchange.locals) < 4 * LIMIT:
            self._exchange.locals.setdefault(candidate.address, candidate)

    def setRemoteCredentials(self, credentials: Credentials) -> None:
        """
        Know what the peer's checks are signed with.  Those of another attempt need another agent: later
        calls are ignored.
        """
        if self._core.signer.remote is None:
            self._core.signer.remote = credentials

    def addRemoteCandidate(self, candidate: Candidate, now: float) -> None:
        """
        Try one of the peer's candidates too.
        """
        own = self._exchange.locals.get(candidate.address)
        if own is not None and own.kind == "host":
            return
        isNew = self._core.checklist.find(candidate.address) is None
        pair = self._exchange.admit(candidate, now)
        self._relay(candidate, now)
        if pair is None or not isNew:
            return
        self._core.extend(now)
        self._core.retrySoon(now)
        if self._core.startAt is None:
            self._lifecycle.heard(now)

    def setRelays(self, relays: Mapping[str, Sequence[Address]], now: float) -> None:
        """
        Know this side's allocations: the peer's candidates are tried through each of them.

        @param relays: where each relays for us, by the name that addresses have as C{via}.
        """
        core = self._core
        known, core.relays = core.relays, {name: tuple(each) for name, each in relays.items()}
        self._drop(
            [
                pair
                for pair in core.checklist
                if pair.address.allocation and pair.address.via not in core.relays
            ],
            now,
        )
        if set(core.relays) - set(known):
            for pair in list(core.checklist):
                if not pair.address.allocation:
                    self._relay(pair.remote, now)

    def _drop(self, gone: Sequence[Pair], now: float) -> None:
        """
        The ways of these pairs are gone.
        """
        core = self._core
        for pair in gone:
            core.checklist.remove(pair)
        if core.election.selected in gone:
            standby = core.standby(now)
            if standby is not None:
                core.why = "lost"
                self._lifecycle.validated(standby, now)
            else:
                self._lifecycle.lost(now)

    def _relay(self, candidate: Candidate, now: float) -> None:
        """
        Try a candidate of the peer through our relays too.
        """
        core, address = self._core, candidate.address
        if address.via or address in self._exchange.locals or not core.relays or not relayable(candidate):
            return
        for name, own in core.relays.items():
            relayed = Address(address.host, address.port, name)
            sameFamily = any((":" in each.host) == (":" in address.host) for each in own)
            if not sameFamily or core.checklist.find(relayed) is not None:
                continue
            if not core.checklist.hasRoomForRelayed(core.election.selected):
                return
            through = Candidate(candidate.kind, relayed, candidate.priority, candidate.foundation)
            if self._exchange.admit(through, now) is not None:
                core.extend(now)
                if core.startAt is None:
                    self._lifecycle.heard(now)

    @property
    def standby(self) -> Path | None:
        """
        The path that takes over when the selected one is given up; not older than a minute.
        """
        pair = self._core.standby(self._now)
        return None if pair is None else pair.path()

    def isReady(self, addr: Address, now: float) -> bool:
        """
        Whether a path to this address, other than the selected one, is known to work.
        """
        return any(pair.address == addr for pair in self._core.election.standbys(self._core.checklist, now))

    def doubt(self, now: float) -> bool:
        """
        The tunnel sends, and hears nothing: if the selected path does not answer at once, L{Selected} follows with another
        one that is ready.  Cheap to call often.

        @return: whether the driver has to be woken.
        """
        return self._core.doubt(now)

    def search(self, now: float) -> None:
        """
        After L{Failed}: check all pairs again; while a relay is used, the direct ones.  Otherwise nothing happens.
        """
        self._core.retrySoon(now)
        self._lifecycle.retried(now)

    def check(self, now: float) -> None:
        """
        Ask the peer at once whether it is there: L{Alive} or L{Dead} follows within 5 seconds.
        """
        core = self._core
        if core.election.selected is None:
            core.events.append(Dead())
        elif core.liveness is None:
            core.liveness = Liveness.asked(now)
            core.prober.begin(core.election.selected, LIVENESS, now)
        elif now - (core.election.selected.triedAt or 0.0) >= _ASK_AGAIN:
            core.prober.begin(core.election.selected, _ONCE, now)

    def noteTraffic(self, now: float) -> bool:
        """
        The tunnel carries traffic.

        @return: whether the driver has to be woken.
        """
        return self._core.noteTraffic(now)

    def addressHeard(self, addr: Address, now: float) -> bool:
        """
        The tunnel has received an authentic packet from this address: if it is not the selected one, it
        is checked, and so is the selected path.  L{Selected} follows if only the new one answers.

        @return: whether the driver has to be woken.
        """
        core = self._core
        if core.election.selected is not None and core.election.selected.address == addr:
            return False
        pair = self._exchange.pairAt(addr, priority(PEER_REFLEXIVE), now)
        if pair is None:
            return False
        if core.consent is not None:
            core.consent.hasten(now, core.rtt)
        if pair.state is State.SUCCEEDED:
            # The peer has moved to a path that is known to work: it may have had reason to.
            core.doubt(now)
        if pair.triedAt is None or now - pair.triedAt >= _RETRY:
            self._lifecycle.heard(now)
            core.checklist.trigger(pair)
        return True

    def receive(self, data: bytes, addr: Address, now: float) -> None:
        self._now = now
        if not self._take(data, addr, now):
            self.ignored += 1

    def _take(self, data: bytes, addr: Address, now: float) -> bool:
        """
        @return: whether the datagram is an authentic check, or an answer to one.
        """
        exchange, signer = self._exchange, self._core.signer
        isResponse = bool(data) and data[0] & 1
        if isResponse and not exchange.expects(data[8:20], addr):
            return False
        if isResponse:
            response = signer.repeatedResponse(data)
            if response is not None:
                return exchange.responded(response, addr, now)
        else:
            request = signer.repeatedRequest(data)
            if request is not None:
                return exchange.repeated(request, addr, now)
        try:
            message = decode(data)
        except DecodeError:
            return False
        if message.method != BINDING or message.klass is Class.INDICATION:
            return False
        if message.klass is Class.REQUEST:
            return exchange.requested(message, addr, now)
        response = signer.readResponse(message)
        return response is not None and exchange.responded(response, addr, now)

    def datagramsToSend(self, now: float) -> list[tuple[bytes, Address]]:
        self._core.prober.pump(now)
        return self._core.prober.datagramsToSend()

    def deadline(self) -> float | None:
        return self._core.deadline()

    def timerFired(self, now: float) -> None:
        core = self._core
        self._now = now
        if core.startAt is not None and now >= core.startAt:
            self._lifecycle.begun(now)
        self._vigil.timerFired(now)
        if core.exhaustedAt is not None and now >= core.exhaustedAt:
            self._lifecycle.exhausted(now)
        core.prober.pump(now)

    def nextEvent(self) -> AgentEvent | None:
        return self._core.events.popleft() if self._core.events else None
