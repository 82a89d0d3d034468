# -*- test-case-name: vnet.test.test_traffic -*-
"""
Watches what the tunnels carry: a path that carries traffic is checked more often, and one on which nothing comes back is
doubted at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from vnet.client.peer import Peer

__all__ = ["TrafficWatch"]

_BUSY, _IDLE = 0.05, 0.5
_BUSY_FOR = 3.0
_STALE = 5.0
_PATIENCE = 0.15
_CHECK = 2.0


def _ignore(total: int) -> None:
    """
    Nobody wants to know.
    """


@define
class _Carried:
    """
    What one tunnel has carried, when it was looked at last.

    @ivar sentAt: when it was seen to have sent something.
    @ivar busyUntil: until when it is looked at often.
    @ivar silentSince: since when something that it sent may have got no answer; L{None}: nothing has.
    @ivar doubtedAt: when the path was doubted; C{checkedAt}: when the peer was asked whether it is there.
    """

    rx: int
    tx: int
    sentAt: float = float("-inf")
    busyUntil: float = float("-inf")
    silentSince: float | None = None
    doubtedAt: float = float("-inf")
    checkedAt: float = float("-inf")


@define(eq=False, repr=False)
class TrafficWatch:
    """
    Looks at each tunnel twenty times a second while it carries something, and at all of them twice a second, if any has.

    @ivar _peers: gives the peers.
    @ivar _total: how many bytes all tunnels have carried.
    @ivar _told: gets that number, twice a second.
    """

    _log = Logger()

    _clock: IReactorTime
    _peers: Callable[[], Iterable[Peer]]
    _total: Callable[[], int]
    _told: Callable[[int], None] = _ignore
    _carried: dict[bytes, _Carried] = field(factory=dict, init=False)
    _call: IDelayedCall | None = field(default=None, init=False)
    _busy: list[Peer] = field(factory=list, init=False)
    _lookedAt: float = field(default=0.0, init=False)
    _wholeAt: float = field(default=0.0, init=False)
    _staleAt: float = field(default=0.0, init=False)
    _seenTotal: int = field(default=-1, init=False)

    def start(self) -> None:
        """
        Begin.
        """
        self._lookedAt = self._clock.seconds()
        self._call = self._clock.callLater(_IDLE, self._tick)

    def stop(self) -> None:
        """
        Look no more.  May be called twice.
        """
        call, self._call = self._call, None
        if call is not None and call.active():
            call.cancel()

    def _tick(self) -> None:
        now = self._clock.seconds()
        self._call = self._clock.callLater(_BUSY if self._busy else _IDLE, self._tick)
        with self._log.failuresHandled("while the traffic of tunnels is looked at"):
            if self._isWholeDue(now):
                self._carried = self._look(self._peers(), now)
            else:
                self._look(self._busy, now)
        self._lookedAt = now

    def _isWholeDue(self, now: float) -> bool:
        """
        Whether to look at all: half a second after the last time if there was anything, else after some seconds.
        """
        if now < self._wholeAt:
            return False
        self._wholeAt = now + _IDLE - _BUSY / 2
        total = self._total()
        self._told(total)
        if total == self._seenTotal and now < self._staleAt:
            return False
        self._seenTotal, self._staleAt = total, now + _STALE
        return True

    def _look(self, peers: Iterable[Peer], now: float) -> dict[bytes, _Carried]:
        """
        @return: those that there is a path to, or that one is sought to.
        """
        carried: dict[bytes, _Carried] = {}
        busy: list[Peer] = []
        for peer in peers:
            if not peer.active:
                continue
            received, transmitted = peer.context.tunnels.carried(peer.tunnelKey)
            seen = self._carried.get(peer.key) or _Carried(0, 0)
            carried[peer.key] = seen
            heard, sent = received != seen.rx, transmitted != seen.tx
            if heard or sent:
                seen.rx, seen.tx = received, transmitted
                seen.busyUntil = now + _BUSY_FOR
                peer.noteTraffic()
            if now < seen.busyUntil:
                busy.append(peer)
            elif seen.silentSince is None:
                # Of thousands of peers most are idle.
                continue
            self._judge(peer, seen, heard, sent, now)
        self._busy = busy
        return carried

    def _judge(self, peer: Peer, seen: _Carried, heard: bool, sent: bool, now: float) -> None:
        path = peer.path
        if heard:
            # Which of the two was first is not known.
            seen.silentSince = now if sent else None
        elif sent and seen.silentSince is None:
            seen.silentSince = max(self._lookedAt, now - _BUSY)
        if sent:
            seen.sentAt = now
        if path is None:
            seen.silentSince = None
        if path is None or seen.silentSince is None:
            return
        patience = _PATIENCE + path.rtt
        if seen.sentAt > seen.doubtedAt and now - max(seen.silentSince, seen.doubtedAt) >= patience:
            seen.doubtedAt = now
            peer.doubt()
        if sent and now - max(seen.silentSince, seen.checkedAt) >= _CHECK:
            seen.checkedAt = now
            peer.check()
