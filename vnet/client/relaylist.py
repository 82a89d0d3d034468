# -*- test-case-name: vnet.test.test_relays -*-
"""
The relays that the mediator names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from attrs import define, field

from vnet.errors import DecodeError
from vnet.protocols.codec.turnuri import RelayUri, parseRelayUri
from vnet.protocols.machine.turnsigner import RelayCredentials

__all__ = ["MAXIMUM_WAYS", "Relay", "lifeOf", "readRelays"]

MAXIMUM_WAYS = 16
"""URIs of all relays together."""

_DEFAULT_LIFE, _LONGEST_LIFE = 3600.0, 7 * 86_400.0
#: RFC 8489 section 14.3.
_LONGEST_NAME = 508


@define
class Relay:
    """
    One relay: a host, whatever the number of its ports.

    @ivar ways: how it is reached.
    """

    host: str
    credentials: RelayCredentials
    ways: list[RelayUri] = field(factory=list)


def readRelays(
    tickets: Iterable[tuple[str, str, str]], complain: Callable[[DecodeError], None]
) -> dict[str, Relay]:
    """
    @param tickets: URI, username and credential of each.
    @param complain: told of a URI that is none, and left out.
    @return: the relays, by their hosts.
    """
    found: dict[str, Relay] = {}
    count = 0
    for text, username, credential in tickets:
        try:
            ways, credentials = parseRelayUri(text), _credentials(username, credential)
        except DecodeError as error:
            complain(error)
            continue
        for uri in ways:
            relay = found.setdefault(uri.host, Relay(uri.host, credentials))
            if uri not in relay.ways and count < MAXIMUM_WAYS:
                relay.ways.append(uri)
                count += 1
    return {host: relay for host, relay in found.items() if relay.ways}


def _credentials(username: str, credential: str) -> RelayCredentials:
    if not (username + credential).isprintable() or len(username.encode()) > _LONGEST_NAME:
        raise DecodeError("a relay's credentials that no request could hold")
    return RelayCredentials(username, credential)


def lifeOf(credentials: RelayCredentials, now: float) -> float | None:
    """
    For how long credentials make allocations.

    @param now: seconds since 1970.
    @return: seconds; a guess where one of the clocks must be wrong, L{None} where they do not say.
    """
    expiry = credentials.username.partition(":")[0]
    if not (expiry.isascii() and expiry.isdigit()) or len(expiry) > 12:
        return None
    life = int(expiry) - now
    return life if 0 < life < _LONGEST_LIFE else _DEFAULT_LIFE
