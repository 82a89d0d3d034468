# -*- test-case-name: vnet.test.test_allocation -*-
"""
A TURN client's allocation on one server over one transport (RFC 8656)::

    probing --401--> held --proceed--> allocating --success--> allocated
       |                                   |                       |
       +-----------no answer, error--------+--> failed <-----------+ lost
                                                closed <-- close, in any state

The first request does not say who asks; its answer, a challenge, shows that the server is there.  Then the allocation is
kept: it is refreshed each minute, which shows too whether the server still has it, its channels are bound again while they
are used, and over UDP an indication every 15 seconds keeps the mapping of a NAT.
"""

from __future__ import annotations

import struct
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any

from vnet.errors import DecodeError
from vnet.protocols.codec.stun import BINDING, Authentic, Class, Message, decode, encode
from vnet.protocols.codec.stunattributes import (
    ADDITIONAL_ADDRESS_FAMILY,
    CHANNEL_NUMBER,
    DATA,
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
    Unanswered,
    reasonOf,
)
from vnet.protocols.machine.channeldata import unwrapTrain
from vnet.protocols.machine.transaction import Transactions
from vnet.protocols.machine.turnchannels import Channel, Channels
from vnet.protocols.machine.turnrequests import UNAUTHORIZED, Outcome, TurnRequest, TurnRequests
from vnet.protocols.machine.turnsigner import RelayCredentials, TurnSigner
from vnet.values import Address, Train

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
    "Unanswered",
]

_ASKING, _CHECKING = {"rto": 0.25, "rc": 5, "rm": 4}, {"rto": 0.25, "rc": 3, "rm": 3}
_STREAM_ASKING, _STREAM_CHECKING = {"rto": 10.0, "rc": 1, "rm": 1}, {"rto": 5.0, "rc": 1, "rm": 1}
_REFRESH, _SHORTEST_REFRESH, _KEEPALIVE, _SCAN = 60.0, 5.0, 10.0, 30.0
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 15.0
_LIFETIME = 600
_CLEARINGS = 3
_MISMATCH, _WRONG_CREDENTIALS = 437, 441
_HEADER = struct.Struct("!HH")
_DATA_INDICATION = b"\x00\x17"


