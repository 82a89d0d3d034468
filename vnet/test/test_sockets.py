"""
Spare sockets beside the node's port.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.dataplane.paths import Paths
from vnet.client.dataplane.sockets import MAXIMUM_SOCKETS, SpareSockets
from vnet.testing import MemoryNetwork, MemoryPort, inPairs
from vnet.values import Address

HERE, THERE = "192.0.2.1", "198.51.100.2"


class SpareSocketsTests(SynchronousTestCase):
    def setUp(self) -> None:
        """A node with its port, and a peer that notes what it gets."""
        self.clock = Clock()
        self.network = MemoryNetwork(self.clock)
        self.paths = Paths(self.network.port(HERE))
        self.paths.open()
        self.got: list[tuple[bytes, Address]] = []
        self.paths.start(inPairs(self.got.extend))
        self.peer = self.network.port(THERE, port=5000)
        self.peer.open()
        self.heard: list[tuple[bytes, Address]] = []
        self.peer.start(inPairs(self.heard.extend))
        self.made: list[MemoryPort] = []
        self.sockets = SpareSockets(self._make, self.paths)

    def _make(self) -> MemoryPort:
        self.made.append(self.network.port(HERE))
        return self.made[-1]

    def test_ways(self) -> None:
        """Each socket has a port of its own; what comes to it names it, and an answer leaves from it."""
        one, two = self.sockets.open(2)
        self.paths.send([(b"main", Address(THERE, 5000)), (b"two", Address(THERE, 5000, two))])
        self.clock.advance(0)
        ports = {data: source.port for data, source in self.heard}
        self.assertEqual(ports, {b"main": self.paths.port, b"two": self.sockets.portOf(two)})
        self.peer.send([(b"hello", Address(HERE, self.sockets.portOf(one)))])
        self.clock.advance(0)
        self.assertEqual(self.got, [(b"hello", Address(THERE, 5000, one))])

    def test_close(self) -> None:
        """A closed socket sends and gets nothing; its name is not used again."""
        (one,) = self.sockets.open(1)
        self.sockets.close([one, one, "#99"])
        self.paths.send([(b"x", Address(THERE, 5000, one))])
        self.clock.advance(0)
        self.assertEqual((self.heard, self.made[0].port, len(self.sockets)), ([], 0, 0))
        self.assertNotEqual(self.sockets.open(1), (one,))
        self.sockets.closeAll()
        self.assertEqual((len(self.sockets), self.sockets.portOf("#2")), (0, 0))

    def test_limits(self) -> None:
        """There are never more than the limit, and it goes on when the system has no more."""
        self.assertEqual(len(self.sockets.open(MAXIMUM_SOCKETS + 5)), MAXIMUM_SOCKETS)
        self.assertEqual(self.sockets.open(1), ())
        self.sockets.closeAll()

        def make() -> MemoryPort:
            return self.network.port(HERE, port=self.paths.port if len(sockets) else 0)

        # The second one asks for a port that is taken.
        sockets = SpareSockets(make, self.paths)
        self.assertEqual(len(sockets.open(3)), 1)

    def test_limited(self) -> None:
        """What has a hop limit leaves from the socket that its address names; through a relay it is dropped."""
        (one,) = self.sockets.open(1)
        data = [
            (b"m", Address(THERE, 5000)),
            (b"s", Address(THERE, 5000, one)),
            (b"r", Address(THERE, 5000, "r1")),
        ]
        self.paths.sendLimited(data, 2)
        self.assertEqual(self.made[0].sent, [(b"s", Address(THERE, 5000))])
        self.assertEqual((self.network.counters["expired"], self.paths.counters["noLeg"]), (2, 1))
