# -*- test-case-name: vnet.test.test_wgcodec -*-
"""
The three handshake messages of WireGuard (whitepaper sections 5.4.2, 5.4.3 and 5.4.7).

Numbers are little-endian; the type is an 8-bit number and three reserved bytes that must be zero,
read here as one 32-bit number.  Each message has one size: any other is refused.

Initiation, 148 bytes::

     0               4               8
    +---------------+---------------+
    | type = 1      | sender        |
    +---------------+---------------+-----------------+
    | ephemeral                           (32)        |  8
    +-------------------------------------------------+
    | encryptedStatic                     (32 + 16)   |  40
    +-------------------------------------------------+
    | encryptedTimestamp                  (12 + 16)   |  88
    +-------------------------------------------------+
    | mac1 (16)              | mac2 (16)              |  116
    +-------------------------------------------------+

Response, 92 bytes::

     0               4               8              12
    +---------------+---------------+---------------+
    | type = 2      | sender        | receiver      |
    +---------------+---------------+---------------+-+
    | ephemeral                           (32)        |  12
    +-------------------------------------------------+
    | encryptedNothing                    (0 + 16)    |  44
    +-------------------------------------------------+
    | mac1 (16)              | mac2 (16)              |  60
    +-------------------------------------------------+

Cookie reply, 64 bytes::

     0               4               8
    +---------------+---------------+
    | type = 3      | receiver      |
    +---------------+---------------+-----------------+
    | nonce                               (24)        |  8
    +-------------------------------------------------+
    | encryptedCookie                     (16 + 16)   |  32
    +-------------------------------------------------+
"""

from __future__ import annotations

from struct import Struct

import attrs

from vnet.errors import DecodeError

__all__ = [
    "COOKIE_REPLY_SIZE",
    "INITIATION_SIZE",
    "MACS_SIZE",
    "RESPONSE_SIZE",
    "CookieReply",
    "HandshakeMessage",
    "Initiation",
    "Response",
    "decodeHandshake",
    "encodeHandshake",
]

INITIATION_SIZE = 148
RESPONSE_SIZE = 92
COOKIE_REPLY_SIZE = 64

#: The bytes of mac1 and mac2 together, at the end of an initiation and of a response.
MACS_SIZE = 32

_INITIATION = Struct("<II32s48s28s16s16s")
_RESPONSE = Struct("<III32s16s16s16s")
_COOKIE_REPLY = Struct("<II24s32s")

_NO_MAC = bytes(16)


@attrs.frozen
class Initiation:
    """
    The first message of a handshake: I{e, es, s, ss} and the time.

    @ivar sender: the index by which the sender wants to be answered, 32 bits.
    @ivar ephemeral: 32 bytes.
    @ivar encryptedStatic: 48 bytes.
    @ivar encryptedTimestamp: 28 bytes.
    @ivar mac1: 16 bytes.
    @ivar mac2: 16 bytes, zero when the sender holds no cookie.
    """

    sender: int
    ephemeral: bytes
    encryptedStatic: bytes
    encryptedTimestamp: bytes
    mac1: bytes = _NO_MAC
    mac2: bytes = _NO_MAC


@attrs.frozen
class Response:
    """
    The second message of a handshake: I{e, ee, se, psk} and nothing, sealed.

    @ivar sender: the index by which the sender wants to be answered, 32 bits.
    @ivar receiver: the C{sender} of the initiation that this answers.
    @ivar ephemeral: 32 bytes.
    @ivar encryptedNothing: 16 bytes.
    @ivar mac1: 16 bytes.
    @ivar mac2: 16 bytes, zero when the sender holds no cookie.
    """

    sender: int
    receiver: int
    ephemeral: bytes
    encryptedNothing: bytes
    mac1: bytes = _NO_MAC
    mac2: bytes = _NO_MAC


@attrs.frozen
class CookieReply:
    """
    What a node under load sends in place of an answer.

    @ivar receiver: the C{sender} of the message that this answers.
    @ivar nonce: 24 bytes.
    @ivar encryptedCookie: 32 bytes.
    """

    receiver: int
    nonce: bytes
    encryptedCookie: bytes


HandshakeMessage = Initiation | Response | CookieReply


def decodeHandshake(data: bytes) -> HandshakeMessage:
    """
    Read one handshake message.

    @param data: a whole datagram.
    @raise DecodeError: when size or type are not those of one of the three messages.
    """
    size = len(data)
    if size == INITIATION_SIZE:
        kind, *fields = _INITIATION.unpack(data)
        if kind == 1:
            return Initiation(*fields)
    elif size == RESPONSE_SIZE:
        kind, *fields = _RESPONSE.unpack(data)
        if kind == 2:
            return Response(*fields)
    elif size == COOKIE_REPLY_SIZE:
        kind, *fields = _COOKIE_REPLY.unpack(data)
        if kind == 3:
            return CookieReply(*fields)
    raise DecodeError("not a handshake message")


def encodeHandshake(message: HandshakeMessage) -> bytes:
    """
    Write one handshake message.
    """
    match message:
        case Initiation(sender, ephemeral, static, timestamp, mac1, mac2):
            return _INITIATION.pack(1, sender, ephemeral, static, timestamp, mac1, mac2)
        case Response(sender, receiver, ephemeral, nothing, mac1, mac2):
            return _RESPONSE.pack(2, sender, receiver, ephemeral, nothing, mac1, mac2)
        case CookieReply(receiver, nonce, cookie):
            return _COOKIE_REPLY.pack(3, receiver, nonce, cookie)
