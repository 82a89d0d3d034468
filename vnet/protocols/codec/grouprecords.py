# -*- test-case-name: vnet.test.test_igmp -*-
"""
Group records, which say who listens to a multicast group: the same in IGMPv3 (RFC 3376 section 4.2) and MLDv2 (RFC 3810 section
5.2), but for the size of addresses::

    0      1              2            4         8 or 20
    +------+--------------+------------+---------+-------------+-----------
    | kind | words of aux | n: sources | group   | n addresses | aux ...
    +------+--------------+------------+---------+-------------+-----------
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct

import attrs

from vnet.errors import DecodeError

__all__ = [
    "ALLOW",
    "BLOCK",
    "IS_EXCLUDE",
    "IS_INCLUDE",
    "TO_EXCLUDE",
    "TO_INCLUDE",
    "GroupRecord",
    "decodeRecords",
    "encodeRecords",
    "isMulticast",
]

IS_INCLUDE, IS_EXCLUDE, TO_INCLUDE, TO_EXCLUDE, ALLOW, BLOCK = range(1, 7)
"""
Kinds.  The first two say how it is, the next two that it has changed, the last two that sources were added or removed: to all but
the sources given is listened (C{EXCLUDE}), or to none but those (C{INCLUDE}).
"""

_head = Struct("!BBH")


@attrs.frozen
class GroupRecord:
    """
    One record.

    @ivar kind: C{IS_INCLUDE} to C{BLOCK}.
    @ivar group: packed, 4 or 16 bytes.
    @ivar sources: how many sources it lists: which, does not matter here.
    """

    kind: int
    group: bytes
    sources: int = 0


def isMulticast(address: bytes) -> bool:
    """
    Whether a packed address is a group's.
    """
    return address[0] >> 4 == 14 if len(address) == 4 else address[0] == 255


def decodeRecords(body: bytes, count: int, size: int) -> tuple[GroupRecord, ...]:
    """
    Read records; what follows them is ignored.

    @param size: of an address, bytes.
    @raise DecodeError: one is truncated, of no known kind, or of no group.
    """
    records, place = [], 0
    for _ in range(count):
        start = place + _head.size
        group = body[start : start + size]
        if len(group) < size:
            raise DecodeError("a truncated group record")
        kind, words, sources = _head.unpack_from(body, place)
        place = start + size + sources * size + words * 4
        if not IS_INCLUDE <= kind <= BLOCK or not isMulticast(group) or place > len(body):
            raise DecodeError("a group record that is malformed")
        records.append(GroupRecord(kind, group, sources))
    return tuple(records)


def encodeRecords(records: Iterable[GroupRecord]) -> bytes:
    """
    Write records that list no sources.
    """
    return b"".join(_head.pack(record.kind, 0, 0) + record.group for record in records)
