# -*- test-case-name: vnet.test.test_handover -*-
"""
From one path to another without loss.

A receiver of WireGuard takes each datagram once, from whichever path it comes, and takes late ones too, up to 8,128
behind the newest (its window against replay).  So when a path takes over from another

 - that works too, what follows is sent on both for a moment: which of the two works better is known only after that;
 - that does not, what was sent since it last showed that it works is sent again on the new one, not all at once, since
   the buffers on the way are small.  Nothing more goes to the old one: it may be dead in one direction only, and then the
   peer would not see the move.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

from vnet.interfaces import IDatagramPort
from vnet.values import Address, Train

__all__ = ["BOTH", "KEPT", "Handover"]

BOTH = 0.5
"""Seconds for which both paths are used."""

KEPT = 2048
"""Datagrams that are remembered: two seconds of 1,000 a second, at most 3 MiB."""

_MAXIMUM_MOVES = 256
_PORTION, _PAUSE = 64, 0.01
#: Bytes of a train that is remembered.
_MOST_KEPT = 16_384


@define
class _Move:
    """
    What is sent to a path goes to another, too: the one before it, or the one that may follow.
    """

    other: Address
    until: float


@implementer(IDatagramPort)
@define(eq=False, repr=False)
class Handover:
    """
    The port of the tunnels.

    @ivar resent: datagrams that were sent again; C{doubled}: that were sent on two paths.
    """

    _port: IDatagramPort
    _clock: IReactorTime
    resent: int = field(default=0, init=False)
    doubled: int = field(default=0, init=False)
    _keeping: bool = field(default=False, init=False)
    _recent: deque[tuple[float, Train]] = field(factory=deque, init=False)
    _kept: int = field(default=0, init=False)
    _moves: dict[Address, _Move] = field(factory=dict, init=False)
    _again: deque[tuple[bytes, Address]] = field(factory=lambda: deque(maxlen=KEPT), init=False)
    _call: IDelayedCall | None = field(default=None, init=False)

    @property
    def port(self) -> int:
        """
        See L{IDatagramPort}.
        """
        return self._port.port

    def open(self) -> None:
        """
        See L{IDatagramPort.open}.
        """
        self._port.open()

    def start(self, received: Callable[[Sequence[Train]], None]) -> None:
        """
        See L{IDatagramPort.start}.
        """
        self._port.start(received)

    def localAddresses(self) -> Sequence[str]:
        """
        See L{IDatagramPort.localAddresses}.
        """
        return self._port.localAddresses()

    def close(self) -> None:
        """
        See L{IDatagramPort.close}.
        """
        self.keep(False)
        self._moves.clear()
        self._again.clear()
        if self._call is not None:
            self._call.cancel()
            self._call = None
        self._port.close()

    def sendLimited(self, datagrams: Sequence[tuple[bytes, Address]], hopLimit: int) -> None:
        """
        See L{IDatagramPort.sendLimited}.
        """
        self._port.sendLimited(datagrams, hopLimit)

    def sendWhole(self, data: bytes, addr: Address) -> bool:
        """
        See L{IDatagramPort.sendWhole}.
        """
        return self._port.sendWhole(data, addr)

    def keep(self, keeping: bool) -> None:
        """
        Say whether there may be another path to move to, so that what is sent is worth remembering.
        """
        self._keeping = keeping
        if not keeping:
            self._recent.clear()
            self._kept = 0

    def send(self, datagrams: Sequence[tuple[bytes, Address]]) -> None:
        """
        See L{IDatagramPort.send}.
        """
        self._port.send(datagrams)
        if self._keeping:
            self._remember(datagrams)
        if self._moves:
            self._double(datagrams)

    def sendTrains(self, trains: Sequence[Train]) -> None:
        """
        See L{IDatagramPort.sendTrains}.
        """
        self._port.sendTrains(trains)
        if self._keeping:
            self._rememberTrains(trains)
        if self._moves:
            self._double([(datagram, train.address) for train in trains for datagram in train.datagrams()])

    def _remember(self, datagrams: Sequence[tuple[bytes, Address]]) -> None:
        now = self._clock.seconds()
        for data, addr in datagrams:
            self._recent.append((now, Train.single(data, addr)))
        self._kept += len(datagrams)
        self._forget()

    def _rememberTrains(self, trains: Sequence[Train]) -> None:
        now = self._clock.seconds()
        for train in trains:
            data = train.data
            # Who sends more at once repairs what is lost by itself.
            if len(data) <= _MOST_KEPT:
                if data.__class__ is not bytes:
                    train = train._replace(data=bytes(data))
                self._recent.append((now, train))
                self._kept += train.datagramCount
        if self._kept > KEPT:
            self._forget()

    def _forget(self) -> None:
        while self._kept > KEPT and len(self._recent) > 1:
            self._kept -= self._recent.popleft()[1].datagramCount

    def _double(self, datagrams: Sequence[tuple[bytes, Address]]) -> None:
        now = self._clock.seconds()
        for new in [new for new, move in self._moves.items() if move.until <= now]:
            del self._moves[new]
        copies = [(data, self._moves[addr].other) for data, addr in datagrams if addr in self._moves]
        if copies:
            self.doubled += len(copies)
            self._port.send(copies)

    def double(self, path: Address, other: Address) -> None:
        """
        What is sent on a path goes to another one too, for a while: the peer uses that one, and this one is in doubt.
        """
        if len(self._moves) < _MAXIMUM_MOVES:
            self._moves[path] = _Move(other, self._clock.seconds() + BOTH)

    def move(self, old: Address, new: Address, since: float | None = None) -> None:
        """
        A tunnel's path has changed.

        @param since: when the old one last showed that it works; L{None}: it does, so nothing is lost on it.
        """
        self._moves.pop(old, None)
        if since is None:
            if len(self._moves) < _MAXIMUM_MOVES:
                self._moves[new] = _Move(old, self._clock.seconds() + BOTH)
        else:
            self._moves.pop(new, None)
            waiting = [(data, new if addr == old else addr) for data, addr in self._again]
            self._again.clear()
            self._again += waiting
            self._again += [
                (data, new)
                for at, train in self._recent
                if at >= since and train.address == old
                for data in train.datagrams()
            ]
            if self._call is None:
                self._sendAgain()

    def _sendAgain(self) -> None:
        again = self._again
        portion = [again.popleft() for _ in range(min(_PORTION, len(again)))]
        self._call = self._clock.callLater(_PAUSE, self._sendAgain) if again else None
        if portion:
            self.resent += len(portion)
            if self._keeping:
                # The new path may break as well.
                self._remember(portion)
            self._port.send(portion)
