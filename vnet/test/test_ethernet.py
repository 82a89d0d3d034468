"""
Tests for L{vnet.protocols.codec.ethernet}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from vnet.errors import DecodeError
from vnet.protocols.codec.ethernet import (
    IPV4,
    EthernetFrame,
    decodeEthernet,
    encodeEthernet,
    memberMac,
    multicastMac6,
)


class EthernetTests(SynchronousTestCase):
    def test_knownFrame(self) -> None:
        """Destination, source and type stand at their offsets, and the payload follows."""
        frame = decodeEthernet(bytes.fromhex("ffffffffffff 021122334455 0800 4500"))
        self.assertEqual(frame, EthernetFrame(b"\xff" * 6, bytes.fromhex("021122334455"), IPV4, b"\x45\x00"))

    def test_truncated(self) -> None:
        """Fewer bytes than a header are refused; a bare header is a frame."""
        self.assertRaises(DecodeError, decodeEthernet, bytes(13))
        self.assertEqual(decodeEthernet(bytes(14)).payload, b"")

    @given(st.binary(min_size=14, max_size=80))
    def test_roundTrip(self, data: bytes) -> None:
        """What is read and written again is the same bytes."""
        self.assertEqual(encodeEthernet(decodeEthernet(data)), data)

    def test_memberMac(self) -> None:
        """A member's MAC is locally administered, no group, and different for different addresses."""
        mac = memberMac(bytes((100, 64, 0, 7)))
        self.assertEqual(len(mac), 6)
        self.assertEqual(mac[0] & 3, 2)
        self.assertNotEqual(mac, memberMac(bytes((100, 64, 0, 8))))

    def test_multicastMac6(self) -> None:
        """RFC 2464's example of a mapping: 33:33 and the last four bytes of the group."""
        group = bytes.fromhex("ff0200000000000000000001ff123456")
        self.assertEqual(multicastMac6(group).hex(":"), "33:33:ff:12:34:56")
