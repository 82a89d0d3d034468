# -*- test-case-name: vnet.test.test_turn_codec -*-
"""
What TURN adds to STUN: its methods, and ChannelData (RFC 8656 sections 12.4 and 17)::

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |  Channel Number 0x4000-0x4FFF |            Length             |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |                  Application Data (Length bytes)              |
    |                               +-------------------------------+
    |                               | on a stream: 0 to 3 bytes of padding, which Length does not count
    +-------------------------------+

On a stream (TCP, TLS) messages of STUN and ChannelData follow each other, and their first two bits tell which is
which (RFC 8656 section 12.5); L{Splitter} takes such a stream apart.

ChannelData of one channel and one size in a row is a L{Train} of messages, and stays one: with the four bytes of the headers
left out it is a train of datagrams.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from attrs import define, field

from vnet.errors import DecodeError
from vnet.protocols.codec.stunattributes import MAGIC_COOKIE
from vnet.values import Address, Buffer, Train

__all__ = [
    "ALLOCATE",
    "CHANNELS",
    "CHANNELS_5766",
    "CHANNEL_BIND",
    "CREATE_PERMISSION",
    "DATA_INDICATION",
    "HEADER",
    "MAX_FRAME",
    "REFRESH",
    "SEND",
    "UDP",
    "Splitter",
    "channelHeader",
    "cutTrain",
    "decodeChannelData",
    "encodeChannelData",
    "encodeMany",
    "repeated",
]

ALLOCATE = 0x003
REFRESH = 0x004
SEND = 0x006
DATA_INDICATION = 0x007
CREATE_PERMISSION = 0x008
CHANNEL_BIND = 0x009

UDP = 17
"""REQUESTED-TRANSPORT's only value."""

CHANNELS = range(0x4000, 0x5000)
"""The numbers of channels."""

CHANNELS_5766 = range(0x4000, 0x7FFF)
"""Those of RFC 5766, which clients of before RFC 8656 use (coturn's up to 4.15): a server that has its port for itself
loses nothing by taking them."""

HEADER = 4
"""Bytes before the data of a ChannelData message."""

MAX_FRAME = 4 + 0xFFFF + 3
"""The longest ChannelData on a stream.  Messages of STUN are shorter than this, or refused."""

_HEADER = struct.Struct("!HH")
_LENGTH = struct.Struct("!H")
_STUN_HEADER = 20
_COOKIE = MAGIC_COOKIE.to_bytes(4, "big")
#: Of what comes out of a stream: its reader knows who is at the other end.
_NOWHERE = Address("", 0)
#: For fewer datagrams it does not pay to make a cutter; and how many one takes.
_FEW, _MANY = 8, 64
_CUTTERS = 64


def channelHeader(channel: int, size: int) -> bytes:
    """
    The header of a ChannelData message.

    @param size: bytes of data, at most 65,535.
    """
    return _HEADER.pack(channel, size)


def encodeChannelData(channel: int, data: bytes, stream: bool = False) -> bytes:
    """
    A ChannelData message.

    @param stream: pad it, as streams must (RFC 8656 section 12.5).
    """
    return _HEADER.pack(channel, len(data)) + data + (bytes(-len(data) % 4) if stream else b"")


def decodeChannelData(message: bytes) -> tuple[int, bytes]:
    """
    Read a ChannelData message, with or without padding.

    @return: the channel and the data.
    @raise DecodeError: it is none.
    """
    if len(message) < HEADER:
        raise DecodeError("a ChannelData shorter than its header")
    channel, size = _HEADER.unpack_from(message)
    if channel not in CHANNELS:
        raise DecodeError("a channel number out of range")
    if len(message) < HEADER + size:
        raise DecodeError("a truncated ChannelData")
    return channel, message[HEADER : HEADER + size]


@lru_cache(_CUTTERS)
def _cutter(skipped: int, size: int, after: int, count: int) -> Callable[[Buffer, int], tuple[Any, ...]]:
    """
    Cuts several pieces with one call, since each call costs as much as a piece.
    """
    return struct.Struct(f"{skipped}x{size}s{after}x" * count).unpack_from


def cutTrain(train: Train) -> list[bytes]:
    """
    Copies of the datagrams of a train.
    """
    data, stride, _, start, end = train
    last = train.datagramCount - 1
    found: list[bytes] = []
    while last - len(found) >= _FEW:
        count = min(_MANY, last - len(found))
        found += _cutter(start, end - start, stride - end, count)(data, len(found) * stride)
    for place in range(len(found) * stride, last * stride, stride):
        found.append(bytes(data[place + start : place + end]))
    found.append(bytes(data[last * stride + start :]))
    return found


def encodeMany(channel: int, datagrams: Sequence[Buffer], stream: bool = False) -> bytes:
    """
    ChannelData messages, one after the other.

    @param datagrams: at least one, of one size, but the last one may have another.
    @param stream: pad them, as streams must.
    """
    last = datagrams[-1]
    size, count = len(datagrams[0]), len(datagrams)
    unit: list[Buffer] = [_HEADER.pack(channel, size), b""]
    if stream and size % 4:
        unit.append(bytes(-size % 4))
    width = len(unit)
    parts = unit * count
    parts[1::width] = datagrams
    if len(last) != size:
        parts[-width:] = _HEADER.pack(channel, len(last)), last, bytes(-len(last) % 4 if stream else 0)
    return b"".join(parts)


