# -*- test-case-name: vnet.test.test_agent -*-
"""
How an ICE agent takes the peer's checks, and the answers to its own (RFC 8445 sections 7.2.5 and 7.3).
"""

from __future__ import annotations

import attrs

from vnet.protocols.codec.stun import Authentic, Class, Message
from vnet.protocols.codec.stunattributes import ERROR_CODE, XOR_MAPPED_ADDRESS
from vnet.protocols.machine.agentevents import Alive
from vnet.protocols.machine.candidates import LIMIT
from vnet.protocols.machine.check import ROLE_CONFLICT, Request
from vnet.protocols.machine.checklist import MAXIMUM_PAIRS
from vnet.protocols.machine.lifecycle import Lifecycle
from vnet.protocols.machine.pair import Pair, State, Transmission
from vnet.protocols.machine.prober import PACE
from vnet.protocols.machine.ratelimit import KeyedLimit
from vnet.protocols.machine.responder import Answer
from vnet.protocols.machine.search import Search
from vnet.protocols.machine.vigil import Vigil
from vnet.values import Address, Candidate

__all__ = ["PEER_REFLEXIVE", "Exchange"]

PEER_REFLEXIVE = "prflx"
"""The kind of a candidate that only checks have shown."""

_INTAKE_RATE = 0.5


@attrs.define(eq=False, repr=False)
class Exchange:
    """
    The checks of one agent, both ways.

    @ivar locals: this side's candidates, by their addresses.
    """

    _core: Search
    _lifecycle: Lifecycle
    _vigil: Vigil
    locals: dict[Address, Candidate] = attrs.field(factory=dict, init=False)
    _intake: KeyedLimit = attrs.field(
        factory=lambda: KeyedLimit(_INTAKE_RATE, MAXIMUM_PAIRS, limit=1), init=False
    )

    def requested(self, message: Message, addr: Address, now: float) -> bool:
        """
        A check of the peer, perhaps.

        @return: whether it is authentic.
        """
        return self._answered(self._core.responder.answer(message, addr), addr, now)

    def repeated(self, request: Request, addr: Address, now: float) -> bool:
        """
        An authentic check of the peer.

        @return: whether it is answered.
        """
        return self._answered(self._core.responder.answerTo(request, addr), addr, now)

    def _answered(self, answer: Answer | None, addr: Address, now: float) -> bool:
        core = self._core
        if answer is None:
            return False
        self._note(addr)
        core.prober.reply(answer.data, addr)
        request = answer.request
        isNew = core.checklist.find(addr) is None
        pair = None if request is None else self.pairAt(addr, request.priority, now)
        if request is None or pair is None:
            return True
        if core.election.selected is None:
            self._lifecycle.heard(now)
        core.extend(now)
        self._trigger(pair, now)
        if pair is core.election.selected and core.consent is not None and answer.isNew:
            core.consent.heard(now)
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

    def pairAt(self, addr: Address, priority: int, now: float) -> Pair | None:
        """
        The pair with this address; when it is new, a peer-reflexive candidate (RFC 8445 section 7.3.1.3).
        """
        known = self._core.checklist.find(addr)
        # RFC 8445 section 7.1.1: the priority tells the kind of the candidate that it was sent from.
        kind = PEER_REFLEXIVE if priority >> 24 else "relay"
        return known or self.admit(Candidate(kind, addr, priority, PEER_REFLEXIVE), now)

    def admit(self, candidate: Candidate, now: float) -> Pair | None:
        """
        Take a candidate, unless the peer names so many addresses that our checks would trouble strangers there.
        """
        checklist = self._core.checklist
        if checklist.find(candidate.address) is None and not self._intake.allow(None, now):
            return None
        return checklist.add(candidate, self._core.election.selected)

    def expects(self, transactionId: bytes, addr: Address) -> bool:
        """
        Whether a check of ours with this id is out for this address.
        """
        check = self._core.checklist.check(transactionId)
        return check is not None and check.pair.address == addr

    def responded(self, response: Authentic, addr: Address, now: float) -> bool:
        """
        An authentic answer.

        @return: whether it is one to a check of ours.
        """
        core = self._core
        check = core.checklist.check(response.transactionId)
        if check is None or check.pair.address != addr:
            return False
        self._note(addr)
        core.budget.answered(addr)
        core.checklist.finish(check)
        transmission = check.transmissions[response.transactionId]
        mapped = response.get(XOR_MAPPED_ADDRESS)
        if response.klass is Class.SUCCESS and mapped is not None and not response.unknown:
            self._succeeded(check.pair, mapped, now - transmission.at, now)
        else:
            self._refused(check.pair, transmission, response)
        return True

    def _succeeded(self, pair: Pair, mapped: Address, rtt: float, now: float) -> None:
        core = self._core
        own = self.locals.get(mapped)
        pair.answered(PEER_REFLEXIVE if own is None else own.kind, rtt, now)
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
        self._vigil.minDoubt(now)
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
        if core.election.isBetter(pair, core.signer.controlling, core.isSuspect, now):
            if core.isSuspect:
                core.why = "doubt"
            self._lifecycle.validated(pair, now)

    def _note(self, addr: Address) -> None:
        if len(self._core.heard) < 4 * LIMIT:
            self._core.heard.setdefault(addr)
