# -*- test-case-name: vnet.test.test_tickets -*-
"""
Time-limited credentials for relays (draft-uberti-behave-turn-rest, as coturn's C{use-auth-secret} has it).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Sequence

from attrs import field, frozen

__all__ = ["LIFETIME", "Tickets"]

LIFETIME = 86_400
"""Seconds, at least: longer than a mediator is away, so that relayed paths outlive it."""

#: Within it a node has one name: relays take a new one on a port for one that has no right to it.
_ROUNDED = 3600


@frozen
class Tickets:
    """
    Makes credentials.

    @ivar _wallClock: seconds since 1970: relays judge the expiry by their own wall clock.
    @ivar _service: the class of service, C{"low"} or C{"high"}, which a relay may give a bandwidth.
    """

    _uris: Sequence[str]
    _secret: bytes = field(repr=False)
    _wallClock: Callable[[], float]
    _service: str = "high"

    def issue(self, key: bytes) -> list[dict[str, str]]:
        """
        @param key: the node that may use the relays; they see only a hash of it.
        @return: C{relays} of the answer to L{vnet.protocols.control.Login} and L{vnet.protocols.control.Relays}.
        """
        user = hashlib.blake2b(key, digest_size=8, person=b"vnet-relay", key=self._secret[:64]).hexdigest()
        expiry = -(-int(self._wallClock() + LIFETIME) // _ROUNDED) * _ROUNDED
        username = f"{expiry}:{self._service}-{user}"
        digest = hmac.digest(self._secret, username.encode("ascii"), hashlib.sha1)
        credential = base64.b64encode(digest).decode("ascii")
        return [{"uri": uri, "username": username, "credential": credential} for uri in self._uris]