def repeated(data: Buffer, place: int, stride: int, head: bytes) -> int:
    """
    How many messages in a row begin with the same four bytes.

    @param data: where they lie, one every C{stride} bytes.
    @param place: of the first one, which begins with C{head}.
    """
    count = len(range(place, len(data) - HEADER + 1, stride))
    # Of most trains all, or all but the last one, which is shorter.
    for most in (count, count - 1):
        end = place + (most - 1) * stride + 1
        if all(
            bytes(data[place + each : end + each : stride]) == head[each : each + 1] * most
            for each in range(4)
        ):
            return most
    found = 1
    while data[place + found * stride : place + found * stride + HEADER] == head:
        found += 1
    return found


def _repeats(view: memoryview, stride: int, head: bytes) -> int:
    """
    The same of messages that are complete, one every C{stride} bytes, which are a multiple of 4.
    """
    count = len(view) // stride
    heads = view[: count * stride].cast("I")[:: stride // 4].tobytes()
    if heads == head * count:
        return count
    found = 1
    while heads.startswith(head, found * HEADER):
        found += 1
    return found


@define(eq=False, repr=False)
class Splitter:
    """
    Takes a stream apart into messages of STUN and ChannelData (whose padding is left away).

    @ivar limit: the longest message that is taken, bytes.
    @ivar channels: the numbers that channels may have.
    """

    limit: int = MAX_FRAME
    channels: range = CHANNELS
    _buffer: bytearray = field(factory=bytearray, init=False)

    @property
    def waiting(self) -> int:
        """Bytes of a message that is not complete."""
        return len(self._buffer)

    def feed(self, data: Buffer) -> list[bytes]:
        """
        Take what arrived.

        @return: the messages that are complete now.
        @raise DecodeError: it is no such stream; nothing more can be read from it.
        """
        return [message for train in self.take(data) for message in train.datagrams()]

    def take(self, data: Buffer) -> list[Train]:
        """
        The same, without copying them: they lie in what is given.

        @return: messages of STUN, one in each, and ChannelData: of one channel and one size in a row, of which the last may be
            shorter.  The address of all is nobody's.
        @raise DecodeError: as L{feed} does.
        """
        found: list[Train] = []
        place = self._complete(data, found) if self._buffer else 0
        view, total = memoryview(data), len(data)
        while total - place >= HEADER:
            size, padded = self._sizes(data, place)
            if total - place < padded:
                break
            if data[place] < 0x40:
                found.append(Train.single(view[place : place + size], _NOWHERE))
                place += padded
                continue
            head, begin = bytes(data[place : place + HEADER]), place
            place += padded * _repeats(view[place:], padded, head)
            end = place - padded + size
            shorter = self._shorter(data, place, head)
            if shorter:
                end, place = place + shorter, place + shorter + -shorter % 4
            found.append(Train(view[begin:end], padded, _NOWHERE, 0, size))
        self._buffer += view[place:]
        return found

    def _complete(self, data: Buffer, found: list[Train]) -> int:
        """
        Complete the message whose beginning has come before.

        @return: how many bytes that takes, or all.
        """
        buffer = self._buffer
        place = max(0, HEADER - len(buffer))
        buffer += data[:place]
        if len(buffer) < HEADER:
            return len(data)
        _, padded = self._sizes(buffer, 0)
        rest = padded - len(buffer)
        buffer += data[place : place + rest]
        size, _ = self._sizes(buffer, 0)
        if len(buffer) < padded:
            return len(data)
        found.append(Train.single(bytes(buffer[:size]), _NOWHERE))
        buffer.clear()
        return place + rest

    def _shorter(self, data: Buffer, place: int, head: bytes) -> int:
        """
        @return: the size of the message that is there, if it is complete and belongs to those before it as their last one.
        """
        if len(data) - place < HEADER or data[place : place + 2] != head[:2]:
            return 0
        (length,) = _LENGTH.unpack_from(data, place + 2)
        (longest,) = _LENGTH.unpack_from(head, 2)
        size: int = HEADER + length
        # One that is empty would be lost at the end of a train.
        return size if 0 < length < longest and len(data) - place >= size + -size % 4 else 0

    def _sizes(self, buffer: Buffer, place: int) -> tuple[int, int]:
        first, length = _HEADER.unpack_from(buffer, place)
        if first < 0x4000:
            if length % 4 or (len(buffer) - place >= 8 and buffer[place + 4 : place + 8] != _COOKIE):
                raise DecodeError("no STUN message: a wrong length, or no magic cookie")
            size = padded = _STUN_HEADER + length
        elif first in self.channels:
            size = HEADER + length
            padded = size + -size % 4
        else:
            raise DecodeError("neither STUN nor ChannelData")
        if padded > self.limit:
            raise DecodeError("a message that is too long")
        return size, padded
