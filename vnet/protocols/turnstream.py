# -*- test-case-name: vnet.test.test_turnstream -*-
"""
TURN over TCP and TLS, either side: messages in, messages out (RFC 8656 section 12.5, RFC 8489 section 6.2.2).

A connection that the other side reads too slowly keeps at most a bounded queue of what is to be sent, and drops the
oldest data in it: for a tunnel, late is worse than lost.

Trains of ChannelData come and go as one: with one write, and without a copy of each message.
"""

from __future__ import annotations

import socket
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any, NamedTuple
from typing import Protocol as Interface

from OpenSSL import SSL
from twisted.internet.interfaces import IPushProducer, IReactorTime, ISSLTransport, IWriteDescriptor
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.tcp import Connection
from twisted.python.failure import Failure
from zope.interface import implementer

from vnet.errors import DecodeError
from vnet.protocols.codec.turn import CHANNELS, MAX_FRAME, Splitter, encodeMany
from vnet.protocols.tlsrecords import Records, received, sealed
from vnet.values import Buffer, Train

__all__ = [
    "QUEUE_BYTES",
    "QUEUE_FRAMES",
    "QUEUE_MOST",
    "QUEUE_SECONDS",
    "UNSENT_BYTES",
    "StreamOwner",
    "TurnStream",
]

QUEUE_FRAMES = 64
"""Messages that wait for a connection that is full, for however long."""

QUEUE_BYTES = 64 * 1024
"""The same in bytes."""

QUEUE_SECONDS = 0.05
"""For so long more may wait: what a fast line carries in this time."""

QUEUE_MOST = 1024 * 1024
"""But never more bytes than this, or one message for 64 of them."""

UNSENT_BYTES = 32 * 1024
"""What the operating system may hold beside what is on its way."""

#: What is read at once: a whole train and more.  As much is kept below before a connection counts as full.
_READ_BYTES = 128 * 1024

#: The first two bytes of what may be dropped beside ChannelData: Send and Data indications.
_INDICATIONS = (b"\x00\x16", b"\x00\x17")


class StreamOwner(Interface):
    """
    Who uses a stream.
    """

    def streamConnected(self, stream: TurnStream) -> None:
        """The connection is made."""

    def framesReceived(self, stream: TurnStream, trains: Sequence[Train]) -> None:
        """Messages of STUN, and ChannelData without padding, have come: see L{Splitter.take}."""

    def streamLost(self, stream: TurnStream, reason: Failure) -> None:
        """The connection is gone."""


def _isData(frame: bytes) -> bool:
    return frame[0] >= 0x40 or frame[:2] in _INDICATIONS


def _padded(frame: bytes) -> bytes:
    return frame + bytes(-len(frame) % 4) if len(frame) % 4 else frame


class _Waiting(NamedTuple):
    """
    Messages that wait.
    """

    data: bytes
    messages: int
    isData: bool
    since: float


def _lowest(transport: Any) -> Any:
    """
    The transport of TCP below those of TLS and proxies.
    """
    while (below := getattr(transport, "transport", None)) is not None:
        transport = below
    return transport


