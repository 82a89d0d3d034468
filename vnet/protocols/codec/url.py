# -*- test-case-name: vnet.test.test_url -*-
"""
The two links that people pass around: the URL of a mediator, and an invitation to a network::

    vnet://HOST[:PORT][#sha256-PIN]
    vnet://HOST[:PORT]/NETWORK[#[sha256-PIN][&][secret=SECRET]]

HOST is a DNS name, an IPv4 address or an IPv6 address in brackets; PORT is 7443 when it is left out.  PIN
is the SHA-256 of the mediator's SubjectPublicKeyInfo and SECRET the network's 32-byte master secret
(L{vnet.protocols.machine.secrets}), both in unpadded base64url (RFC 4648 section 5), 43 characters.
Without a pin the mediator's certificate must be valid for HOST; an invitation without a secret is to a
network without a password.  NETWORK is percent-encoded UTF-8 (RFC 3986 section 2.5).

The secret stands in the fragment, which no program that fetches URLs sends anywhere.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import quote, unquote

import attrs

from vnet.errors import DecodeError
from vnet.protocols.codec.names import validateName

__all__ = ["DEFAULT_PORT", "Invite", "MediatorUrl", "parseInvite", "parseMediatorUrl"]

DEFAULT_PORT = 7443
"""The mediator's TCP port."""

_SCHEME = "vnet://"
_PIN = "sha256-"
_SECRET = "secret="
_MAXIMUM = 2048
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)\Z")
_BASE64URL = re.compile(r"[A-Za-z0-9_-]{43}\Z")


@attrs.frozen
class MediatorUrl:
    """
    Where a mediator is and how it is recognised.  C{str} gives the canonical text, always with the port.

    @ivar host: a DNS name in lower case, or an IP literal without brackets.
    @ivar port: 1 to 65535.
    @ivar pin: the SHA-256 of its SubjectPublicKeyInfo, 32 bytes; L{None}: its certificate must be valid for
        C{host}.
    """

    host: str
    port: int = DEFAULT_PORT
    pin: bytes | None = None

    def __str__(self) -> str:
        return _authority(self) + _fragment([_pinText(self)])


@attrs.frozen
class Invite:
    """
    An invitation to a network.  C{str} gives the canonical text, secret included.

    @ivar network: the name, validated.
    @ivar secret: the network's master secret, 32 bytes; L{None}: the network has no password.
    """

    mediator: MediatorUrl
    network: str
    secret: bytes | None = attrs.field(default=None, repr=False)

    def __str__(self) -> str:
        secret = _SECRET + _toBase64(self.secret) if self.secret is not None else ""
        fragment = _fragment([_pinText(self.mediator), secret])
        return f"{_authority(self.mediator)}/{quote(self.network, safe='')}{fragment}"


def parseMediatorUrl(text: str) -> MediatorUrl:
    """
    Read the URL of a mediator.

    @raise DecodeError: it is none; the text says what is wrong, in one line, without quoting a secret.
    """
    authority, path, fragment = _split(text)
    if path:
        raise DecodeError(
            "this is an invitation to a network, not the URL of a mediator: use it with 'vnet join'"
        )
    pin, secret = _parseFragment(fragment)
    if secret is not None:
        raise DecodeError("the URL of a mediator holds no secret=; is the network's name missing?")
    return MediatorUrl(*_parseAuthority(authority), pin)


def parseInvite(text: str) -> Invite:
    """
    Read an invitation.

    @raise DecodeError: it is none; the text says what is wrong, in one line, without quoting a secret.
    """
    authority, path, fragment = _split(text)
    if not path:
        raise DecodeError(
            "this is the URL of a mediator; an invitation has the network's name after it: vnet://HOST/NETWORK"
        )
    try:
        network = unquote(path, errors="strict")
    except UnicodeDecodeError as error:
        raise DecodeError("the network's name in the invitation is not UTF-8") from error
    pin, secret = _parseFragment(fragment)
    return Invite(MediatorUrl(*_parseAuthority(authority), pin), validateName(network), secret)


