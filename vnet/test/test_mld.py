"""
Tests for L{vnet.protocols.codec.mld}.
"""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from vnet.errors import DecodeError
from vnet.protocols.codec.grouprecords import BLOCK, IS_EXCLUDE, TO_EXCLUDE, TO_INCLUDE, GroupRecord
from vnet.protocols.codec.ip import ICMP6, decodeIp, encodeIp6, transportChecksum6, upperLayer6
from vnet.protocols.codec.linkscope import concernsLink
from vnet.protocols.codec.mld import REPORTS6, decodeMldReport, encodeMldQuery, encodeMldReport
from vnet.test.test_ip import A6, B6

GAME6 = b"\xff\x15" + bytes(13) + b"\x99"
ALERT = b"\x3a\0\x05\x02\0\0\x01\0"
QUERIER = b"\xfe\x80" + bytes(13) + b"\x01"


def mld(kind: int, body: bytes, hopLimit: int = 1, source: bytes = A6) -> bytes:
    """A message, with its checksum: C{body} begins behind that."""
    total = transportChecksum6(source, REPORTS6, ICMP6, bytes((kind, 0, 0, 0)) + body)
    message = bytes((kind, 0)) + total.to_bytes(2, "big") + body
    return encodeIp6(source, REPORTS6, 0, ALERT + message, hopLimit)


groups6 = st.binary(min_size=15, max_size=15).map(lambda rest: b"\xff" + rest)


class MldTests(SynchronousTestCase):
    def test_query(self) -> None:
        """A query has the hop limit, the option and the checksum without which nobody takes it."""
        query = encodeMldQuery(QUERIER, 100)
        header = decodeIp(query)
        self.assertEqual((header.hopLimit, header.source, upperLayer6(query)), (1, QUERIER, (ICMP6, 48)))
        self.assertEqual(query[40:48], ALERT)
        self.assertEqual(transportChecksum6(QUERIER, header.destination, ICMP6, query[48:]), 0)
        self.assertEqual(query[48:50] + query[52:], b"\x82\0\0\x64" + bytes(18) + b"\x02\x7d\0\0")
        self.assertEqual(concernsLink(query), "listeners")

    @given(st.lists(st.tuples(st.integers(1, 6), groups6), max_size=70))
    def test_roundTrip(self, pairs: list[tuple[int, bytes]]) -> None:
        """What was written is read."""
        records = tuple(GroupRecord(*pair) for pair in pairs)
        report = encodeMldReport(A6, records)
        self.assertEqual(decodeMldReport(report), records)
        self.assertEqual(concernsLink(report), "listeners")

    def test_oldVersion(self) -> None:
        """Reports of version 1, and what it calls done, say what has changed; no source is a source, too."""
        for kind, meaning in ((131, TO_EXCLUDE), (132, TO_INCLUDE)):
            packet = mld(kind, bytes(4) + GAME6, source=bytes(16))
            self.assertEqual(decodeMldReport(packet), (GroupRecord(meaning, GAME6),))

    def test_sources(self) -> None:
        """Sources are skipped."""
        body = bytes((BLOCK, 0, 0, 1)) + GAME6 + B6 + bytes((IS_EXCLUDE, 0, 0, 0)) + GAME6
        found = decodeMldReport(mld(143, b"\0\0\0\x02" + body))
        self.assertEqual(found, (GroupRecord(BLOCK, GAME6, 1), GroupRecord(IS_EXCLUDE, GAME6)))

    def test_malformed(self) -> None:
        """What is truncated, of no group, comes from farther away, or is no report is an error."""
        whole = encodeMldReport(A6, [GroupRecord(IS_EXCLUDE, GAME6)])
        for packet in (
            b"",
            whole[:-1],
            whole[:50] + b"\0\0" + whole[52:],
            mld(143, b"\0\0\0\x02" + whole[56:]),
            mld(143, b"\0\0\0\x01" + whole[56:-1]),
            mld(143, b"\0\0\0\x01\x02\0\0\0" + A6),
            mld(143, b"\0\0"),
            mld(143, b"\0\0\0\x01" + whole[56:], hopLimit=64),
            mld(131, bytes(4) + A6),
            mld(131, bytes(4) + GAME6[:15]),
            mld(130, bytes(4) + GAME6),
            mld(135, bytes(4) + GAME6),
            encodeMldQuery(QUERIER, 1),
            encodeIp6(A6, REPORTS6, 0, b"\x11" + ALERT[1:] + whole[48:], 1),
            encodeIp6(A6, REPORTS6, 0, b"", 1),
        ):
            self.assertRaises(DecodeError, decodeMldReport, packet)

    @given(st.binary(max_size=120), st.booleans())
    def test_anything(self, body: bytes, isWhole: bool) -> None:
        """Of any bytes it says something, or raises L{DecodeError}."""
        with contextlib.suppress(DecodeError):
            self.assertLessEqual(len(decodeMldReport(mld(143, body) if isWhole else body)), 6)
