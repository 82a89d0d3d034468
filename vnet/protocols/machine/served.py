# -*- test-case-name: vnet.test.test_served -*-
"""
An allocation as its server has it: permissions, channels, and how long all of it lives (RFC 8656 sections 3.2, 9 and 12).
"""

from __future__ import annotations

from typing import Any

from attrs import define, field

from vnet.protocols.machine.bandwidth import Bandwidth
from vnet.values import Address

__all__ = [
    "CHANNEL_LIFETIME",
    "PERMISSION_LIFETIME",
    "Permission",
    "Served",
    "ServedChannel",
    "Side",
    "familyOf",
]

PERMISSION_LIFETIME = 300.0
CHANNEL_LIFETIME = 600.0


def familyOf(address: Address) -> int:
    """
    4 or 6.
    """
    return 6 if ":" in address.host else 4


@define(eq=False, repr=False)
class Permission:
    """
    A host that may send to the client.
    """

    until: float


@define(eq=False, repr=False)
class ServedChannel:
    """
    A channel.

    @ivar peer: to whom it leads.
    @ivar until: when its binding ends.
    @ivar permission: of the peer's host.
    @ivar driver: of use to who moves the data.
    """

    number: int
    peer: Address
    until: float
    permission: Permission
    driver: Any = None


@define(eq=False, repr=False)
class Side:
    """
    The part of an allocation that is of one family; a dual allocation has two.

    @ivar bound: the address of this host.
    @ivar relayed: the address that peers see.
    @ivar until: when it ends unless it is refreshed.
    """

    bound: Address
    relayed: Address
    until: float


@define(eq=False, repr=False)
class Served:
    """
    An allocation.

    @ivar client: who has it; C{via} names the socket or the connection.
    @ivar user: what quotas are counted by.
    @ivar transactionId: of the request that made it, which may come again.
    @ivar sides: by family.
    @ivar token: of the port that was reserved beside it.
    @ivar errors: for each family that it was not given, why: an error code.
    @ivar up: what limits the data of the client; C{down}: that of the peers.
    @ivar driver: of use to who moves the data.
    """

    client: Address
    username: str
    user: str
    service: str
    transactionId: bytes
    sides: dict[int, Side]
    token: bytes | None = None
    errors: dict[int, int] = field(factory=dict)
    up: tuple[Bandwidth, ...] = ()
    down: tuple[Bandwidth, ...] = ()
    driver: Any = None
    permissions: dict[str, Permission] = field(factory=dict, init=False)
    channels: dict[int, ServedChannel] = field(factory=dict, init=False)
    byPeer: dict[Address, ServedChannel] = field(factory=dict, init=False)

    @property
    def until(self) -> float:
        """
        When the first of its sides ends.
        """
        return min(side.until for side in self.sides.values())

    def relayed(self, family: int) -> Address | None:
        """
        The address that peers of a family see.
        """
        side = self.sides.get(family)
        return None if side is None else side.relayed

    def permits(self, host: str, now: float) -> bool:
        """
        Whether a host may send to the client.
        """
        permission = self.permissions.get(host)
        return permission is not None and now < permission.until

    def hasRoomFor(self, hosts: set[str], limit: int, now: float) -> bool:
        """
        Whether there may be permissions for these hosts too.
        """
        new = len(hosts - self.permissions.keys())
        if new and len(self.permissions) + new > limit:
            self._dropStale(now)
        return len(self.permissions) + new <= limit

    def permit(self, host: str, now: float) -> Permission:
        """
        Install or refresh a permission.
        """
        permission = self.permissions.get(host)
        if permission is None:
            permission = self.permissions[host] = Permission(now)
        permission.until = now + PERMISSION_LIFETIME
        return permission

    def mayBind(self, number: int, peer: Address, now: float) -> bool:
        """
        Whether channel and peer belong to each other, or are both free.
        """
        byNumber, byPeer = (
            self._living(self.channels.get(number), now),
            self._living(self.byPeer.get(peer), now),
        )
        return byNumber is byPeer

    def bind(self, number: int, peer: Address, now: float) -> ServedChannel:
        """
        Bind a channel, or refresh its binding; see L{mayBind}.
        """
        permission = self.permit(peer.host, now)
        channel = self.channels.get(number)
        if channel is None or channel.peer != peer:
            channel = self.channels[number] = self.byPeer[peer] = ServedChannel(number, peer, now, permission)
        channel.until, channel.permission = now + CHANNEL_LIFETIME, permission
        return channel

    def channelsLeft(self, limit: int, now: float) -> bool:
        """
        Whether there may be one more channel.
        """
        if len(self.channels) >= limit:
            for channel in [each for each in self.channels.values() if each.until <= now]:
                self._unbind(channel)
        return len(self.channels) < limit

    def dropSide(self, family: int) -> Side:
        """
        End one side, with its permissions and channels.
        """
        for host in [host for host in self.permissions if (":" in host) == (family == 6)]:
            del self.permissions[host]
        for channel in [each for each in self.channels.values() if familyOf(each.peer) == family]:
            self._unbind(channel)
        return self.sides.pop(family)

    def _living(self, channel: ServedChannel | None, now: float) -> ServedChannel | None:
        """
        The channel, if its binding has not ended; else it is forgotten.
        """
        if channel is not None and channel.until <= now:
            self._unbind(channel)
            return None
        return channel

    def _unbind(self, channel: ServedChannel) -> None:
        self.channels.pop(channel.number, None)
        self.byPeer.pop(channel.peer, None)

    def _dropStale(self, now: float) -> None:
        # A channel knows its host's permission: it may be refreshed yet.
        kept = {channel.peer.host for channel in self.channels.values()}
        for host in [host for host, each in self.permissions.items() if each.until <= now]:
            if host not in kept:
                del self.permissions[host]
