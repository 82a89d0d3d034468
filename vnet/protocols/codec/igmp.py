# -*- test-case-name: vnet.test.test_igmp -*-
"""
IGMP (RFC 1112, RFC 2236, RFC 3376 section 4), as whole IPv4 packets of protocol 2::

    0       1       2          4                     8
    +-------+-------+----------+---------------------+---------------------------------
    | kind  | time  | checksum | group               | query 0x11: flags, interval, 0, 0
    +-------+-------+----------+----------+----------+---------------------------------
    | 0x22  | 0     | checksum | 0        | records  | group records ...                  version 3
    +-------+-------+----------+----------+----------+---------------------------------

    0x12: report of version 1; 0x16, 0x17: report and leave of version 2
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct

from vnet.errors import DecodeError
from vnet.protocols.codec.grouprecords import (
    TO_EXCLUDE,
    TO_INCLUDE,
    GroupRecord,
    decodeRecords,
    encodeRecords,
    isMulticast,
)
from vnet.protocols.codec.ip import checksum, decodeIp

__all__ = ["ALL_HOSTS", "IGMP", "REPORTS", "decodeIgmpReport", "encodeIgmpQuery", "encodeIgmpReport"]

IGMP = 2

ALL_HOSTS = bytes((224, 0, 0, 1))
"""To whom queries go."""

REPORTS = bytes((224, 0, 0, 22))
"""To whom reports of version 3 go."""

_QUERY, _REPORT3 = 0x11, 0x22
#: Of older versions, and what they mean.
_OLD = {0x12: TO_EXCLUDE, 0x16: TO_EXCLUDE, 0x17: TO_INCLUDE}
_MORE_FRAGMENTS = 0x20
_ROUTER_ALERT = b"\x94\x04\0\0"
_INTERNET_CONTROL = 0xC0
#: Robustness 2, and the usual interval, seconds.
_ROBUSTNESS, _INTERVAL = 2, 125

_header = Struct("!BBHHHBBH4s4s4s")


def decodeIgmpReport(packet: bytes) -> tuple[GroupRecord, ...]:
    """
    Read a report of any version; those of versions 1 and 2 as a record that something has changed.

    @raise DecodeError: it is something else, or malformed.
    """
    header = decodeIp(packet)
    if header.version != 4 or header.protocol != IGMP:
        raise DecodeError("not IGMP")
    if header.fragmentOffset or packet[6] & _MORE_FRAGMENTS:
        raise DecodeError("a fragment of IGMP")
    message = packet[header.headerLength : header.totalLength]
    if len(message) < 8 or checksum(message):
        raise DecodeError("IGMP that is truncated, or whose checksum is wrong")
    kind, group = message[0], message[4:8]
    if kind == _REPORT3:
        return decodeRecords(message[8:], message[6] << 8 | message[7], 4)
    if kind not in _OLD or not isMulticast(group):
        raise DecodeError("IGMP that is no report")
    return (GroupRecord(_OLD[kind], group),)


def encodeIgmpReport(source: bytes, records: Sequence[GroupRecord]) -> bytes:
    """
    A report of version 3.

    @param source: a packed address.
    @param records: that list no sources.
    """
    body = b"\0\0" + len(records).to_bytes(2, "big") + encodeRecords(records)
    return _encode(source, REPORTS, _REPORT3, 0, body)


def encodeIgmpQuery(source: bytes, tenths: int) -> bytes:
    """
    A general query of version 3.

    @param tenths: of a second, below 128, in which it is to be answered.
    """
    return _encode(source, ALL_HOSTS, _QUERY, tenths, bytes(4) + bytes((_ROBUSTNESS, _INTERVAL, 0, 0)))


def _encode(source: bytes, destination: bytes, kind: int, code: int, body: bytes) -> bytes:
    message = bytes((kind, code)) + checksum(bytes((kind, code, 0, 0)) + body).to_bytes(2, "big") + body
    fields = (0x46, _INTERNET_CONTROL, _header.size + len(message), 0, 0, 1, IGMP)
    total = checksum(_header.pack(*fields, 0, source, destination, _ROUTER_ALERT))
    return _header.pack(*fields, total, source, destination, _ROUTER_ALERT) + message
