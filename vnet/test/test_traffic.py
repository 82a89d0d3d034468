"""
Traffic that gets no answer is seen.
"""

from __future__ import annotations

from typing import Any, cast

from attrs import define, evolve, field
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.peer import Peer
from vnet.client.traffic import TrafficWatch
from vnet.protocols.machine.pair import Path
from vnet.protocols.machine.wireguard import PeerStatus
from vnet.values import Address

NOTHING = PeerStatus(lastHandshake=None, rxBytes=0, txBytes=0, endpoint=None, established=True)
PATH = Path(Address("192.0.2.1", 1), 0.05, "host", "host")


@define(eq=False, slots=False)
class FakePeer:
    """
    A peer whose tunnel carries what the test says.

    @ivar noted: the times at which it was told of traffic; C{doubts}, C{checks}: when it was doubted and
        asked.
    """

    clock: Clock
    key: bytes = b"k"
    tunnelKey: bytes = b"t"
    active: bool = True
    path: Path | None = PATH
    state: PeerStatus = NOTHING
    noted: list[float] = field(factory=list)
    doubts: list[float] = field(factory=list)
    checks: list[float] = field(factory=list)
    looks: int = 0

    @property
    def context(self) -> Any:
        """Itself, with the tunnels."""
        return self

    @property
    def tunnels(self) -> Any:
        """Itself, which knows the status."""
        return self

    def carried(self, tunnelKey: bytes) -> tuple[int, int]:
        """What the tunnel has carried."""
        self.looks += 1
        return self.state.rxBytes, self.state.txBytes

    def carry(self, rx: int = 0, tx: int = 0) -> None:
        """The tunnel carries something."""
        self.state = evolve(self.state, rxBytes=self.state.rxBytes + rx, txBytes=self.state.txBytes + tx)

    def noteTraffic(self) -> None:
        """See L{Peer}."""
        self.noted.append(self.clock.seconds())

    def doubt(self) -> None:
        """See L{Peer}."""
        self.doubts.append(self.clock.seconds())

    def check(self) -> None:
        """See L{Peer}."""
        self.checks.append(self.clock.seconds())


class TrafficTests(SynchronousTestCase):
    def setUp(self) -> None:
        """One peer."""
        self.clock = Clock()
        self.peer = FakePeer(self.clock)
        self.watch = self.watching([self.peer])
        self.watch.start()
        self.addCleanup(self.watch.stop)

    def watching(self, peers: list[FakePeer]) -> TrafficWatch:
        """One who looks at these."""
        return TrafficWatch(
            self.clock,
            lambda: [cast(Peer, each) for each in peers],
            lambda: sum(each.state.rxBytes + each.state.txBytes for each in peers),
        )

    def wait(self, seconds: float, rx: int = 0, tx: int = 0) -> None:
        """Let time pass while the tunnel carries something each 10 ms."""
        for _ in range(round(seconds * 100)):
            if rx or tx:
                self.peer.carry(rx, tx)
            self.clock.advance(0.01)

    def test_idle(self) -> None:
        """While all are idle, none is disturbed, and one that begins to carry something is noticed within half a second."""
        self.wait(100.3)
        self.assertEqual((self.peer.noted, self.peer.doubts, self.peer.checks), ([], [], []))
        self.assertTrue(18 <= self.peer.looks <= 22, self.peer.looks)
        self.peer.carry(1)
        self.wait(0.5)
        self.assertEqual(len(self.peer.noted), 1)

    def test_others(self) -> None:
        """While one carries something, those that do not are looked at no more often than else, and noticed as soon."""
        other = FakePeer(self.clock, key=b"o")
        peers = [self.peer, other]
        self.watch.stop()
        self.watch = self.watching(peers)
        self.watch.start()
        self.addCleanup(self.watch.stop)
        self.wait(20, 100, 100)
        self.assertGreater(self.peer.looks, 300)
        self.assertTrue(35 <= other.looks <= 41, other.looks)
        other.carry(1, 1)
        self.wait(0.6, 100, 100)
        self.assertEqual(len(other.noted), 1)

    def test_oneWay(self) -> None:
        """One that has sent something, and never hears anything, is looked at often for no longer than it carries something."""
        self.wait(1, 0, 100)
        self.wait(4)
        before = self.peer.looks
        self.wait(20)
        self.assertTrue(3 <= self.peer.looks - before <= 5)

    def test_both(self) -> None:
        """One that carries both ways is looked at twenty times a second, and trusted."""
        self.wait(1)
        before = self.peer.looks
        self.wait(10, 100, 100)
        self.assertTrue(150 <= self.peer.looks - before <= 201)
        self.assertEqual((self.peer.doubts, self.peer.checks), ([], []))
        self.assertGreater(len(self.peer.noted), 80)

    def test_silence(self) -> None:
        """One that is sent on and hears nothing is doubted within a third of a second, and again and again."""
        self.wait(5, 100, 100)
        cut = self.clock.seconds()
        self.wait(1.5, 0, 100)
        self.assertTrue(0.15 <= self.peer.doubts[0] - cut <= 0.33, self.peer.doubts)
        self.assertTrue(4 <= len(self.peer.doubts) <= 8)
        self.assertEqual(self.peer.checks, [])
        self.wait(3, 0, 100)
        self.assertTrue(1 <= len(self.peer.checks) <= 2)
        self.wait(1, 100, 100)
        before = len(self.peer.doubts)
        self.wait(5, 100, 100)
        self.assertEqual(len(self.peer.doubts), before)

    def test_few(self) -> None:
        """A sender that waits for an answer before it sends more is seen as soon; a doubt is not repeated without traffic."""
        self.wait(5, 100, 100)
        self.peer.carry(0, 100)
        self.wait(0.5)
        self.assertEqual(len(self.peer.doubts), 1)
        self.wait(60)
        self.assertEqual((len(self.peer.doubts), self.peer.checks), (1, []))

    def test_hears(self) -> None:
        """Who only hears doubts nothing."""
        self.wait(10, 100, 0)
        self.assertEqual((self.peer.doubts, self.peer.checks), ([], []))

    def test_noPath(self) -> None:
        """Where there is no path there is nothing to doubt; nor is a peer looked at that has none and seeks none."""
        self.peer.path = None
        self.wait(5, 0, 100)
        self.assertEqual((self.peer.doubts, self.peer.checks), ([], []))
        self.peer.active, self.peer.looks = False, 0
        self.wait(5, 0, 100)
        self.assertEqual(self.peer.looks, 0)

    def test_raises(self) -> None:
        """A mistake in one look does not end the watch."""
        self.peer.carried = lambda key: 1 / 0  # type: ignore[assignment, method-assign, return-value]
        self.wait(1)
        self.assertGreater(len(self.flushLoggedErrors(ZeroDivisionError)), 0)
        del self.peer.carried
        self.wait(1, 100, 100)
        self.assertGreater(len(self.peer.noted), 0)

    def test_stop(self) -> None:
        """After the end nobody looks any more."""
        self.watch.stop()
        self.watch.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
