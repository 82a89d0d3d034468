# -*- test-case-name: vnet.test.test_turnforward -*-
"""
The ways to the clients of a TURN server.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Protocol

from attrs import define

from vnet.protocols.codec.turn import HEADER
from vnet.protocols.trains import LONGEST, MOST, SocketAddress, TrainSocket
from vnet.protocols.turnstream import TurnStream
from vnet.values import Buffer, Train

__all__ = ["Client", "StreamClient", "UdpClient"]

_HEAD = struct.Struct("!HH")


class Client(Protocol):
    """
    The way to a client.
    """

    def carry(self, number: int, datagrams: Sequence[Buffer]) -> None:
        """
        Send a train on a channel.

        @param datagrams: of one size; the last one may be shorter.
        """

    def message(self, data: bytes) -> None:
        """Send a message of STUN."""


@define(eq=False, repr=False)
class UdpClient:
    """
    The way to a client that came over UDP.
    """

    _socket: TrainSocket
    _to: SocketAddress

    def carry(self, number: int, datagrams: Sequence[Buffer]) -> None:
        """
        See L{Client.carry}.
        """
        size, last = len(datagrams[0]), len(datagrams[-1])
        parts: list[Buffer] = [_HEAD.pack(number, size)] * (2 * len(datagrams))
        parts[1::2] = datagrams
        parts[-2] = _HEAD.pack(number, last)
        most = min(MOST, LONGEST // (size + HEADER) or 1)
        for first in range(0, len(parts), 2 * most):
            some = parts[first : first + 2 * most]
            self._socket.send(some, size + HEADER, len(some) // 2, self._to)

    def message(self, data: bytes) -> None:
        """
        See L{Client.message}.
        """
        self._socket.send((data,), len(data), 1, self._to)


@define(eq=False, repr=False)
class StreamClient:
    """
    The way to a client that came over TCP or TLS.
    """

    stream: TurnStream

    def carry(self, number: int, datagrams: Sequence[Buffer]) -> None:
        """
        See L{Client.carry}.
        """
        self.stream.sendTrain(number, datagrams)

    def passOn(self, number: int, train: Train, count: int) -> None:
        """
        Send the first messages of a train as they came through another connection, on a channel of this one.
        """
        stride, data = train.stride, train.data
        data = data[: count * stride]
        if data[:2] != (head := number.to_bytes(2, "big")):
            data = bytearray(data)
            data[::stride], data[1::stride] = head[:1] * count, head[1:] * count
        if len(data) % 4:
            data = bytes(data) + bytes(-len(data) % 4)
        self.stream.sendEncoded(data, count)

    def message(self, data: bytes) -> None:
        """
        See L{Client.message}.
        """
        self.stream.send([data])
