# -*- test-case-name: vnet.test.test_allocation -*-
"""
The channels of one allocation, as its client sees them (RFC 8656 section 12).

Each peer gets a channel: it saves 32 bytes a datagram, and its binding installs the permission too::

    0 s          240 s             290 s                       600 s             910 s
    | bound      | bound again     | data waits until it is    | the server has   | the number may name
    |            | when it is used | bound again: permissions  | forgotten it     | another peer
                                     last for 300 s
"""

from __future__ import annotations

from collections import deque
from math import inf

from attrs import define, field

from vnet.protocols.codec.turn import CHANNELS
from vnet.values import Address

__all__ = ["MAXIMUM_PEERS", "MAXIMUM_WAITING", "WAITING", "Channel", "Channels"]

MAXIMUM_PEERS = 1000
"""Peers of one allocation."""

WAITING = 16
"""Datagrams that wait for a channel; all channels together have L{MAXIMUM_WAITING}."""

MAXIMUM_WAITING = 512

_RENEW, _PERMITTED = 240.0, 290.0
_USED = 300.0
#: A binding lasts for 600 seconds, and its number may not name another peer for 300 more (RFC 8656 section 12).
_REST = 910.0
_REFUSED = 60.0


@define(eq=False, repr=False)
class Channel:
    """
    The channel of one peer.

    @ivar binding: whether a request is under way.
    @ivar freshUntil: up to then datagrams go through it without another thought.
    @ivar permittedUntil: up to then the server takes datagrams for the peer, and from it.
    @ivar restsUntil: up to then the number may not name another peer.
    @ivar usedAt: when we last sent through it.
    @ivar refusedUntil: nothing is sent to the peer before, because the server refuses it.
    @ivar waiting: what is to be sent when it is bound.
    """

    number: int
    peer: Address
    usedAt: float
    binding: bool = False
    freshUntil: float = -inf
    permittedUntil: float = -inf
    restsUntil: float = -inf
    refusedUntil: float = -inf
    waiting: deque[bytes] = field(factory=lambda: deque(maxlen=WAITING))

    def asked(self, now: float) -> None:
        """
        The server is asked to bind it, and will perhaps.
        """
        self.binding, self.restsUntil = True, now + _REST

    def confirm(self, askedAt: float) -> None:
        """
        The server has bound it.

        @param askedAt: when the request was first sent: the server may count from then.
        """
        self.binding, self.refusedUntil = False, -inf
        self.freshUntil, self.permittedUntil = askedAt + _RENEW, askedAt + _PERMITTED

    def refuse(self, now: float) -> None:
        """
        The server does not bind it.
        """
        if self.permittedUntil == -inf:
            self.restsUntil = now
        self.binding = False
        self.freshUntil = self.permittedUntil = -inf
        self.refusedUntil = now + _REFUSED


@define(eq=False, repr=False)
class Channels:
    """
    The channels, by peer and by number.
    """

    _byPeer: dict[Address, Channel] = field(factory=dict, init=False)
    _byNumber: dict[int, Channel] = field(factory=dict, init=False)
    _free: deque[int] = field(factory=deque, init=False)
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
        if self._next in CHANNELS:
            number, self._next = self._next, self._next + 1
        else:
            number = self._free.popleft()
        channel = self._byPeer[peer] = self._byNumber[number] = Channel(number, peer, now)
        return channel

    def _forget(self, channel: Channel) -> None:
        self.release(channel)
        del self._byPeer[channel.peer], self._byNumber[channel.number]
        self._free.append(channel.number)

    def hold(self, channel: Channel, data: bytes) -> bool:
        """
        Keep a datagram until the channel is bound.

        @return: whether nothing is lost by it: of too many for one peer the oldest gives way, of too many for all the newest.
        """
        if len(channel.waiting) == WAITING:
            channel.waiting.append(data)
            return False
        if self._waiting >= MAXIMUM_WAITING:
            return False
        self._waiting += 1
        channel.waiting.append(data)
        return True

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
        The channels to bind again, because they are in use.  Those that neither we nor the server need any more are ended.
        """
        renewed = []
        for channel in list(self._byPeer.values()):
            if channel.binding:
                continue
            if channel.permittedUntil > -inf and channel.freshUntil <= now <= channel.usedAt + _USED:
                renewed.append(channel)
            elif now >= channel.restsUntil and now >= channel.refusedUntil:
                self._forget(channel)
        return renewed