@implementer(IPushProducer)
class TurnStream(Protocol):
    """
    One connection.

    @ivar counters: C{dropped}: messages that did not fit in the queue; C{malformed}: the other side sent what is no such
        stream.
    @ivar limit: the longest message that is taken, bytes; may be raised later.
    @ivar name: of use to the owner.
    """

    name = ""

    def __init__(
        self,
        owner: StreamOwner,
        clock: IReactorTime,
        limit: int = MAX_FRAME,
        channels: range = CHANNELS,
    ) -> None:
        """
        @param owner: who uses it.
        @param limit: see L{limit}.
        @param channels: the numbers that channels may have.
        """
        self._owner = owner
        self._clock = clock
        self._splitter = Splitter(limit, channels)
        self._paused = False
        self._queue: deque[_Waiting] = deque()
        self._queued = self._queuedFrames = 0
        self._lost = False
        self._closing = False
        self._isTls = self._isSecure = self._isWritable = False
        self._direct: Any = None
        self._records: Records | None = None
        self.counters: Counter[str] = Counter()

    @property
    def limit(self) -> int:
        return self._splitter.limit

    @limit.setter
    def limit(self, limit: int) -> None:
        self._splitter.limit = limit

    @property
    def waiting(self) -> int:
        """
        Bytes that wait to be sent.
        """
        return self._queued

    @property
    def _wire(self) -> Any:
        return self.transport

    @property
    def _carrier(self) -> Any:
        """
        What takes the bytes as they are on the wire.
        """
        return self._wire.transport if self._isTls else self._wire

    def connectionMade(self) -> None:
        """
        See L{Protocol.connectionMade}.
        """
        noDelay = getattr(self.transport, "setTcpNoDelay", None)
        if noDelay is not None:
            noDelay(True)
        self._isTls = ISSLTransport.providedBy(self.transport)
        lowest = _lowest(self.transport)
        lowest.bufferSize = _READ_BYTES
        self._isWritable = IWriteDescriptor.providedBy(lowest)
        if isinstance(lowest, Connection) and lowest is self._carrier:
            self._direct = lowest
        plain = getattr(self.transport, "socket", None)
        if plain is not None:
            # Without it the system takes megabytes, which a slow line needs minutes for.
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        self._wire.registerProducer(self, True)
        self._owner.streamConnected(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        See L{Protocol.connectionLost}.
        """
        self._lost = True
        self._queue.clear()
        self._queued = self._queuedFrames = 0
        self._owner.streamLost(self, reason)

    def dataReceived(self, data: bytes) -> None:
        """
        See L{Protocol.dataReceived}.
        """
        if self._isTls:
            if not self._isSecure:
                self._isSecure = True
                if self._direct is not None:
                    self._records = Records(self._wire, self._take)
            data += received(self._wire)
        self._take(data)

    def _take(self, data: Buffer) -> None:
        try:
            trains = self._splitter.take(data)
        except DecodeError:
            self.counters["malformed"] += 1
            self.abort()
            return
        if trains:
            self._owner.framesReceived(self, trains)

    def send(self, frames: Sequence[bytes]) -> None:
        """
        Send messages of STUN and ChannelData (without padding).
        """
        if self._lost or self._closing:
            return
        if not self._paused:
            self._write(b"".join(map(_padded, frames)))
            return
        now = self._clock.seconds()
        for frame in frames:
            self._wait(_Waiting(_padded(frame), 1, _isData(frame), now))

    def sendTrain(self, channel: int, datagrams: Sequence[Buffer]) -> None:
        """
        Send ChannelData.

        @param datagrams: at least one, of one size, but the last one may have another.
        """
        self.sendEncoded(encodeMany(channel, datagrams, stream=True), len(datagrams))

    def sendEncoded(self, data: Buffer, messages: int) -> None:
        """
        Send ChannelData that is padded already.

        @param messages: how many there are.
        """
        if self._lost or self._closing:
            return
        if self._paused:
            self._wait(_Waiting(bytes(data), messages, True, self._clock.seconds()))
        else:
            self._write(data)

    def _write(self, data: Buffer) -> None:
        """
        Write, and do not wait for the reactor to find out that there is room.
        """
        wire: Any = self._carrier if self._isSecure else self._wire
        try:
            if self._records is not None:
                data = self._records.seal(data)
            elif self._isSecure:
                data = sealed(self._wire, data)
        except SSL.Error:
            self.abort()
            return
        rest = self._sendNow(data) if wire is self._direct else bytes(data)
        if not rest:
            return
        wire.write(rest)
        if self._isWritable and wire.doWrite() is not None:
            # It has ended: the reactor has to hear that, not we.
            wire.startWriting()

    def _sendNow(self, data: Buffer) -> bytes:
        """
        Have the kernel take what it does, if nothing waits before it.

        @return: the rest.
        """
        below, sent = self._direct, 0
        if below.connected and not (below.dataBuffer or below._tempDataLen or below.disconnecting):
            try:
                sent = below.socket.send(data)
            except OSError:
                # Full, or ended, which the reactor finds out.
                sent = 0
        return bytes(data[sent:])

    def _wait(self, waiting: _Waiting) -> None:
        self._queue.append(waiting)
        self._queued += len(waiting.data)
        self._queuedFrames += waiting.messages
        while self._queued > QUEUE_BYTES or self._queuedFrames > QUEUE_FRAMES:
            isTooMuch = self._queued > QUEUE_MOST or self._queuedFrames > QUEUE_MOST // 64
            if not isTooMuch and waiting.since - self._queue[0].since <= QUEUE_SECONDS:
                return
            self._dropOldest()

    def _dropOldest(self) -> None:
        """
        Data first: a request or an answer that is lost on a stream is never sent again.
        """
        place = next((place for place, each in enumerate(self._queue) if each.isData), 0)
        dropped = self._queue[place]
        del self._queue[place]
        self._leave(dropped)
        self.counters["dropped"] += dropped.messages

    def _leave(self, waiting: _Waiting) -> None:
        self._queued -= len(waiting.data)
        self._queuedFrames -= waiting.messages

    def abort(self) -> None:
        """
        Drop the connection at once.
        """
        if not self._lost:
            self._closing = True
            self._wire.abortConnection()

    def close(self) -> None:
        """
        Close the connection after what was sent.
        """
        if not self._lost:
            self._closing = True
            self._wire.unregisterProducer()
            self._wire.loseConnection()

    def pauseProducing(self) -> None:
        """
        See L{IPushProducer}: the transport's buffer is full.
        """
        self._paused = True

    def resumeProducing(self) -> None:
        """
        See L{IPushProducer}: it has room.
        """
        self._paused = False
        while self._queue and not self._paused and not self._lost and not self._closing:
            some = self._queue.popleft()
            self._leave(some)
            self._write(some.data)

    def stopProducing(self) -> None:
        """
        See L{IPushProducer}: the connection is going away.
        """
        self._paused = True
