# -*- test-case-name: vnet.test.test_warmth -*-
"""
To which peers a path is kept ready.

To all, up to 64; of more, to those used most lately, and then to those that are nearest by a measure that has no meaning
but that both sides of a pair find the same: so most pairs agree, and no member has more than its share.  To the others a
path is made when there is traffic, and given up when there is none any more.
"""

from __future__ import annotations

from hashlib import blake2b
from heapq import nsmallest

from attrs import define, field

from vnet.client.peer import Peer

__all__ = ["CAPACITY", "IDLE", "Warmth", "distance"]

CAPACITY = 64
"""Peers to which a path is kept ready."""

IDLE = 300.0
"""
Seconds after which an unused path is given up.  The keys of the tunnel have expired by then: where the peer holds on to the
path a little longer, nothing that it sends there is lost, but waits for a handshake.
"""


def distance(one: bytes, other: bytes) -> bytes:
    """
    @return: the measure of two nodes, by their Ed25519 keys.
    """
    return blake2b(min(one, other) + max(one, other), digest_size=8, person=b"vnet-distance").digest()


@define(eq=False, repr=False)
class Warmth:
    """
    Says which peers are warm (L{Peer.warm}): some of those that are not offline.
    """

    _ownKey: bytes
    _warm: dict[bytes, tuple[bytes, Peer]] = field(factory=dict, init=False)
    _others: dict[bytes, tuple[bytes, Peer]] = field(factory=dict, init=False)
    _fresh: dict[bytes, tuple[bytes, Peer]] = field(factory=dict, init=False)

    def follow(self, peer: Peer) -> None:
        """
        A peer has become known, or its state has changed.  L{settle} follows.
        """
        if peer.refused or peer.member.state == "offline":
            self.forget(peer)
        elif peer.key not in self._warm and peer.key not in self._others:
            self._others[peer.key] = self._fresh[peer.key] = (distance(self._ownKey, peer.key), peer)

    def forget(self, peer: Peer) -> None:
        """
        A peer is not there any more.  L{settle} follows.
        """
        peer.warm = False
        for table in (self._warm, self._others, self._fresh):
            table.pop(peer.key, None)

    def settle(self, now: float) -> list[Peer]:
        """
        Choose.

        @return: those that have become warm.
        """
        fresh, self._fresh = self._fresh, {}
        room = CAPACITY - len(self._warm)
        if room >= len(self._others):
            chosen = list(self._others.values())
        else:
            chosen = nsmallest(room, self._others.values(), key=_far) if room > 0 else []
        for _, peer in chosen:
            self._promote(peer)
        return [peer for _, peer in chosen] + self._replace(fresh, now)

    def _replace(self, fresh: dict[bytes, tuple[bytes, Peer]], now: float) -> list[Peer]:
        """
        Let those that are new take the places of unused ones that are farther away.
        """
        replaced = []
        nearest = sorted((each for key, each in fresh.items() if key in self._others), key=_far)
        for entry in nearest:
            idle = (each for each in self._warm.values() if now - each[1].usedAt >= IDLE)
            farthest = max(idle, key=_far, default=None)
            if farthest is None or farthest[0] <= entry[0]:
                break
            self._swap(farthest[1], entry[1])
            replaced.append(entry[1])
        return replaced

    def _promote(self, peer: Peer) -> None:
        self._warm[peer.key] = self._others.pop(peer.key)
        peer.warm = True

    def _swap(self, old: Peer, new: Peer) -> None:
        self._others[old.key] = self._warm.pop(old.key)
        old.warm = False
        self._promote(new)

    def used(self, peer: Peer, now: float) -> None:
        """
        There is traffic with a peer: it takes the place of the one whose last is longest ago, if that is long enough.
        """
        if peer.key in self._others:
            oldest = min((each for _, each in self._warm.values()), key=_lastUse, default=None)
            if oldest is not None and now - oldest.usedAt >= IDLE:
                self._swap(oldest, peer)


def _far(entry: tuple[bytes, Peer]) -> bytes:
    return entry[0]


def _lastUse(peer: Peer) -> float:
    return peer.usedAt
