# -*- test-case-name: vnet.test.test_gate -*-
"""
The MACs of handshake messages and the cookies of a node under load (whitepaper sections 5.3, 5.4.4 and
5.4.7).

mac1 proves that the sender knows the receiver's public key.  mac2 proves that it gets what is sent to its
source address: its key is a cookie, which the receiver derives from that address and hands out while it
is under load.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2s
from hmac import compare_digest

from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
)
from nacl.exceptions import CryptoError

from vnet.protocols.codec.handshake import MACS_SIZE, CookieReply
from vnet.protocols.machine.wipe import wipe
from vnet.values import Address

__all__ = ["COOKIE_LIFETIME", "CookieChecker", "CookieHolder"]

#: Seconds that a cookie, and the secret that makes cookies, may be used.
COOKIE_LIFETIME = 120.0

_LABEL_MAC1 = b"mac1----"
_LABEL_COOKIE = b"cookie--"
_NO_MAC = bytes(16)


def _mac(key: bytes, data: bytes) -> bytes:
    return blake2s(data, digest_size=16, key=key).digest()


def _mac1Key(publicKey: bytes) -> bytes:
    return blake2s(_LABEL_MAC1 + publicKey).digest()


def _cookieKey(publicKey: bytes) -> bytes:
    return blake2s(_LABEL_COOKIE + publicKey).digest()


class CookieChecker:
    """
    The receiver's side: checks the MACs of what arrives and makes cookies.
    """

    def __init__(self, publicKey: bytes, random: Callable[[int], bytes]) -> None:
        """
        @param publicKey: our own.
        """
        self._mac1Key = _mac1Key(publicKey)
        self._cookieKey = _cookieKey(publicKey)
        self._random = random
        self._secret = b""
        self._secretUntil = 0.0

    def hasMac1(self, data: bytes) -> bool:
        """
        Whether mac1 of this initiation or response is right.
        """
        expected = _mac(self._mac1Key, data[:-32])
        return compare_digest(expected, data[-32:-16])

    def hasMac2(self, data: bytes, addr: Address, now: float) -> bool:
        """
        Whether mac2 of this initiation or response was made with a cookie that we gave to C{addr}, not
        too long ago.
        """
        if not self._secret or now >= self._secretUntil:
            return False
        expected = _mac(self._cookie(addr), data[:-16])
        return compare_digest(expected, data[-16:])

    def reply(self, receiver: int, data: bytes, addr: Address, now: float) -> CookieReply:
        """
        Give C{addr} its cookie.

        @param receiver: the C{sender} of the message that this answers.
        @param data: that message.
        """
        if not self._secret or now >= self._secretUntil:
            wipe(self._secret)
            self._secret = self._random(32)
            self._secretUntil = now + COOKIE_LIFETIME
        nonce = self._random(24)
        sealed = crypto_aead_xchacha20poly1305_ietf_encrypt(
            self._cookie(addr), data[-32:-16], nonce, self._cookieKey
        )
        return CookieReply(receiver, nonce, sealed)

    def _cookie(self, addr: Address) -> bytes:
        return _mac(self._secret, f"{addr.host} {addr.port}".encode("ascii", "replace"))


class CookieHolder:
    """
    The sender's side: adds the MACs to what is sent to one peer and keeps the cookie that the peer gave.
    """

    def __init__(self, publicKey: bytes) -> None:
        """
        @param publicKey: the peer's.
        """
        self._mac1Key = _mac1Key(publicKey)
        self._cookieKey = _cookieKey(publicKey)
        self._lastMac1 = b""
        self._cookie = b""
        self._cookieUntil = 0.0

    def addMacs(self, data: bytes, now: float) -> bytes:
        """
        Fill in the MACs.

        @param data: an initiation or response with room for both at its end.
        """
        body = data[:-MACS_SIZE]
        self._lastMac1 = _mac(self._mac1Key, body)
        body += self._lastMac1
        if not self._cookie or now >= self._cookieUntil:
            return body + _NO_MAC
        return body + _mac(self._cookie, body)

    def receive(self, reply: CookieReply, now: float) -> bool:
        """
        Keep the cookie for what is sent from now on.

        @return: whether the reply is authentic and answers the message that was sent last.
        """
        if not self._lastMac1:
            return False
        try:
            cookie = crypto_aead_xchacha20poly1305_ietf_decrypt(
                reply.encryptedCookie, self._lastMac1, reply.nonce, self._cookieKey
            )
        except CryptoError:
            return False
        self._lastMac1 = b""
        self._cookie = cookie
        self._cookieUntil = now + COOKIE_LIFETIME
        return True
