"""
Tests for L{vnet.client.lifetimes}.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.trial.unittest import SynchronousTestCase

from vnet.client.dataplane.paths import Paths
from vnet.client.dataplane.sockets import SpareSockets
from vnet.client.lifetimes import LifetimeWatch, networksOf
from vnet.protocols.machine.lifetime import FLOOR, UNKNOWN
from vnet.protocols.punch import Puncher
from vnet.test.icepeers import seeded
from vnet.test.natsim import HeapClock, Internet, Nat, NatHost
from vnet.test.test_lifetime import SERVER, serve
from vnet.testing import inPairs
from vnet.values import Address


class WatchTests(SynchronousTestCase):
    """
    A node behind a NAT that gives random ports.
    """

    def setUp(self) -> None:
        self.clock = HeapClock()
        self.internet = Internet(self.clock, seed=1)
        serve(self.internet)
        self.lan = self.internet.lan()
        self.nat = Nat(self.lan, self.internet, "198.51.100.1", preserves=False, lifetime=50.0)
        self.host = NatHost({"192.168.1.2": self.lan})
        port = self.host.port()
        port.open()
        self.paths = Paths(port)
        self.sockets = SpareSockets(self.host.port, self.paths)
        self.puncher = Puncher(self.clock, self.paths.send, seeded(1))
        self.paths.start(inPairs(self.received))
        self.proven: list[float | None] = []
        self.watch = LifetimeWatch(
            self.clock, self.puncher, self.paths.send, seeded(2), self.sockets, self.proven.append
        )
        self.watch.setLocal(["192.168.1.2"])
        self.watch.setServers([SERVER])

    def received(self, batch: Sequence[tuple[bytes, Address]]) -> None:
        for data, source in batch:
            self.puncher.datagramReceived(data, source)

    def interval(self) -> float:
        return self.puncher.keepAlive.interval

    def test_finds(self) -> None:
        """
        With never more than one spare socket it finds that a mapping lives between 45 and 60 s, and gives the socket back.
        """
        most = 0
        for _ in range(300):
            self.clock.run(1.0)
            most = max(most, len(self.sockets))
        self.assertEqual((most, len(self.sockets)), (1, 0))
        self.assertEqual((self.proven[-1], self.interval()), (45.0, 0.75 * 45))

    def test_otherNetwork(self) -> None:
        """
        In another network nothing is known until that is looked at; back in the first one nothing is asked again.
        """
        self.clock.run(300.0)
        self.watch.setLocal(["10.0.0.7"])
        self.assertEqual((self.proven[-1], self.interval()), (None, UNKNOWN))
        self.watch.setLocal(["192.168.1.9"])
        self.assertEqual((self.proven[-1], self.interval()), (45.0, 0.75 * 45))
        made = self.nat.counters["made"]
        self.clock.run(300.0)
        self.assertEqual(self.nat.counters["made"], made)

    def test_lapse(self) -> None:
        """
        When the NAT's port of the node's own socket changes in silence, the interval falls to the floor at once.
        """
        self.nat.lifetime = 9.0
        self.puncher.setLocal(["192.168.1.2"], 5000)
        self.puncher.setServers([SERVER])
        self.clock.run(60.0)
        self.assertEqual(self.interval(), FLOOR)
        self.assertEqual(self.puncher.keepAlive.proven, None)

    def test_close(self) -> None:
        """
        When it is closed its socket is, and nothing is sent any more.
        """
        self.clock.run(35.0)
        self.assertEqual(len(self.sockets), 1)
        self.watch.close()
        self.assertEqual(len(self.sockets), 0)
        self.clock.run(3600.0)
        self.assertEqual(self.proven, [None])

    def test_networks(self) -> None:
        """
        A network is told by the first 24 bits of its IPv4 addresses, and by 64 of IPv6.
        """
        self.assertEqual(
            networksOf(["192.168.1.2", "2001:db8::1:2"]), frozenset({"192.168.1.0/24", "2001:db8::/64"})
        )
