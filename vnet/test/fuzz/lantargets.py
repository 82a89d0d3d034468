"""
Targets: what members send to groups, and frames of other protocols than IP.
"""

from __future__ import annotations

from collections import Counter

from twisted.internet.task import Clock

from vnet.client.dataplane.neighbours import Neighbours
from vnet.client.dataplane.snooping import Snooping, mayBeReport
from vnet.errors import DecodeError
from vnet.protocols.codec.etherip import decodeEtherIp, encodeEtherIp
from vnet.protocols.codec.grouprecords import IS_EXCLUDE, GroupRecord, isMulticast
from vnet.protocols.codec.igmp import IGMP, decodeIgmpReport, encodeIgmpQuery, encodeIgmpReport
from vnet.protocols.codec.ip import (
    ICMP,
    ICMP6,
    UDP,
    checksum,
    encodeIp4,
    encodeIp6,
    transportChecksum6,
)
from vnet.protocols.codec.linkscope import concernsLink
from vnet.protocols.codec.llc import DEFAULT_TYPES, RAW, parseTypes, protocolOf
from vnet.protocols.codec.mld import decodeMldReport, encodeMldQuery, encodeMldReport
from vnet.test.fuzz.target import Target, accepting, require

__all__ = ["TARGETS"]

_FOUR, _FOUR_TO = bytes((100, 64, 0, 2)), b"\xff" * 4
_SIX, _SIX_TO = b"\xfd" + bytes(14) + b"\x02", b"\xff\x02" + bytes(13) + b"\x01"
_REASONS = frozenset(("", "dhcp", "discovery", "redirect", "routers", "listeners", "sourceRoute"))
_IPX = bytes.fromhex("ffff0022001100000000ffffffffffff0452000000010276640000024003")


def _packets() -> list[bytes]:
    return [
        encodeIp4(_FOUR, _FOUR_TO, UDP, b"\0\x43\0\x44\0\x08\0\0"),
        encodeIp4(_FOUR, _FOUR_TO, ICMP, b"\x05\x01" + bytes(26)),
        b"\x46" + encodeIp4(_FOUR, _FOUR_TO, 2, bytes(12))[1:],
        encodeIp6(_SIX, _SIX_TO, ICMP6, b"\x86" + bytes(15)),
        encodeIp6(_SIX, _SIX_TO, 0, b"\x3a\0\x05\x02\0\0\x01\0\x8f" + bytes(7)),
        encodeIp6(_SIX, _SIX_TO, 44, b"\x11\0\0\x01\0\0\0\0\x02\x22\x02\x23\0\x08\0\0"),
    ]


def _frames() -> list[bytes]:
    head = b"\xff" * 6 + b"\x02\x76" + _FOUR
    payloads = (_IPX, b"\xe0\xe0\x03" + _IPX, b"\xaa\xaa\x03\0\0\0\x81\x37" + _IPX)
    return [*(head + len(each).to_bytes(2, "big") + each for each in payloads), head + b"\x81\x37" + _IPX]


def _checkPacket(data: bytes) -> None:
    require(concernsLink(data) in _REASONS, "the reason is one of those that are counted")


def _checkFrame(data: bytes) -> None:
    number = protocolOf(data)
    require(0 <= number <= RAW, "a protocol is a number of 16 bits")
    if number in DEFAULT_TYPES:
        require(
            data[12:14] not in (b"\x08\x00", b"\x08\x06", b"\x86\xdd", b"\x81\x00"),
            "it is not IP, ARP or a VLAN",
        )


def _checkEtherIp(data: bytes) -> None:
    frame = decodeEtherIp(data)
    require(decodeEtherIp(encodeEtherIp(_FOUR, _FOUR_TO, frame)) == frame, "a frame comes out as it went in")


def _checkTypes(data: bytes) -> None:
    found = parseTypes(data.decode("latin-1"))
    require(not found & {0, 0x0800, 0x0806, 0x86DD, 0x8100, 0xAA, 0x42}, "what never crosses is in no list")


