# -*- test-case-name: vnet.test.test_turnstream -*-
"""
TURN over TCP and TLS, either side: messages in, messages out (RFC 8656 section 12.5, RFC 8489 section 6.2.2).

A connection that the other side reads too slowly keeps at most a bounded queue of what is to be sent, and drops the
oldest data in it: for a tunnel, late is worse than lost.
"""

from __future__ import annotations

import socket
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from typing import Any
from typing import Protocol as Interface

from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from vnet.errors import DecodeError
from vnet.protocols.codec.turn import CHANNELS, MAX_FRAME, Splitter

__all__ = ["QUEUE_BYTES", "QUEUE_FRAMES", "UNSENT_BYTES", "StreamOwner", "TurnStream"]

QUEUE_FRAMES = 64
"""Messages that wait for a connection that is full."""

QUEUE_BYTES = 128 * 1024
"""The same in bytes."""

UNSENT_BYTES = 32 * 1024
"""What the operating system may hold beside what is on its way."""

#: The first two bytes of what may be dropped beside ChannelData: Send and Data indications.
_INDICATIONS = (b"\x00\x16", b"\x00\x17")


class StreamOwner(Interface):
    """
    Who uses a stream.
    """

    def streamConnected(self, stream: TurnStream) -> None:
        """The connection is made."""

    def framesReceived(self, stream: TurnStream, frames: list[bytes]) -> None:
        """Messages of STUN, and ChannelData without padding, have come."""

    def streamLost(self, stream: TurnStream, reason: Failure) -> None:
        """The connection is gone."""


def _isData(frame: bytes) -> bool:
    return frame[0] >= 0x40 or frame[:2] in _INDICATIONS


def _padded(frames: Iterable[bytes]) -> bytes:
    parts: list[bytes] = []
    for frame in frames:
        parts.append(frame)
        if len(frame) % 4:
            parts.append(bytes(-len(frame) % 4))
    return b"".join(parts)


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

    def __init__(self, owner: StreamOwner, limit: int = MAX_FRAME, channels: range = CHANNELS) -> None:
        """
        @param owner: who uses it.
        @param limit: see L{limit}.
        @param channels: the numbers that channels may have.
        """
        self._owner = owner
        self._splitter = Splitter(limit, channels)
        self._paused = False
        self._queue: deque[bytes] = deque()
        self._queued = 0
        self._lost = False
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

    def connectionMade(self) -> None:
        """
        See L{Protocol.connectionMade}.
        """
        noDelay = getattr(self.transport, "setTcpNoDelay", None)
        if noDelay is not None:
            noDelay(True)
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
        self._queued = 0
        self._owner.streamLost(self, reason)

    def dataReceived(self, data: bytes) -> None:
        """
        See L{Protocol.dataReceived}.
        """
        try:
            frames = self._splitter.feed(data)
        except DecodeError:
            self.counters["malformed"] += 1
            self.abort()
            return
        if frames:
            self._owner.framesReceived(self, frames)

    def send(self, frames: Sequence[bytes]) -> None:
        """
        Send messages of STUN and ChannelData (without padding).
        """
        if self._lost:
            return
        if not self._paused:
            self._wire.write(_padded(frames))
            return
        for frame in frames:
            self._queue.append(frame)
            self._queued += len(frame)
        while len(self._queue) > QUEUE_FRAMES or self._queued > QUEUE_BYTES:
            self._dropOldest()

    def _dropOldest(self) -> None:
        """
        Data first: a request or an answer that is lost on a stream is never sent again.
        """
        place = next((place for place, frame in enumerate(self._queue) if _isData(frame)), 0)
        self._queued -= len(self._queue[place])
        del self._queue[place]
        self.counters["dropped"] += 1

    def abort(self) -> None:
        """
        Drop the connection at once.
        """
        if not self._lost:
            self._wire.abortConnection()

    def close(self) -> None:
        """
        Close the connection after what was sent.
        """
        if not self._lost:
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
        queue, self._queue, self._queued = self._queue, deque(), 0
        if queue and not self._lost:
            self._wire.write(_padded(queue))

    def stopProducing(self) -> None:
        """
        See L{IPushProducer}: the connection is going away.
        """
        self._paused = True
