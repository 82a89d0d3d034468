# -*- test-case-name: vnet.test.test_mld -*-
"""
Multicast listener discovery (RFC 2710, RFC 3810 section 5): ICMPv6 behind a hop-by-hop header with the router alert option, as
whole IPv6 packets::

    0      1      2          4                     8              24
    +------+------+----------+----------+----------+--------------+---------------------------------
    | kind | 0    | checksum | time, ms | 0        | group        | query 130: flags, interval, 0, 0
    +------+------+----------+----------+----------+--------------+---------------------------------
    | 143  | 0    | checksum | 0        | records  | group records ...                   version 2
    +------+------+----------+----------+----------+---------------------------------

    131, 132: report and done of version 1
"""

from __future__ import annotations

from collections.abc import Sequence

from vnet.errors import DecodeError
from vnet.protocols.codec.grouprecords import (
    TO_EXCLUDE,
    TO_INCLUDE,
    GroupRecord,
    decodeRecords,
    encodeRecords,
    isMulticast,
)
from vnet.protocols.codec.ip import ICMP6, decodeIp, encodeIp6, transportChecksum6, upperLayer6

__all__ = ["ALL_NODES", "REPORTS6", "decodeMldReport", "encodeMldQuery", "encodeMldReport"]

ALL_NODES = b"\xff\x02" + bytes(13) + b"\x01"
"""To whom queries go."""

REPORTS6 = b"\xff\x02" + bytes(13) + b"\x16"
"""To whom reports of version 2 go."""

_QUERY, _REPORT2 = 130, 143
#: Of version 1, and what they mean.
_OLD = {131: TO_EXCLUDE, 132: TO_INCLUDE}
_HOP_BY_HOP = 0
#: The router alert option for MLD (RFC 2711), and padding.
_ROUTER_ALERT = bytes((ICMP6, 0, 5, 2, 0, 0, 1, 0))
_ROBUSTNESS, _INTERVAL = 2, 125


def decodeMldReport(packet: bytes) -> tuple[GroupRecord, ...]:
    """
    Read a report of either version; one of version 1 as a record that something has changed.

    @raise DecodeError: it is something else, or malformed.
    """
    header = decodeIp(packet)
    if header.version != 6 or header.hopLimit != 1:
        raise DecodeError("not MLD")
    protocol, start = upperLayer6(packet[: header.totalLength])
    message = packet[start : header.totalLength]
    if protocol != ICMP6 or len(message) < 8:
        raise DecodeError("not MLD, or truncated")
    if transportChecksum6(header.source, header.destination, ICMP6, message):
        raise DecodeError("an ICMPv6 checksum that is wrong")
    kind, group = message[0], message[8:24]
    if kind == _REPORT2:
        return decodeRecords(message[8:], message[6] << 8 | message[7], 16)
    if kind not in _OLD or len(group) < 16 or not isMulticast(group):
        raise DecodeError("MLD that is no report")
    return (GroupRecord(_OLD[kind], group),)


def encodeMldReport(source: bytes, records: Sequence[GroupRecord]) -> bytes:
    """
    A report of version 2.

    @param source: a packed address.
    @param records: that list no sources.
    """
    return _encode(
        source, REPORTS6, _REPORT2, b"\0\0" + len(records).to_bytes(2, "big") + encodeRecords(records)
    )


def encodeMldQuery(source: bytes, milliseconds: int) -> bytes:
    """
    A general query of version 2.

    @param source: link-local: from another address it is not listened to.
    @param milliseconds: below 32,768, in which it is to be answered.
    """
    body = milliseconds.to_bytes(2, "big") + bytes(18) + bytes((_ROBUSTNESS, _INTERVAL, 0, 0))
    return _encode(source, ALL_NODES, _QUERY, body)


def _encode(source: bytes, destination: bytes, kind: int, body: bytes) -> bytes:
    total = transportChecksum6(source, destination, ICMP6, bytes((kind, 0, 0, 0)) + body)
    message = bytes((kind, 0)) + total.to_bytes(2, "big") + body
    return encodeIp6(source, destination, _HOP_BY_HOP, _ROUTER_ALERT + message, 1)
