"""
Tests for L{vnet.protocols.codec.arp}.
"""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from vnet.errors import DecodeError
from vnet.protocols.codec.arp import REQUEST, ArpPacket, decodeArp, encodeArp

WIRE = bytes.fromhex("0001080006040001 021122334455 64400001 000000000000 64400002".replace(" ", ""))
VALUE = ArpPacket(
    REQUEST, bytes.fromhex("021122334455"), bytes((100, 64, 0, 1)), bytes(6), bytes((100, 64, 0, 2))
)


class ArpTests(SynchronousTestCase):
    def test_known(self) -> None:
        """A request reads as RFC 826 lays it out, padded or not, and writes to the same bytes."""
        self.assertEqual(decodeArp(WIRE), VALUE)
        self.assertEqual(decodeArp(WIRE + bytes(18)), VALUE)
        self.assertEqual(encodeArp(VALUE), WIRE)

    def test_refused(self) -> None:
        """A truncated packet, and one of other hardware, protocol or address lengths, are refused."""
        self.assertRaises(DecodeError, decodeArp, WIRE[:-1])
        for position in range(6):
            bad = bytearray(WIRE)
            bad[position] ^= 1
            self.assertRaises(DecodeError, decodeArp, bytes(bad))

    @given(st.binary(max_size=40) | st.binary(max_size=40).map(lambda d: WIRE[:6] + d))
    def test_onlyDecodeError(self, data: bytes) -> None:
        """Any bytes are read and written back as they were, or raise DecodeError."""
        with contextlib.suppress(DecodeError):
            self.assertEqual(encodeArp(decodeArp(data)), data[:28])
