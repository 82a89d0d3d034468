# -*- test-case-name: vnet.test.test_allocation -*-
"""
A TURN client's allocation on one server over one transport (RFC 8656)::

    probing --401--> held --proceed--> allocating --success--> allocated
       |                                   |                       |
       +-----------no answer, error--------+--> failed <-----------+ lost
                                                closed <-- close, in any state

The first request does not say who asks; its answer, a challenge, shows that the server is there.  Then the allocation is
kept: refreshed, its channels bound again while they are used, and the server asked every 15 seconds whether it is there,
which keeps the mapping of a NAT too.
"""

from __future__ import annotations

import struct
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any

from attrs import define

from vnet.errors import DecodeError
from vnet.protocols.codec.stun import BINDING, Authentic, Class, Message, decode, encode
from vnet.protocols.codec.stunattributes import (
    ADDITIONAL_ADDRESS_FAMILY,
    CHANNEL_NUMBER,
    DATA,
    ERROR_CODE,
    LIFETIME,
    REQUESTED_TRANSPORT,
    XOR_MAPPED_ADDRESS,
    XOR_PEER_ADDRESS,
    XOR_RELAYED_ADDRESS,
    Attribute,
)
from vnet.protocols.codec.turn import ALLOCATE, CHANNEL_BIND, DATA_INDICATION, REFRESH, UDP
from vnet.protocols.machine.allocationevents import (
    Allocated,
    AllocationEvent,
    AllocationLost,
    Answered,
    Challenged,
    PeerRefused,
    Refused,
    Silent,
)
from vnet.protocols.machine.transaction import Transaction, Transactions
from vnet.protocols.machine.turnchannels import Channel, Channels
from vnet.protocols.machine.turnsigner import RelayCredentials, TurnSigner
from vnet.values import Address

__all__ = [
    "Allocated",
    "Allocation",
    "AllocationLost",
    "Answered",
    "Challenged",
    "PeerRefused",
    "Refused",
    "RelayCredentials",
    "Silent",
]

_RTO, _RC, _RM = 0.25, 5, 4
_CHECK_RC, _CHECK_RM = 3, 3
_STREAM_TIMEOUT, _STREAM_CHECK = 10.0, 5.0
_KEEPALIVE = 15.0
_CHANNEL_SCAN = 30.0
_REFUSED = 60.0
_RETRIES = 3
_LIFETIME, _MARGIN = 600.0, 60.0
_UNAUTHORIZED, _MISMATCH, _STALE = 401, 437, 438
_HEADER = struct.Struct("!HH")
_DATA_INDICATION = b"\x00\x17"

_REASONS = {
    300: "it sends us to another server",
    400: "it does not understand our request",
    401: "it does not accept our credentials: do mediator and relay share the secret, and are their clocks right?",
    403: "it does not allow it",
    437: "it takes us for someone who has an allocation already",
    440: "it does not serve this address family",
    441: "the allocation was made with other credentials",
    442: "it does not relay UDP",
    486: "this node has too many allocations on it",
    500: "it has an error",
    508: "it is full",
}


@define(eq=False)
class _Request:
    """
    A request that is under way.

    @ivar retries: how often it was signed anew.
    """

    method: int
    attributes: tuple[Attribute[Any], ...]
    channel: Channel | None = None
    retries: int = 0
    ending: bool = False


