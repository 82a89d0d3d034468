# -*- test-case-name: vnet.test.test_client_peer -*-
"""
The latest rendezvous with one peer: how it is asked for, the attempt that begins with it, and the signals that belong to it.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, evolve, field

from vnet.client.attempts import Attempts
from vnet.client.peercontext import Attempt, PeerContext
from vnet.client.retries import Retries
from vnet.errors import DecodeError
from vnet.protocols.codec import signal as signals

__all__ = ["SEARCH", "Rendezvous"]

SEARCH = 15.0
"""Seconds after a rendezvous in which paths are likely to come."""

_ASK_INTERVAL = 0.5


@define(eq=False, repr=False)
class Rendezvous:
    """
    The rendezvous of one peer.

    @ivar _tunnelKey: the peer's.
    @ivar _happened: told what the puncher has to say of an attempt.
    @ivar _resized: another size of datagrams is right.
    @ivar isOurs: whether this side asked for it.
    """

    _context: PeerContext
    _key: bytes
    _tunnelKey: bytes
    _attempts: Attempts
    _retries: Retries
    _happened: Callable[[Attempt, object], None]
    _resized: Callable[[], None]
    isOurs: bool = field(default=False, init=False)
    _start: int = field(default=0, init=False)
    _askedAt: float = field(default=float("-inf"), init=False)
    _begunAt: float = field(default=float("-inf"), init=False)

    @property
    def controlling(self) -> bool:
        """Whether this node has the controlling role of ICE."""
        return self._context.ownKey < self._key

    def askedWithin(self, seconds: float) -> bool:
        """
        Whether the mediator was asked so lately.
        """
        return self._context.clock.seconds() - self._askedAt < seconds

    def begunWithin(self, seconds: float) -> bool:
        """
        Whether it was so lately, and its search has not come to an end.
        """
        return self._context.clock.seconds() - self._begunAt < seconds

    def isLatest(self, start: int) -> bool:
        """
        Whether this is the one with that start time, as the mediator wrote it.
        """
        return start == self._start

    def ask(self) -> None:
        """
        Ask the mediator for one, if it is there, and not too often.
        """
        if not self._context.reachable():
            self._searchAlone()
        elif self.askedWithin(_ASK_INTERVAL):
            self._retries.schedule(_ASK_INTERVAL)
        else:
            self._askedAt = self._context.clock.seconds()
            self._retries.asked += 1
            self._context.askRendezvous(self._key)
            self._retries.scheduleAsking()

    def _searchAlone(self) -> None:
        """
        There is no mediator: search again with what is known of the peer from the last rendezvous.  The peer does the same,
        and the checks of either find the other.
        """
        if self._attempts.newest is not None:
            self._attempts.newest.search()
            self._retries.scheduleAlone()
            self._retries.alone += 1

    def begin(self, start: int, startAt: float, host: str) -> None:
        """
        The mediator gave both sides a start time; see L{vnet.client.peer.Peer.rendezvous}.

        @raise vnet.errors.Refused: no attempt is possible.
        """
        self._start = start
        self._begunAt = self._context.clock.seconds()
        self.isOurs = self.askedWithin(SEARCH)
        self._attempts.newest = self._connect(startAt, host)
        self.sendSignal()

    def _connect(self, startAt: float, host: str) -> Attempt:
        attempt: Attempt | None = None

        def happened(event: object) -> None:
            if attempt is not None:
                self._happened(attempt, event)

        attempt = self._context.connect(
            self._key,
            controlling=self.controlling,
            startAt=startAt,
            onEvent=happened,
            observed=host,
            onSignal=self.sendSignal,
            onSize=self._resized,
        )
        return attempt

    def end(self) -> None:
        """
        Its search has come to an end.
        """
        self._begunAt = float("-inf")

    def sendSignal(self) -> None:
        """
        Tell the peer this side's candidates: at a rendezvous, and when there are others.
        """
        if self._attempts.newest is not None:
            signal = evolve(self._attempts.newest.signal(self._start), partial=True)
            self._context.sendSignal(self._key, signals.encode(signal))

    def signal(self, plaintext: bytes) -> None:
        """
        An authentic signal of the peer came.

        @raise DecodeError: it is malformed, or for another rendezvous.
        """
        signal = signals.decode(plaintext)
        if self._attempts.newest is None or signal.start != self._start:
            raise DecodeError("a signal for another rendezvous")
        self._context.tunnels.setTakesPartial(self._tunnelKey, signal.partial)
        self._attempts.newest.remoteSignal(signal)
