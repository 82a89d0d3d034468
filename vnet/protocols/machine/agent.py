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
from vnet.protocols.codec.stun import BINDING, Authentic, Class, Message, decode
from vnet.protocols.codec.stunattributes import ERROR_CODE, XOR_MAPPED_ADDRESS
from vnet.protocols.machine.agentevents import AgentEvent, Alive, Dead
from vnet.protocols.machine.candidates import LIMIT, priority, relayable
from vnet.protocols.machine.check import ROLE_CONFLICT
from vnet.protocols.machine.checklist import MAXIMUM_PAIRS
from vnet.protocols.machine.consent import Liveness
from vnet.protocols.machine.lifecycle import lifecycle
from vnet.protocols.machine.lifetime import KeepAlive
from vnet.protocols.machine.pair import CONSENT, LIVENESS, Pair, Path, State, Transmission
from vnet.protocols.machine.prober import PACE
from vnet.protocols.machine.ratelimit import KeyedLimit
from vnet.protocols.machine.search import Search
from vnet.values import Address, Candidate

__all__ = ["Agent"]

_RETRY = 1.0
_ASK_AGAIN = 0.1
_ONCE = (1.0,)
_INTAKE_RATE = 0.5
_PEER_REFLEXIVE = "prflx"


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
    ) -> None:
        """
        @param controlling: whether this side decides; when both or neither do, one gives way.
        @param local: this side's credentials.
        @param startAt: when both sides begin.
        @param random: returns so many unpredictable bytes.
        @param pace: see L{vnet.protocols.machine.budget.Budget}.
        @param keepAlive: how often an idle path needs a packet; L{None}: each 20 seconds.
        """
        self._core = Search(controlling, local, startAt, random, pace, keepAlive)
        self._lifecycle = lifecycle(self._core)
        self._locals: dict[Address, Candidate] = {}
        self._now = 0.0
        self._intake = KeyedLimit(_INTAKE_RATE, MAXIMUM_PAIRS, limit=1)
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
        over if it is given up.
        """
        core = self._core
        selected, standby = core.election.selected, core.standby(self._now)
        used = [each for each in (selected, standby) if each is not None]
        if not self.isDirect:
            used += [pair for pair in core.checklist if pair.state is not State.FAILED]
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
            else signer.request(self._core.transactionId(), priority(_PEER_REFLEXIVE), False)
        )

    def addLocalCandidate(self, candidate: Candidate) -> None:
        """
        Know one of this side's candidates, to tell by which one the peer sees it.
        """
        if len(self._locals) < 4 * LIMIT:
            self._locals.setdefault(candidate.address, candidate)

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
        own = self._locals.get(candidate.address)
        if own is not None and own.kind == "host":
            return
        isNew = self._core.checklist.find(candidate.address) is None
        pair = self._admit(candidate, now)
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
        if address.via or address in self._locals or not core.relays or not relayable(candidate):
            return
        for name, own in core.relays.items():
            relayed = Address(address.host, address.port, name)
            sameFamily = any((":" in each.host) == (":" in address.host) for each in own)
            if not sameFamily or core.checklist.find(relayed) is not None:
                continue
            if not core.checklist.hasRoomForRelayed(core.election.selected):
                return
            through = Candidate(candidate.kind, relayed, candidate.priority, candidate.foundation)
            if self._admit(through, now) is not None:
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
        self._core.trafficAt = now
        return self._core.consent is not None and self._core.consent.noteTraffic(now)

    def addressHeard(self, addr: Address, now: float) -> bool:
        """
        The tunnel has received an authentic packet from this address: if it is not the selected one, it
        is checked, and so is the selected path.  L{Selected} follows if only the new one answers.

        @return: whether the driver has to be woken.
        """
        core = self._core
        if core.election.selected is not None and core.election.selected.address == addr:
            return False
        pair = self._pairAt(addr, priority(_PEER_REFLEXIVE), now)
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
        try:
            message = decode(data)
        except DecodeError:
            self.ignored += 1
            return
        taken = False
        if message.method == BINDING and message.klass is Class.REQUEST:
            taken = self._requested(message, addr, now)
        elif message.method == BINDING and message.klass is not Class.INDICATION:
            taken = self._responded(message, addr, now)
        if not taken:
            self.ignored += 1

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
        self._judgeLiveness(now)
        self._judgeConsent(now)
        self._minDoubt(now)
        if core.exhaustedAt is not None and now >= core.exhaustedAt:
            self._lifecycle.exhausted(now)
        core.prober.pump(now)

    def nextEvent(self) -> AgentEvent | None:
        return self._core.events.popleft() if self._core.events else None

    def _requested(self, message: Message, addr: Address, now: float) -> bool:
        core = self._core
        answer = core.responder.answer(message, addr)
        if answer is None:
            return False
        self._note(addr)
        core.prober.reply(answer.data, addr)
        request = answer.request
        isNew = core.checklist.find(addr) is None
        pair = None if request is None else self._pairAt(addr, request.priority, now)
        if request is None or pair is None:
            return True
        self._lifecycle.heard(now)
        core.extend(now)
        self._trigger(pair, now)
        if isNew:
            # The peer may have moved.
            core.doubt(now)
        if request.nominates and request.controlling:
            core.election.nominate(pair, core.checklist)
            self._elect(pair, now)
        return True

    def _trigger(self, pair: Pair, now: float) -> None:
        """
        RFC 8445 section 7.3.1.4; a check that is out already is only sent again.
        """
        if pair.state is State.SUCCEEDED:
            return
        self._core.budget.grant(pair.address)
        checklist = self._core.checklist
        check = checklist.checkOf(pair)
        if check is None:
            checklist.trigger(pair)
        elif now - check.sentAt < PACE:
            return
        elif check.revive():
            check.dueAt = now
        else:
            checklist.finish(check)
            checklist.trigger(pair)

    def _pairAt(self, addr: Address, priority: int, now: float) -> Pair | None:
        """
        The pair with this address; when it is new, a peer-reflexive candidate (RFC 8445 section 7.3.1.3).
        """
        known = self._core.checklist.find(addr)
        # RFC 8445 section 7.1.1: the priority tells the kind of the candidate that it was sent from.
        kind = _PEER_REFLEXIVE if priority >> 24 else "relay"
        return known or self._admit(Candidate(kind, addr, priority, _PEER_REFLEXIVE), now)

    def _admit(self, candidate: Candidate, now: float) -> Pair | None:
        """
        Take a candidate, unless the peer names so many addresses that our checks would trouble strangers there.
        """
        checklist = self._core.checklist
        if checklist.find(candidate.address) is None and not self._intake.allow(None, now):
            return None
        return checklist.add(candidate, self._core.election.selected)

    def _responded(self, message: Message, addr: Address, now: float) -> bool:
        core = self._core
        check = core.checklist.check(message.transactionId)
        if check is None or check.pair.address != addr:
            return False
        response = core.signer.readResponse(message)
        if response is None:
            return False
        self._note(addr)
        core.budget.answered(addr)
        core.checklist.finish(check)
        transmission = check.transmissions[message.transactionId]
        mapped = response.get(XOR_MAPPED_ADDRESS)
        if response.klass is Class.SUCCESS and mapped is not None and not response.unknown:
            self._succeeded(check.pair, mapped, now - transmission.at, now)
        else:
            self._refused(check.pair, transmission, response)
        return True

    def _succeeded(self, pair: Pair, mapped: Address, rtt: float, now: float) -> None:
        core = self._core
        own = self._locals.get(mapped)
        pair.answered(_PEER_REFLEXIVE if own is None else own.kind, rtt, now)
        if pair is core.election.selected:
            core.doubting = None
            if core.isSuspect:
                # The whole network may have been away, and the direct pairs be back with it.
                core.retrySoon(now)
            if core.consent is not None:
                lapsed = core.consent.answered(now, now - rtt, mapped)
                if lapsed and core.keepAlive is not None and not pair.address.allocation:
                    core.keepAlive.lapsed()
        elif now < pair.restsUntil and core.retryAt is not None:
            core.retryAt = min(core.retryAt, pair.restsUntil)
        isSelected = pair is core.election.selected
        if core.liveness is not None and (isSelected or core.liveness.isWide):
            core.liveness = None
            core.events.append(Alive())
            if not isSelected:
                # The selected pair has been asked for longer, and did not answer.
                core.why = "doubt"
                self._lifecycle.validated(pair, now)
        self._minDoubt(now)
        self._elect(pair, now)

    def _refused(self, pair: Pair, transmission: Transmission, response: Authentic) -> None:
        core = self._core
        error = response.get(ERROR_CODE)
        if error is not None and error.code == ROLE_CONFLICT:
            if transmission.controlling == core.signer.controlling:
                core.signer.switchRole()
            core.checklist.trigger(pair)
        elif pair.state is State.IN_PROGRESS:
            pair.state = State.FAILED

    def _elect(self, pair: Pair, now: float) -> None:
        core = self._core
        if core.election.isBetter(pair, self.controlling, core.isSuspect, now):
            if core.isSuspect:
                core.why = "doubt"
            self._lifecycle.validated(pair, now)

    def _note(self, addr: Address) -> None:
        if len(self._core.heard) < 4 * LIMIT:
            self._core.heard.setdefault(addr)

    def _judgeLiveness(self, now: float) -> None:
        core, liveness = self._core, self._core.liveness
        if liveness is None:
            return
        if now >= liveness.endsAt:
            core.liveness = None
            core.events.append(Dead())
            self._lifecycle.lost(now)
        elif liveness.widensAt is not None and now >= liveness.widensAt:
            liveness.widensAt = None
            for pair in core.checklist:
                if pair is not core.election.selected and not core.checklist.isBusy(pair):
                    core.checklist.trigger(pair)

    def _minDoubt(self, now: float) -> None:
        core = self._core
        if core.election.selected is None:
            return
        if core.doubting is not None:
            standby = core.judgeDoubt(core.doubting, now)
            if standby is not None:
                self._lifecycle.validated(standby, now)
        if core.retryAt is not None and now >= core.retryAt:
            core.retry(now)
        if core.standbyAt is not None and now >= core.standbyAt:
            core.keepStandby(now)

    def _judgeConsent(self, now: float) -> None:
        core = self._core
        consent, selected = core.consent, core.election.selected
        if consent is None or selected is None:
            return
        if consent.expiresAt is not None and now >= consent.expiresAt:
            self._lifecycle.lost(now)
            return
        if consent.suspectAt is not None and now >= consent.suspectAt:
            consent.missed(now)
            fresher = core.election.freshest(core.checklist, now)
            if fresher is not None:
                core.why = "doubt"
                selected.demote(now)
                self._lifecycle.validated(fresher, now)
                return
            core.doubt(now)
        if now >= consent.dueAt:
            consent.checked(now)
            core.prober.begin(selected, CONSENT, now)
