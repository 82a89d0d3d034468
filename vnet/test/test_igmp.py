"""
Tests for L{vnet.protocols.codec.igmp} and L{vnet.protocols.codec.grouprecords}.
"""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from vnet.errors import DecodeError
from vnet.protocols.codec.grouprecords import (
    ALLOW,
    IS_EXCLUDE,
    IS_INCLUDE,
    TO_EXCLUDE,
    TO_INCLUDE,
    GroupRecord,
    encodeRecords,
)
from vnet.protocols.codec.igmp import decodeIgmpReport, encodeIgmpQuery, encodeIgmpReport
from vnet.protocols.codec.ip import checksum, decodeIp, encodeIp4
from vnet.protocols.codec.linkscope import concernsLink
from vnet.test.test_ip import A4, A6, B4

GAME, OTHER = bytes((239, 1, 2, 3)), bytes((224, 0, 2, 60))
REPORTS = bytes((224, 0, 0, 22))


def igmp(kind: int, group: bytes, rest: bytes = b"", to: bytes = GAME) -> bytes:
    """A message, with its checksum."""
    message = bytes((kind, 0, 0, 0)) + group + rest
    return encodeIp4(A4, to, 2, message[:2] + checksum(message).to_bytes(2, "big") + message[4:], 1)


def report3(body: bytes, count: int) -> bytes:
    """A report of version 3 with any body."""
    return igmp(0x22, b"\0\0" + count.to_bytes(2, "big"), body, REPORTS)


groups4 = st.binary(min_size=3, max_size=3).map(lambda rest: b"\xef" + rest)


class IgmpTests(SynchronousTestCase):
    def test_bytes(self) -> None:
        """A report and a query are as the RFC has them, to the byte."""
        report = encodeIgmpReport(A4, [GroupRecord(IS_EXCLUDE, GAME)])
        start = "46c00028000000000102dfb8" + A4.hex() + "e0000016" + "94040000"
        self.assertEqual(report.hex(), start + "2200eaf900000001" + "02000000ef010203")
        query = encodeIgmpQuery(bytes(4), 1)
        header = decodeIp(query)
        self.assertEqual((header.hopLimit, header.protocol, header.headerLength), (1, 2, 24))
        self.assertEqual((checksum(query[:24]), checksum(query[24:])), (0, 0))
        self.assertEqual(query[24:].hex()[:4] + query[28:].hex(), "1101" + "00000000" + "027d0000")

    def test_link(self) -> None:
        """To somebody who knows no reports they concern the link alone."""
        self.assertEqual(concernsLink(encodeIgmpReport(A4, [])), "listeners")
        self.assertEqual(concernsLink(encodeIgmpQuery(A4, 1)), "listeners")

    @given(st.lists(st.tuples(st.integers(1, 6), groups4), max_size=200))
    def test_roundTrip(self, pairs: list[tuple[int, bytes]]) -> None:
        """What was written is read."""
        records = tuple(GroupRecord(*pair) for pair in pairs)
        self.assertEqual(decodeIgmpReport(encodeIgmpReport(A4, records)), records)

    def test_oldVersions(self) -> None:
        """Reports and leaves of versions 1 and 2 say what has changed."""
        for kind, meaning in ((0x12, TO_EXCLUDE), (0x16, TO_EXCLUDE), (0x17, TO_INCLUDE)):
            self.assertEqual(decodeIgmpReport(igmp(kind, GAME)), (GroupRecord(meaning, GAME),))

    def test_sources(self) -> None:
        """Sources and auxiliary data are skipped, and what follows the records is ignored."""
        body = (
            bytes((ALLOW, 1, 0, 2))
            + GAME
            + B4
            + A4
            + b"aux!"
            + bytes((IS_INCLUDE, 0, 0, 0))
            + OTHER
            + b"more"
        )
        found = decodeIgmpReport(report3(body, 2))
        self.assertEqual(found, (GroupRecord(ALLOW, GAME, 2), GroupRecord(IS_INCLUDE, OTHER)))

    def test_malformed(self) -> None:
        """What is truncated, of unknown kinds, of no group, a fragment, or no report is an error."""
        whole = encodeIgmpReport(A4, [GroupRecord(IS_EXCLUDE, GAME)])
        record = encodeRecords([GroupRecord(IS_EXCLUDE, GAME)])
        for packet in (
            b"",
            whole[:-1],
            whole[:26] + b"\0\0" + whole[28:],
            whole[:6] + b"\x20\0" + whole[8:],
            whole[:6] + b"\0\x01" + whole[8:],
            report3(record, 2),
            report3(record[:-1], 1),
            report3(b"\x07" + record[1:], 1),
            report3(b"\0" + record[1:], 1),
            report3(record[:4] + A4, 1),
            report3(record[:2] + b"\xff\xff" + record[4:], 1),
            report3(record[:1] + b"\xff" + record[2:], 1),
            igmp(0x16, A4),
            igmp(0x11, GAME),
            igmp(0x13, GAME),
            igmp(0x16, GAME[:3]),
            encodeIgmpQuery(A4, 1),
            encodeIp4(A4, GAME, 17, whole[24:]),
            b"\x60" + bytes(3) + b"\0\x08\x02\x01" + A6 + A6 + bytes(8),
        ):
            self.assertRaises(DecodeError, decodeIgmpReport, packet)

    @given(st.binary(max_size=80), st.integers(0, 300), st.booleans())
    def test_anything(self, body: bytes, count: int, isWhole: bool) -> None:
        """Of any bytes it says something, or raises L{DecodeError}."""
        with contextlib.suppress(DecodeError):
            found = decodeIgmpReport(report3(body, count) if isWhole else body)
            self.assertLessEqual(len(found), 10)
