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
"""

from __future__ import annotations

import struct

from attrs import define, field

from vnet.errors import DecodeError
from vnet.protocols.codec.stunattributes import MAGIC_COOKIE

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
    "decodeChannelData",
    "encodeChannelData",
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
_STUN_HEADER = 20
_COOKIE = MAGIC_COOKIE.to_bytes(4, "big")


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


@define(eq=False)
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

    def feed(self, data: bytes) -> list[bytes]:
        """
        Take what arrived.

        @return: the messages that are complete now.
        @raise DecodeError: it is no such stream; nothing more can be read from it.
        """
        buffer = self._buffer
        buffer += data
        place, found = 0, []
        while len(buffer) - place >= HEADER:
            size, padded = self._sizes(buffer, place)
            if len(buffer) - place < padded:
                break
            found.append(bytes(buffer[place : place + size]))
            place += padded
        del buffer[:place]
        return found

    def _sizes(self, buffer: bytearray, place: int) -> tuple[int, int]:
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