def _reports() -> list[bytes]:
    record, other = GroupRecord(IS_EXCLUDE, b"\xef\1\2\3"), GroupRecord(4, b"\xe0\0\2\x3c")
    six = GroupRecord(IS_EXCLUDE, b"\xff\x15" + bytes(13) + b"\x09")
    return [
        encodeIgmpReport(_FOUR, ()),
        encodeIgmpReport(_FOUR, (record, other)),
        encodeIgmpQuery(_FOUR, 1),
        encodeMldReport(_SIX, (six, six)),
        encodeMldQuery(_SIX, 100),
        encodeIp4(_FOUR, record.group, IGMP, b"\x16\0\xf8\xfa" + record.group, 1),
    ]


def _mendReport(packet: bytes) -> bytes:
    """
    With a checksum that is right, or nothing gets any further.
    """
    if len(packet) > 32 and packet[0] == 0x46:
        message = packet[24:26] + b"\0\0" + packet[28:]
        return packet[:26] + checksum(message).to_bytes(2, "big") + packet[28:]
    if len(packet) > 52 and packet[0] >> 4 == 6:
        message = packet[48:50] + b"\0\0" + packet[52:]
        total = transportChecksum6(packet[8:24], packet[24:40], ICMP6, message)
        size = (len(packet) - 40).to_bytes(2, "big")
        return packet[:4] + size + packet[6:50] + total.to_bytes(2, "big") + packet[52:]
    return packet


def _checkReport(data: bytes) -> None:
    isIp4 = data[:1] != b"" and data[0] >> 4 == 4
    decode, encode = (decodeIgmpReport, encodeIgmpReport) if isIp4 else (decodeMldReport, encodeMldReport)
    found = decode(data)
    require(len(found) <= len(data) // 8, "each record takes at least its own size")
    require(
        all(isMulticast(record.group) and 1 <= record.kind <= 6 for record in found), "a record is of a group"
    )
    plain = [GroupRecord(record.kind, record.group) for record in found]
    with accepting("a report that was written is read"):
        require(list(decode(encode(_FOUR if isIp4 else _SIX, plain))) == plain, "a report stays")


class _Snooped:
    """
    A node that members report to.
    """

    def __init__(self) -> None:
        neighbours = Neighbours()
        neighbours.setOwn("100.64.0.1", "fd00::1")
        neighbours.add(b"k" * 32, "100.64.0.2", "fd00::2")
        member = neighbours.get(b"k" * 32)
        assert member is not None
        self._member = member
        self._clock = Clock()
        self._snooping = Snooping(
            self._clock, neighbours, lambda: [member], self._notSent, self._notSent, self._notSent, Counter()
        )

    def _notSent(self, *arguments: object) -> None:
        require(False, "what a member reports has nothing sent, and nothing told to our operating system")

    def __call__(self, data: bytes) -> None:
        """A member's packet."""
        if not mayBeReport(data[:41]):
            raise DecodeError("nothing that is looked at")
        self._clock.advance(0.2)
        isReport = self._snooping.memberReport(self._member, data)
        for group in (_FOUR_TO, b"\xe0\0\0\xfb", _SIX_TO):
            wanted = self._snooping.wanted(self._member.publicKey, [group], [data])
            require(wanted == [data], "what is for all goes to all")
        if not isReport:
            raise DecodeError("no report")


TARGETS = (
    Target("group-report", lambda: _checkReport, _reports, _mendReport, 512),
    Target("snooping", _Snooped, _reports, _mendReport, 512),
    Target("link-scope", lambda: _checkPacket, _packets),
    Target("ether-protocol", lambda: _checkFrame, _frames),
    Target(
        "ether-ip",
        lambda: _checkEtherIp,
        lambda: [encodeEtherIp(_FOUR, _FOUR_TO, each) for each in _frames()],
    ),
    Target("ether-types", lambda: _checkTypes, lambda: [b"ipx,appletalk,netbeui", b"0x88b5,0xe0", b"none"]),
)