def _split(text: str) -> tuple[str, str, str]:
    text = text.strip()
    if len(text) > _MAXIMUM:
        raise DecodeError(f"the link is longer than {_MAXIMUM} characters")
    if text[: len(_SCHEME)].lower() != _SCHEME:
        raise DecodeError("the link does not begin with vnet://")
    before, _, fragment = text[len(_SCHEME) :].partition("#")
    authority, _, path = before.partition("/")
    if "?" in before:
        raise DecodeError("a vnet link holds no '?'")
    if "/" in path:
        raise DecodeError("a vnet link holds one '/' at most; a '/' in a network's name is written %2F")
    return authority, path, fragment


def _parseAuthority(authority: str) -> tuple[str, int]:
    if "@" in authority:
        raise DecodeError("a vnet link holds no user name")
    if authority.startswith("["):
        literal, bracket, rest = authority[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise DecodeError("an IPv6 address in a vnet link stands in brackets: vnet://[2001:db8::1]:7443")
        return _parseIPv6(literal), _parsePort(rest[1:]) if rest else DEFAULT_PORT
    host, colon, port = authority.partition(":")
    if ":" in port:
        raise DecodeError("an IPv6 address in a vnet link stands in brackets: vnet://[2001:db8::1]:7443")
    return _parseHost(host), _parsePort(port) if colon else DEFAULT_PORT


def _parseIPv6(literal: str) -> str:
    try:
        address = IPv6Address(literal)
    except ValueError as error:
        raise DecodeError("the address in brackets is no IPv6 address") from error
    if address.scope_id is not None:
        raise DecodeError("a vnet link holds no IPv6 zone")
    return str(address.ipv4_mapped or address)


def _parseHost(host: str) -> str:
    if not host:
        raise DecodeError("the link names no host: vnet://HOST")
    if re.fullmatch(r"[0-9.]+", host):
        try:
            return str(IPv4Address(host))
        except ValueError as error:
            raise DecodeError(f"{host} is no IPv4 address") from error
    try:
        name = host.encode("idna").decode("ascii").lower().removesuffix(".")
    except UnicodeError as error:
        raise DecodeError("the host in the link is no valid name") from error
    labels = name.split(".")
    # A last label of digits would make the resolver read the whole as an IPv4 address (RFC 3696 section 2).
    if len(name) > 253 or not all(map(_LABEL.match, labels)) or labels[-1].isdigit():
        raise DecodeError("the host in the link is no valid name")
    return name


def _parsePort(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text, re.ASCII) or not 1 <= int(text) <= 65535:
        raise DecodeError("the port in the link is not a number from 1 to 65535")
    return int(text)


def _parseFragment(fragment: str) -> tuple[bytes | None, bytes | None]:
    pin = secret = None
    for part in fragment.split("&") if fragment else []:
        if part.startswith(_PIN) and pin is None:
            pin = _fromBase64(part[len(_PIN) :], "the pin")
        elif part.startswith(_SECRET) and secret is None:
            secret = _fromBase64(part[len(_SECRET) :], "the secret")
        else:
            raise DecodeError("after '#' a vnet link holds sha256-PIN, secret=SECRET, or both joined by '&'")
    return pin, secret


def _toBase64(data: bytes) -> str:
    return urlsafe_b64encode(data).decode("ascii").rstrip("=")


def _fromBase64(text: str, what: str) -> bytes:
    if not _BASE64URL.match(text):
        raise DecodeError(f"{what} in the link is not 43 characters of base64url: is the link cut off?")
    data = urlsafe_b64decode(text + "=")
    if _toBase64(data) != text:
        raise DecodeError(f"{what} in the link is damaged")
    return data


def _pinText(url: MediatorUrl) -> str:
    return _PIN + _toBase64(url.pin) if url.pin is not None else ""


def _authority(url: MediatorUrl) -> str:
    host = f"[{url.host}]" if ":" in url.host else url.host
    return f"{_SCHEME}{host}:{url.port}"


def _fragment(parts: list[str]) -> str:
    joined = "&".join(filter(None, parts))
    return f"#{joined}" if joined else ""
