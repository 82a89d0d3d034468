"""
Endpoints in memory: the test is what is at the other end of each connection.
"""

from __future__ import annotations

from typing import Any

from attrs import define, field
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

__all__ = ["Kept", "Pipe", "Pipes", "keptFactory"]


_PEER = IPv4Address("TCP", "203.0.113.99", 3128)


class Pipe(StringTransport):
    """
    A connection, and what the other side of it does.

    @ivar open: whether it is.
    @ivar protocol: the client's.
    """

    protocol: Any

    def __init__(self, peer: Any = _PEER) -> None:
        super().__init__(peerAddress=peer)
        self.open = True

    def sent(self) -> bytes:
        """
        What the client has sent since this was asked last.
        """
        data: bytes = self.value()
        self.clear()
        return data

    def say(self, data: bytes) -> None:
        """
        The other side sends.
        """
        if self.open:
            self.protocol.dataReceived(data)

    def close(self, error: Exception | None = None) -> None:
        """
        The connection ends.
        """
        if self.open:
            self.open = False
            self.protocol.connectionLost(Failure(error or ConnectionDone()))

    def loseConnection(self) -> None:
        """See L{twisted.internet.interfaces.ITransport}."""
        self.close()

    def abortConnection(self) -> None:
        """See L{twisted.internet.interfaces.ITCPTransport}."""
        self.close(ConnectionAborted())


@implementer(IStreamClientEndpoint)
@define(eq=False)
class Pipes:
    """
    An endpoint that connects at once.

    @ivar made: the connections, the newest last.
    @ivar failure: why it does not connect; an unfired Deferred never does.
    @ivar peer: what the connections have as their peer.
    """

    made: list[Pipe] = field(factory=list)
    failure: Exception | Deferred[Any] | None = None
    peer: Any = _PEER

    @property
    def last(self) -> Pipe:
        """The newest connection."""
        return self.made[-1]

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        """See L{IStreamClientEndpoint}."""
        if isinstance(self.failure, Deferred):
            return self.failure
        if self.failure is not None:
            failed: Deferred[Any] = Deferred()
            failed.errback(self.failure)
            return failed
        protocol: Any = protocolFactory.buildProtocol(self.peer)
        pipe = Pipe(self.peer)
        pipe.protocol = protocol
        self.made.append(pipe)
        protocol.makeConnection(pipe)
        return succeed(protocol)


class Kept(Protocol):
    """
    Keeps what it gets.
    """

    def __init__(self) -> None:
        self.received = b""
        self.lost: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        """See L{twisted.internet.interfaces.IProtocol}."""
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See L{twisted.internet.interfaces.IProtocol}."""
        self.lost = reason


def keptFactory() -> Any:
    """
    @return: a factory of L{Kept}.
    """
    return Factory.forProtocol(Kept)
