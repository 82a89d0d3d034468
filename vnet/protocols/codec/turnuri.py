# -*- test-case-name: vnet.test.test_turnuri -*-
"""
The URIs of relays (RFC 7065), with a pin of ours for certificates that no authority signed::

    turn:relay.example:3478?transport=udp
    turns:[2001:db8::1]:443?transport=tcp#sha256-BASE64URL
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from ipaddress import AddressValueError, IPv6Address

from attrs import frozen

from vnet.errors import DecodeError

__all__ = ["MAXIMUM_LENGTH", "RelayUri", "parseRelayUri"]

MAXIMUM_LENGTH = 400

_URI = re.compile(
    r"(?P<scheme>turns?):(?:\[(?P<host6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9_.-]+))"
    r"(?::(?P<port>[0-9]{1,5}))?(?:\?transport=(?P<transport>udp|tcp))?(?:#sha256-(?P<pin>[A-Za-z0-9_=-]+))?\Z",
    re.ASCII,
)
#: RFC 1035 section 2.3.4.
_LONGEST_NAME, _LONGEST_LABEL = 254, 63
_PORTS = {"turn": 3478, "turns": 5349}


@frozen
class RelayUri:
    """
    Where a relay is, and how to talk to it.

    @ivar host: a DNS name or an IP literal.
    @ivar transport: C{"udp"}, C{"tcp"} or C{"tls"}.
    @ivar pin: the SHA-256 of the SubjectPublicKeyInfo of the relay's certificate, 32 bytes; L{None}: an authority vouches for
        the name.
    """

    host: str
    port: int
    transport: str
    pin: bytes | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        scheme = "turns" if self.transport == "tls" else "turn"
        transport = "udp" if self.transport == "udp" else "tcp"
        pin = "" if self.pin is None else "#sha256-" + urlsafe_b64encode(self.pin).decode().rstrip("=")
        return f"{scheme}:{host}:{self.port}?transport={transport}{pin}"


def parseRelayUri(text: str) -> tuple[RelayUri, ...]:
    """
    Read a URI.  One of C{turn:} without a transport stands for UDP and TCP.

    @return: the ways to the relay, the best first.
    @raise DecodeError: it is none, or asks for TLS over UDP, which nobody here speaks.
    """
    found = _URI.match(text) if len(text) <= MAXIMUM_LENGTH else None
    if found is None:
        raise DecodeError(
            "a relay's URI is like turn:relay.example:3478?transport=udp or turns:relay.example:443"
        )
    scheme, asked = found["scheme"], found["transport"]
    host = _name(found["host"]) if found["host"] else _literal(found["host6"])
    port = int(found["port"] or _PORTS[scheme])
    if not 1 <= port <= 65535:
        raise DecodeError("a relay's URI with a port out of 1 to 65535")
    if scheme == "turns":
        if asked == "udp":
            raise DecodeError(
                "a relay's URI that asks for DTLS (turns: with transport=udp): use transport=tcp"
            )
        return (RelayUri(host, port, "tls", _pin(found["pin"])),)
    if found["pin"]:
        raise DecodeError("a relay's URI with a pin, but without TLS: use turns:")
    return tuple(RelayUri(host, port, each) for each in ([asked] if asked else ["udp", "tcp"]))


def _name(text: str) -> str:
    labels = text.removesuffix(".").split(".")
    if len(text) > _LONGEST_NAME or not all(0 < len(each) <= _LONGEST_LABEL for each in labels):
        raise DecodeError(
            "a relay's URI with a host that is no name: it, or a part of it, is too long or empty"
        )
    return text


def _literal(text: str) -> str:
    try:
        return str(IPv6Address(text))
    except AddressValueError as error:
        raise DecodeError("a relay's URI with brackets around what is no IPv6 address") from error


def _pin(text: str | None) -> bytes | None:
    if text is None:
        return None
    try:
        pin = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (Base64Error, ValueError) as error:
        raise DecodeError("a relay's URI with a pin that is not base64") from error
    if len(pin) != 32:
        raise DecodeError("a relay's URI with a pin that is not 32 bytes")
    return pin
