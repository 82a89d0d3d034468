# -*- test-case-name: vnet.test.test_lanes -*-
"""
Queues for those who send much.

What comes to a UDP port waits in one queue of the kernel, where the handshakes and pings of all others would wait behind one
peer that sends more than this computer can read.  So a source that fills the queue gets a lane: a socket on the same port that the
kernel gives all from this source, and nothing else.  Each turn of the reactor reads a little of each.

Only an address that we have sent to gets a lane.  A lane in which nothing has come for a while ends.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from vnet.client.dataplane.udpsocket import overflown
from vnet.directreads import IDirectReader
from vnet.protocols.trainreader import JOINED_SLOTS, TrainReader
from vnet.values import Address, Train

__all__ = ["IDLE", "MAXIMUM_LANES", "MUCH", "ROOM", "WINDOW", "Crowd", "Lanes", "sharedReader"]

MAXIMUM_LANES = 16

MUCH, WINDOW = 512 << 10, 0.1
"""Bytes that a source sends in so many seconds, while the queue is never empty, and gets a lane."""

IDLE = 5.0
"""Seconds, at least, that a lane stays without anything in it."""

ROOM = 2 << 20
"""
Bytes of the queue of a lane.  The kernel takes twice as many, but counts all the memory that a datagram takes.  What waits
there delays whatever else the same peer sends: where the kernel joins datagrams it is some 60 trains, which are at most ten to
twenty milliseconds.  A shorter one loses datagrams of a single TCP connection.
"""

_MAXIMUM_SOURCES = 256
_LAST_READS = 16


@cache
def sharedReader() -> TrainReader:
    """
    Of all sockets, since what is read is used up at once.
    """
    return TrainReader()


@define
class Crowd:
    """
    Who fills a queue.
    """

    _since: float = field(default=float("-inf"), init=False)
    _sizes: dict[Address, int] = field(factory=dict, init=False)

    def note(self, trains: Sequence[Train], now: float) -> Address | None:
        """
        These were read, and there is more.

        @return: who is among their senders and has sent much.
        """
        sizes = self._sizes
        if not 0 <= now - self._since < WINDOW:
            sizes.clear()
            self._since = now
        found = None
        for train in trains:
            source = train.address
            if source in sizes or len(sizes) < _MAXIMUM_SOURCES:
                size = sizes.get(source, 0) + train.datagramCount * (train.end - train.start)
                sizes[source] = size
                if size >= MUCH:
                    found = source
        if found is not None:
            del sizes[found]
        return found


@implementer(IReadDescriptor, IDirectReader)
@define(eq=False)
class _Lane:
    """
    The queue of one source.
    """

    _log = Logger()

    _socket: socket.socket
    _received: Callable[[Sequence[Train]], None]
    _ended: Callable[[_Lane], None]
    isBusy: bool = field(default=True, init=False)
    isFull: bool = field(default=True, init=False)
    _most: int = field(default=JOINED_SLOTS, init=False)

    def fileno(self) -> int:
        """See L{IReadDescriptor}."""
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """See L{IReadDescriptor}."""
        return "udp"

    def doRead(self) -> None:
        """See L{IReadDescriptor}."""
        self.read()

    def read(self) -> bool:
        """
        Read a little.

        @return: whether there was anything.
        """
        reader = sharedReader()
        trains = reader.read(self._socket.fileno(), self._most)
        self._most, self.isFull = reader.most, reader.isFull
        if not trains:
            return False
        self.isBusy = True
        try:
            self._received(trains)
        except Exception:
            self._log.failure("while datagrams are received")
        return True

    def connectionLost(self, reason: Failure) -> None:
        """
        See L{IReadDescriptor}: the source's computer has said that nobody is there.
        """
        self._ended(self)

    def close(self) -> int:
        """
        Give the socket back.

        @return: how much its queue has lost.
        """
        lost = overflown(self._socket)
        self._socket.close()
        return lost

    @property
    def overflown(self) -> int:
        """How much its queue has lost."""
        return overflown(self._socket)


@define(eq=False)
class Lanes:
    """
    The lanes of one port.

    @ivar _reactor: has the time, and reads.
    @ivar _open: makes the socket for a source, with a queue of so many bytes; L{None}: this one gets none.
    @ivar _received: gets what comes.
    """

    _log = Logger()

    _reactor: Any
    _open: Callable[[Address, int], socket.socket | None]
    _received: Callable[[Sequence[Train]], None]
    _crowd: Crowd = field(factory=Crowd, init=False)
    _lanes: dict[Address, _Lane] = field(factory=dict, init=False)
    _sweep: IDelayedCall | None = field(default=None, init=False)
    _lost: int = field(default=0, init=False)

    def __len__(self) -> int:
        return len(self._lanes)

    def __iter__(self) -> Iterator[Address]:
        return iter(self._lanes)

    @property
    def overflown(self) -> int:
        """
        How many datagrams and trains all lanes that there were have lost, because they were full.
        """
        return self._lost + sum(lane.overflown for lane in self._lanes.values())

    def crowded(self, trains: Sequence[Train]) -> None:
        """
        The port has read these, and there is more in its queue.
        """
        source = self._crowd.note(trains, self._reactor.seconds())
        if source is None or source in self._lanes or len(self._lanes) >= MAXIMUM_LANES:
            return
        try:
            opened = self._open(source, ROOM)
        except OSError as error:
            self._log.debug("no lane for {source}: {error}", source=source, error=error)
            return
        if opened is None:
            return
        lane = self._lanes[source] = _Lane(opened, self._received, self._ended)
        self._reactor.addReader(lane)
        if self._sweep is None:
            self._sweep = self._reactor.callLater(IDLE, self._swept)

    def _swept(self) -> None:
        self._sweep = None
        for lane in tuple(self._lanes.values()):
            if not lane.isBusy:
                self._ended(lane)
            lane.isBusy = False
        if self._lanes:
            self._sweep = self._reactor.callLater(IDLE, self._swept)

    def _ended(self, lane: _Lane) -> None:
        source = next((each for each, found in self._lanes.items() if found is lane), None)
        if source is None:
            return
        del self._lanes[source]
        self._reactor.removeReader(lane)
        for _ in range(_LAST_READS):
            if not lane.read():
                break
        self._lost += lane.close()

    def close(self) -> None:
        """
        End all, and take nothing from them any more.
        """
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        lanes, self._lanes = self._lanes, {}
        for lane in lanes.values():
            self._reactor.removeReader(lane)
            self._lost += lane.close()
