# -*- test-case-name: vnet.test.test_turnauth -*-
"""
Nonces that a server need not remember (RFC 8489 section 9.2)::

    "obMatJos2" || base64(feature bits, 3 bytes) || base64url(time, 4 bytes || mac, 8 bytes)

The mac is over time and client, under a key that the server makes when it starts: so each client's nonce is its own.  It is
short, since the answer to a stranger should be: who guesses one has gained nothing without a password.
"""

from __future__ import annotations

import hmac
from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error

from attrs import field, frozen

from vnet.protocols.machine.turnsigner import NONCE_COOKIE
from vnet.values import Address

__all__ = ["LIFETIME", "Nonces"]

LIFETIME = 1800.0
"""Seconds for which a nonce is good: at most an hour (RFC 8656 section 5)."""

#: The bit that says that PASSWORD-ALGORITHMS is there (RFC 8489 section 18.1).
_FEATURES = b64encode((0x800000).to_bytes(3, "big")).decode("ascii")
_PREFIX = NONCE_COOKIE + _FEATURES
_TIME, _MAC = 4, 8


@frozen
class Nonces:
    """
    Makes and checks nonces.

    @ivar _key: 32 unpredictable bytes.
    """

    _key: bytes = field(repr=False)

    def make(self, client: Address, now: float) -> str:
        """
        A nonce for a client.
        """
        time = int(now).to_bytes(_TIME, "big")
        return _PREFIX + urlsafe_b64encode(time + self._mac(time, client)).decode("ascii")

    def isValid(self, nonce: str, client: Address, now: float) -> bool:
        """
        Whether a nonce is one of ours, for this client, and not too old.
        """
        if not nonce.startswith(_PREFIX) or not nonce.isascii():
            return False
        try:
            raw = urlsafe_b64decode(nonce[len(_PREFIX) :])
        except (Base64Error, ValueError):
            return False
        time, mac = raw[:_TIME], raw[_TIME:]
        if not hmac.compare_digest(mac, self._mac(time, client)):
            return False
        return -1 <= now - int.from_bytes(time, "big") <= LIFETIME

    def _mac(self, time: bytes, client: Address) -> bytes:
        text = f"{client.host} {client.port} {client.via}".encode()
        return hmac.digest(self._key, time + text, "sha256")[:_MAC]
