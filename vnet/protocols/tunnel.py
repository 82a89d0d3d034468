# -*- test-case-name: vnet.test.test_tunnel -*-
"""
A connection through a proxy: what is said to the proxy first, and what the far end gets then.

L{vnet.protocols.httpconnect} and L{vnet.protocols.socks} know what proxies say; here are the endpoint that both are, the
deadline, the limit, and the errors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast
from typing import Protocol as Interface

from attrs import field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost, NoProtocol
from twisted.internet.interfaces import (
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.protocols.policies import ProtocolWrapper
from twisted.python.failure import Failure
from zope.interface import directlyProvides, implementer, providedBy

from vnet.protocols.proxied import FarEnd, ProxyError, ProxyUnusable, Reconnect
from vnet.protocols.tls import describeFailure

__all__ = [
    "DEADLINE",
    "MAXIMUM_ANSWER",
    "Negotiation",
    "TunnelEndpoint",
]

DEADLINE = 15.0
"""Seconds for all that comes before the far end."""

MAXIMUM_ANSWER = 64 * 1024
"""Bytes that a proxy may say before the far end does."""


class Negotiation(Interface):
    """
    What is said to a proxy, without input or output.  C{begin} and C{receive} may raise L{ProxyError}.
    """

    @property
    def ready(self) -> bool:
        """
        Whether all that follows is the far end's.
        """

    @property
    def rest(self) -> bytes:
        """
        What has come of that already.
        """

    def begin(self) -> bytes:
        """
        There is a connection to the proxy; also a second one.

        @return: what to send.
        """

    def receive(self, data: bytes) -> bytes:
        """
        The proxy says something.

        @return: what to send.
        """

    def closed(self) -> ProxyError:
        """
        The proxy closed the connection.

        @return: what that means.
        """


class _Tunnel(ProtocolWrapper):
    """
    The connection to the proxy, at first the negotiation's.  Then there is a wrapped protocol, whose transport it is.

    @ivar done: fires with the wrapped protocol.
    """

    wrappedProtocol: Any
    transport: Any

    def __init__(
        self, negotiation: Negotiation, factory: IProtocolFactory, farEnd: FarEnd, name: str
    ) -> None:
        self.wrappedProtocol = None
        self.done: Deferred[IProtocol] = Deferred()
        self._negotiation = negotiation
        self._users = factory
        self._farEnd = farEnd
        self._name = name
        self._received = 0

    def logPrefix(self) -> str:
        """
        See L{twisted.internet.interfaces.ILoggingContext}.
        """
        return "tunnel"

    def getPeer(self) -> FarEnd:
        """
        See L{twisted.internet.interfaces.ITransport}.
        """
        return self._farEnd

    def makeConnection(self, transport: Any) -> None:
        """
        See L{twisted.internet.interfaces.IProtocol}.
        """
        directlyProvides(self, providedBy(transport))
        Protocol.makeConnection(self, transport)
        self._proceed(self._negotiation.begin)

    def dataReceived(self, data: bytes) -> None:
        """
        See L{twisted.internet.interfaces.IProtocol}.
        """
        if self.wrappedProtocol is not None:
            self.wrappedProtocol.dataReceived(data)
        elif not self.done.called:
            self._received += len(data)
            self._proceed(lambda: self._negotiation.receive(data))

    def _proceed(self, step: Callable[[], bytes]) -> None:
        try:
            answer = step()
        except ProxyError as error:
            self._fail(error)
            return
        if answer:
            self.transport.write(answer)
        if self._negotiation.ready:
            self._finish()
        elif self._received > MAXIMUM_ANSWER:
            self._fail(ProxyUnusable(f"{self._name} says too much: is it a proxy?"))

    def _finish(self) -> None:
        wrapped: Any = self._users.buildProtocol(self._farEnd)
        if wrapped is None:
            self._fail(NoProtocol())
            return
        self.wrappedProtocol = wrapped
        wrapped.makeConnection(self)
        self.done.callback(wrapped)
        rest = self._negotiation.rest
        if rest and self.wrappedProtocol is not None:
            self.wrappedProtocol.dataReceived(rest)

    def _fail(self, error: Exception) -> None:
        if not self.done.called:
            self.done.errback(error)
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        See L{twisted.internet.interfaces.IProtocol}.
        """
        wrapped, self.wrappedProtocol = self.wrappedProtocol, None
        if wrapped is not None:
            wrapped.connectionLost(reason)
        elif not self.done.called:
            self.done.errback(self._closed(reason))

    def _closed(self, reason: Failure) -> ProxyError:
        if reason.check(ConnectionDone, ConnectionLost):
            return self._negotiation.closed()
        # Only a proxy that is reached by TLS ends otherwise.
        return ProxyUnusable(
            f"{self._name}: TLS failed: is it an https proxy, with a certificate that this computer trusts?"
        )


@implementer(IStreamClientEndpoint)
@frozen(eq=False)
class TunnelEndpoint:
    """
    An endpoint behind a proxy.

    @ivar _proxy: the endpoint of the proxy.
    @ivar _negotiation: makes the negotiation of one connection.
    @ivar _name: what errors call the proxy.
    """

    _proxy: IStreamClientEndpoint
    _farEnd: FarEnd
    _clock: IReactorTime
    _negotiation: Callable[[], Negotiation] = field(repr=False)
    _name: str = "the proxy"

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        Connect to the far end.

        @return: fails with L{ProxyError}.
        """
        connected = Deferred.fromCoroutine(self._connect(protocolFactory))
        return connected.addTimeout(DEADLINE, self._clock, self._silent)

    def _silent(self, result: object, timeout: float) -> Failure:
        return Failure(
            ProxyError(f"{self._name} made no connection to {self._farEnd} within {timeout:.0f} seconds")
        )

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        negotiation = self._negotiation()
        try:
            return await self._attempt(negotiation, factory)
        except Reconnect:
            return await self._attempt(negotiation, factory)

    async def _attempt(self, negotiation: Negotiation, factory: IProtocolFactory) -> IProtocol:
        tunnel = await self._reach(lambda: _Tunnel(negotiation, factory, self._farEnd, self._name))
        try:
            return await tunnel.done
        except Exception:
            tunnel.transport.abortConnection()
            raise

    async def _reach(self, makeTunnel: Callable[[], _Tunnel]) -> _Tunnel:
        factory: Any = Factory.forProtocol(makeTunnel)
        factory.noisy = False
        try:
            tunnel: Any = await self._proxy.connect(factory)
        except (CancelledError, ProxyError):
            raise
        except Exception:
            raise ProxyUnusable(f"{self._name} cannot be reached: {describeFailure(Failure())}") from None
        return cast(_Tunnel, tunnel)
