# -*- test-case-name: vnet.test.test_names_multicast -*-
"""
Multicast DNS (RFC 6762) towards this computer alone: C{nick.local}.

Whatever on this computer looks for a name in C{local.} asks the group on all its interfaces, the virtual one too.  This node sees
the question there, and the member answers: a packet from the member's address, made here, into this interface and no other.  It
comes a moment later than that of a host that owns the name would, and claims nothing (section 10.2: no cache-flush bit); it
does not object when this computer takes a name for itself (section 8.1: a probe), and is never about this computer's own name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_address
from struct import Struct
from typing import Protocol

from attrs import define, field, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.names import dns

from vnet.client.names.groups import GROUP4, GROUP4_MAC, GROUP6, GROUP6_MAC, isToGroup
from vnet.client.names.reverse import addressIn
from vnet.client.names.zone import TTL, decodeMessage
from vnet.errors import DecodeError
from vnet.protocols.codec.ethernet import HEADER, IPV4, IPV6, OWN_MAC
from vnet.protocols.codec.ip import UDP, decodeIp, encodeIp4, encodeIp6, transportChecksum6
from vnet.protocols.machine.ratelimit import KeyedLimit

__all__ = ["MulticastQuery", "MulticastResponder", "decodeQuery"]

DOMAIN = "local"
DELAY = 0.1
"""Seconds: who may not be the only one with a name waits 0.02 to 0.12 (section 6)."""

_PORT = 5353
_HEADER = Struct("!HHHH")
_HOPS = 255
_RATE = 50
_MAXIMUM_ANSWERS = 8
_CLASS = 0x7FFF
_LEAST_KNOWN = TTL // 2


class Members(Protocol):
    """
    Where members are looked up.
    """

    def memberAt(self, label: str) -> tuple[str, ...]:
        """
        The addresses, IPv4 first, of the other member that has a label over all networks; empty: none has.
        """

    def labelAt(self, address: str) -> str | None:
        """
        The label of the other member with an address.
        """


@frozen
class MulticastQuery:
    """
    A question to the group.

    @ivar source: the asker's address, packed; C{mac} its MAC address.
    @ivar port: the asker's; not 5353 for one that knows no multicast DNS, and wants its answer alone (section 6.7).
    """

    source: bytes
    mac: bytes
    port: int
    message: dns.Message


def decodeQuery(frame: bytes) -> MulticastQuery | None:
    """
    @param frame: an Ethernet frame that the operating system sends.
    @return: the question in it; L{None}: it is something else, or a probe.
    """
    if not isToGroup(frame) or frame[12:14] not in (IPV4, IPV6):
        return None
    packet = frame[HEADER:]
    try:
        header = decodeIp(packet)
        body = packet[header.headerLength : header.totalLength]
        if (
            header.destination not in (GROUP4, GROUP6)
            or header.protocol != UDP
            or header.fragmentOffset
            or len(body) < _HEADER.size
        ):
            return None
        port, there, length, _ = _HEADER.unpack_from(body)
        if there != _PORT or length != len(body):
            return None
        message = decodeMessage(body[_HEADER.size :])
    except DecodeError:
        return None
    if message.answer or message.opCode or message.authority:
        return None
    return MulticastQuery(header.source, frame[6:12], port, message)


@define(eq=False, repr=False)
class MulticastResponder:
    """
    Answers for members.

    @ivar _own: this node's addresses, packed: who else asks gets no answer.
    @ivar _write: takes frames for the operating system.
    """

    _clock: IReactorTime
    _members: Members
    _own: Callable[[], Sequence[bytes]]
    _write: Callable[[Sequence[bytes]], None]
    _limit: KeyedLimit = field(factory=lambda: KeyedLimit(_RATE, _RATE, 1), init=False)

    def heard(self, frame: bytes) -> None:
        """
        The operating system sends this frame to a group.
        """
        query = decodeQuery(frame)
        if query is None or query.source not in self._own():
            return
        frames = list(self._answers(query))
        if frames and self._limit.allow("", self._clock.seconds()):
            self._clock.callLater(DELAY, self._write, frames)

    def _answers(self, query: MulticastQuery) -> Iterator[bytes]:
        for question in query.message.queries[:_MAXIMUM_ANSWERS]:
            addresses, records = self._recordsFor(question)
            records = [each for each in records if not _isKnown(each, query.message.answers)]
            if records:
                yield _frame(query, question, addresses, records)

    def _recordsFor(self, question: dns.Query) -> tuple[tuple[str, ...], list[dns.RRHeader]]:
        """
        The addresses of the member that is asked for, and the answers to the question.
        """
        asked = question.name.name
        name = asked.decode("latin-1").lower()
        label, _, domain = name.partition(".")
        addresses: tuple[str, ...] = ()
        records: list[dns.IEncodableRecord] = []
        if question.cls & _CLASS not in (dns.IN, dns.ANY):
            return (), []
        if domain == DOMAIN:
            addresses = self._members.memberAt(label)
            records = [
                dns.Record_AAAA(each, TTL) if ":" in each else dns.Record_A(each, TTL) for each in addresses
            ]
        else:
            address = addressIn(name)
            found = None if address is None else self._members.labelAt(address)
            if found is not None:
                addresses = self._members.memberAt(found)
                records = [dns.Record_PTR(f"{found}.{DOMAIN}".encode(), TTL)]
        wanted = [each for each in records if question.type in (each.TYPE, dns.ALL_RECORDS)]
        return addresses, [dns.RRHeader(asked, each.TYPE, dns.IN, TTL, each) for each in wanted]


def _isKnown(record: dns.RRHeader, known: Sequence[dns.RRHeader]) -> bool:
    """
    Whether the asker has an answer already (section 7.1).
    """
    return any(
        each.name == record.name
        and each.type == record.type
        and each.ttl >= _LEAST_KNOWN
        and _content(each) == _content(record)
        for each in known
    )


def _content(record: dns.RRHeader) -> dict[str, object]:
    return {**vars(record.payload), "ttl": None}


def _frame(
    query: MulticastQuery, question: dns.Query, addresses: tuple[str, ...], records: list[dns.RRHeader]
) -> bytes:
    message = dns.Message(answer=1, auth=True, maxSize=0)
    message.answers = records
    alone = query.port != _PORT
    if alone:
        message.id, message.queries = query.message.id, [question]
    written = message.toStr()
    version = 4 if len(query.source) == 4 else 6
    source = next(ip_address(each).packed for each in addresses if (":" in each) == (version == 6))
    group = GROUP4 if version == 4 else GROUP6
    target = query.source if alone else group
    head = (_PORT, query.port if alone else _PORT, _HEADER.size + len(written))
    datagram = _HEADER.pack(*head, 0) + written
    if version == 6:
        # Nought is no checksum in IPv6 (RFC 8200 section 8.1).
        total = transportChecksum6(source, target, UDP, datagram) or 0xFFFF
        packet = encodeIp6(source, target, UDP, _HEADER.pack(*head, total) + written, _HOPS)
    else:
        packet = encodeIp4(source, target, UDP, datagram, _HOPS)
    mac = query.mac if alone else (GROUP4_MAC if version == 4 else GROUP6_MAC)
    return b"".join((mac, OWN_MAC, IPV4 if version == 4 else IPV6, packet))