class Allocation:
    """
    The machine.  See L{vnet.driver.DatagramMachine} for its five verbs; wake the driver after calling any other method.

    @ivar state: C{"probing"}, C{"held"}, C{"allocating"}, C{"allocated"}, C{"failed"} or C{"closed"}.
    @ivar name: what C{via} is in the addresses of peers.
    @ivar relayed: where peers send to reach us; empty until allocated.
    @ivar mapped: where the server sees us.
    @ivar rtt: seconds of the newest round trip that is known exactly.
    @ivar stirred: whether L{wrap} has begun something since datagrams were taken: the driver has to be woken only then.
    @ivar counters: what was ignored or dropped, by reason.
    """

    def __init__(
        self,
        server: Address,
        credentials: RelayCredentials,
        *,
        random: Callable[[int], bytes],
        name: str = "",
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
        self.name = name
        self.counters: Counter[str] = Counter()
        self._random = random
        self._hold = hold
        self._stream = stream
        self._lifetime: tuple[Attribute[Any], ...] = (LIFETIME(lifetime),) if lifetime else ()
        self._signer = TurnSigner(credentials)
        self._requests = self._requestsOf(_STREAM_ASKING if stream else _ASKING)
        self._checks = self._requestsOf(_STREAM_CHECKING if stream else _CHECKING)
        self._channels = Channels()
        self._events: deque[AllocationEvent] = deque()
        self._outbox: list[tuple[bytes, Address]] = []
        self._refreshAt: float | None = None
        self._keepAliveAt: float | None = None
        self._scanAt: float | None = None
        self._expiresAt = 0.0
        self._pause = 0.0
        self._started, self._clearings = False, 0
        self.state = "probing"
        self.relayed: tuple[Address, ...] = ()
        self.mapped: Address | None = None
        self.rtt: float | None = None
        self.stirred = False

    def _requestsOf(self, timing: dict[str, Any]) -> TurnRequests:
        transactions = Transactions(random=self._random, **timing)
        return TurnRequests(self.server, self._signer, transactions, self._stream, self.counters)

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
        Does the server keep the allocation?  L{Answered}, L{Unanswered} or L{AllocationLost} follows.
        """
        if self.state != "allocated":
            return
        self._refreshAt = None
        if not len(self._checks):
            self._checks.ask(TurnRequest(REFRESH, self._lifetime), now)

    def close(self, now: float) -> None:
        """
        Give the allocation back, without waiting for an answer.
        """
        if self.state in ("allocating", "allocated"):
            data = self._signer.request(REFRESH, self._random(12), (LIFETIME(0),))
            self._outbox.append((data, self.server))
        self._end("closed")

    # Data

    def wrap(self, datagrams: Sequence[tuple[bytes, Address]], now: float) -> list[bytes]:
        """
        Make messages for the server of datagrams for peers.  What a peer that is new gets waits until its channel is there.

        @return: ChannelData without padding.  If L{stirred}, wake the driver before sending it.
        """
        frames: list[bytes] = []
        append, pack = frames.append, _HEADER.pack
        channel: Channel | None = None
        latest: Address | None = None
        for data, peer in datagrams:
            if channel is None or peer is not latest:
                channel, latest = self._channels.find(peer), peer
                if channel is None or channel.freshUntil <= now:
                    channel = self._channelFor(channel, data, peer, now)
                    if channel is None:
                        continue
                channel.usedAt = now
            append(pack(channel.number, len(data)) + data)
        return frames

    def unwrap(self, frame: bytes) -> tuple[bytes, Address] | None:
        """
        Take a peer's datagram out of a message of the server.

        @return: the datagram and the peer; L{None} when the message is something else.
        """
        if len(frame) < 4 or self.state != "allocated":
            return None
        if not 0x40 <= frame[0] <= 0x4F:
            return self._indicated(frame) if frame[:2] == _DATA_INDICATION else None
        channel = self._channels.at(frame[0] << 8 | frame[1])
        end = (frame[2] << 8 | frame[3]) + 4
        if channel is None or len(frame) < end:
            self.counters["noChannel"] += 1
            return None
        return frame[4:end], channel.peer

    def ready(self, peer: Address, now: float) -> int:
        """
        The number of a peer's channel; 0 when it has to be bound before it is used, or soon: L{wrap} sees to that.
        """
        channel = self._channels.find(peer)
        if channel is None or channel.freshUntil <= now:
            return 0
        channel.usedAt = now
        return channel.number

    def unwrapTrain(self, train: Train, found: list[Train]) -> list[bytes]:
        """
        Take peers' datagrams out of messages of the server.  ChannelData of one channel and one size stays a train.

        @param found: gets them.
        @return: the messages that are no ChannelData.
        """
        if self.state != "allocated":
            return list(train.datagrams())
        return unwrapTrain(train, self._channels, self.counters, found)

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
        return data, Address(peer.host, peer.port, self.name)

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
        requests = self._checks if message.method == REFRESH else self._requests
        outcome = requests.receive(message, addr, now)
        if outcome is not None:
            self._judge(outcome, now)

    def datagramsToSend(self, now: float) -> list[tuple[bytes, Address]]:
        """
        Take what is to be sent.
        """
        if not self._started:
            self._started = True
            self._allocate(now)
        self.stirred = False
        outbox, self._outbox = self._outbox, []
        return [*self._requests.datagramsToSend(), *self._checks.datagramsToSend(), *outbox]

    def deadline(self) -> float | None:
        """
        When L{timerFired} is to be called.
        """
        times = (
            self._requests.deadline(),
            self._checks.deadline(),
            self._refreshAt,
            self._keepAliveAt,
            self._scanAt,
        )
        return min((time for time in times if time is not None), default=None)

    def timerFired(self, now: float) -> None:
        """
        Do what is due.
        """
        for request in (*self._requests.timerFired(now), *self._checks.timerFired(now)):
            self._unanswered(request, now)
        if self._refreshAt is not None and now >= self._refreshAt:
            self.check(now)
        if self._keepAliveAt is not None and now >= self._keepAliveAt:
            self._keepAliveAt = now + self._jittered(_KEEPALIVE)
            self._outbox.append((encode(Message(BINDING, Class.INDICATION, self._random(12))), self.server))
        if self._scanAt is not None and now >= self._scanAt:
            self._scanAt = now + _SCAN
            for channel in self._channels.due(now):
                self._bind(channel, now)

    def nextEvent(self) -> AllocationEvent | None:
        """
        Take the oldest event.
        """
        return self._events.popleft() if self._events else None

    # Requests

    def _allocate(self, now: float) -> None:
        attributes = (REQUESTED_TRANSPORT(UDP), *self._lifetime, ADDITIONAL_ADDRESS_FAMILY(6))
        self._requests.ask(TurnRequest(ALLOCATE, attributes), now)

    def _bind(self, channel: Channel, now: float) -> None:
        channel.asked(now)
        peer = Address(channel.peer.host, channel.peer.port)
        attributes = (CHANNEL_NUMBER(channel.number), XOR_PEER_ADDRESS(peer))
        self._requests.ask(TurnRequest(CHANNEL_BIND, attributes, channel), now)
        self.stirred = True

    def _channelFor(self, channel: Channel | None, data: bytes, peer: Address, now: float) -> Channel | None:
        """
        See to it that a peer has a channel.

        @return: it, when the datagram can go through it now; else the datagram waits, or is dropped.
        """
        if self.state != "allocated" or (channel is not None and channel.refusedUntil > now):
            self.counters["refused"] += 1
            return None
        if channel is None:
            channel = self._newChannel(peer, now)
        if channel is None:
            return None
        channel.usedAt = now
        if not channel.binding:
            self._bind(channel, now)
        if now < channel.permittedUntil:
            return channel
        if not self._channels.hold(channel, data):
            self.counters["waitingDropped"] += 1
        return None

    def _newChannel(self, peer: Address, now: float) -> Channel | None:
        if not any((":" in peer.host) == (":" in each.host) for each in self.relayed):
            self.counters["family"] += 1
            return None
        channel = self._channels.open(peer, now)
        if channel is None:
            self.counters["tooManyPeers"] += 1
        return channel

    # Answers

    def _judge(self, outcome: Outcome, now: float) -> None:
        request = outcome.request
        if outcome.rtt is not None:
            self.rtt = outcome.rtt
        if outcome.success is None:
            self._failed(request, outcome.code, now)
        elif request.channel is not None:
            request.channel.confirm(outcome.askedAt)
            self._sendWaiting(request.channel, now)
        elif request.method == ALLOCATE and self.state == "allocating":
            self._obtained(outcome.success, now)
        elif request.method == REFRESH and self.state == "allocated":
            self._refreshed(outcome.success, now)
            self._events.append(Answered())
        elif request.method == REFRESH and self.state == "allocating":
            self._allocate(now)

    def _sendWaiting(self, channel: Channel, now: float) -> None:
        waiting = [(data, channel.peer) for data in self._channels.release(channel)]
        self._outbox += [(frame, self.server) for frame in self.wrap(waiting, now)]

    def _obtained(self, answer: Authentic, now: float) -> None:
        relayed = answer.getAll(XOR_RELAYED_ADDRESS)[:2]
        if not relayed or answer.unknown:
            self._fail(Refused(500, "its answer makes no sense"))
            return
        self.state, self.relayed = "allocated", relayed
        self.mapped = answer.get(XOR_MAPPED_ADDRESS)
        self._refreshed(answer, now)
        self._keepAliveAt = None if self._stream else now + self._jittered(_KEEPALIVE)
        self._scanAt = now + _SCAN
        self._events.append(Allocated(relayed, self.mapped, self.rtt or 0.0))

    def _refreshed(self, answer: Authentic, now: float) -> None:
        lifetime = answer.get(LIFETIME) or _LIFETIME
        self._expiresAt, self._pause = now + lifetime, 0.0
        self._refreshAt = now + self._jittered(max(min(_REFRESH, lifetime / 2), _SHORTEST_REFRESH))

    def _failed(self, request: TurnRequest, code: int, now: float) -> None:
        if request.channel is not None:
            self._bindFailed(request.channel, code, now)
        elif request.method == REFRESH and self.state == "allocated":
            self._fail(AllocationLost(reasonOf(code)))
        elif request.method == REFRESH and code == _MISMATCH:
            self._allocate(now)
        elif code == UNAUTHORIZED and self.state == "probing" and self._signer.challenged:
            self._challenged(now)
        elif code == _MISMATCH and self._clearings < _CLEARINGS:
            # There is one already, of an earlier life of ours or by a request whose answer was lost: give it back, and ask again.
            self._clearings += 1
            self._checks.ask(TurnRequest(REFRESH, (LIFETIME(0),)), now)
        else:
            self._fail(Refused(code, reasonOf(code)))

    def _challenged(self, now: float) -> None:
        self._events.append(Challenged(self.rtt or 0.0))
        self.state = "held"
        if not self._hold:
            self.proceed(now)

    def _bindFailed(self, channel: Channel, code: int, now: float) -> None:
        channel.refuse(now)
        self._channels.release(channel)
        if code in (_MISMATCH, _WRONG_CREDENTIALS):
            self._fail(AllocationLost(reasonOf(code)))
        else:
            self._events.append(PeerRefused(channel.peer, code))

    def _unanswered(self, request: TurnRequest, now: float) -> None:
        if request.unsigned:
            self._failed(request, request.unsigned, now)
        elif request.channel is not None:
            request.channel.binding = False
            self._channels.release(request.channel)
            self.check(now)
        elif self.state != "allocated":
            self._fail(Silent())
        elif now >= self._expiresAt:
            self._fail(AllocationLost("it has not answered for so long that the allocation has ended"))
        else:
            self._pause = min(max(2 * self._pause, _FIRST_PAUSE), _LONGEST_PAUSE)
            self._refreshAt = now + self._pause
            self._events.append(Unanswered())

    # The end

    def _fail(self, event: AllocationEvent) -> None:
        self._end("failed")
        self._events.append(event)

    def _end(self, state: str) -> None:
        self.state = state
        self.relayed = ()
        self._started = True
        self._refreshAt = self._keepAliveAt = self._scanAt = None
        self._requests.clear()
        self._checks.clear()

    def _jittered(self, interval: float) -> float:
        return interval * (0.8 + 0.4 * int.from_bytes(self._random(2), "big") / 0xFFFF)
