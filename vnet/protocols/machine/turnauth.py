# -*- test-case-name: vnet.test.test_turnauth -*-
"""
The server's side of STUN's long-term credentials (RFC 8489 section 9.2.4), as TURN uses them.  Nothing is remembered of
who has not shown that it knows a password.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import field, frozen

from vnet.protocols.codec.stun import Authentic, Message, authenticate, longTermKey
from vnet.protocols.codec.stunattributes import (
    MESSAGE_INTEGRITY,
    MESSAGE_INTEGRITY_SHA256,
    NONCE,
    PASSWORD_ALGORITHM,
    PASSWORD_ALGORITHMS,
    REALM,
    USERHASH,
    USERNAME,
    Attribute,
    PasswordAlgorithm,
)
from vnet.protocols.machine.relaycredentials import CredentialSource
from vnet.protocols.machine.turnnonce import Nonces
from vnet.values import Address

__all__ = ["ALGORITHMS", "Admitted", "Refusal", "TurnAuth"]

ALGORITHMS = (PasswordAlgorithm(2), PasswordAlgorithm(1))
"""SHA-256 first, then MD5."""

_NAMES = {1: "md5", 2: "sha256"}
_MD5 = PasswordAlgorithm(1)


@frozen
class Admitted:
    """
    A request whose sender knows a password.

    @ivar key: with which the answer is signed.
    @ivar sha256: whether it is signed with MESSAGE-INTEGRITY-SHA256.
    """

    request: Authentic
    username: str
    key: bytes = field(repr=False)
    sha256: bool


@frozen
class Refusal:
    """
    What a request is answered with that is not admitted.

    @ivar attributes: beside the error code.
    @ivar admitted: the sender, of a request whose nonce alone is wrong.
    """

    code: int
    attributes: tuple[Attribute[Any], ...] = ()
    admitted: Admitted | None = None


@frozen
class TurnAuth:
    """
    Judges requests.

    @ivar _wallClock: seconds since 1970.
    """

    realm: str
    _credentials: CredentialSource
    _nonces: Nonces
    _wallClock: Callable[[], float]

    def judge(self, message: Message, client: Address, now: float, known: str | None) -> Admitted | Refusal:
        """
        Look at a request.

        @param known: the username with which the sender has an allocation: it is good even when it has expired.
        """
        if MESSAGE_INTEGRITY not in message and MESSAGE_INTEGRITY_SHA256 not in message:
            return self._challenge(401, client, now)
        username, nonce = message.get(USERNAME), message.get(NONCE)
        if (username is None and USERHASH not in message) or message.get(REALM) is None or nonce is None:
            return Refusal(400)
        algorithm = _algorithm(message)
        if algorithm is None:
            return Refusal(400)
        admitted = None if username is None else self._admit(message, username, algorithm, known)
        if admitted is None:
            return self._challenge(401, client, now)
        if not self._nonces.isValid(nonce, client, now):
            return self._challenge(438, client, now, admitted)
        return admitted

    def _challenge(self, code: int, client: Address, now: float, admitted: Admitted | None = None) -> Refusal:
        nonce = self._nonces.make(client, now)
        attributes = (REALM(self.realm), NONCE(nonce), PASSWORD_ALGORITHMS(ALGORITHMS))
        return Refusal(code, attributes, admitted)

    def _admit(
        self, message: Message, username: str, algorithm: PasswordAlgorithm, known: str | None
    ) -> Admitted | None:
        wall = None if username == known else self._wallClock()
        for password in self._credentials.passwords(username, wall):
            try:
                key = longTermKey(username, self.realm, password, _NAMES[algorithm.number])
            except ValueError:
                return None
            request = authenticate(message, key)
            if request is not None:
                return Admitted(request, username, key, PASSWORD_ALGORITHM in message)
        return None


def _algorithm(message: Message) -> PasswordAlgorithm | None:
    """
    The algorithm that a request was made with; L{None}: what it says of algorithms is not what we have told.
    """
    offered, chosen = message.get(PASSWORD_ALGORITHMS), message.get(PASSWORD_ALGORITHM)
    if offered is None and chosen is None:
        return _MD5
    return chosen if offered == ALGORITHMS and chosen in ALGORITHMS else None
