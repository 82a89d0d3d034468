"""
Tests for L{vnet.client.peers}: tunnels on demand.
"""

from __future__ import annotations

from attrs import evolve
from nacl.signing import SigningKey
from twisted.trial.unittest import SynchronousTestCase

from vnet.client import peers
from vnet.client.peer import Peer
from vnet.client.peerreport import stateOf, why
from vnet.client.peers import Peers
from vnet.client.warmth import distance
from vnet.protocols.machine.agentevents import ConsentLost, Failed
from vnet.test.test_client_peer import OWN, WELCOME, FakeAttempt, FakePins, FakeTunnels, Surroundings, member


class OnDemandTests(SynchronousTestCase):
    """
    Tests of L{Peers}, of which more than 64 are online.
    """

    def setUp(self) -> None:
        self.around = Surroundings()
        self.peers = Peers(self.around.context, self.around.tunnels, FakePins(), lambda key: ())
        self.addCleanup(self.peers.close)

    def many(self, count: int) -> list[Peer]:
        """
        So many online peers.

        @return: those that are not warm, the nearest first.
        """
        keys = [bytes(SigningKey(n.to_bytes(32, "big")).verify_key) for n in range(1, count + 1)]
        self.peers.reconcile({key: member(key, number=n + 2) for n, key in enumerate(keys)}, WELCOME)
        peers = (self.peers.get(key) for key in sorted(keys, key=lambda key: distance(OWN, key)))
        return [peer for peer in peers if peer is not None and not peer.warm]

    def meet(self, peer: Peer) -> FakeAttempt:
        """
        A rendezvous with a peer, after which there is a path.
        """
        self.peers.rendezvous(peer.key, len(self.around.attempts) + 1, 1.0)
        self.around.attempts[-1].select()
        peer.sessionEstablished()
        return self.around.attempts[-1]

    def test_unusedGoes(self) -> None:
        """
        A path that was made for traffic is given up five minutes after the last of it, unless the mediator is lost then.
        """
        [peer] = self.many(65)
        for each in self.peers.all():
            each.usedAt = 1000.0
        self.peers.wanted(peer.tunnelKey)
        attempt = self.meet(peer)
        self.around.clock.pump([1.0] * 200)
        peer.noteTraffic()
        self.around.reachable = False
        self.around.clock.pump([1.0] * 400)
        self.assertIn(peer, self.peers.opened())
        self.around.reachable = True
        self.around.clock.pump([1.0] * 16)
        self.assertEqual((attempt.closed, peer.active, stateOf(peer)), (True, False, "online"))
        self.assertNotIn(peer, self.peers.opened())

    def test_peersPath(self) -> None:
        """
        A path that the peer asked for stays until the peer gives it up, which is no failure then.
        """
        [peer] = self.many(65)
        attempt = self.meet(peer)
        self.around.clock.pump([1.0] * 1000)
        self.assertFalse(attempt.closed)
        attempt.lose(ConsentLost())
        self.assertEqual((attempt.closed, stateOf(peer), peer.failure), (True, "online", ""))
        self.assertNotIn(peer, self.peers.opened())
        self.assertNotIn(peer.key, self.around.asked)

    def test_triedAgain(self) -> None:
        """
        A search that fails while there is traffic is begun anew, and the tunnel keeps what waits in it; without traffic it
        ends.
        """
        [peer] = self.many(65)
        self.peers.wanted(peer.tunnelKey)
        for _ in range(2):
            self.peers.rendezvous(peer.key, len(self.around.attempts) + 1, 1.0)
            self.around.attempts[-1].lose(Failed("heard nothing"))
            before = self.around.asked.count(peer.key)
            self.around.clock.advance(4)
            self.assertEqual(self.around.asked.count(peer.key), before + 1)
            self.assertIn(peer, self.peers.opened())
        self.around.clock.advance(10)
        self.peers.rendezvous(peer.key, 100, 1.0)
        self.around.attempts[-1].lose(Failed("heard nothing"))
        self.assertNotIn(peer, self.peers.opened())

    def test_usedStays(self) -> None:
        """
        A path that carries traffic is kept ready in place of one that does not.
        """
        [peer] = self.many(65)
        self.around.clock.advance(400)
        self.peers.wanted(peer.tunnelKey)
        attempt = self.meet(peer)
        for _ in range(20):
            peer.noteTraffic()
            self.around.clock.advance(1)
        self.assertTrue(peer.warm)
        self.around.clock.pump([1.0] * 1000)
        self.assertFalse(attempt.closed)
        self.assertEqual(sum(each.warm for each in self.peers.all()), 64)

    def test_comesOnline(self) -> None:
        """
        When a warm peer goes offline another one gets a path; the first has no tunnel any more.
        """
        [peer] = self.many(65)
        other = next(each for each in self.peers.all() if each.warm)
        self.peers.updateOne(other.key, evolve(other.member, state="offline"), WELCOME)
        self.assertEqual((peer.warm, other.warm), (True, False))
        self.around.clock.advance(1.1)
        self.assertIn(peer.key, self.around.asked)
        self.peers.wanted(other.tunnelKey)
        self.assertNotIn(other, self.peers.opened())

    def test_mostTunnels(self) -> None:
        """
        There are no more tunnels than the limit: for a new one that which is unused the longest goes; where all are in use,
        there is none.
        """
        self.patch(peers, "_MAXIMUM_OPEN", 3)
        cold = self.many(70)
        for peer in cold[:3]:
            self.peers.wanted(peer.tunnelKey)
            self.around.clock.advance(1)
        self.peers.wanted(cold[3].tunnelKey)
        self.assertEqual(self.peers.opened(), cold[:3])
        self.around.clock.advance(8)
        self.peers.rendezvous(cold[4].key, 5, 1.0)
        self.assertEqual(self.peers.opened(), [*cold[1:3], cold[4]])

    def test_impossible(self) -> None:
        """
        A peer to whom no tunnel is possible is refused when one is wanted.
        """
        [peer] = self.many(65)

        def fail(tunnelKey: bytes) -> None:
            raise ValueError("no")

        self.patch(FakeTunnels, "open", lambda self, key: fail(key))
        self.peers.wanted(peer.tunnelKey)
        self.assertEqual(stateOf(peer), "unreachable")
        self.assertIn("no tunnel", str(why(peer)))
