# -*- test-case-name: vnet.test.test_turnforward -*-
"""
The ways to the clients of a TURN server.
"""

from __future__ import annotations

import struct
from typing import Protocol

from attrs import define, field

from vnet.protocols.codec.turn import HEADER
from vnet.protocols.trainbuffer import TrainBuffer
from vnet.protocols.trains import LONGEST, MOST, SocketAddress, TrainSocket, cut
from vnet.protocols.turnstream import TurnStream

__all__ = ["Client", "StreamClient", "UdpClient"]

_HEAD = struct.Struct("!HH")


class Client(Protocol):
    """
    The way to a client.
    """

    def carry(self, number: int, data: memoryview, segment: int) -> None:
        """
        Send a train on a channel.

        @param segment: bytes of each of its datagrams; the last one may be shorter.
        """

    def message(self, data: bytes) -> None:
        """Send a message of STUN."""


@define(eq=False)
class UdpClient:
    """
    The way to a client that came over UDP.
    """

    _socket: TrainSocket
    _to: SocketAddress
    _buffer: TrainBuffer = field(factory=TrainBuffer)

    def carry(self, number: int, data: memoryview, segment: int) -> None:
        """
        See L{Client.carry}.
        """
        size = len(data)
        if size <= segment:
            self._socket.send((_HEAD.pack(number, size), data), size + HEADER, 1, self._to)
            return
        most = min(MOST, LONGEST // (segment + HEADER))
        pieces = self._buffer.cut(data, segment)
        parts: list[bytes | memoryview] = [_HEAD.pack(number, segment)] * (2 * len(pieces))
        parts[1::2] = pieces
        if rest := size % segment:
            parts += (_HEAD.pack(number, rest), data[-rest:])
        for first in range(0, len(parts), 2 * most):
            some = parts[first : first + 2 * most]
            self._socket.send(some, segment + HEADER, len(some) // 2, self._to)

    def message(self, data: bytes) -> None:
        """
        See L{Client.message}.
        """
        self._socket.send((data,), len(data), 1, self._to)


@define(eq=False)
class StreamClient:
    """
    The way to a client that came over TCP or TLS.
    """

    stream: TurnStream

    def carry(self, number: int, data: memoryview, segment: int) -> None:
        """
        See L{Client.carry}.
        """
        if not data:
            self.stream.send([_HEAD.pack(number, 0)])
        else:
            self.stream.send([_HEAD.pack(number, len(each)) + each for each in cut(data, segment)])

    def message(self, data: bytes) -> None:
        """
        See L{Client.message}.
        """
        self.stream.send([data])
