"""
Tests for L{vnet.client.warmth}.
"""

from __future__ import annotations

from statistics import mean

from nacl.signing import SigningKey
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.peer import Peer
from vnet.client.warmth import CAPACITY, IDLE, Warmth, distance
from vnet.test.test_client_peer import OWN, Surroundings, member

KEYS = [bytes(SigningKey(number.to_bytes(32, "big")).verify_key) for number in range(1, 301)]


class WarmthTests(SynchronousTestCase):
    """
    Tests of L{Warmth}.
    """

    def setUp(self) -> None:
        self.context = Surroundings().context
        self.warmth = Warmth(OWN)
        self.byDistance = sorted(KEYS, key=lambda key: distance(OWN, key))

    def peer(self, key: bytes, state: str = "online") -> Peer:
        return Peer(self.context, member(key, state), key, warm=False)

    def add(self, *keys: bytes, now: float = 0.0) -> list[Peer]:
        peers = [self.peer(key) for key in keys]
        for peer in peers:
            self.warmth.follow(peer)
        self.settled = self.warmth.settle(now)
        return peers

    def warm(self, peers: list[Peer]) -> set[bytes]:
        return {peer.key for peer in peers if peer.warm}

    def test_few(self) -> None:
        """All of up to 64 peers are warm, and told once."""
        peers = self.add(*KEYS[:CAPACITY])
        self.assertEqual(self.warm(peers), set(KEYS[:CAPACITY]))
        self.assertEqual(self.settled, peers)
        self.assertEqual(self.warmth.settle(0.0), [])

    def test_many(self) -> None:
        """Of more the 64 nearest are, in whatever order they come."""
        peers = self.add(*KEYS)
        self.assertEqual(self.warm(peers), set(self.byDistance[:CAPACITY]))
        self.warmth = Warmth(OWN)
        peers = [peer for key in KEYS for peer in self.add(key)]
        self.assertEqual(self.warm(peers), set(self.byDistance[:CAPACITY]))

    def test_agreement(self) -> None:
        """Nodes that see each other mostly agree, and nobody is warm for many more than 64."""
        chosen = {}
        for own in KEYS[:150]:
            self.warmth = Warmth(own)
            chosen[own] = self.warm(self.add(*(key for key in KEYS[:150] if key != own)))
        mutual = [own in chosen[each] for own, others in chosen.items() for each in others]
        self.assertGreater(mean(mutual), 0.8)
        loads = [sum(own in others for others in chosen.values()) for own in chosen]
        self.assertLess(max(loads), 2 * CAPACITY)

    def test_offline(self) -> None:
        """A peer that is offline, or refused, is not warm, and its place is the next one's."""
        peers = {peer.key: peer for peer in self.add(*KEYS)}
        first, second = (peers[key] for key in self.byDistance[:2])
        first.member = member(first.key, "offline")
        second.refused = "no"
        for peer in (first, second):
            self.warmth.follow(peer)
        self.assertEqual(
            [peer.key for peer in self.warmth.settle(0.0)], self.byDistance[CAPACITY : CAPACITY + 2]
        )
        self.assertEqual(self.warm(list(peers.values())), set(self.byDistance[2 : CAPACITY + 2]))

    def test_lost(self) -> None:
        """A peer that is lost keeps its place."""
        peers = self.add(*KEYS[:CAPACITY])
        peers[0].member = member(peers[0].key, "lost")
        self.warmth.follow(peers[0])
        peers[0].usedAt = 0.0
        self.add(KEYS[-1])
        self.assertTrue(peers[0].warm)

    def test_nearer(self) -> None:
        """One that comes later takes the place of the farthest that is not used, if it is nearer."""
        peers = self.add(*self.byDistance[1 : CAPACITY + 1])
        farthest, next_ = peers[-1], peers[-2]
        farthest.usedAt = 100.0
        [nearest] = self.add(self.byDistance[0], now=100.0 + IDLE - 1)
        self.assertEqual((nearest.warm, farthest.warm, next_.warm), (True, True, False))
        [far] = self.add(self.byDistance[-1], now=1000.0)
        self.assertFalse(far.warm)

    def test_used(self) -> None:
        """One with traffic takes the place of the one that was used the longest time ago, but of none that is in use."""
        peers = self.add(*self.byDistance[: CAPACITY + 1])
        for number, peer in enumerate(peers):
            peer.usedAt = 1000.0 + number
        peers[5].usedAt = 10.0
        other = peers[-1]
        self.warmth.used(other, 10.0 + IDLE - 1)
        self.assertFalse(other.warm)
        self.warmth.used(other, 10.0 + IDLE)
        self.assertEqual((other.warm, peers[5].warm), (True, False))
        self.warmth.used(other, 10.0 + IDLE)
        self.assertEqual(len(self.warm(peers)), CAPACITY)
