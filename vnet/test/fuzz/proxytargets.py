"""
Targets: what a proxy says, and the URLs and lists that name one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from vnet.client.proxychoice import parseExemptions
from vnet.errors import DecodeError
from vnet.protocols.codec.httpauth import ProxyLogin, authorization, parseChallenges
from vnet.protocols.codec.proxyurl import parseProxy
from vnet.protocols.httpconnect import HttpNegotiation
from vnet.protocols.proxied import FarEnd, ProxyError
from vnet.protocols.socks import SocksNegotiation
from vnet.protocols.tunnel import Negotiation, TunnelEndpoint
from vnet.test.fuzz.codectargets import textOf
from vnet.test.fuzz.target import Target, accepting, logged, require
from vnet.test.pipes import Pipes, keptFactory

__all__ = ["TARGETS"]

_FAR = FarEnd("host.example", 443)
_LOGIN = ProxyLogin('a"n\\n', "s3cret")


class _NoClock:
    """
    A clock on which no time passes.
    """

    def seconds(self) -> float:
        return 0.0

    def callLater(self, delay: float, call: Any, *arguments: Any) -> Any:
        return self

    def active(self) -> bool:
        return False

    def cancel(self) -> None:
        pass


def _challenges(data: bytes) -> None:
    challenges = parseChallenges(data.split(b"\n"))
    value = authorization(challenges, _LOGIN, b"CONNECT", b"host.example:443", b"c0ffee")
    if value is not None:
        with accepting("an answer is itself a list of one way"):
            (found,) = parseChallenges([value])
        require(found.scheme in ("basic", "digest"), "an answer is Basic or Digest")
        require(b"s3cret" not in value, "an answer holds no password")


def _challengeSeeds() -> Sequence[bytes]:
    return [
        b'Digest realm="o\\"x", nonce="n=", qop="auth,auth-int", algorithm=SHA-256, opaque="", stale=true',
        b'Basic realm="x", Digest realm=x, nonce=n, qop=auth\nNegotiate abc==\nNTLM',
        b"Negotiate, Basic",
    ]


def _talk(data: bytes, make: Callable[[], Negotiation]) -> None:
    """
    Be a proxy that says this, in pieces, and closes.
    """
    pipes, clock = Pipes(), _NoClock()
    endpoint = TunnelEndpoint(pipes, _FAR, clock, make)  # type: ignore[arg-type]
    failures: list[Failure] = []
    with logged() as faults:
        endpoint.connect(keptFactory()).addErrback(failures.append)
        for number, piece in enumerate(data.split(b"\n\n\n")):
            for part in filter(None, (piece[: number + 1], piece[number + 1 :])):
                pipes.last.say(part)
        for pipe in pipes.made:
            pipe.close(ConnectionDone())
        pipes.last.close()
    require(not faults, "nothing is logged")
    require(len(pipes.made) <= 2, "there are two connections at most")
    require(not any(pipe.open for pipe in pipes.made), "all connections are closed")
    for failure in failures:
        require(failure.check(ProxyError), "a failure is that of the proxy")
        require(str(failure.value).isprintable() and len(str(failure.value)) < 200, "it is one short line")
        raise DecodeError("not connected")


def _http(data: bytes) -> None:
    _talk(data, lambda: HttpNegotiation(_FAR, _LOGIN, bytes))


def _httpSeeds() -> Sequence[bytes]:
    wanted = b'HTTP/1.1 407 x\r\nProxy-Authenticate: Digest realm="x", nonce="n", qop="auth"\r\nContent-Length: 2\r\n'
    return [
        b"HTTP/1.1 200 OK\r\n\r\nrest",
        b"HTTP/1.1 103 x\r\n\r\nHTTP/1.0 200 OK\r\n\r\n",
        wanted + b"\r\nno\n\n\nHTTP/1.1 200 OK\r\n\r\n",
        wanted + b"Connection: close\r\n\r\nno\n\n\nHTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 407 x\r\nTransfer-Encoding: chunked\r\nProxy-Authenticate: Basic\r\n\r\n2\r\nno\r\n0\r\n\r\n",
        b"HTTP/1.1 403 x\r\nContent-Length: 0\r\n\r\n",
    ]


def _socks(data: bytes) -> None:
    _talk(data, lambda: SocksNegotiation(_FAR, _LOGIN))


def _socksSeeds() -> Sequence[bytes]:
    return [
        b"\x05\x00\x05\x00\x00\x01" + bytes(6) + b"rest",
        b"\x05\x02\x01\x00\x05\x00\x00\x03\x04here\x00\x00rest",
        b"\x05\x00\n\n\n\x05\x00\x00\x04" + bytes(18),
        b"\x05\x00\x05\x02\x00\x01" + bytes(6),
    ]


def _url(data: bytes) -> None:
    text = textOf(data)
    parseExemptions(text).hold("host.example", 443)
    try:
        proxy = parseProxy(text)
    except DecodeError as error:
        require(str(error).isprintable() and len(str(error)) < 120, "a refusal is one short line")
        raise
    with accepting("a proxy's URL without the login is one"):
        again = parseProxy(str(proxy))
    require(
        (again.scheme, again.host, again.port) == (proxy.scheme, proxy.host, proxy.port), "it is the same"
    )
    if proxy.login is not None:
        require(proxy.login.name.isprintable() and proxy.login.password.isprintable(), "a login is visible")


def _urlSeeds() -> Sequence[bytes]:
    return [
        b"http://ann:s3cret@proxy.example:3128/",
        b"socks5h://a%40b:%C3%A4@[2001:db8::1]:1080",
        b"https://192.0.2.1",
        b"proxy:3128",
    ]


TARGETS = [
    Target("http-challenges", lambda: _challenges, _challengeSeeds, maximum=1024),
    Target("http-proxy", lambda: _http, _httpSeeds, maximum=1024),
    Target("socks-proxy", lambda: _socks, _socksSeeds, maximum=600),
    Target("proxy-url", lambda: _url, _urlSeeds, maximum=512),
]
