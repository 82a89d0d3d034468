# -*- test-case-name: vnet.test.test_snooping -*-
"""
Who listens to which multicast group (RFC 4541), so that packets to a group go only to members that listen.

Our operating system reports what its programs join (IGMP, MLD).  That is told to each member, as reports of IGMPv3 and MLDv2 in
the tunnel: when it changes, when a session begins, and when there is a path again.  Each report is complete: it holds a record
C{IS_EXCLUDE} for each group, and nothing else.  Queries do not cross the tunnel: each node asks its own operating system.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from ipaddress import IPv6Address

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from vnet.client.dataplane.neighbours import Member, Neighbours
from vnet.errors import DecodeError
from vnet.protocols.codec.ethernet import IPV4, IPV6, OWN_MAC, multicastMac4, multicastMac6
from vnet.protocols.codec.grouprecords import IS_EXCLUDE, GroupRecord
from vnet.protocols.codec.igmp import (
    ALL_HOSTS,
    IGMP,
    REPORTS,
    decodeIgmpReport,
    encodeIgmpQuery,
    encodeIgmpReport,
)
from vnet.protocols.codec.ip import ICMP6
from vnet.protocols.codec.mld import ALL_NODES, REPORTS6, decodeMldReport, encodeMldQuery, encodeMldReport
from vnet.protocols.machine.joinedgroups import JoinedGroups
from vnet.protocols.machine.membergroups import MOST4, MOST6, MemberGroups, isForAll
from vnet.protocols.machine.ratelimit import KeyedLimit

__all__ = ["Snooping", "mayBeReport"]

#: When our operating system is asked first, and how often, seconds; and in which time it answers.
_FIRST, _INTERVAL = 1.0, 125.0
_TENTHS, _MILLISECONDS = 1, 100
#: How often a change is told, how long after the first time it is told again, each pause twice as long as that before, and after
#: how long it is tried again when that is too often; seconds.  After that time the tunnel has noticed that it gets no answer.
_TIMES, _REPEAT, _WAIT = 5, 1.0, 0.25
#: How long after there is a path a member is told, unless a session tells it before; seconds.
_SETTLED, _LEEWAY = 3.0, 0.05
#: Reports to all, to so many members, and to one of them, a second and at once; and reports of a member that are read.
_RATE, _BURST, _SHARE = 4, 20, 64
_RATE_EACH, _BURST_EACH = 1, 4
_RATE_READ, _BURST_READ = 10, 40
#: No source of a query is a member's: 0.0.0.0 (RFC 4541 section 2.1.1), and an address on the link.
_NOBODY, _QUERIER6 = bytes(4), IPv6Address("fe80::76").packed


def mayBeReport(head: bytes) -> bool:
    """
    @param head: the first 41 bytes of an IP packet, or less if it is shorter.
    @return: whether that may be IGMP or MLD of an operating system.
    """
    if len(head) < 20:
        return False
    return head[9] == IGMP if head[0] >> 4 == 4 else head[6] == 0 and head[40:] == bytes((ICMP6,))


@define(eq=False, repr=False)
class Snooping:
    """
    Keeps both sides' groups, and tells ours.

    @ivar _live: gives the members that have a path.
    @ivar _send: sends packets to a member.
    @ivar _deliver: hands Ethernet frames to our operating system.
    @ivar _wake: has sent what waits: where there is no session, the beginning of one.
    @ivar counters: C{groupReports}: reports of members.
    @ivar _joined: our groups, by the size of an address; C{_told} as the members were told them.
    @ivar _untold: when to tell members who may have missed something, in order.
    """

    _clock: IReactorTime
    _neighbours: Neighbours
    _live: Callable[[], Sequence[Member]]
    _send: Callable[[bytes, list[bytes]], None]
    _deliver: Callable[[Sequence[bytes]], None]
    _wake: Callable[[], None]
    counters: Counter[str]
    _joined: dict[int, JoinedGroups] = field(init=False)
    _told: dict[int, tuple[bytes, ...]] = field(factory=dict, init=False)
    _members: MemberGroups = field(factory=MemberGroups, init=False)
    _left: int = field(default=0, init=False)
    _telling: IDelayedCall | None = field(default=None, init=False)
    _asking: IDelayedCall | None = field(default=None, init=False)
    _untold: dict[bytes, float] = field(factory=dict, init=False)
    _settling: IDelayedCall | None = field(default=None, init=False)
    _tellAll: KeyedLimit = field(factory=lambda: KeyedLimit(_RATE, _BURST, 1), init=False)
    _tellEach: KeyedLimit = field(factory=lambda: KeyedLimit(_RATE_EACH, _BURST_EACH), init=False)
    _read: KeyedLimit = field(factory=lambda: KeyedLimit(_RATE_READ, _BURST_READ), init=False)

    def __attrs_post_init__(self) -> None:
        self._joined = {4: JoinedGroups(MOST4), 16: JoinedGroups(MOST6)}

    def start(self) -> None:
        """
        The interface has its addresses.
        """
        if self._asking is None:
            self._asking = self._clock.callLater(_FIRST, self._ask)

    def stop(self) -> None:
        """
        Do nothing any more.
        """
        for call in (self._asking, self._telling, self._settling):
            if call is not None and call.active():
                call.cancel()
        self._asking = self._telling = self._settling = None

    # Ours

    def _ask(self) -> None:
        """
        Be the querier, towards our operating system.
        """
        self._asking = self._clock.callLater(_INTERVAL, self._ask)
        for joined in self._joined.values():
            joined.asked()
        self._deliver(
            [
                multicastMac4(ALL_HOSTS) + OWN_MAC + IPV4 + encodeIgmpQuery(_NOBODY, _TENTHS),
                multicastMac6(ALL_NODES) + OWN_MAC + IPV6 + encodeMldQuery(_QUERIER6, _MILLISECONDS),
            ]
        )
        self._compare()

    def ownReport(self, packet: bytes) -> bool:
        """
        Our operating system has sent this.

        @return: whether it is a report.
        """
        size = 4 if packet[0] >> 4 == 4 else 16
        try:
            records = decodeIgmpReport(packet) if size == 4 else decodeMldReport(packet)
        except DecodeError:
            return False
        source, own = packet[12:16] if size == 4 else packet[8:24], self._neighbours.own
        self._joined[size].report(records, not own or source in own or not any(source))
        self._compare()
        return True

    def _compare(self) -> None:
        """
        Tell what has changed, if anything has.
        """
        now = {size: joined.told() for size, joined in self._joined.items() if joined.isKnown}
        if now != self._told:
            self._told, self._left = now, _TIMES
            self._tell()

    def _tell(self) -> None:
        if self._telling is not None and self._telling.active():
            self._telling.cancel()
        live = self._live()
        allowed = self._tellAll.allow("", self._clock.seconds(), max(1.0, len(live) / _SHARE))
        if allowed:
            self._left -= 1
            packets = self._reports()
            for member in live:
                self._send(member.publicKey, packets)
            self._wake()
        pause = _REPEAT * 2 ** (_TIMES - 1 - self._left) if allowed else _WAIT
        self._telling = self._clock.callLater(pause, self._tell) if self._left else None

    def _reports(self) -> list[bytes]:
        packets = []
        for address in sorted(self._neighbours.own, key=len):
            groups = self._told.get(len(address))
            if groups is not None:
                records = [GroupRecord(IS_EXCLUDE, group) for group in groups]
                encode = encodeIgmpReport if len(address) == 4 else encodeMldReport
                packets.append(encode(address, records))
        return packets

    # Members'

    def sessionBegan(self, publicKey: bytes) -> None:
        """
        There is a new session with a member: it may know nothing of us, and no longer be what it was.
        """
        now = self._clock.seconds()
        self._members.mayHaveChanged(publicKey, now)
        self._untold.pop(publicKey, None)
        if self._told and self._neighbours.get(publicKey) and self._tellEach.allow(publicKey, now):
            self._send(publicKey, self._reports())

    def pathBegan(self, publicKey: bytes) -> None:
        """
        There is a path to a member where there was none, perhaps in the same session: both may have missed what the other told.
        """
        now = self._clock.seconds()
        self._members.mayHaveChanged(publicKey, now)
        self._untold.pop(publicKey, None)
        if self._told:
            # Not at once: a session may be about to begin, and packets for the old one would disturb that.
            self._untold[publicKey] = now + _SETTLED
            self._settle(now)

    def _settle(self, now: float) -> None:
        if self._untold and self._settling is None:
            delay = next(iter(self._untold.values())) - now
            self._settling = self._clock.callLater(max(delay, 0.0), self._settled)

    def _settled(self) -> None:
        self._settling = None
        now = self._clock.seconds()
        due = [publicKey for publicKey, at in self._untold.items() if at <= now + _LEEWAY]
        live = {member.publicKey for member in self._live()} if due else ()
        for publicKey in due:
            del self._untold[publicKey]
            if publicKey in live:
                self._send(publicKey, self._reports())
        self._wake()
        self._settle(now)

    def memberReport(self, member: Member, packet: bytes) -> bool:
        """
        A member has sent this, which is IGMP or MLD.

        @return: whether it is a report as members send it.
        """
        now = self._clock.seconds()
        if not self._read.allow(member.publicKey, now):
            return False
        isIp4 = packet[0] >> 4 == 4
        try:
            records = decodeIgmpReport(packet) if isIp4 else decodeMldReport(packet)
        except DecodeError:
            return False
        to = packet[16:20] if isIp4 else packet[24:40]
        if to not in (REPORTS, REPORTS6) or any(each.kind != IS_EXCLUDE or each.sources for each in records):
            return False
        groups = frozenset(record.group for record in records)
        self._members.report(member.publicKey, 4 if isIp4 else 16, groups, now)
        self.counters["groupReports"] += 1
        return True

    def wanted(self, publicKey: bytes, destinations: Sequence[bytes], packets: list[bytes]) -> list[bytes]:
        """
        @param destinations: packed, of each of the packets.
        @return: those that go to a member.
        """
        now, wants = self._clock.seconds(), self._members.wants
        return [
            packet
            for packet, destination in zip(packets, destinations, strict=True)
            if isForAll(destination) or wants(publicKey, destination, now)
        ]

    def forget(self, publicKey: bytes) -> None:
        """
        Somebody is no member any more.
        """
        self._members.forget(publicKey)
        self._untold.pop(publicKey, None)