class Allocation:
    """
    The machine.  See L{vnet.driver.DatagramMachine} for its five verbs; wake the driver after calling any other method.

    @ivar state: C{"probing"}, C{"held"}, C{"allocating"}, C{"allocated"}, C{"failed"} or C{"closed"}.
    @ivar relayed: where peers send to reach us; empty until allocated.
    @ivar mapped: where the server sees us.
    @ivar rtt: seconds of the newest round trip that is known exactly.
    @ivar counters: what was ignored or dropped, by reason.
    """

    def __init__(
        self,
        server: Address,
        credentials: RelayCredentials,
        *,
        random: Callable[[int], bytes],
        stream: bool = False,
        hold: bool = False,
        lifetime: int | None = None,
    ) -> None:
        """
        @param random: returns so many unpredictable bytes.
        @param stream: whether the transport is reliable, so that nothing is sent twice.
        @param hold: wait for L{proceed} once the server has answered.
        @param lifetime: seconds to ask for; L{None}: what the server gives, ten minutes usually.
        """
        self.server = server
        self._random = random
        self._hold = hold
        self._lifetime = lifetime
        timing = (_STREAM_TIMEOUT, 1, 1) if stream else (_RTO, _RC, _RM)
        self._transactions = Transactions(random=random, rto=timing[0], rc=timing[1], rm=timing[2])
        checking = (_STREAM_CHECK, 1, 1) if stream else (_RTO, _CHECK_RC, _CHECK_RM)
        self._checks = Transactions(random=random, rto=checking[0], rc=checking[1], rm=checking[2])
        self._signer = TurnSigner(credentials)
        self._channels = Channels()
        self._requests: dict[bytes, _Request] = {}
        self._events: deque[AllocationEvent] = deque()
        self._outbox: list[tuple[bytes, Address]] = []
        self._refreshAt: float | None = None
        self._expiresAt = 0.0
        self._checkAt: float | None = None
        self._scanAt: float | None = None
        self._cleared = False
        self._started = False
        self.state = "probing"
        self.relayed: tuple[Address, ...] = ()
        self.mapped: Address | None = None
        self.rtt: float | None = None
        self.counters: Counter[str] = Counter()

    # What the owner asks

    def proceed(self, now: float) -> None:
        """
        After L{Challenged}: ask for the allocation in earnest.
        """
        if self.state == "held":
            self.state = "allocating"
            self._allocate(now)

    def check(self, now: float) -> None:
        """
        Is the server there?  L{Answered} or L{Silent} follows.
        """
        if self.state == "allocated" and not len(self._checks):
            self._checkAt = None
            self._checks.start(self.server, _binding, now)

    def close(self, now: float) -> None:
        """
        Give the allocation back, without waiting for an answer.
        """
        if self.state in ("allocating", "allocated"):
            data = self._signer.request(REFRESH, self._random(12), (LIFETIME(0),))
            self._outbox.append((data, self.server))
        self._end("closed")

    def wrap(self, datagrams: Sequence[tuple[bytes, Address]], now: float) -> list[bytes]:
        """
        Make messages for the server of datagrams for peers.  What a peer that is new gets waits until its channel is there.

        @return: ChannelData without padding.
        """
        frames: list[bytes] = []
        find, pack = self._channels.find, _HEADER.pack
        for data, peer in datagrams:
            channel = find(peer)
            if channel is not None and channel.bound:
                channel.usedAt = now
                frames.append(pack(channel.number, len(data)) + data)
            else:
                self._keep(channel, data, peer, now)
        return frames

    def unwrap(self, frame: bytes) -> tuple[bytes, Address] | None:
        """
        Take a peer's datagram out of a message of the server.

        @return: the datagram and the peer; L{None} when the message is something else.
        """
        if len(frame) < 4 or self.state != "allocated":
            return None
        if 0x40 <= frame[0] <= 0x4F:
            number, size = _HEADER.unpack_from(frame)
            channel = self._channels.at(number)
            if channel is None or len(frame) < 4 + size:
                self.counters["noChannel"] += 1
                return None
            return frame[4 : 4 + size], channel.peer
        return self._indicated(frame) if frame[:2] == _DATA_INDICATION else None

    def _indicated(self, frame: bytes) -> tuple[bytes, Address] | None:
        try:
            message = decode(frame)
        except DecodeError:
            self.counters["malformed"] += 1
            return None
        peer, data = message.get(XOR_PEER_ADDRESS), message.get(DATA)
        if message.method != DATA_INDICATION or peer is None or data is None or message.unknown:
            self.counters["malformed"] += 1
            return None
        return data, peer

    # The five verbs

    def receive(self, data: bytes, addr: Address, now: float) -> None:
        """
        A STUN message of the server has come.
        """
        try:
            message = decode(data)
        except DecodeError:
            self.counters["malformed"] += 1
            return
        if addr != self.server or message.klass not in (Class.SUCCESS, Class.ERROR):
            self.counters["ignored"] += 1
            return
        checked = self._checks.find(message.transactionId, addr)
        if checked is not None:
            self._checked(checked, message, now)
            return
        transaction = self._transactions.find(message.transactionId, addr)
        request = self._requests.get(message.transactionId)
        if transaction is None or request is None or message.method != request.method:
            self.counters["ignored"] += 1
            return
        self._judge(transaction, request, message, now)

    def datagramsToSend(self, now: float) -> list[tuple[bytes, Address]]:
        """
        Take what is to be sent.
        """
        if not self._started:
            self._started = True
            self._allocate(now)
        outbox, self._outbox = self._outbox, []
        return [*self._transactions.datagramsToSend(), *self._checks.datagramsToSend(), *outbox]

    def deadline(self) -> float | None:
        """
        When L{timerFired} is to be called.
        """
        times = (
            self._transactions.deadline(),
            self._checks.deadline(),
            self._refreshAt,
            self._checkAt,
            self._scanAt,
        )
        return min((time for time in times if time is not None), default=None)

    def timerFired(self, now: float) -> None:
        """
        Do what is due.
        """
        for transaction in self._transactions.timerFired(now):
            self._unanswered(self._requests.pop(transaction.id, None), now)
        if self._checks.timerFired(now):
            self._checkAt = now + self._jittered(_KEEPALIVE)
            self._events.append(Silent())
        if self.state != "allocated":
            return
        if self._refreshAt is not None and now >= self._refreshAt:
            self._refreshAt = None
            self._ask(_Request(REFRESH, (LIFETIME(self._lifetime),) if self._lifetime else ()), now)
        if self._checkAt is not None and now >= self._checkAt:
            self.check(now)
        if self._scanAt is not None and now >= self._scanAt:
            self._scanAt = now + _CHANNEL_SCAN
            for channel in self._channels.due(now):
                self._bind(channel, now)

    def nextEvent(self) -> AllocationEvent | None:
        """
        Take the oldest event.
        """
        return self._events.popleft() if self._events else None

    # Requests

    def _allocate(self, now: float) -> None:
        attributes: tuple[Attribute[Any], ...] = (REQUESTED_TRANSPORT(UDP),)
        if self._lifetime:
            attributes += (LIFETIME(self._lifetime),)
        self._ask(_Request(ALLOCATE, (*attributes, ADDITIONAL_ADDRESS_FAMILY(6))), now)

    def _ask(self, request: _Request, now: float) -> None:
        transaction = self._transactions.start(
            self.server, lambda id: self._signer.request(request.method, id, request.attributes), now
        )
        self._requests[transaction.id] = request

    def _bind(self, channel: Channel, now: float) -> None:
        channel.binding = True
        attributes = (CHANNEL_NUMBER(channel.number), XOR_PEER_ADDRESS(channel.peer))
        self._ask(_Request(CHANNEL_BIND, attributes, channel), now)

    def _keep(self, channel: Channel | None, data: bytes, peer: Address, now: float) -> None:
        """
        A datagram for a peer that has no channel yet.
        """
        if self.state != "allocated" or (channel is not None and channel.refusedUntil > now):
            self.counters["refused"] += 1
            return
        if not any((":" in peer.host) == (":" in each.host) for each in self.relayed):
            self.counters["family"] += 1
            return
        if channel is None:
            channel = self._channels.open(peer, now)
        if channel is None:
            self.counters["tooManyPeers"] += 1
            return
        channel.usedAt = now
        self._channels.hold(channel, data)
        if not channel.binding:
            self._bind(channel, now)

    # Answers

    def _judge(self, transaction: Transaction, request: _Request, message: Message, now: float) -> None:
        authentic = self._signer.read(message)
        code = message.get(ERROR_CODE)
        if authentic is None and (code is None or message.klass is not Class.ERROR):
            self.counters["unauthentic"] += 1
            return
        isChallenge = code is not None and code.code in (_UNAUTHORIZED, _STALE)
        if authentic is None and self._signer.challenged and not isChallenge:
            # The server signs all other errors: somebody else may have sent this one.
            self.counters["unauthentic"] += 1
            return
        self._transactions.finish(transaction)
        self._requests.pop(transaction.id, None)
        if transaction.sends == 1:
            self.rtt = now - transaction.startedAt
        if message.klass is Class.ERROR:
            self._failed(request, code.code if code is not None else 500, message, now)
        elif authentic is not None:
            self._succeeded(request, authentic, now)

    def _succeeded(self, request: _Request, answer: Authentic, now: float) -> None:
        if request.method == ALLOCATE and self.state == "allocating":
            self._obtained(answer, now)
        elif request.method == REFRESH and self.state == "allocated":
            self._refreshed(answer, now)
        elif request.channel is not None:
            channel = request.channel
            channel.binding, channel.bound, channel.boundAt = False, True, now
            for frame in self.wrap([(data, channel.peer) for data in self._channels.release(channel)], now):
                self._outbox.append((frame, self.server))

    def _obtained(self, answer: Authentic, now: float) -> None:
        relayed = answer.getAll(XOR_RELAYED_ADDRESS)[:2]
        if not relayed or answer.unknown:
            self._fail(Refused(500, "its answer makes no sense"))
            return
        self.state, self.relayed = "allocated", relayed
        self.mapped = answer.get(XOR_MAPPED_ADDRESS)
        self._refreshed(answer, now)
        self._checkAt = now + self._jittered(_KEEPALIVE)
        self._scanAt = now + _CHANNEL_SCAN
        self._events.append(Allocated(relayed, self.mapped, self.rtt or 0.0))

    def _refreshed(self, answer: Authentic, now: float) -> None:
        granted = answer.get(LIFETIME)
        lifetime = float(granted) if granted else _LIFETIME
        self._expiresAt = now + lifetime
        self._refreshAt = now + max(lifetime - _MARGIN, lifetime / 2)

    def _failed(self, request: _Request, code: int, message: Message, now: float) -> None:
        if code in (_UNAUTHORIZED, _STALE) and self._retry(request, code, message, now):
            return
        if request.method == ALLOCATE:
            if code == _MISMATCH and not self._cleared:
                # An earlier life of ours may have left an allocation: give it back, and ask again.
                self._cleared = True
                self._ask(_Request(REFRESH, (LIFETIME(0),), ending=True), now)
            else:
                self._fail(Refused(code, _reason(code)))
        elif request.ending:
            self._allocate(now)
        elif request.channel is not None:
            self._bindFailed(request.channel, code, now)
        elif request.method == REFRESH:
            self._fail(AllocationLost(_reason(code)))

    def _retry(self, request: _Request, code: int, message: Message, now: float) -> bool:
        """
        Sign a request that was challenged.

        @return: whether there is anything to be gained by it.
        """
        first = not self._signer.challenged
        if (code == _UNAUTHORIZED and not first) or request.retries >= _RETRIES:
            return False
        if not self._signer.challenge(message):
            return False
        request.retries += 1
        if first:
            self._events.append(Challenged(self.rtt or 0.0))
            if self._hold:
                self.state = "held"
                return True
            self.state = "allocating"
        self._ask(request, now)
        return True

    def _bindFailed(self, channel: Channel, code: int, now: float) -> None:
        channel.binding = channel.bound = False
        channel.refusedUntil = now + _REFUSED
        self._channels.release(channel)
        if code == _MISMATCH:
            self._fail(AllocationLost(_reason(code)))
        else:
            self._events.append(PeerRefused(channel.peer, code))

    def _unanswered(self, request: _Request | None, now: float) -> None:
        if request is None:
            return
        if request.channel is not None:
            request.channel.binding = False
            self._channels.release(request.channel)
        elif request.method == REFRESH and not request.ending and now < self._expiresAt - 1:
            self._refreshAt = now + 1
        elif self.state in ("probing", "allocating", "allocated"):
            self._fail(Silent())

    def _checked(self, transaction: Transaction, message: Message, now: float) -> None:
        self._checks.finish(transaction)
        self._checkAt = now + self._jittered(_KEEPALIVE)
        if transaction.sends == 1:
            self.rtt = now - transaction.startedAt
        mapped = message.get(XOR_MAPPED_ADDRESS)
        if mapped is not None and self.mapped is not None and mapped != self.mapped:
            self._fail(AllocationLost("the relay sees this computer at another address now"))
        else:
            self._events.append(Answered(self.rtt or 0.0))

    # The end

    def _fail(self, event: AllocationEvent) -> None:
        self._end("failed")
        self._events.append(event)

    def _end(self, state: str) -> None:
        self.state = state
        self.relayed = ()
        self._started = True
        self._refreshAt = self._checkAt = self._scanAt = None
        for transactions in (self._transactions, self._checks):
            transactions.clear()
        self._requests.clear()

    def _jittered(self, interval: float) -> float:
        return interval * (0.8 + 0.4 * int.from_bytes(self._random(2), "big") / 0xFFFF)


def _binding(transactionId: bytes) -> bytes:
    return encode(Message(BINDING, Class.REQUEST, transactionId))


def _reason(code: int) -> str:
    return _REASONS.get(code, "it refuses") + f" ({code})"
