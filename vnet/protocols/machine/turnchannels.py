# -*- test-case-name: vnet.test.test_allocation -*-
"""
The channels of one allocation, as its client sees them (RFC 8656 section 12).

Each peer gets a channel: it saves 32 bytes a datagram, and its binding installs the permission too.
"""

from __future__ import annotations

from collections import deque

from attrs import define, field

from vnet.protocols.codec.turn import CHANNELS
from vnet.values import Address

__all__ = ["MAXIMUM_PEERS", "Channel", "Channels"]

MAXIMUM_PEERS = 1000
"""Peers of one allocation."""

_WAITING, _MAXIMUM_WAITING = 16, 512
_RENEW = 240.0
_USED = 300.0
_LIFETIME = 600.0
#: For so long a number may not name another peer (RFC 8656 section 12.2): its lifetime, and five minutes.
_REST = 900.0
_REFUSED = 60.0


@define(eq=False)
class Channel:
    """
    The channel of one peer.

    @ivar header: the number, 2 bytes.
    @ivar bound: whether the server has confirmed it.
    @ivar binding: whether a request is under way.
    @ivar boundAt: when it was confirmed last.
    @ivar usedAt: when we last sent through it.
    @ivar refusedUntil: nothing is sent to the peer before, because the server refuses it.
    @ivar waiting: what is to be sent when it is bound.
    """

    number: int
    peer: Address
    usedAt: float
    bound: bool = False
    binding: bool = False
    boundAt: float = float("-inf")
    refusedUntil: float = float("-inf")
    waiting: deque[bytes] = field(factory=lambda: deque(maxlen=_WAITING))

    @property
    def header(self) -> bytes:
        return self.number.to_bytes(2, "big")


@define(eq=False)
class Channels:
    """
    The channels, by peer and by number.
    """

    _byPeer: dict[Address, Channel] = field(factory=dict, init=False)
    _byNumber: dict[int, Channel] = field(factory=dict, init=False)
    _resting: deque[tuple[float, int]] = field(factory=deque, init=False)
    _next: int = field(default=CHANNELS.start, init=False)
    _waiting: int = field(default=0, init=False)

    def __len__(self) -> int:
        return len(self._byPeer)

    def find(self, peer: Address) -> Channel | None:
        """
        The channel of a peer.
        """
        return self._byPeer.get(peer)

    def at(self, number: int) -> Channel | None:
        """
        The channel of this number.
        """
        return self._byNumber.get(number)

    def open(self, peer: Address, now: float) -> Channel | None:
        """
        Give a peer a channel.

        @return: L{None} when there are too many.
        """
        if len(self._byPeer) >= MAXIMUM_PEERS:
            return None
        number = self._freeNumber(now)
        if number is None:
            return None
        channel = self._byPeer[peer] = self._byNumber[number] = Channel(number, peer, now)
        return channel

    def _freeNumber(self, now: float) -> int | None:
        if self._next in CHANNELS:
            self._next += 1
            return self._next - 1
        if self._resting and self._resting[0][0] <= now:
            return self._resting.popleft()[1]
        return None

    def forget(self, channel: Channel, now: float) -> None:
        """
        End a channel: its number rests.
        """
        self._waiting -= len(channel.waiting)
        self._byPeer.pop(channel.peer, None)
        self._byNumber.pop(channel.number, None)
        self._resting.append((now + _REST, channel.number))

    def hold(self, channel: Channel, data: bytes) -> None:
        """
        Keep a datagram until the channel is bound; the oldest of its own gives way.
        """
        if self._waiting >= _MAXIMUM_WAITING:
            return
        self._waiting += len(channel.waiting) < _WAITING
        channel.waiting.append(data)

    def release(self, channel: Channel) -> list[bytes]:
        """
        Take what waits.
        """
        waiting = list(channel.waiting)
        channel.waiting.clear()
        self._waiting -= len(waiting)
        return waiting

    def due(self, now: float) -> list[Channel]:
        """
        The channels to bind again, because they are in use; those that are not are ended when the server has ended them.
        """
        renewed = []
        for channel in list(self._byPeer.values()):
            if channel.binding:
                continue
            if channel.refusedUntil > now or (not channel.bound and channel.refusedUntil == float("-inf")):
                continue
            if channel.bound and now - channel.boundAt >= _RENEW and now - channel.usedAt <= _USED:
                renewed.append(channel)
            elif now - channel.boundAt >= _LIFETIME and now - channel.usedAt >= _REFUSED:
                self.forget(channel, now)
        return renewed
