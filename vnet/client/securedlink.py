# -*- test-case-name: vnet.test.test_mediatorendpoint -*-
"""
A connection with TLS of which it is not decided yet whether it is used: several may be made at once, and one wins.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import NoProtocol
from twisted.internet.interfaces import IAddress, IHandshakeListener, IProtocol, IProtocolFactory
from twisted.internet.protocol import Protocol, connectionDone
from twisted.protocols.policies import ProtocolWrapper
from twisted.python.failure import Failure
from zope.interface import directlyProvides, implementer, providedBy

__all__ = ["SecuredLink"]

_MAXIMUM_EARLY = 16 * 1024


@implementer(IHandshakeListener)
class SecuredLink(ProtocolWrapper):
    """
    A connection that gets its protocol only when it has won.

    @ivar secured: fires when TLS is complete.
    """

    wrappedProtocol: Any
    transport: Any

    def __init__(self) -> None:
        self.wrappedProtocol = None
        self.secured: Deferred[None] = Deferred()
        self._peer: IAddress | None = None
        self._early = b""
        self._lost: Failure | None = None

    def logPrefix(self) -> str:
        """
        See L{twisted.internet.interfaces.ILoggingContext}.
        """
        return "mediator"

    def getPeer(self) -> Any:
        """
        See L{twisted.internet.interfaces.ITransport}.
        """
        return self.transport.getPeer() if self._peer is None else self._peer

    def makeConnection(self, transport: Any) -> None:
        """
        See L{twisted.internet.interfaces.IProtocol}.
        """
        directlyProvides(self, providedBy(transport))
        Protocol.makeConnection(self, transport)

    def handshakeCompleted(self) -> None:
        """
        See L{IHandshakeListener}.
        """
        if not self.secured.called:
            self.secured.callback(None)

    def handOver(self, factory: IProtocolFactory, peer: IAddress) -> IProtocol:
        """
        Give the connection to a new protocol.

        @param peer: where the mediator is.
        @raise Exception: the connection was lost meanwhile, or is not wanted.
        """
        if self._lost is not None:
            self._lost.raiseException()
        wrapped: Any = factory.buildProtocol(peer)
        if wrapped is None:
            raise NoProtocol()
        self._peer, self.wrappedProtocol = peer, wrapped
        wrapped.makeConnection(self)
        if IHandshakeListener.providedBy(wrapped):
            wrapped.handshakeCompleted()
        early, self._early = self._early, b""
        if early and self.wrappedProtocol is not None:
            self.wrappedProtocol.dataReceived(early)
        return wrapped  # type: ignore[no-any-return]

    def dataReceived(self, data: bytes) -> None:
        """
        See L{IProtocol}.
        """
        if self.wrappedProtocol is not None:
            self.wrappedProtocol.dataReceived(data)
        elif len(self._early) < _MAXIMUM_EARLY:
            self._early += data
        else:
            self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        See L{IProtocol}.
        """
        self._lost = reason
        wrapped, self.wrappedProtocol = self.wrappedProtocol, None
        if wrapped is not None:
            wrapped.connectionLost(reason)
        elif not self.secured.called:
            self.secured.errback(reason)
