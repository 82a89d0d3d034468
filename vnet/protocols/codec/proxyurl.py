# -*- test-case-name: vnet.test.test_proxyurl -*-
"""
The URL of a proxy::

    [SCHEME://][NAME[:PASSWORD]@]HOST[:PORT]

SCHEME is C{http}, which is meant where none is given, C{https} (HTTP inside TLS) or C{socks5}; C{socks5h} is the same.
PORT is 80, 443 or 1080 when it is left out.  NAME and PASSWORD are percent-encoded UTF-8 (RFC 3986 section 2.5).
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from attrs import evolve, field, frozen

from vnet.errors import DecodeError
from vnet.protocols.codec.httpauth import ProxyLogin
from vnet.protocols.codec.url import parseMediatorUrl

__all__ = ["Proxy", "parseProxy"]

_PORTS = {"http": 80, "https": 443, "socks5": 1080}
_MAXIMUM = 2048
_LONGEST_LOGIN = 255


@frozen
class Proxy:
    """
    A proxy.  C{str} gives the URL without name and password.

    @ivar scheme: C{"http"}, C{"https"} or C{"socks5"}.
    @ivar host: a DNS name in lower case, or an IP literal without brackets.
    """

    scheme: str
    host: str
    port: int
    login: ProxyLogin | None = field(default=None, repr=False)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    def withPassword(self, password: str) -> Proxy:
        """
        The same with a password.

        @raise DecodeError: there is no name that it goes with, or another one, or it cannot be any.
        """
        if self.login is None:
            raise DecodeError(
                "the proxy's URL has no name that the password goes with: http://NAME@HOST:PORT"
            )
        if self.login.password:
            raise DecodeError("the proxy's URL has a password already")
        return evolve(self, login=_login(self.scheme, self.login.name, password))


def parseProxy(text: str) -> Proxy:
    """
    Read the URL of a proxy.

    @raise DecodeError: it is none; the text says what is wrong, in one line, without quoting the URL.
    """
    text = text.strip()
    if len(text) > _MAXIMUM:
        raise DecodeError(f"the proxy's URL is longer than {_MAXIMUM} characters")
    scheme, _, rest = text.partition("://") if "://" in text else ("http", "", text)
    scheme = scheme.lower().replace("socks5h", "socks5")
    if scheme not in _PORTS:
        raise DecodeError("a proxy's URL begins with http://, https:// or socks5://")
    # A password may hold any of /?# when it was not encoded, so the place begins at the last '@'.
    userinfo, at, place = rest.rpartition("@")
    if not place.removesuffix("/") or any(each in place.removesuffix("/") for each in "/?#"):
        raise DecodeError("a proxy's URL is like http://HOST:PORT, with nothing after it")
    host, port = _parsePlace(place.removesuffix("/"), _PORTS[scheme])
    return Proxy(scheme, host, port, _parseLogin(scheme, userinfo) if at else None)


def _parsePlace(place: str, default: int) -> tuple[str, int]:
    if not re.search(r":[^:\]]*\Z", place):
        place = f"{place}:{default}"
    try:
        found = parseMediatorUrl(f"vnet://{place}")
    except DecodeError:
        raise DecodeError("the host or the port of the proxy's URL is none") from None
    return found.host, found.port


def _parseLogin(scheme: str, userinfo: str) -> ProxyLogin:
    name, _, password = userinfo.partition(":")
    try:
        return _login(scheme, unquote(name, errors="strict"), unquote(password, errors="strict"))
    except UnicodeDecodeError:
        raise DecodeError("the name or the password in the proxy's URL is not UTF-8") from None


def _login(scheme: str, name: str, password: str) -> ProxyLogin:
    if not name:
        raise DecodeError("the proxy's URL has a password without a name")
    if ":" in name and scheme != "socks5":
        raise DecodeError("a name for an HTTP proxy holds no ':'")
    for each in (name, password):
        if not each.isprintable():
            raise DecodeError("the name or the password for the proxy holds control characters")
        if len(each.encode("utf-8", "surrogatepass")) > _LONGEST_LOGIN:
            raise DecodeError(f"the name or the password for the proxy is longer than {_LONGEST_LOGIN} bytes")
    return ProxyLogin(name, password)
