# -*- test-case-name: vnet.test.test_groups -*-
"""
Broadcast and multicast: what the operating system sends to a group goes once to each member that has a path, and what members
send to groups comes in.

Both ways are bounded, and what concerns one link alone (L{vnet.protocols.codec.linkscope}) goes neither way.  Packets to a
multicast group go to the members that listen to it, as far as that is known (L{vnet.client.dataplane.snooping}).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from ipaddress import IPv4Network

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from vnet.client.dataplane.clamp import Clamp
from vnet.client.dataplane.neighbours import Member, Neighbours
from vnet.client.dataplane.snooping import Snooping, mayBeReport
from vnet.errors import DecodeError
from vnet.protocols.codec.etherip import ETHERIP
from vnet.protocols.codec.ethernet import BROADCAST, IPV4, IPV6, multicastMac4, multicastMac6
from vnet.protocols.codec.linkscope import concernsLink
from vnet.protocols.codec.runs import Run
from vnet.protocols.codec.segmentation import IP, finish
from vnet.protocols.machine.membergroups import isForAll
from vnet.protocols.machine.ratelimit import KeyedLimit

__all__ = ["MEMBER_RATE", "Groups"]

MEMBER_RATE = 100
"""Frames a second to groups that are taken of one member; and as many are sent, since others take no more."""

_BURSTS = 2
#: Of what is dropped of one member, and for how many seconds it is not listened to when that is more.
_EXCESS_RATE, _EXCESS_BURST, _SILENCE = 1000, 2000, 1.0
#: To so many members; to more of them fewer a second.
_SEND_MEMBERS = 64
_EVERYBODY = b"\xff" * 4
_FIRST4, _LAST4 = 224, 239
_GROUP6, _LINK_LOCAL_SCOPE = 255, 2


@define(eq=False, repr=False)
class Groups:
    """
    The members that have a path, and the bounds.

    @ivar counters: C{groupSent}: packets to groups that went to the members; C{groupSpared}: copies that went to no member, since
        it does not listen; C{groupTooMany}: that were dropped by the bound;
        C{groupOther}: that are from another address than ours, or to no group that is sent to; C{groupReceived}: of members,
        taken; C{stormDropped}: of members, dropped by the bound; and those of L{vnet.protocols.codec.linkscope}.
    @ivar _seal: sends packets to a member; C{KeyError} when there is none.
    @ivar _mute: has nothing be opened that a member sends until then; C{KeyError} when there is none.
    @ivar _deliver: hands Ethernet frames to our operating system.
    @ivar _wake: has sent what the machine has to send.
    """

    _neighbours: Neighbours
    _clock: IReactorTime
    _clamp: Clamp | None
    _seal: Callable[[bytes, Sequence[bytes]], None]
    _mute: Callable[[bytes, float], None]
    _deliver: Callable[[Sequence[bytes]], None]
    _wake: Callable[[], None]
    counters: Counter[str]
    _rate: int = MEMBER_RATE
    _live: dict[bytes, None] = field(factory=dict, init=False)
    _broadcasts: frozenset[bytes] = field(default=frozenset((_EVERYBODY,)), init=False)
    _waiting: list[bytes] = field(factory=list, init=False)
    snooping: Snooping = field(init=False)
    _sent: KeyedLimit = field(init=False)
    _received: KeyedLimit = field(init=False)
    _excess: KeyedLimit = field(factory=lambda: KeyedLimit(_EXCESS_RATE, _EXCESS_BURST), init=False)

    def __attrs_post_init__(self) -> None:
        self.snooping = Snooping(
            self._clock, self._neighbours, self.live, self._sendTo, self._deliver, self._wake, self.counters
        )
        self._sent = KeyedLimit(self._rate, self._rate * _BURSTS, 1)
        self._received = KeyedLimit(self._rate, self._rate * _BURSTS)

    def setBlock(self, pool: str) -> None:
        """
        The overlay's block, as CIDR: its last address is for everybody.
        """
        self._broadcasts = frozenset((_EVERYBODY, IPv4Network(pool).broadcast_address.packed))
        self.snooping.start()

    def setLive(self, publicKey: bytes, isLive: bool) -> None:
        """
        Whether a member has a path: what goes to groups goes to those only, and makes none for the others.
        """
        if isLive and self._neighbours.get(publicKey) is not None:
            if publicKey not in self._live:
                self._live[publicKey] = None
                self.snooping.pathBegan(publicKey)
        else:
            self._live.pop(publicKey, None)
        if self._neighbours.get(publicKey) is None:
            self.snooping.forget(publicKey)

    def live(self) -> list[Member]:
        """
        The members that have a path.
        """
        members = map(self._neighbours.get, self._live)
        return [member for member in members if member is not None]

    # Out

    def send(self, frame: bytes) -> None:
        """
        The operating system sends this IP packet to a group; L{flush} hands it on.

        @param frame: with its virtio header.
        """
        if mayBeReport(frame[IP : IP + 41]) and self.snooping.ownReport(frame[IP:]):
            return
        if not self.maySend():
            return
        try:
            packet = (finish(frame) if frame[0] else frame)[IP:]
            reason = concernsLink(packet)
        except DecodeError:
            reason = "malformed"
        if not reason and not self._isOurs(packet):
            reason = "groupOther"
        if reason:
            self.counters[reason] += 1
        else:
            self._waiting.append(packet)

    def maySend(self) -> bool:
        """
        Whether one more frame may go to all members that have a path.
        """
        cost = max(1.0, len(self._live) / _SEND_MEMBERS)
        if self._live and self._sent.allow("", self._clock.seconds(), cost):
            return True
        self.counters["groupTooMany"] += bool(self._live)
        return False

    def _isOurs(self, packet: bytes) -> bool:
        """
        Whether a packet is from our own address to a group.
        """
        source = packet[12:16] if packet[0] >> 4 == 4 else packet[8:24]
        return source in self._neighbours.own and self.macOf(_destination(packet)) is not None

    def macOf(self, destination: bytes) -> bytes | None:
        """
        The MAC address of the group that a packed address is; L{None}: it is none that is sent to.
        """
        if len(destination) != 4:
            # A smaller scope is this computer's own.
            isGroup = destination[0] == _GROUP6 and destination[1] & 15 >= _LINK_LOCAL_SCOPE
            return multicastMac6(destination) if isGroup else None
        if _FIRST4 <= destination[0] <= _LAST4:
            return multicastMac4(destination)
        return BROADCAST if destination in self._broadcasts else None

    def flush(self) -> None:
        """
        Hand on what L{send} took.
        """
        if not self._waiting:
            return
        packets, self._waiting = self._waiting, []
        self.counters["groupSent"] += len(packets)
        destinations = list(map(_destination, packets))
        everybodys = all(map(isForAll, destinations))
        for publicKey in tuple(self._live):
            wanted = packets if everybodys else self.snooping.wanted(publicKey, destinations, packets)
            self.counters["groupSpared"] += len(packets) - len(wanted)
            if wanted:
                self._sendTo(publicKey, wanted)

    def _sendTo(self, publicKey: bytes, packets: list[bytes]) -> None:
        try:
            self._seal(publicKey, self._fitting(publicKey, packets))
        except KeyError:
            self._live.pop(publicKey, None)

    def _fitting(self, publicKey: bytes, packets: list[bytes]) -> list[bytes]:
        limit = None if self._clamp is None else self._clamp.limitOf(publicKey)
        if self._clamp is None or limit is None or max(map(len, packets)) <= limit.fits:
            return packets
        # Nobody can be told what is too long for a group.
        return self._clamp.outgoing(publicKey, limit, packets, [])

    # In

    def receive(self, member: Member, run: Run) -> bytes | None:
        """
        A member has sent packets that are not to our own addresses.

        @return: the beginning of their Ethernet header; L{None}: they stay outside.
        """
        first = run[0]
        mac = self.macOf(_destination(first))
        if mac is None:
            self.counters["notForUs"] += len(run)
            return None
        try:
            reason = concernsLink(first)
        except DecodeError:
            reason = "malformed"
        if first[0] >> 4 == 4 and first[9] == ETHERIP:
            # Frames come to us alone.
            reason = "etherForeign"
        if not reason and not self.mayReceive(member, len(run)):
            return None
        if reason == "listeners":
            known = sum(self.snooping.memberReport(member, packet) for packet in run)
            self.counters[reason] += len(run) - known
            return None
        if reason:
            self.counters[reason] += len(run)
            return None
        return mac + member.mac + (IPV4 if first[0] >> 4 == 4 else IPV6)

    def mayReceive(self, member: Member, count: int) -> bool:
        """
        Whether so many frames of a member to a group may come in.
        """
        now = self._clock.seconds()
        allowed = self._received.allow(member.publicKey, now, count)
        self.counters["groupReceived" if allowed else "stormDropped"] += count
        if not allowed and not self._excess.allow(member.publicKey, now, count):
            # No node does so by itself.  To open all of it would be the storm's success.
            with suppress(KeyError):
                self._mute(member.publicKey, now + _SILENCE)
        return allowed


def _destination(packet: bytes) -> bytes:
    return packet[16:20] if packet[0] >> 4 == 4 else packet[24:40]
