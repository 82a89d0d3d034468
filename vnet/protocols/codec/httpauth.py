# -*- test-case-name: vnet.test.test_httpauth -*-
"""
How a client logs in to an HTTP proxy: Basic (RFC 7617), and Digest (RFC 7616) with MD5 or SHA-256 and C{qop=auth}.

A proxy that wants a login says in which ways (RFC 9110 section 11.6.1)::

    Proxy-Authenticate: Digest realm="office", nonce="7ypf", qop="auth", algorithm=SHA-256, Basic realm="office"

and gets one of these::

    Proxy-Authorization: Basic bmFtZTpwYXNzd29yZA==
    Proxy-Authorization: Digest username="name", realm="office", nonce="7ypf", uri="host:443", algorithm=SHA-256,
        qop=auth, nc=00000001, cnonce="0S4f", response="HEX"

where C{HEX} is C{H(H(name:realm:password):nonce:nc:cnonce:qop:H(method:uri))}.  Name and password are UTF-8.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence

from attrs import field, frozen

from vnet.errors import DecodeError

__all__ = ["Challenge", "ProxyLogin", "authorization", "isStale", "parseChallenges"]

_MAXIMUM = 64
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_SEPARATORS = re.compile(rb"[ \t,]*")
_PARAMETER = re.compile(
    rb'(%b)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|(%b))[ \t]*(?=,|\Z)' % (_TOKEN, _TOKEN), re.S
)
# What follows the scheme of Negotiate, say, is one word (token68) in place of parameters.
_SCHEME = re.compile(rb"(%b)(?:[ \t]+[A-Za-z0-9._~+/-]+=*[ \t]*(?=,|\Z)|(?=[ \t,]|\Z))" % _TOKEN)


@frozen
class ProxyLogin:
    """
    A name and a password, neither of which is shown.
    """

    name: str = field(repr=False)
    password: str = field(repr=False)


@frozen
class Challenge:
    """
    One way to log in that a proxy takes.

    @ivar scheme: in lower case.
    @ivar parameters: by their names in lower case.
    """

    scheme: str
    parameters: Mapping[str, bytes] = field(factory=dict)


def parseChallenges(values: Iterable[bytes]) -> list[Challenge]:
    """
    Read the values of C{Proxy-Authenticate}, in their order.

    @raise DecodeError: they are none, or too many.
    """
    found: list[tuple[str, dict[str, bytes]]] = []
    for value in values:
        _parseValue(value, found)
    return [Challenge(scheme, parameters) for scheme, parameters in found]


def _parseValue(value: bytes, found: list[tuple[str, dict[str, bytes]]]) -> None:
    place, begun = _skip(value, 0), False
    while place < len(value):
        parameter = _PARAMETER.match(value, place) if begun else None
        scheme = _SCHEME.match(value, place) if parameter is None else None
        if parameter is not None:
            name, quoted, plain = parameter.groups()
            found[-1][1][name.decode("ascii").lower()] = plain if quoted is None else _unquote(quoted)
            place = _skip(value, parameter.end())
        elif scheme is not None:
            found.append((scheme[1].decode("ascii").lower(), {}))
            place, begun = _skip(value, scheme.end()), True
        else:
            raise DecodeError("the ways to log in cannot be read")
        if len(found) > _MAXIMUM or (found and len(found[-1][1]) > _MAXIMUM):
            raise DecodeError("too many ways to log in")


def _skip(value: bytes, place: int) -> int:
    separators = _SEPARATORS.match(value, place)
    return separators.end() if separators else place


def _unquote(text: bytes) -> bytes:
    return re.sub(rb"\\(.)", rb"\1", text, flags=re.S)


def _quote(text: bytes) -> bytes:
    return b'"' + re.sub(rb'(["\\])', rb"\\\1", text) + b'"'


def isStale(challenges: Sequence[Challenge]) -> bool:
    """
    Whether a proxy refuses the nonce only, not the name or the password.
    """
    return any(each.parameters.get("stale", b"").lower() == b"true" for each in challenges)


def authorization(
    challenges: Sequence[Challenge], login: ProxyLogin, method: bytes, uri: bytes, cnonce: bytes
) -> bytes | None:
    """
    Log in, in the strongest way that the proxy takes.

    @param uri: the target of the request.
    @param cnonce: random letters and digits.
    @return: the value of C{Proxy-Authorization}; L{None} when all ways are unknown here.
    """
    for algorithm in _ALGORITHMS:
        for each in challenges:
            if _algorithmOf(each) == algorithm:
                return _digest(each, algorithm, login, method, uri, cnonce)
    if any(each.scheme == "basic" for each in challenges):
        return b"Basic " + b64encode(f"{login.name}:{login.password}".encode())
    return None


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).hexdigest().encode("ascii")


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode("ascii")


_ALGORITHMS: Mapping[bytes, Callable[[bytes], bytes]] = {b"SHA-256": _sha256, b"MD5": _md5}


def _algorithmOf(challenge: Challenge) -> bytes | None:
    """
    @return: of a Digest that can be answered.
    """
    parameters = challenge.parameters
    if challenge.scheme != "digest" or not {"realm", "nonce"} <= parameters.keys():
        return None
    if b"auth" not in re.split(rb"[ \t,]+", parameters.get("qop", b"").lower()):
        return None
    return parameters.get("algorithm", b"MD5").upper()


def _digest(
    challenge: Challenge, algorithm: bytes, login: ProxyLogin, method: bytes, uri: bytes, cnonce: bytes
) -> bytes:
    digest, parameters, count = _ALGORITHMS[algorithm], challenge.parameters, b"00000001"
    name, realm, nonce = login.name.encode(), parameters["realm"], parameters["nonce"]
    secret = digest(b":".join((name, realm, login.password.encode())))
    request = digest(method + b":" + uri)
    response = digest(b":".join((secret, nonce, count, cnonce, b"auth", request)))
    fields = [
        b"username=" + _quote(name),
        b"realm=" + _quote(realm),
        b"nonce=" + _quote(nonce),
        b"uri=" + _quote(uri),
        b"algorithm=" + algorithm,
        b"qop=auth",
        b"nc=" + count,
        b"cnonce=" + _quote(cnonce),
        b"response=" + _quote(response),
    ]
    if "opaque" in parameters:
        fields.append(b"opaque=" + _quote(parameters["opaque"]))
    return b"Digest " + b", ".join(fields)
