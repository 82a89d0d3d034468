"""
Targets: names, and questions about them.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from twisted.internet.task import Clock
from twisted.names import dns

from vnet.client.names.labels import RESERVED, labelOf
from vnet.client.names.multicast import MulticastResponder
from vnet.client.names.reverse import reverseZones
from vnet.client.names.zone import Zone, decodeMessage
from vnet.protocols.codec.ethernet import HEADER, IPV4, IPV6
from vnet.protocols.codec.ip import decodeIp, encodeIp4, encodeIp6
from vnet.test.fuzz.codectargets import textOf
from vnet.test.fuzz.target import Check, Target, accepting, require

__all__ = ["TARGETS"]

_BOB = ("100.64.0.7", "fd12:3456:789a::7")
_REVERSE = b"7.0.64.100.in-addr.arpa"
_OWN, _OWN6 = bytes((100, 64, 0, 1)), bytes.fromhex("fd123456789a") + bytes(9) + b"\1"
_GROUP, _GROUP6 = bytes((224, 0, 0, 251)), bytes.fromhex("ff02") + bytes(13) + b"\xfb"
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")


class _Book:
    def addressesOf(self, labels: Sequence[str]) -> tuple[str, ...]:
        return _BOB if list(labels) in (["bob"], ["bob", "home"]) else ()

    def isNetwork(self, label: str) -> bool:
        return label == "home"

    def nameAt(self, address: str) -> str | None:
        return "bob.vnet" if address in _BOB else None

    def memberAt(self, label: str) -> tuple[str, ...]:
        return _BOB if label == "bob" else ()

    def labelAt(self, address: str) -> str | None:
        return "bob" if address in _BOB else None


def _questions() -> list[bytes]:
    seeds = []
    for names, kind in (
        ([b"bob.vnet"], dns.A),
        ([b"bob.home.vnet"], dns.AAAA),
        ([b"home.vnet", b"bob.local"], dns.ALL_RECORDS),
        ([_REVERSE], dns.PTR),
        ([b"vnet"], dns.SOA),
        ([b"bob.local"], dns.A),
        ([b"example.com"], dns.A),
    ):
        message = dns.Message(7, recDes=1)
        for name in names:
            message.addQuery(name, kind)
        message.additional = [dns.RRHeader(b"", dns.OPT, 1232, 0, dns.UnknownRecord(b""))]
        message.answers = [dns.RRHeader(names[0], dns.A, dns.IN, 9, dns.Record_A(_BOB[0], 9))]
        seeds += [message.toStr(), message.toStr()[:5] + b"\1" + message.toStr()[6:]]
    return seeds


def _makeZone() -> Check:
    zone = Zone(_Book(), reverseZones("100.64.0.0/10", "fd12:3456:789a::/48"))

    def check(data: bytes) -> None:
        answer = zone.answer(data)
        if answer is None:
            return
        require(answer[:2] == data[:2] and answer[2] & 0x80, "an answer is one, to this question")
        require(len(answer) <= 512, "an answer fits in a datagram")
        with accepting("an answer can be read"):
            read = decodeMessage(answer)
        require(len(read.answers) <= 2, "there are two records at most")
        require(not read.recAv, "nobody else is asked")

    return check


def _datagram(wire: bytes, source: bytes) -> bytes:
    body = struct.pack("!HHHH", 5353, 5353, 8 + len(wire), 0) + wire
    if len(source) == 4:
        return bytes.fromhex("01005e0000fb") + b"\2vnet\1" + IPV4 + encodeIp4(source, _GROUP, 17, body)
    return bytes.fromhex("3333000000fb") + b"\2vnet\1" + IPV6 + encodeIp6(source, _GROUP6, 17, body)


def _makeMulticast() -> Check:
    def check(data: bytes) -> None:
        clock, written = Clock(), list[bytes]()
        responder = MulticastResponder(clock, _Book(), lambda: [_OWN, _OWN6], written.extend)
        responder.heard(data)
        clock.advance(1)
        require(len(written) <= 8, "there are eight answers at most")
        for frame in written:
            with accepting("an answer can be read"):
                header = decodeIp(frame[HEADER:])
                read = decodeMessage(frame[HEADER + header.headerLength + 8 :])
            require(header.source not in (_OWN, _OWN6), "a member answers")
            require(read.answers, "an answer has records")

    return check


def _label(data: bytes) -> None:
    label = labelOf(textOf(data))
    if label is not None:
        require(0 < len(label) <= 56 and label not in RESERVED, "a label is short, and none that is reserved")
        require(_LETTERS.issuperset(label) and label.strip("-") == label, "a label has letters of a label")


TARGETS = [
    Target("dns-question", _makeZone, _questions, maximum=1024),
    Target(
        "mdns-question",
        _makeMulticast,
        lambda: [_datagram(wire, source) for wire in _questions() for source in (_OWN, _OWN6)],
        maximum=1514,
    ),
    Target(
        "label",
        lambda: _label,
        lambda: [b"Bob's Laptop", "München 日本語".encode(), b"xn--a"],
        maximum=128,
    ),
]
