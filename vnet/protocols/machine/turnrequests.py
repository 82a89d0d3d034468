# -*- test-case-name: vnet.test.test_allocation -*-
"""
The requests of a TURN client: signed, sent again until they are answered, and their answers judged
(RFC 8489 section 9.2.5).
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from attrs import define, field, frozen

from vnet.protocols.codec.stun import Authentic, Class, Message
from vnet.protocols.codec.stunattributes import ERROR_CODE, Attribute
from vnet.protocols.machine.transaction import Transaction, Transactions
from vnet.protocols.machine.turnchannels import Channel
from vnet.protocols.machine.turnsigner import TurnSigner
from vnet.values import Address

__all__ = ["UNAUTHORIZED", "Outcome", "TurnRequest", "TurnRequests"]

UNAUTHORIZED, _STALE = 401, 438
_RETRIES = 3
_INSISTED = 2


@define(eq=False, repr=False)
class TurnRequest:
    """
    A request that is under way.

    @ivar channel: that it is about.
    @ivar retries: how often it was signed anew.
    @ivar unsigned: the code of errors that came for it, and that nobody vouched for.
    @ivar insisted: how many there were.
    """

    method: int
    attributes: tuple[Attribute[Any], ...] = ()
    channel: Channel | None = None
    retries: int = 0
    unsigned: int = 0
    insisted: int = 0


@frozen
class Outcome:
    """
    What has become of a request.

    @ivar askedAt: when it was first sent.
    @ivar success: the answer, if it is one; otherwise C{code} is that of the error.
    @ivar rtt: seconds of the round trip; L{None} when it was sent more than once.
    """

    request: TurnRequest
    askedAt: float
    success: Authentic | None
    code: int
    rtt: float | None


@define(eq=False, repr=False)
class TurnRequests:
    """
    The requests of one client to one server.

    @ivar _transactions: how they are sent again.
    @ivar _reliable: whether the transport is, so that nothing is sent twice.
    @ivar _counters: gets what was ignored, by reason.
    """

    _server: Address
    _signer: TurnSigner
    _transactions: Transactions
    _reliable: bool
    _counters: Counter[str]
    _requests: dict[bytes, TurnRequest] = field(factory=dict, init=False)

    def __len__(self) -> int:
        return len(self._requests)

    def ask(self, request: TurnRequest, now: float) -> None:
        """
        Send a request.
        """

        def build(transactionId: bytes) -> bytes:
            return self._signer.request(request.method, transactionId, request.attributes)

        self._requests[self._transactions.start(self._server, build, now).id] = request

    def receive(self, message: Message, addr: Address, now: float) -> Outcome | None:
        """
        An answer of the server, perhaps to one of these.  One that says how to sign is followed at once, but for the first,
        which has the code 401.

        @return: L{None} while the request goes on.
        """
        transaction = self._transactions.find(message.transactionId, addr)
        request = self._requests.get(message.transactionId)
        if transaction is None or request is None or message.method != request.method:
            self._counters["ignored"] += 1
            return None
        error = message.get(ERROR_CODE) if message.klass is Class.ERROR else None
        success = self._signer.read(message)
        if not self._counts(request, message, success is not None, 0 if error is None else error.code):
            self._counters["unauthentic"] += 1
            return None
        return self._finish(transaction, message, success, error.code if error is not None else 500, now)

    def _counts(self, request: TurnRequest, message: Message, authentic: bool, code: int) -> bool:
        """
        Whether an answer is to be believed: errors without a signature only where the server has to send such ones, or
        where it insists on them, as some do.
        """
        if authentic or (code and not self._signer.challenged) or code in (UNAUTHORIZED, _STALE):
            return True
        if not code:
            return False
        request.insisted = request.insisted + 1 if code == request.unsigned else 1
        request.unsigned = code
        return self._reliable or request.insisted >= _INSISTED

    def _finish(
        self, transaction: Transaction, message: Message, authentic: Authentic | None, code: int, now: float
    ) -> Outcome | None:
        request = self._requests.pop(transaction.id)
        self._transactions.finish(transaction)
        rtt = now - transaction.startedAt if transaction.sends == 1 else None
        isSuccess = message.klass is Class.SUCCESS
        if not isSuccess and code in (UNAUTHORIZED, _STALE) and self._signAnew(request, code, message, now):
            return None
        return Outcome(
            request, transaction.startedAt, authentic if isSuccess else None, 0 if isSuccess else code, rtt
        )

    def _signAnew(self, request: TurnRequest, code: int, message: Message, now: float) -> bool:
        """
        Sign a request as the answer says.

        @return: whether it was sent again.
        """
        first = not self._signer.challenged
        if request.retries >= _RETRIES or (code == UNAUTHORIZED and not self._signer.isNews(message)):
            return False
        if not self._signer.challenge(message) or first:
            return False
        request.retries += 1
        self.ask(request, now)
        return True

    def timerFired(self, now: float) -> list[TurnRequest]:
        """
        Send again what is due.

        @return: the requests that nobody answered: they are over.
        """
        failed = [self._requests.pop(each.id, None) for each in self._transactions.timerFired(now)]
        return [each for each in failed if each is not None]

    def datagramsToSend(self) -> list[tuple[bytes, Address]]:
        """
        Hand out, once, what is to be sent now.
        """
        return self._transactions.datagramsToSend()

    def deadline(self) -> float | None:
        """
        When L{timerFired} has something to do.
        """
        return self._transactions.deadline()

    def clear(self) -> None:
        """
        Forget all.
        """
        self._transactions.clear()
        self._requests.clear()
