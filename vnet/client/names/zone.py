# -*- test-case-name: vnet.test.test_names_zone -*-
"""
What is answered to a question of the domain name system (RFC 1034, RFC 1035).

This node is the authority of C{vnet.} and of the reverse zones of the overlay's two blocks.  It refuses every other question,
and asks nobody: a question about C{vnet.} does not leave this computer.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import error as StructError
from typing import Protocol

from attrs import define, field
from twisted.names import dns

from vnet.client.names.registry import DOMAIN
from vnet.client.names.reverse import addressIn
from vnet.errors import DecodeError

__all__ = ["TTL", "Book", "Zone", "decodeMessage"]

TTL = 10
"""How long an answer may be kept, seconds: a nickname may change, and another member get the name."""

_SERVER = f"dns.{DOMAIN}".encode()
_PAYLOAD = 1232
_MAXIMUM_UDP = 512
_LONGEST_LABEL = 63
_LONGEST_NAME = 253
_NOT_IMPLEMENTED = 4


class Book(Protocol):
    """
    Where names and addresses of members are looked up.
    """

    def addressesOf(self, labels: Sequence[str]) -> tuple[str, ...]:
        """
        The addresses of whoever has the name that these labels before the domain make; empty: nobody has.
        """

    def isNetwork(self, label: str) -> bool:
        """
        Whether a network has this label.
        """

    def nameAt(self, address: str) -> str | None:
        """
        The name of the member with an address.
        """


def decodeMessage(data: bytes) -> dns.Message:
    """
    Read a message.

    @raise DecodeError: it is none, or a name in its questions could not be written again.
    """
    message = dns.Message()
    try:
        message.fromStr(data)
    except (EOFError, ValueError, StructError, IndexError, TypeError, OverflowError) as error:
        raise DecodeError("no message of the domain name system") from error
    if len(message.queries) != int.from_bytes(data[4:6], "big"):
        raise DecodeError("a message that is cut short")
    for query in message.queries:
        name = query.name.name
        if name and not all(0 < len(label) <= _LONGEST_LABEL for label in name.split(b".")):
            raise DecodeError("a label that is none")
        if len(name) > _LONGEST_NAME:
            raise DecodeError("a name that is too long")
    return message


def _withDomain(zones: Sequence[str]) -> frozenset[str]:
    return frozenset((DOMAIN, *zones))


@define(eq=False, repr=False)
class Zone:
    """
    Answers questions.

    @ivar _zones: the names of the zones, see L{vnet.client.names.reverse.reverseZones}.
    """

    _book: Book
    _zones: frozenset[str] = field(converter=_withDomain)

    def answer(self, data: bytes, maximum: int = _MAXIMUM_UDP) -> bytes | None:
        """
        @param data: a message.
        @param maximum: bytes that the answer may have; 0: any number.
        @return: the answer; L{None}: there is none to an answer.
        @raise DecodeError: see L{decodeMessage}.
        """
        query = decodeMessage(data)
        if query.answer:
            return None
        answer = dns.Message(query.id, answer=1, opCode=query.opCode, recDes=query.recDes, maxSize=maximum)
        if query.opCode != dns.OP_QUERY:
            answer.rCode = _NOT_IMPLEMENTED
        elif len(query.queries) != 1:
            answer.rCode = dns.EFORMAT
        else:
            answer.queries = query.queries
            self._fill(answer, query.queries[0])
        if any(record.type == dns.OPT for record in query.additional):
            size = dns.RRHeader(b"", dns.OPT, _PAYLOAD, 0, dns.UnknownRecord(b""))
            answer.additional.append(size)
        written: bytes = answer.toStr()
        return written

    def _fill(self, answer: dns.Message, query: dns.Query) -> None:
        name = query.name.name.decode("latin-1").lower()
        zone = self._zoneOf(name)
        if zone is None or query.cls not in (dns.IN, dns.ANY):
            answer.rCode = dns.EREFUSED
            return
        answer.auth = True
        records = self._forward(name) if zone == DOMAIN else self._backward(name)
        if name == zone:
            records = [_soa(zone), dns.Record_NS(_SERVER, TTL)]
        if records is None:
            answer.rCode = dns.ENAME
        wanted = [each for each in records or () if query.type in (each.TYPE, dns.ALL_RECORDS)]
        answer.answers = [_record(query.name.name, each) for each in wanted]
        if not wanted:
            answer.authority = [_record(zone.encode(), _soa(zone))]

    def _zoneOf(self, name: str) -> str | None:
        while name:
            if name in self._zones:
                return name
            name = name.partition(".")[2]
        return None

    def _forward(self, name: str) -> list[dns.IEncodableRecord] | None:
        labels = name.split(".")[:-1]
        addresses = self._book.addressesOf(labels)
        if not addresses:
            return [] if len(labels) == 1 and self._book.isNetwork(labels[0]) else None
        return [
            dns.Record_AAAA(address, TTL) if ":" in address else dns.Record_A(address, TTL)
            for address in addresses
        ]

    def _backward(self, name: str) -> list[dns.IEncodableRecord] | None:
        address = addressIn(name)
        if address is None:
            # The names between a zone and its addresses exist, and have no records (RFC 8020).
            return [] if all(len(label) <= 3 for label in name.split(".")[:-2]) else None
        found = self._book.nameAt(address)
        return None if found is None else [dns.Record_PTR(found.encode(), TTL)]


def _soa(zone: str) -> dns.IEncodableRecord:
    return dns.Record_SOA(
        mname=_SERVER,
        rname=f"hostmaster.{DOMAIN}".encode(),
        serial=1,
        refresh=TTL,
        retry=TTL,
        expire=TTL,
        minimum=TTL,
        ttl=TTL,
    )


def _record(name: bytes, record: dns.IEncodableRecord) -> dns.RRHeader:
    return dns.RRHeader(name, record.TYPE, dns.IN, TTL, record, auth=True)
