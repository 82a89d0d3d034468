"""
Connections of Twisted without a network: each has a socket in memory, whose room is limited.
"""

from __future__ import annotations

import errno
from typing import Any

from attrs import define, field
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import Protocol
from twisted.internet.tcp import Connection
from twisted.python.failure import Failure

__all__ = ["Pair", "PretendedTcp"]

_ROOM = 1 << 20


class PretendedTcp:
    """
    A socket.

    @ivar room: bytes that it takes yet.
    @ivar sent: the sizes of what it has taken, call by call.
    """

    def __init__(self) -> None:
        self.room = _ROOM
        self.sent: list[int] = []
        self.incoming = bytearray()
        self.other: PretendedTcp = self
        self.isOpen = True

    def setblocking(self, blocks: bool) -> None:
        """It never blocks."""

    def setsockopt(self, *option: object) -> None:
        """It has no options."""

    def fileno(self) -> int:
        """It has no descriptor."""
        return -1

    def shutdown(self, how: int) -> None:
        """No more is sent."""
        self.isOpen = False

    def close(self) -> None:
        """The same."""
        self.isOpen = False

    def send(self, data: Any) -> int:
        """Send as much as there is room for."""
        if not self.isOpen:
            raise BrokenPipeError(errno.EPIPE, "it is closed")
        some = bytes(data[: self.room])
        if not some and len(data):
            raise BlockingIOError(errno.EAGAIN, "full")
        self.room -= len(some)
        self.sent.append(len(some))
        self.other.incoming += some
        return len(some)

    def recv(self, most: int) -> bytes:
        """Receive."""
        some = bytes(self.incoming[:most])
        del self.incoming[:most]
        if not some and self.other.isOpen:
            raise BlockingIOError(errno.EAGAIN, "empty")
        return some


@define(eq=False)
class PretendedReactor:
    """
    What a connection needs of the reactor.

    @ivar calls: how often it was to watch whether there is room.
    """

    writers: set[Any] = field(factory=set)
    readers: set[Any] = field(factory=set)
    calls: int = 0
    later: list[tuple[Any, ...]] = field(factory=list)

    def addReader(self, reader: Any) -> None:
        """See C{IReactorFDSet}."""
        self.readers.add(reader)

    def removeReader(self, reader: Any) -> None:
        """See C{IReactorFDSet}."""
        self.readers.discard(reader)

    def addWriter(self, writer: Any) -> None:
        """See C{IReactorFDSet}."""
        self.calls += 1
        self.writers.add(writer)

    def removeWriter(self, writer: Any) -> None:
        """See C{IReactorFDSet}."""
        self.writers.discard(writer)

    def callLater(self, delay: float, call: Any, *arguments: Any) -> None:
        """It has no time: L{Pair.pump} does it."""
        self.later.append((call, *arguments))


class Pair:
    """
    Two protocols with a connection.

    @ivar reactor: of both.
    @ivar ends: the connections; C{sockets}: what is below them.
    """

    def __init__(self, one: Protocol, other: Protocol) -> None:
        reactor: Any = PretendedReactor()
        self.reactor: PretendedReactor = reactor
        self.sockets = PretendedTcp(), PretendedTcp()
        self.sockets[0].other, self.sockets[1].other = self.sockets[1], self.sockets[0]
        self.ends: list[Connection] = []
        for protocol, socket in zip((one, other), self.sockets, strict=True):
            pretended: Any = socket
            end = Connection(pretended, protocol, reactor)
            end.connected = 1
            self.ends.append(end)
        for end in self.ends:
            end.startReading()
            end.protocol.makeConnection(end)

    def pump(self) -> None:
        """
        Do what the reactor does, until there is nothing to do.
        """
        for _ in range(1000):
            while self.reactor.later:
                call, *arguments = self.reactor.later.pop(0)
                call(*arguments)
            if not any(
                [self._turn(end, socket) for end, socket in zip(self.ends, self.sockets, strict=True)]
            ):
                return
        raise AssertionError("it never ends")

    def _turn(self, end: Connection, socket: PretendedTcp) -> bool:
        reason: Any = None
        did = False
        if end in self.reactor.writers and (socket.room or not end.dataBuffer):
            did, reason = True, end.doWrite()
        if reason is None and end in self.reactor.readers and (socket.incoming or not socket.other.isOpen):
            did, reason = True, end.doRead()
        if reason is not None:
            self.reactor.removeReader(end)
            isDone = isinstance(reason, ConnectionDone) or reason is ConnectionDone
            end.connectionLost(Failure(ConnectionDone() if isDone else ConnectionLost()))
        return did
