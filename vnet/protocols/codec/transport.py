# -*- test-case-name: vnet.test.test_wgcodec -*-
"""
The header of a WireGuard transport message (whitepaper section 5.4.6), 16 bytes, little-endian::

     0               4               8                               16
    +---------------+---------------+-------------------------------+
    | type = 4      | receiver      | counter                       |
    +---------------+---------------+-------------------------------+
    | the inner packet, padded with zeros and sealed  (n + 16)  ...
    +-----------------------------------------------------------

The least message is 32 bytes: a keepalive, that seals nothing.  The AEAD's nonce is four zero bytes and the
counter as it stands in the header.

The data path does not call L{decodeTransport} for each packet: L{writeHeaders} and L{readCounters} take the first 8 bytes, which
all messages of a session have in common, as one number.
"""

from __future__ import annotations

import sys
from array import array
from struct import Struct

import attrs

from vnet.errors import DecodeError

__all__ = [
    "HEADER_SIZE",
    "OVERHEAD",
    "TRANSPORT_TYPE",
    "TransportHeader",
    "decodeTransport",
    "encodeTransport",
    "headerPrefix",
    "packNonce",
    "readCounters",
    "readHeader",
    "writeHeaders",
]

HEADER_SIZE = 16

#: What the tunnel adds to an inner packet: the header and the tag.  Also the size of a keepalive.
OVERHEAD = 32

#: The first four bytes of each transport message.
TRANSPORT_TYPE = b"\x04\x00\x00\x00"

_HEADER = Struct("<IIQ")
_PREFIX = Struct("<II")
_HALVES = Struct("<QQ")
_IS_LITTLE = sys.byteorder == "little"

#: Read a header: from a buffer, at a place: its first 8 bytes as a number, the counter.
readHeader = _HALVES.unpack_from

#: The nonce of a counter.
packNonce = Struct("<4xQ").pack


@attrs.frozen
class TransportHeader:
    """
    @ivar receiver: the index that the receiver gave itself in the handshake, 32 bits.
    @ivar counter: 64 bits.
    """

    receiver: int
    counter: int


def decodeTransport(data: bytes) -> TransportHeader:
    """
    Read the header of one transport message.

    @param data: a whole datagram.
    @raise DecodeError: when this is no transport message.
    """
    if len(data) < OVERHEAD:
        raise DecodeError("a transport message has at least 32 bytes")
    kind, receiver, counter = _HEADER.unpack_from(data)
    if kind != 4:
        raise DecodeError("not a transport message")
    return TransportHeader(receiver, counter)


def encodeTransport(header: TransportHeader) -> bytes:
    """
    Write the 16 bytes that precede the sealed packet.
    """
    return _HEADER.pack(4, header.receiver, header.counter)


def headerPrefix(receiver: int) -> bytes:
    """
    The first 8 bytes of the header: all that one keypair's messages have in common.
    """
    return _PREFIX.pack(4, receiver)


def writeHeaders(data: memoryview, stride: int, head: int, counter: int, count: int) -> None:
    """
    Write the headers of messages in a row.

    @param data: where the messages are to be, one every C{stride} bytes.
    @param head: the first 8 bytes of each, as a number.
    @param counter: of the first; the others' follow.
    """
    if _IS_LITTLE and not stride & 7:
        words = data[: count * stride].cast("Q")
        words[:: stride >> 3] = memoryview(array("Q", (head,)) * count)
        words[1 :: stride >> 3] = memoryview(array("Q", range(counter, counter + count)))
        return
    for number in range(count):
        _HALVES.pack_into(data, number * stride, head, counter + number)


def readCounters(data: memoryview, stride: int, head: int) -> list[int]:
    """
    The counters of messages in a row that begin with the same 8 bytes.

    @param data: messages, one every C{stride} bytes; those of less than L{OVERHEAD} bytes are not read.
    @param head: the first 8 bytes of the first one, as a number.
    """
    count = -(-(len(data) - OVERHEAD + 1) // stride)
    if _IS_LITTLE and not stride & 7 and count > 1:
        # The numbers of all headers at once.
        words = data[: len(data) & ~7].cast("Q")
        heads = words[:: stride >> 3][:count].tolist()
        counters = words[1 :: stride >> 3][:count].tolist()
    else:
        both = [_HALVES.unpack_from(data, place) for place in range(0, count * stride, stride)]
        heads, counters = [each[0] for each in both], [each[1] for each in both]
    if heads.count(head) == count:
        return counters
    return counters[: next(place for place, each in enumerate(heads) if each != head)]
