# -*- test-case-name: vnet.test.test_httpconnect -*-
"""
Connections through an HTTP proxy, with C{CONNECT} (RFC 9110 section 9.3.6).  It can be embedded alone::

    endpoint = wrapHttpConnect(HostnameEndpoint(reactor, "proxy.example", 3128), "host.example", 443, reactor)
    protocol = await endpoint.connect(factory)

The first request holds no password: the proxy has to say first in which way it wants one, and gets the strongest.  Names
of hosts are resolved by the proxy.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from http import HTTPStatus

import h11
from attrs import define, field
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint

from vnet.errors import DecodeError
from vnet.protocols.codec.httpauth import Challenge, ProxyLogin, authorization, isStale, parseChallenges
from vnet.protocols.codec.names import displayable
from vnet.protocols.proxied import FarEnd, ProxyError, ProxyLoginRefused, ProxyUnusable, Reconnect
from vnet.protocols.tunnel import TunnelEndpoint

__all__ = ["HttpNegotiation", "wrapHttpConnect"]

_MAXIMUM_HEAD = 16 * 1024
# A page that explains a refusal and is longer costs more time than another connection.
_MAXIMUM_PAGE = 32 * 1024
_NO_TUNNEL = (400, 404, 405, 501)
_NO_WAY = (502, 503, 504)


@define(repr=False)
class HttpNegotiation:
    """
    See L{vnet.protocols.tunnel.Negotiation}.

    @ivar _random: random bytes.
    @ivar _name: what errors call the proxy.
    """

    _farEnd: FarEnd
    _login: ProxyLogin | None
    _random: Callable[[int], bytes]
    _name: str = "the proxy"
    ready: bool = field(default=False, init=False)
    rest: bytes = field(default=b"", init=False)
    _http: h11.Connection = field(init=False)
    _authorization: bytes | None = field(default=None, init=False)
    _answering: bool = field(default=False, init=False)
    _renewed: bool = field(default=False, init=False)
    _moved: bool = field(default=False, init=False)
    _page: int = field(default=0, init=False)

    def begin(self) -> bytes:
        """
        See L{vnet.protocols.tunnel.Negotiation}.
        """
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAXIMUM_HEAD)
        return self._request()

    @property
    def _target(self) -> bytes:
        return str(self._farEnd).encode("ascii")

    def _request(self) -> bytes:
        self._answering, self._page = False, 0
        headers = [(b"Host", self._target), (b"User-Agent", b"vnet")]
        if self._authorization is not None:
            headers.append((b"Proxy-Authorization", self._authorization))
        request = h11.Request(method=b"CONNECT", target=self._target, headers=headers)
        return (self._http.send(request) or b"") + (self._http.send(h11.EndOfMessage()) or b"")

    def receive(self, data: bytes) -> bytes:
        """
        See L{vnet.protocols.tunnel.Negotiation}.
        """
        self._http.receive_data(data)
        try:
            return self._advance()
        except h11.RemoteProtocolError:
            raise ProxyUnusable(f"{self._name} does not speak HTTP: is it an HTTP proxy?") from None

    def _advance(self) -> bytes:
        while True:
            event = self._http.next_event()
            if isinstance(event, h11.Response):
                self._answered(event)
            elif isinstance(event, h11.Data):
                self._page += len(event.data)
                if self._page > _MAXIMUM_PAGE:
                    raise self._reconnect()
            elif isinstance(event, h11.EndOfMessage):
                return self._again()
            elif not isinstance(event, h11.InformationalResponse):
                return b""

    def _again(self) -> bytes:
        try:
            self._http.start_next_cycle()
        except h11.LocalProtocolError:
            raise self._reconnect() from None
        return self._request()

    def closed(self) -> ProxyError:
        """
        See L{vnet.protocols.tunnel.Negotiation}.
        """
        if self._answering:
            return self._reconnect()
        return ProxyUnusable(f"{self._name} closed the connection: is it an HTTP proxy?")

    def _reconnect(self) -> ProxyError:
        if self._moved:
            return ProxyUnusable(f"{self._name} closes the connection whenever it is asked")
        self._moved = True
        return Reconnect(f"{self._name} takes the login over another connection only")

    def _answered(self, answer: h11.Response) -> None:
        status = answer.status_code
        if 200 <= status < 300:
            self.ready, self.rest = True, bytes(self._http.trailing_data[0])
        elif status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
            self._challenged([value for name, value in answer.headers if name == b"proxy-authenticate"])
        else:
            raise ProxyError(self._refusal(status))

    def _refusal(self, status: int) -> str:
        shown = _shown(status)
        if status == HTTPStatus.FORBIDDEN:
            return f"{self._name} does not allow connections to {self._farEnd} ({shown})"
        if status in _NO_WAY:
            return f"{self._name} cannot reach {self._farEnd} ({shown})"
        if status in _NO_TUNNEL:
            return f"{self._name} makes no connections: is it an HTTP proxy? ({shown})"
        return f"{self._name} does not connect to {self._farEnd} ({shown})"

    def _challenged(self, values: list[bytes]) -> None:
        """
        The proxy wants a login, or another one: prepare it.
        """
        if self._login is None:
            raise ProxyUnusable(f"{self._name} wants a name and a password, and none were given: see --proxy")
        try:
            challenges = parseChallenges(values)
        except DecodeError:
            raise ProxyUnusable(f"{self._name} wants a login in a way that makes no sense") from None
        if self._authorization is not None:
            if self._renewed or not isStale(challenges):
                raise ProxyLoginRefused(f"{self._name} refuses the name or the password")
            self._renewed = True
        cnonce = self._random(16).hex().encode("ascii")
        self._authorization = authorization(challenges, self._login, b"CONNECT", self._target, cnonce)
        if self._authorization is None:
            raise ProxyUnusable(
                f"{self._name} wants a login by {_schemes(challenges)}: only Basic and Digest work"
            )
        self._answering = True


def _shown(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _schemes(challenges: list[Challenge]) -> str:
    names = list(dict.fromkeys(each.scheme.capitalize() for each in challenges))
    return displayable(", ".join(names), 40) or "unknown means"


def wrapHttpConnect(
    proxy: IStreamClientEndpoint,
    host: str,
    port: int,
    clock: IReactorTime,
    login: ProxyLogin | None = None,
    name: str = "the proxy",
) -> IStreamClientEndpoint:
    """
    Reach a host through an HTTP proxy.

    @param proxy: the endpoint of the proxy.
    @param host: a name in ASCII, or an IP literal without brackets.
    @param clock: a reactor's clock.
    @param name: what errors call the proxy.
    @return: what fails with L{ProxyError}.
    """
    farEnd = FarEnd(host, port)
    return TunnelEndpoint(
        proxy, farEnd, clock, lambda: HttpNegotiation(farEnd, login, os.urandom, name), name
    )
