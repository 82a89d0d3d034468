# -*- test-case-name: vnet.test.test_turnauth -*-
"""
Whom a relay knows: time-limited credentials that follow from a secret which it shares with a mediator, as coturn's
C{use-auth-secret} has them; or a fixed list of users.

A username is C{EXPIRY:CLASS-ID}: seconds since 1970, C{low} or C{high}, and what tells users apart.  Without a class it is
C{high}, since other programs make such names too.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Protocol

from attrs import field, frozen

__all__ = ["CredentialSource", "FixedUsers", "SharedSecrets", "restPassword", "serviceOf", "userOf"]

_EXPIRY_DIGITS = 12


class CredentialSource(Protocol):
    """
    What knows passwords.
    """

    def passwords(self, username: str, wall: float | None) -> Sequence[str]:
        """
        The passwords that a user may have; none: there is no such user, or not any more.

        @param wall: seconds since 1970; L{None}: however old it is, since it has been accepted before.
        """


def restPassword(secret: bytes, username: str) -> str:
    """
    The password that follows from a secret and a username.
    """
    return base64.b64encode(hmac.digest(secret, username.encode(), hashlib.sha1)).decode("ascii")


@frozen
class SharedSecrets:
    """
    Time-limited credentials.

    @ivar _secrets: each of them is good: several while they are being changed.
    """

    _secrets: tuple[bytes, ...] = field(repr=False)

    def passwords(self, username: str, wall: float | None) -> Sequence[str]:
        """
        See L{CredentialSource}.
        """
        expiry = username.partition(":")[0]
        if not (expiry.isascii() and expiry.isdigit()) or len(expiry) > _EXPIRY_DIGITS:
            return ()
        if wall is not None and int(expiry) < wall:
            return ()
        return [restPassword(secret, username) for secret in self._secrets]


@frozen
class FixedUsers:
    """
    Users with a password each.
    """

    _users: Mapping[str, str] = field(repr=False)

    def passwords(self, username: str, wall: float | None) -> Sequence[str]:
        """
        See L{CredentialSource}.
        """
        return [self._users[username]] if username in self._users else ()


def userOf(username: str) -> str:
    """
    Who it is, whatever credentials he uses now: what quotas are counted by.
    """
    expiry, colon, user = username.partition(":")
    return user if colon and expiry.isascii() and expiry.isdigit() else username


def serviceOf(username: str) -> str:
    """
    The class of service that a username names.

    @return: C{"low"} or C{"high"}.
    """
    return "low" if userOf(username).startswith("low-") else "high"
