# -*- test-case-name: vnet.test.test_stun_codec -*-
"""
STUN messages (RFC 8489 section 5)::

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |0 0|     STUN Message Type     |         Message Length        |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |                    Magic Cookie = 0x2112A442                  |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |                     Transaction ID (96 bits)                  |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |                     Attributes, see stunattributes           ...

L{decode} makes a L{Message}, which nobody vouches for.  L{authenticate} makes of a message and a
key an L{Authentic}, which holds only what the key's owner has signed.  A code that acts on signed
messages takes L{Authentic}, and the type checker sees that it gets nothing else.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import struct
import unicodedata
import zlib
from collections.abc import Collection, Iterator
from typing import Any, TypeVar

import attrs

from vnet.errors import DecodeError
from vnet.protocols.codec.hmacsha1 import HmacSha1
from vnet.protocols.codec.stunattributes import (
    FINGERPRINT,
    MAGIC_COOKIE,
    MESSAGE_INTEGRITY,
    MESSAGE_INTEGRITY_SHA256,
    ROWS,
    XOR_PEER_ADDRESS,
    XOR_RELAYED_ADDRESS,
    Attribute,
    AttributeType,
)

__all__ = [
    "BINDING",
    "MAX_ATTRIBUTES",
    "Authentic",
    "Class",
    "Message",
    "authenticate",
    "decode",
    "encode",
    "isStun",
    "longTermKey",
    "opaqueString",
    "shortTermKey",
    "userHash",
]

T = TypeVar("T")

BINDING = 0x001

#: A datagram with more attributes than this is no message: 64 KiB could hold 16,000.
MAX_ATTRIBUTES = 64

_HEADER = struct.Struct("!HHI12s")
_TLV = struct.Struct("!HH")
_COOKIE = MAGIC_COOKIE.to_bytes(4, "big")
_FINGERPRINT_XOR = 0x5354554E
_INTEGRITY = MESSAGE_INTEGRITY.code
_INTEGRITY_SHA256 = MESSAGE_INTEGRITY_SHA256.code
_REPEATED = (XOR_PEER_ADDRESS, XOR_RELAYED_ADDRESS)
_COMPUTED = (MESSAGE_INTEGRITY, MESSAGE_INTEGRITY_SHA256, FINGERPRINT)


class Class(enum.IntEnum):
    """
    The class of a message.
    """

    REQUEST = 0
    INDICATION = 1
    SUCCESS = 2
    ERROR = 3


def _isTransactionId(instance: object, attribute: object, value: bytes) -> None:
    if len(value) != 12:
        raise ValueError("a transaction id is 12 bytes")


@attrs.frozen
class _Parts:
    """
    What an authenticated message and one that is not have in common.
    """

    method: int
    klass: Class
    transactionId: bytes = attrs.field(validator=_isTransactionId)
    attributes: tuple[Attribute[Any], ...] = ()
    unknown: tuple[int, ...] = ()
    malformed: tuple[int, ...] = ()

    def get(self, kind: AttributeType[T]) -> T | None:
        """
        The value of the first attribute of this type; L{None} when there is none.
        """
        for each in self.attributes:
            if each.kind is kind:
                value: T = each.value
                return value
        return None

    def getAll(self, kind: AttributeType[T]) -> tuple[T, ...]:
        """
        The values of all attributes of a type that may be repeated.
        """
        return tuple(each.value for each in self.attributes if each.kind is kind)

    def __contains__(self, kind: AttributeType[Any]) -> bool:
        return any(each.kind is kind for each in self.attributes)

    def notUnderstood(self, understood: Collection[AttributeType[Any]]) -> tuple[int, ...]:
        """
        The comprehension-required attributes that a receiver which understands only these has to
        refuse with error 420 (RFC 8489 section 6.3.1).
        """
        foreign = (e.kind.code for e in self.attributes if e.kind.required and e.kind not in understood)
        return (*self.unknown, *foreign)


@attrs.frozen
class Message(_Parts):
    """
    A STUN message that nobody vouches for.

    @ivar method: 0 to 0xFFF; L{BINDING} is 1.
    @ivar klass: request, indication, success or error.
    @ivar transactionId: 12 bytes.
    @ivar attributes: at most one of each type when decoded: of duplicates the first counts, but XOR-PEER-ADDRESS and
        XOR-RELAYED-ADDRESS may be there several times (RFC 8656 sections 7.3 and 9.1).
    @ivar unknown: the numbers of comprehension-required attributes that are not in the table.
    @ivar malformed: the numbers of attributes that are in the table and could not be read: see L{decode}.
    @ivar received: the datagram that it was decoded from; empty in a message of our own.
    """

    received: bytes = attrs.field(default=b"", eq=False, repr=False)


@attrs.frozen
class Authentic(_Parts):
    """
    A STUN message whose sender knows the key.  Only L{authenticate} makes one.

    @ivar attributes: those that the integrity covers, and no other.
    @ivar sha256: whether MESSAGE-INTEGRITY-SHA256 was checked, else it was MESSAGE-INTEGRITY.
    """

    sha256: bool = False


def isStun(data: bytes) -> bool:
    """
    Whether a datagram has a STUN header that fits its length (RFC 8489 section 6.3).
    """
    size = len(data)
    return (
        size >= 20
        and data[4:8] == _COOKIE
        and data[0] < 0x40
        and (data[2] << 8 | data[3]) == size - 20
        and size % 4 == 0
    )


def decode(data: bytes, tolerant: bool = False) -> Message:
    """
    Read a datagram.

    Attributes after MESSAGE-INTEGRITY are ignored, but for MESSAGE-INTEGRITY-SHA256 and
    FINGERPRINT (RFC 8489 section 14.5).  A FINGERPRINT is checked, an integrity is not.

    @param tolerant: leave out what is malformed among the known attributes, and name it: so that a server can answer.
    @raise DecodeError: it is no STUN message, or a known attribute is malformed.
    """
    if not isStun(data):
        raise DecodeError("no STUN header, or one of another length")
    kind, _length, _cookie, transactionId = _HEADER.unpack_from(data)
    attributes: list[Attribute[Any]] = []
    seen: set[int] = set()
    unknown: dict[int, None] = {}
    malformed: dict[int, None] = {}
    for code, offset, value in _covered(data):
        row = ROWS.get(code)
        if row is None:
            if code < 0x8000:
                unknown[code] = None
        elif code not in seen or row in _REPEATED:
            seen.add(code)
            try:
                attributes.append(Attribute(row, row.format.read(value, transactionId)))
            except DecodeError:
                if not tolerant or row in _COMPUTED:
                    raise
                malformed[code] = None
                continue
            if row is FINGERPRINT:
                _checkFingerprint(data, offset, attributes[-1].value)
    method = kind & 0xF | kind >> 1 & 0x70 | kind >> 2 & 0xF80
    klass = Class(kind >> 4 & 1 | kind >> 7 & 2)
    return Message(method, klass, transactionId, (*attributes,), (*unknown,), (*malformed,), data)


def encode(
    message: Message,
    key: bytes | None = None,
    key256: bytes | None = None,
    fingerprint: bool = False,
) -> bytes:
    """
    Write a message.

    @param key: append a MESSAGE-INTEGRITY under this key.
    @param key256: append a MESSAGE-INTEGRITY-SHA256 under this key.
    @param fingerprint: append a FINGERPRINT.
    @raise ValueError: a value does not fit its attribute, or an attribute is one of those three.
    """
    body = b""
    for each in message.attributes:
        if each.kind in _COMPUTED:
            raise ValueError(f"{each.kind} is computed, not given")
        body += _tlv(each.kind.code, each.kind.format.write(each.value, message.transactionId))
    if key is not None:
        mac = HmacSha1(key).sign(_header(message, len(body) + 24) + body)
        body += _tlv(_INTEGRITY, mac)
    if key256 is not None:
        mac = hmac.digest(key256, _header(message, len(body) + 36) + body, "sha256")
        body += _tlv(_INTEGRITY_SHA256, mac)
    if fingerprint:
        crc = zlib.crc32(_header(message, len(body) + 8) + body) ^ _FINGERPRINT_XOR
        body += _tlv(FINGERPRINT.code, crc.to_bytes(4, "big"))
    return _header(message, len(body)) + body


def authenticate(message: Message, key: bytes) -> Authentic | None:
    """
    Check the integrity of a received message: MESSAGE-INTEGRITY-SHA256 when it has one, else
    MESSAGE-INTEGRITY.

    @param message: as L{decode} returned it.
    @param key: see L{shortTermKey} and L{longTermKey}.
    @return: what the integrity covers; L{None} when it is wrong or there is none.
    """
    sha256 = MESSAGE_INTEGRITY_SHA256 in message
    kind = MESSAGE_INTEGRITY_SHA256 if sha256 else MESSAGE_INTEGRITY
    data = message.received
    for code, offset, value in _covered(data):
        if code == kind.code:
            # The length that was signed ends with this attribute (RFC 8489 section 14.5).
            length = offset + 4 + len(value) - 20
            signed = data[:2] + length.to_bytes(2, "big") + data[4:offset]
            mac = hmac.digest(key, signed, "sha256") if sha256 else HmacSha1(key).sign(signed)
            if not hmac.compare_digest(mac, value):
                return None
            known = [each.kind for each in message.attributes]
            covered = message.attributes[: known.index(kind)]
            return Authentic(
                message.method,
                message.klass,
                message.transactionId,
                covered,
                message.unknown,
                message.malformed,
                sha256,
            )
    return None


def opaqueString(text: str) -> str:
    """
    Prepare a user name, realm or password: the part of the OpaqueString profile (RFC 8265 section
    4.2) that matters here.  Spaces become ASCII spaces, the form becomes NFC.

    @raise ValueError: it holds control characters.
    """
    if text.isascii() and text.isprintable():
        return text
    spaced = "".join(" " if unicodedata.category(c) == "Zs" else c for c in text)
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in spaced):
        raise ValueError("control characters in a STUN credential")
    return unicodedata.normalize("NFC", spaced)


def shortTermKey(password: str) -> bytes:
    """
    The key of the short-term mechanism (RFC 8489 section 9.1.1), which ICE uses.
    """
    return opaqueString(password).encode()


def longTermKey(username: str, realm: str, password: str, algorithm: str = "md5") -> bytes:
    """
    The key of the long-term mechanism (RFC 8489 section 9.2.2), which TURN uses.

    @param algorithm: C{"md5"} or C{"sha256"}: the password algorithm, not the integrity's.
    """
    if algorithm not in ("md5", "sha256"):
        raise ValueError(f"unknown password algorithm {algorithm!r}")
    text = ":".join(map(opaqueString, (username, realm, password)))
    return hashlib.new(algorithm, text.encode(), usedforsecurity=False).digest()


def userHash(username: str, realm: str) -> bytes:
    """
    The value of USERHASH (RFC 8489 section 14.4).
    """
    return hashlib.sha256(f"{opaqueString(username)}:{opaqueString(realm)}".encode()).digest()


def _covered(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """
    The attributes that count, as type, offset and value: all up to the first integrity, and after
    it only a stronger integrity and FINGERPRINT.
    """
    offset, count = 20, 0
    allowed: tuple[int, ...] = ()
    while offset < len(data):
        code, size = _TLV.unpack_from(data, offset)
        end = offset + 4 + size
        count += 1
        if end > len(data) or count > MAX_ATTRIBUTES:
            raise DecodeError("a truncated attribute, or too many")
        if not allowed or code in allowed:
            yield code, offset, data[offset + 4 : end]
            if code == _INTEGRITY:
                allowed = (_INTEGRITY_SHA256, FINGERPRINT.code)
            elif code == _INTEGRITY_SHA256:
                allowed = (FINGERPRINT.code,)
        offset = end + -end % 4


def _checkFingerprint(data: bytes, offset: int, value: int) -> None:
    if offset != len(data) - 8:
        raise DecodeError("a FINGERPRINT that is not last")
    if zlib.crc32(data[:offset]) ^ _FINGERPRINT_XOR != value:
        raise DecodeError("a wrong FINGERPRINT")


def _tlv(code: int, value: bytes) -> bytes:
    if len(value) > 0xFFFF:
        raise ValueError("a value above 65,535 bytes")
    return _TLV.pack(code, len(value)) + value + bytes(-len(value) % 4)


def _header(message: Message, length: int) -> bytes:
    if not 0 <= message.method <= 0xFFF or length > 0xFFFF:
        raise ValueError("a method above 12 bits, or a message above 65,535 bytes")
    method, klass = message.method, message.klass
    kind = method & 0xF | (method & 0x70) << 1 | (method & 0xF80) << 2 | (klass & 1) << 4 | (klass & 2) << 7
    return _HEADER.pack(kind, length, MAGIC_COOKIE, message.transactionId)
