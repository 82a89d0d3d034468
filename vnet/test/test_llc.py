"""
Tests for L{vnet.protocols.codec.llc}.
"""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from vnet.errors import DecodeError
from vnet.protocols.codec.ethernet import BROADCAST
from vnet.protocols.codec.llc import DEFAULT_TYPES, RAW, parseTypes, protocolOf

IPX = bytes.fromhex("ffff0022001100000000ffffffffffff0452000000010276640000024003")


def ether2(kind: int, payload: bytes = IPX, source: bytes = bytes(6), to: bytes = BROADCAST) -> bytes:
    """A frame of Ethernet II."""
    return to + source + kind.to_bytes(2, "big") + payload


def ieee(payload: bytes, source: bytes = bytes(6), to: bytes = BROADCAST, padding: int = 0) -> bytes:
    """A frame of 802.3, with its length."""
    return to + source + len(payload).to_bytes(2, "big") + payload + bytes(padding)


def snap(kind: int, oui: str = "000000") -> bytes:
    """A payload with a header of SNAP."""
    return b"\xaa\xaa\x03" + bytes.fromhex(oui) + kind.to_bytes(2, "big") + IPX


class ProtocolTests(SynchronousTestCase):
    def test_default(self) -> None:
        """The four kinds of frames of IPX, two of AppleTalk, and NetBEUI are known, padded or not."""
        for frame, number in (
            (ieee(IPX), RAW),
            (ieee(IPX, padding=20), RAW),
            (ieee(b"\xe0\xe0\x03" + IPX), 0xE0),
            (ieee(snap(0x8137)), 0x8137),
            (ether2(0x8137), 0x8137),
            (ether2(0x8138), 0x8138),
            (ieee(snap(0x809B, "080007")), 0x809B),
            (ieee(snap(0x80F3)), 0x80F3),
            (ieee(b"\xf0\xf0\x03" + bytes(40)), 0xF0),
            (ieee(b"\xf0\xf1\x03" + bytes(40)), 0xF0),
        ):
            self.assertEqual(protocolOf(frame), number)
            self.assertIn(number, DEFAULT_TYPES)

    def test_others(self) -> None:
        """Everything else has another number, in whatever it is wrapped."""
        for frame in (
            ether2(0x0800),
            ether2(0x8100, b"\0\0\x81\x37" + IPX),
            ether2(0x88A8, b"\0\0\x81\x37" + IPX),
            ieee(snap(0x0800)),
            ieee(snap(0x86DD)),
            ieee(snap(0x8137, "0000f8")),
            ieee(snap(0x0800, "080007")),
            ieee(snap(RAW)),
            ieee(snap(0xE0)),
            ieee(b"\x42\x42\x03" + bytes(35)),
            ieee(b"\xe0\xf0\x03" + IPX),
            ieee(b"\xe1\xe0\x03" + IPX),
            ieee(b"\xff\xfe\x03" + IPX),
        ):
            self.assertNotIn(protocolOf(frame), DEFAULT_TYPES)

    def test_malformed(self) -> None:
        """A length that does not fit, and a header that is not there, are errors."""
        for frame in (
            b"",
            ether2(0x8137, b"xx"),
            bytes(12) + b"\0\x02" + IPX,
            bytes(12) + b"\0\x40" + IPX,
            bytes(12) + b"\x05\xdd" + bytes(1501),
            ieee(b"\xaa\xaa\x03\0\0\0\x81"),
        ):
            self.assertRaises(DecodeError, protocolOf, frame)

    @given(st.binary(max_size=80))
    def test_anything(self, frame: bytes) -> None:
        """Of any bytes it says something, or raises L{DecodeError}."""
        with contextlib.suppress(DecodeError):
            self.assertTrue(0 <= protocolOf(frame) <= RAW)


class ListTests(SynchronousTestCase):
    def test_lists(self) -> None:
        """A list has names and numbers."""
        self.assertEqual(parseTypes("ipx,appletalk,netbeui"), DEFAULT_TYPES)
        self.assertEqual(parseTypes("none"), frozenset())
        self.assertEqual(parseTypes("netbeui,0x88b5,0xE0"), {0xF0, 0x88B5, 0xE0})

    def test_refused(self) -> None:
        """What is no protocol, or never crosses, is refused with the reason."""
        for text in (
            "",
            "ipx,",
            "IPX",
            "8137",
            "0x",
            "0x-1",
            "0x5dc",
            "0x10000",
            "0x 8",
            "0xxyz",
            "0x0x1",
            "none,ipx",
            "0x81_37",
        ):
            error = self.assertRaises(DecodeError, parseTypes, text)
            self.assertIn("is no protocol", str(error))
        for text in ("0x0800", "0x0806", "0x86dd", "0x8100", "0x42", "0xaa", "ipx,0x8808", "0xe1"):
            error = self.assertRaises(DecodeError, parseTypes, text)
            self.assertIn("never crosses", str(error))
