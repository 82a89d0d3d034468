"""
Tests for L{vnet.client.dataplane.lanes}, without the kernel's part: that is in L{vnet.test.priv.test_udp}.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence

from attrs import define, field
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.dataplane.lanes import (
    IDLE,
    MAXIMUM_LANES,
    MUCH,
    ROOM,
    WINDOW,
    Crowd,
    Lanes,
)
from vnet.values import Address, Train

ANN, BOB = Address("192.0.2.1", 5000), Address("192.0.2.2", 5000)


def trains(source: Address, size: int, most: int = 60_000) -> list[Train]:
    """So many bytes from one source."""
    whole, rest = divmod(size, most)
    return [Train.of(bytes(each), 1000, source) for each in [*[most] * whole, rest] if each]


class CrowdTests(SynchronousTestCase):
    """
    Who fills the queue.
    """

    def test_much(self) -> None:
        """Who sends so many bytes within the window, and not one less, is named."""
        self.assertIsNone(Crowd().note(trains(ANN, MUCH - 1000), 0.0))
        crowd = Crowd()
        self.assertIsNone(crowd.note(trains(ANN, MUCH - 1000), 0.0))
        self.assertEqual(crowd.note(trains(ANN, 1000), WINDOW / 2), ANN)

    def test_slowly(self) -> None:
        """The same in a longer time is not much."""
        crowd = Crowd()
        for number in range(9):
            self.assertIsNone(crowd.note(trains(ANN, MUCH - 1000), number * WINDOW * 1.01))

    def test_others(self) -> None:
        """What others send does not count."""
        crowd = Crowd()
        self.assertIsNone(crowd.note(trains(ANN, MUCH - 1000), 0.0))
        self.assertIsNone(crowd.note(trains(BOB, MUCH - 1000), 0.0))
        self.assertEqual(crowd.note(trains(BOB, 1000), 0.0), BOB)

    def test_strided(self) -> None:
        """What counts are the bytes of the datagrams, not those of the memory that they lie in."""
        crowd = Crowd()
        spread = Train(bytes(65_856 * 31 + 100), 65_856, ANN, 0, 100)
        for _ in range(100):
            self.assertIsNone(crowd.note([spread], 0.0))

    def test_bounded(self) -> None:
        """Any number of strangers takes a bounded memory."""
        crowd = Crowd()
        for number in range(10_000):
            crowd.note([Train.single(b"x", Address("192.0.2.9", number + 1))], 0.0)
        self.assertLess(len(crowd._sizes), 300)


@define(eq=False)
class Reactor(Clock):
    """
    A clock with readers.
    """

    readers: list[IReadDescriptor] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        super().__init__()

    def addReader(self, reader: IReadDescriptor) -> None:
        self.readers.append(reader)

    def removeReader(self, reader: IReadDescriptor) -> None:
        self.readers.remove(reader)


class LanesTests(SynchronousTestCase):
    """
    Lanes come and go.  Their sockets are pairs on this computer.
    """

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.far: dict[Address, socket.socket] = {}
        self.received: list[bytes] = []
        self.rooms: list[int] = []
        self.lanes = Lanes(self.reactor, self.open, self.take)
        self.addCleanup(self.close)

    def close(self) -> None:
        self.lanes.close()
        for far in self.far.values():
            far.close()

    def open(self, source: Address, room: int) -> socket.socket | None:
        if source.host == "192.0.2.66":
            return None
        if source.host == "192.0.2.67":
            raise OSError("no more sockets")
        self.rooms.append(room)
        near, self.far[source] = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        return near

    def take(self, trains: Sequence[Train]) -> None:
        self.received += [bytes(train.data) for train in trains]

    def crowd(self, source: Address) -> None:
        """A source fills the queue of the port."""
        self.lanes.crowded(trains(source, MUCH))

    def test_opened(self) -> None:
        """Who sends much gets one lane."""
        self.crowd(ANN)
        self.crowd(ANN)
        self.assertEqual((list(self.lanes), len(self.reactor.readers)), ([ANN], 1))

    def test_room(self) -> None:
        """Each has a queue of the same length."""
        for source in (ANN, BOB):
            self.crowd(source)
        self.assertEqual(self.rooms, [ROOM, ROOM])

    def test_refused(self) -> None:
        """A source that gets none, and a system that has none, do no harm."""
        self.crowd(Address("192.0.2.66", 1))
        self.crowd(Address("192.0.2.67", 1))
        self.assertEqual((len(self.lanes), self.reactor.getDelayedCalls()), (0, []))

    def test_limit(self) -> None:
        """There are so many, and no more."""
        for number in range(MAXIMUM_LANES + 5):
            self.crowd(Address("192.0.2.3", number + 1))
        self.assertEqual(len(self.lanes), MAXIMUM_LANES)

    def test_idle(self) -> None:
        """A lane in which nothing comes ends, and one that is in use stays."""
        self.crowd(ANN)
        self.crowd(BOB)
        for lane in self.reactor.readers:
            lane.isBusy = lane is self.reactor.readers[0]  # type: ignore[attr-defined]
        self.reactor.advance(IDLE)
        self.assertEqual(list(self.lanes), [ANN])
        self.reactor.advance(IDLE)
        self.assertEqual((len(self.lanes), self.reactor.readers, self.reactor.getDelayedCalls()), (0, [], []))

    def test_gone(self) -> None:
        """Where the source's computer says that nobody is there, the lane ends."""
        self.crowd(ANN)
        (lane,) = self.reactor.readers
        lane.connectionLost(Failure(OSError("refused")))
        self.assertEqual((len(self.lanes), self.reactor.readers), (0, []))
        lane.connectionLost(Failure(OSError("refused")))

    def test_close(self) -> None:
        """Nothing is left after the end."""
        self.crowd(ANN)
        self.lanes.close()
        self.assertEqual((len(self.lanes), self.reactor.readers, self.reactor.getDelayedCalls()), (0, [], []))
