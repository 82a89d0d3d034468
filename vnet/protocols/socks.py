# -*- test-case-name: vnet.test.test_socks -*-
"""
Connections through a SOCKS5 proxy (RFC 1928), without a login or with a name and a password (RFC 1929).  It can be
embedded alone::

    endpoint = wrapSocks(HostnameEndpoint(reactor, "proxy.example", 1080), "host.example", 443, reactor)
    protocol = await endpoint.connect(factory)

What the client sends, and what the proxy answers::

    05 COUNT METHOD...                             05 METHOD                    FF: none of these
    01 LENGTH NAME LENGTH PASSWORD                 01 00                        else: refused
    05 01 00 TYPE ADDRESS PORT                     05 REPLY 00 TYPE ADDRESS PORT

Names of hosts are resolved by the proxy.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field
from socksio import ProtocolError
from socksio.socks5 import (
    SOCKS5AType,
    SOCKS5AuthMethod,
    SOCKS5AuthMethodsRequest,
    SOCKS5Command,
    SOCKS5CommandRequest,
    SOCKS5Reply,
    SOCKS5ReplyCode,
    SOCKS5UsernamePasswordReply,
    SOCKS5UsernamePasswordRequest,
)
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint

from vnet.protocols.codec.httpauth import ProxyLogin
from vnet.protocols.proxied import FarEnd, ProxyError, ProxyLoginRefused, ProxyUnusable
from vnet.protocols.tunnel import TunnelEndpoint

__all__ = ["MAXIMUM_LOGIN", "SocksNegotiation", "wrapSocks"]

MAXIMUM_LOGIN = 255
"""Bytes of a name or a password."""

_VERSION = 5
_LENGTHS = {
    SOCKS5AType.IPV4_ADDRESS.value: 4,
    SOCKS5AType.IPV6_ADDRESS.value: 16,
}

_REPLIES = {
    SOCKS5ReplyCode.GENERAL_SERVER_FAILURE: "could not connect to {0}, and does not say why",
    SOCKS5ReplyCode.CONNECTION_NOT_ALLOWED_BY_RULESET: "does not allow connections to {0}",
    SOCKS5ReplyCode.NETWORK_UNREACHABLE: "cannot reach the network of {0}",
    SOCKS5ReplyCode.HOST_UNREACHABLE: "cannot reach {0}",
    SOCKS5ReplyCode.CONNECTION_REFUSED: "was refused by {0}: nothing listens there",
    SOCKS5ReplyCode.TTL_EXPIRED: "got no answer from {0}",
    SOCKS5ReplyCode.COMMAND_NOT_SUPPORTED: "makes no connections",
    SOCKS5ReplyCode.ADDRESS_TYPE_NOT_SUPPORTED: "does not know the kind of address that {0} is",
}


@define(repr=False)
class SocksNegotiation:
    """
    See L{vnet.protocols.tunnel.Negotiation}.

    @ivar _name: what errors call the proxy.
    """

    _farEnd: FarEnd
    _login: ProxyLogin | None
    _name: str = "the proxy"
    ready: bool = field(default=False, init=False)
    _buffer: bytes = field(default=b"", init=False)
    _expected: Callable[[], bytes | None] = field(init=False)

    @property
    def rest(self) -> bytes:
        """
        See L{vnet.protocols.tunnel.Negotiation}.
        """
        return self._buffer

    def begin(self) -> bytes:
        """
        See L{vnet.protocols.tunnel.Negotiation}.
        """
        self._buffer, self._expected = b"", self._methodChosen
        methods = [SOCKS5AuthMethod.NO_AUTH_REQUIRED]
        if self._login is not None:
            methods.append(SOCKS5AuthMethod.USERNAME_PASSWORD)
        return SOCKS5AuthMethodsRequest(methods).dumps()

    def receive(self, data: bytes) -> bytes:
        """
        See L{vnet.protocols.tunnel.Negotiation}.
        """
        self._buffer += data
        answer = b""
        while not self.ready and (sent := self._expected()) is not None:
            answer += sent
        return answer

    def closed(self) -> ProxyError:
        """
        See L{vnet.protocols.tunnel.Negotiation}.
        """
        return ProxyUnusable(f"{self._name} closed the connection: is it a SOCKS5 proxy?")

    def _take(self, length: int) -> bytes | None:
        """
        @return: the first bytes that have come; L{None}: they have not yet.
        """
        if len(self._buffer) < length:
            return None
        taken, self._buffer = self._buffer[:length], self._buffer[length:]
        return taken

    # Each of these reads one answer.  They return what to send then; L{None}: the answer is not complete.

    def _methodChosen(self) -> bytes | None:
        self._checkVersion()
        answer = self._take(2)
        if answer is None:
            return None
        method = answer[1:]
        if method == SOCKS5AuthMethod.NO_AUTH_REQUIRED:
            return self._ask()
        if method == SOCKS5AuthMethod.USERNAME_PASSWORD and self._login is not None:
            self._expected = self._loggedIn
            login = self._login
            return SOCKS5UsernamePasswordRequest(login.name.encode(), login.password.encode()).dumps()
        if self._login is None:
            raise ProxyUnusable(f"{self._name} wants a name and a password, and none were given: see --proxy")
        raise ProxyUnusable(f"{self._name} does not take a name and a password, but another kind of login")

    def _checkVersion(self) -> None:
        if self._buffer and self._buffer[0] != _VERSION:
            raise ProxyUnusable(f"{self._name} does not speak SOCKS5: is it a SOCKS5 proxy?")

    def _loggedIn(self) -> bytes | None:
        answer = self._take(2)
        if answer is None:
            return None
        # Servers are found that answer with version 5 here, so only the status counts.
        if not SOCKS5UsernamePasswordReply.loads(b"\x01" + answer[1:]).success:
            raise ProxyLoginRefused(f"{self._name} refuses the name or the password")
        return self._ask()

    def _ask(self) -> bytes:
        self._expected = self._replied
        place = (self._farEnd.host, self._farEnd.port)
        return SOCKS5CommandRequest.from_address(SOCKS5Command.CONNECT, place).dumps()

    def _replied(self) -> bytes | None:
        self._checkVersion()
        # Some servers end a refusal here.
        if len(self._buffer) > 1 and self._buffer[1] != 0:
            raise ProxyError(f"{self._name} {self._refusal(self._buffer[1:2])}")
        answer = self._take(self._replyLength())
        if answer is None:
            return None
        try:
            SOCKS5Reply.loads(answer)
        except (ProtocolError, ValueError):
            raise ProxyUnusable(f"{self._name} gives an answer that makes no sense") from None
        self.ready = True
        return b""

    def _replyLength(self) -> int:
        if len(self._buffer) < 5:
            return 5
        kind = self._buffer[3:4]
        length = _LENGTHS.get(kind)
        if length is None and kind == SOCKS5AType.DOMAIN_NAME:
            length = 1 + self._buffer[4]
        return 6 + (length or 0)

    def _refusal(self, code: bytes) -> str:
        try:
            return _REPLIES[SOCKS5ReplyCode(code)].format(self._farEnd)
        except ValueError:
            return f"does not connect to {self._farEnd} (SOCKS5 reply {code[0]})"


def wrapSocks(
    proxy: IStreamClientEndpoint,
    host: str,
    port: int,
    clock: IReactorTime,
    login: ProxyLogin | None = None,
    name: str = "the proxy",
) -> IStreamClientEndpoint:
    """
    Reach a host through a SOCKS5 proxy.

    @param proxy: the endpoint of the proxy.
    @param host: a name in ASCII, or an IP literal without brackets.
    @param clock: a reactor's clock.
    @param login: neither part is longer than L{MAXIMUM_LOGIN}.
    @param name: what errors call the proxy.
    @return: what fails with L{ProxyError}.
    """
    farEnd = FarEnd(host, port)
    return TunnelEndpoint(proxy, farEnd, clock, lambda: SocksNegotiation(farEnd, login, name), name)
