"""
Tests for L{vnet.protocols.codec.ip}.
"""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from vnet.errors import DecodeError
from vnet.protocols.codec.ip import (
    FRAGMENT6,
    ICMP6,
    UDP,
    checksum,
    decodeIp,
    encodeIp4,
    encodeIp6,
    transportChecksum6,
    upperLayer6,
)

A4, B4 = bytes((100, 64, 0, 1)), bytes((100, 64, 0, 2))
A6, B6 = bytes.fromhex("fd" + "00" * 14 + "01"), bytes.fromhex("fd" + "00" * 14 + "02")

# The well-known example of an IPv4 header whose checksum is b861.
EXAMPLE4 = bytes.fromhex("450000730000400040 11b861c0a80001c0a800c7".replace(" ", "")) + bytes(95)


def slowChecksum(data: bytes) -> int:
    """RFC 1071 as it is written: add the words, and add each carry back."""
    total = 0
    for index in range(0, len(data), 2):
        total += data[index] << 8 | (data[index + 1] if index + 1 < len(data) else 0)
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class ChecksumTests(SynchronousTestCase):
    def test_knownHeader(self) -> None:
        """The checksum over a header that holds its checksum is zero, and without it that checksum."""
        header = EXAMPLE4[:20]
        self.assertEqual(checksum(header), 0)
        self.assertEqual(checksum(header[:10] + b"\0\0" + header[12:]), 0xB861)

    @given(st.binary(max_size=90) | st.lists(st.sampled_from([b"\0", b"\xff"])).map(b"".join))
    def test_sameAsTheRfc(self, data: bytes) -> None:
        """Any bytes have the checksum that RFC 1071's own loop gives."""
        self.assertEqual(checksum(data), slowChecksum(data))

    def test_pseudoHeader(self) -> None:
        """The IPv6 checksum covers both addresses, length and protocol."""
        payload = b"\x80\x00\x00\x00abcd"
        expected = slowChecksum(A6 + B6 + bytes((0, 0, 0, 8, 0, 0, 0, 58)) + payload)
        self.assertEqual(transportChecksum6(A6, B6, 58, payload), expected)


class HeaderTests(SynchronousTestCase):
    def test_ipv4(self) -> None:
        """The fields of a real IPv4 header are read."""
        header = decodeIp(EXAMPLE4)
        self.assertEqual(header.version, 4)
        self.assertEqual(header.source, bytes((192, 168, 0, 1)))
        self.assertEqual(header.destination, bytes((192, 168, 0, 199)))
        self.assertEqual((header.protocol, header.hopLimit), (UDP, 64))
        self.assertEqual((header.headerLength, header.totalLength), (20, 115))

    def test_ipv6(self) -> None:
        """The fields of an IPv6 header are read, and padding after the packet is no part of it."""
        packet = encodeIp6(A6, B6, UDP, b"12345678", 9)
        header = decodeIp(packet + bytes(7))
        self.assertEqual((header.version, header.source, header.destination), (6, A6, B6))
        self.assertEqual((header.protocol, header.hopLimit), (UDP, 9))
        self.assertEqual((header.headerLength, header.totalLength), (40, 48))

    def test_encodedIpv4(self) -> None:
        """What is written has a valid header checksum and the lengths that it says."""
        packet = encodeIp4(A4, B4, UDP, b"abc")
        self.assertEqual(checksum(packet[:20]), 0)
        self.assertEqual(decodeIp(packet).totalLength, len(packet))

    def test_wrongLengths(self) -> None:
        """Headers whose lengths contradict the bytes that there are, are refused."""
        good = encodeIp4(A4, B4, UDP, b"abc")
        for bad in (
            b"",
            good[:19],
            good[:-1],
            b"\x44" + good[1:],
            b"\x46" + good[1:2] + b"\0\x17" + good[4:],
            good[:2] + b"\0\x13" + good[4:],
            encodeIp6(A6, B6, UDP, b"abc")[:-1],
            encodeIp6(A6, B6, UDP, b"")[:39],
            b"\x55" + good[1:],
        ):
            self.assertRaises(DecodeError, decodeIp, bad)

    def test_fragment(self) -> None:
        """The offset of an IPv4 fragment is in bytes."""
        packet = encodeIp4(A4, B4, UDP, b"abc")
        self.assertEqual(decodeIp(packet[:6] + b"\x20\x03" + packet[8:]).fragmentOffset, 24)

    @given(st.binary(max_size=120) | st.binary(max_size=120).map(lambda d: b"\x45" + d))
    def test_onlyDecodeError(self, data: bytes) -> None:
        """Whatever the bytes are, reading them raises nothing but DecodeError, and no length exceeds them."""
        for decode in (decodeIp, upperLayer6):
            with contextlib.suppress(DecodeError):
                decode(data)
        with contextlib.suppress(DecodeError):
            header = decodeIp(data)
            self.assertTrue(header.headerLength <= header.totalLength <= len(data))


class UpperLayerTests(SynchronousTestCase):
    def test_none(self) -> None:
        """Without extensions the upper layer is what the header says, at 40."""
        self.assertEqual(upperLayer6(encodeIp6(A6, B6, ICMP6, b"x")), (ICMP6, 40))

    def test_chain(self) -> None:
        """Hop-by-hop, routing, options, a first fragment and authentication are walked."""
        extensions = (
            bytes((43, 0)) + bytes(6),
            bytes((60, 1)) + bytes(14),
            bytes((44, 0)) + bytes(6),
            bytes((51, 0, 0, 1)) + bytes(4),
            bytes((ICMP6, 4)) + bytes(22),
        )
        packet = encodeIp6(A6, B6, 0, b"".join(extensions) + b"\x88")
        self.assertEqual(upperLayer6(packet), (ICMP6, 40 + 8 + 16 + 8 + 8 + 24))

    def test_laterFragment(self) -> None:
        """What a later fragment carries is not guessed."""
        packet = encodeIp6(A6, B6, FRAGMENT6, bytes((ICMP6, 0, 0, 8)) + bytes(4) + b"\x88")
        self.assertEqual(upperLayer6(packet), (FRAGMENT6, 40))

    def test_endless(self) -> None:
        """A chain that is longer than any honest one is refused, and so is one that is cut."""
        self.assertRaises(DecodeError, upperLayer6, encodeIp6(A6, B6, 0, bytes(8 * 100)))
        self.assertRaises(DecodeError, upperLayer6, encodeIp6(A6, B6, 0, bytes(7)))
