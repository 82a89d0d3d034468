# -*- test-case-name: vnet.test.test_dialer -*-
"""
How the client gets its TCP connections out: directly, or through a proxy.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IReactorTime, IStreamClientEndpoint
from twisted.internet.ssl import optionsForClientTLS
from twisted.python.failure import Failure
from zope.interface import implementer

from vnet.client.ipv4first import preferIPv4
from vnet.client.proxychoice import ProxyChoice
from vnet.protocols.proxied import ProxyLoginRefused

if TYPE_CHECKING:
    from vnet.protocols.codec.proxyurl import Proxy

__all__ = ["FIRST_PAUSE", "LONGEST_PAUSE", "MOST_HOSTS", "Dialer"]

_CONNECT = 10.0

FIRST_PAUSE, LONGEST_PAUSE = 30.0, 600.0
"""Seconds without another attempt after a login that the proxy refused: many servers lock the account of who insists."""

MOST_HOSTS = 8
"""Addresses of a proxy that are remembered."""


@define
class _Refusals:
    """
    What became of the login.

    @ivar _text: why it was refused when it was tried last; empty: it was not.
    """

    _clock: IReactorTime
    _text: str = ""
    _pause: float = 0.0
    _until: float = 0.0

    def pausing(self) -> ProxyLoginRefused | None:
        """
        @return: why the login is not tried now.
        """
        left = self._until - self._clock.seconds()
        if left <= 0:
            return None
        return ProxyLoginRefused(f"{self._text}; it is not asked again for {left:.0f} seconds")

    def succeeded(self, protocol: IProtocol) -> IProtocol:
        """
        A connection was made.
        """
        self._pause = self._until = 0.0
        return protocol

    def failed(self, failure: Failure) -> Failure:
        """
        A connection was not made.
        """
        if failure.check(ProxyLoginRefused) and self.pausing() is None:
            self._text = str(failure.value)
            self._pause = min(max(2 * self._pause, FIRST_PAUSE), LONGEST_PAUSE)
            self._until = self._clock.seconds() + self._pause
        return failure


@implementer(IStreamClientEndpoint)
@frozen(eq=False)
class _Careful:
    """
    An endpoint behind a proxy, which does not insist on a login that was refused.
    """

    _endpoint: IStreamClientEndpoint
    _refusals: _Refusals

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        See L{IStreamClientEndpoint}.
        """
        refusal = self._refusals.pausing()
        if refusal is not None:
            return fail(refusal)
        connected = self._endpoint.connect(protocolFactory)
        return connected.addCallbacks(self._refusals.succeeded, self._refusals.failed)


@implementer(IStreamClientEndpoint)
@frozen(eq=False)
class _Noted:
    """
    An endpoint that tells where it led.
    """

    _endpoint: IStreamClientEndpoint
    _note: Callable[[str], None]

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        See L{IStreamClientEndpoint}.
        """
        return self._endpoint.connect(protocolFactory).addCallback(self._connected)

    def _connected(self, protocol: Any) -> IProtocol:
        self._note(getattr(protocol.transport.getPeer(), "host", ""))
        made: IProtocol = protocol
        return made


@define(eq=False, repr=False)
class Dialer:
    """
    Makes endpoints.

    @ivar _reactor: with a C{nameResolver}.
    @ivar _proxyHosts: see L{proxyHosts}.
    """

    _reactor: Any
    _choice: ProxyChoice
    _refusals: _Refusals = field(init=False)
    _proxyHosts: dict[str, None] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self._refusals = _Refusals(self._reactor)
        if self._choice.proxy is not None:
            self._note(self._choice.proxy.host)

    def _note(self, host: str) -> None:
        with suppress(ValueError):
            address = str(ip_address(host.partition("%")[0]))
            self._proxyHosts.pop(address, None)
            self._proxyHosts[address] = None
        while len(self._proxyHosts) > MOST_HOSTS:
            del self._proxyHosts[next(iter(self._proxyHosts))]

    def proxyHosts(self) -> tuple[str, ...]:
        """
        @return: the addresses at which the proxy is, IP literals: where connections to it led last.  None where there is no proxy.
        """
        return tuple(self._proxyHosts)

    def usesProxy(self, host: str, port: int) -> bool:
        """
        Whether a host is reached through a proxy.
        """
        return self._choice.proxyFor(host, port) is not None

    def endpoint(self, host: str, port: int) -> IStreamClientEndpoint:
        """
        The endpoint of a host.

        @param host: a name in ASCII, or an IP literal without brackets.
        """
        proxy = self._choice.proxyFor(host, port)
        if proxy is None:
            return self._direct(host, port)
        # Few need one of them, nobody both.
        if proxy.scheme == "socks5":
            from vnet.protocols.socks import wrapSocks as wrap
        else:
            from vnet.protocols.httpconnect import wrapHttpConnect as wrap
        behind = wrap(self._toProxy(proxy), host, port, self._reactor, proxy.login, f"the proxy {proxy}")
        return _Careful(behind, self._refusals)

    def _direct(self, host: str, port: int) -> IStreamClientEndpoint:
        return HostnameEndpoint(preferIPv4(self._reactor), host, port, timeout=_CONNECT)

    def _toProxy(self, proxy: Proxy) -> IStreamClientEndpoint:
        direct = _Noted(self._direct(proxy.host, proxy.port), self._note)
        if proxy.scheme != "https":
            return direct
        secure: IStreamClientEndpoint = wrapClientTLS(optionsForClientTLS(proxy.host), direct, self._reactor)
        return secure
