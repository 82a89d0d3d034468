# -*- test-case-name: vnet.test.test_stunstencil -*-
"""
STUN messages that differ in their transaction ids alone, as the checks that keep a path do::

    header, transaction id           20 bytes
    attributes                       always the same
    MESSAGE-INTEGRITY                24 bytes
    FINGERPRINT                      8 bytes

What L{vnet.protocols.codec.stun.encode} writes of such a message, and what L{vnet.protocols.codec.stun.authenticate} says of it,
but for an id that comes later.
"""

from __future__ import annotations

import hmac
import zlib

from vnet.protocols.codec.hmacsha1 import HmacSha1
from vnet.protocols.codec.stun import isStun
from vnet.protocols.codec.stunattributes import FINGERPRINT, MAGIC_COOKIE, MESSAGE_INTEGRITY

__all__ = ["Stencil"]

_COOKIE = MAGIC_COOKIE.to_bytes(4, "big")
_INTEGRITY = MESSAGE_INTEGRITY.code.to_bytes(2, "big") + b"\0\x14"
_FINGERPRINT = FINGERPRINT.code.to_bytes(2, "big") + b"\0\4"
_FINGERPRINT_XOR = 0x5354554E
_TAIL = 24 + 8


class Stencil:
    """
    All messages of one type, with the same attributes and key.
    """

    __slots__ = ("_body", "_head", "_sign", "_signed")

    def __init__(self, data: bytes, key: HmacSha1) -> None:
        """
        @param data: any of them, signed under the key.
        @raise ValueError: it is none, or its last two attributes are not those above.
        """
        self._sign = key.sign
        self._body = data[20:-_TAIL]
        # The length that was signed ends with the integrity (RFC 8489 section 14.5).
        self._signed = data[:2] + (len(self._body) + 24).to_bytes(2, "big") + _COOKIE
        self._head = data[:2] + (len(self._body) + _TAIL).to_bytes(2, "big") + _COOKIE
        if not isStun(data) or len(data) < 20 + _TAIL or not self.matches(data):
            raise ValueError("a message without MESSAGE-INTEGRITY under this key and FINGERPRINT at its end")

    def write(self, transactionId: bytes) -> bytes:
        """
        The message with this id.
        """
        rest = transactionId + self._body
        data = self._head + rest + _INTEGRITY + self._sign(self._signed + rest)
        crc = zlib.crc32(data) ^ _FINGERPRINT_XOR
        return data + _FINGERPRINT + crc.to_bytes(4, "big")

    def matches(self, data: bytes) -> bool:
        """
        Whether this is such a message, signed under the key.
        """
        body = self._body
        # What is not the same but for its end need not be computed.
        if len(data) != len(body) + 20 + _TAIL or data[20:-_TAIL] != body:
            return False
        return hmac.compare_digest(self.write(data[8:20]), data)
