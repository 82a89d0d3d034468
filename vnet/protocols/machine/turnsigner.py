# -*- test-case-name: vnet.test.test_allocation -*-
"""
The client's side of STUN's long-term credentials (RFC 8489 section 9.2), as TURN uses them.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

from attrs import define, field, frozen

from vnet.protocols.codec.stun import Authentic, Class, Message, authenticate, encode, longTermKey
from vnet.protocols.codec.stunattributes import (
    NONCE,
    PASSWORD_ALGORITHM,
    PASSWORD_ALGORITHMS,
    REALM,
    USERNAME,
    Attribute,
    PasswordAlgorithm,
)

__all__ = ["NONCE_COOKIE", "RelayCredentials", "TurnSigner"]

NONCE_COOKIE = "obMatJos2"
"""How a nonce begins that tells what its server can do (RFC 8489 section 9.2)."""

_COOKIE_SIZE = len(NONCE_COOKIE) + 4
_PASSWORD_ALGORITHMS_BIT = 0x800000
_NAMES = {1: "md5", 2: "sha256"}


@frozen
class RelayCredentials:
    """
    What a relay knows a client by: C{EXPIRY:ID}, and the password that follows from it.
    """

    username: str
    password: str = field(repr=False)


@define(eq=False, repr=False)
class TurnSigner:
    """
    Signs requests once a server has challenged us, and judges what it answers.

    @ivar challenged: whether the realm and a nonce are known.
    """

    _credentials: RelayCredentials
    challenged: bool = field(default=False, init=False)
    _realm: str = field(default="", init=False)
    _nonce: str = field(default="", init=False)
    _key: bytes = field(default=b"", init=False)
    _algorithms: tuple[PasswordAlgorithm, ...] = field(default=(), init=False)
    _chosen: PasswordAlgorithm | None = field(default=None, init=False)

    def challenge(self, answer: Message) -> bool:
        """
        Take realm and nonce from a 401 or 438.

        @return: whether requests can be signed now; not with an answer that lacks something, nor one in which someone seems
            to have taken the better algorithms away.
        """
        realm, nonce = answer.get(REALM) or self._realm, answer.get(NONCE)
        if not realm or not nonce:
            return False
        offered = answer.get(PASSWORD_ALGORITHMS) or ()
        if _promisesAlgorithms(nonce) != bool(offered):
            return False
        chosen = next((each for each in offered if each.number in _NAMES), None)
        if offered and chosen is None:
            return False
        try:
            algorithm = "md5" if chosen is None else _NAMES[chosen.number]
            self._key = longTermKey(self._credentials.username, realm, self._credentials.password, algorithm)
        except ValueError:
            return False
        self._realm, self._nonce, self._algorithms, self._chosen = realm, nonce, offered, chosen
        self.challenged = True
        return True

    def isNews(self, answer: Message) -> bool:
        """
        Whether an answer names another nonce than the one in use.
        """
        return answer.get(NONCE) != self._nonce

    def request(self, method: int, transactionId: bytes, attributes: Sequence[Attribute[Any]]) -> bytes:
        """
        Write a request, signed if we have been challenged.
        """
        signed = tuple(attributes)
        if not self.challenged:
            return encode(Message(method, Class.REQUEST, transactionId, signed))
        signed += (USERNAME(self._credentials.username), REALM(self._realm), NONCE(self._nonce))
        if self._chosen is None:
            return encode(Message(method, Class.REQUEST, transactionId, signed), self._key)
        signed += (PASSWORD_ALGORITHMS(self._algorithms), PASSWORD_ALGORITHM(self._chosen))
        return encode(Message(method, Class.REQUEST, transactionId, signed), key256=self._key)

    def read(self, answer: Message) -> Authentic | None:
        """
        Judge an answer.

        @return: L{None} when it is not the server's that knows our password.
        """
        return authenticate(answer, self._key) if self.challenged else None


def _promisesAlgorithms(nonce: str) -> bool:
    """
    Whether a nonce says that its server has told its password algorithms: then nobody can take them out unseen.
    """
    if not nonce.startswith(NONCE_COOKIE):
        return False
    try:
        bits = base64.b64decode(nonce[len(NONCE_COOKIE) : _COOKIE_SIZE], validate=True)
    except (binascii.Error, ValueError):
        return False
    return len(bits) == 3 and bool(int.from_bytes(bits, "big") & _PASSWORD_ALGORITHMS_BIT)
