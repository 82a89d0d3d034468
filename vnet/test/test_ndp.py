"""
Tests for L{vnet.protocols.codec.ndp}.
"""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from vnet.errors import DecodeError
from vnet.protocols.codec.ip import ICMP6, encodeIp6, transportChecksum6
from vnet.protocols.codec.ndp import (
    UNSPECIFIED,
    NeighbourAdvertisement,
    NeighbourSolicitation,
    decodeAdvertisement,
    decodeSolicitation,
    encodeAdvertisement,
    encodeSolicitation,
    isNeighbourDiscovery,
    solicitedNode,
)
from vnet.test.test_ip import A6, B6

MAC = bytes.fromhex("021122334455")
SOLICITATION = NeighbourSolicitation(A6, solicitedNode(B6), B6, MAC)


def withMessage(message: bytes, source: bytes = A6, destination: bytes = B6, hopLimit: int = 255) -> bytes:
    """An ICMPv6 packet whose checksum is right, whatever its message is."""
    total = transportChecksum6(source, destination, ICMP6, message[:2] + b"\0\0" + message[4:])
    return encodeIp6(
        source, destination, ICMP6, message[:2] + total.to_bytes(2, "big") + message[4:], hopLimit
    )


class SolicitationTests(SynchronousTestCase):
    def test_wire(self) -> None:
        """A solicitation is type 135 with hop limit 255, the target at 8 and option 1."""
        packet = encodeSolicitation(SOLICITATION)
        self.assertEqual((packet[7], packet[40]), (255, 135))
        self.assertEqual(packet[48:], B6 + b"\x01\x01" + MAC)
        self.assertEqual(packet[24:40].hex(), "ff0200000000000000000001ff000002")

    def test_roundTrip(self) -> None:
        """With and without the link-layer address, a solicitation is read back."""
        for message in (SOLICITATION, NeighbourSolicitation(A6, B6, B6)):
            self.assertEqual(decodeSolicitation(encodeSolicitation(message)), message)

    def test_unknownOption(self) -> None:
        """Options that are not known are skipped (RFC 7527's nonce, say)."""
        message = b"\x87\0\0\0" + bytes(4) + B6 + b"\x0e\x01" + bytes(6) + b"\x01\x01" + MAC
        self.assertEqual(decodeSolicitation(withMessage(message)).mac, MAC)

    def test_discarded(self) -> None:
        """Each of the reasons of RFC 4861 section 7.1.1 has a solicitation refused."""
        good = b"\x87\0\0\0" + bytes(4) + B6
        self.assertEqual(decodeSolicitation(withMessage(good)).target, B6)
        damaged = bytearray(withMessage(good))
        damaged[43] ^= 1
        for bad in (
            withMessage(good, hopLimit=254),
            bytes(damaged),
            withMessage(b"\x87\x01" + good[2:]),
            withMessage(good[:-1]),
            withMessage(good[:8] + b"\xff" + good[9:]),
            withMessage(good + b"\x01\x00" + bytes(6)),
            withMessage(good + b"\x01\x02" + bytes(6)),
            withMessage(good + b"\x01"),
            withMessage(good, source=UNSPECIFIED),
            withMessage(good + b"\x01\x01" + MAC, source=UNSPECIFIED, destination=solicitedNode(B6)),
        ):
            self.assertRaises(DecodeError, decodeSolicitation, bad)

    def test_probe(self) -> None:
        """Duplicate address detection, from no address to the group, is read."""
        probe = NeighbourSolicitation(UNSPECIFIED, solicitedNode(B6), B6)
        self.assertEqual(decodeSolicitation(encodeSolicitation(probe)), probe)


class AdvertisementTests(SynchronousTestCase):
    @given(st.booleans(), st.booleans(), st.booleans(), st.none() | st.binary(min_size=6, max_size=6))
    def test_roundTrip(self, router: bool, solicited: bool, override: bool, mac: bytes | None) -> None:
        """Every combination of the flags is read back."""
        message = NeighbourAdvertisement(B6, A6, B6, mac, router, solicited, override)
        self.assertEqual(decodeAdvertisement(encodeAdvertisement(message)), message)

    def test_wire(self) -> None:
        """An answer has type 136, the flags S and O, and option 2."""
        packet = encodeAdvertisement(NeighbourAdvertisement(B6, A6, B6, MAC))
        self.assertEqual((packet[7], packet[40], packet[44]), (255, 136, 0x60))
        self.assertEqual(packet[48:], B6 + b"\x02\x01" + MAC)

    def test_solicitedToGroup(self) -> None:
        """An advertisement to a group cannot be solicited."""
        packet = encodeAdvertisement(NeighbourAdvertisement(B6, b"\xff" + bytes(15), B6, MAC))
        self.assertRaises(DecodeError, decodeAdvertisement, packet)


class DiscoveryTests(SynchronousTestCase):
    def test_recognised(self) -> None:
        """All five messages are recognised, also behind extension headers; echoes are not."""
        for kind in (133, 134, 135, 136, 137):
            message = bytes((kind,)) + bytes(23)
            self.assertTrue(isNeighbourDiscovery(encodeIp6(A6, B6, ICMP6, message)))
            hidden = encodeIp6(A6, B6, 60, bytes((ICMP6, 0)) + bytes(6) + message)
            self.assertTrue(isNeighbourDiscovery(hidden))
        for kind in (1, 128, 129, 143):
            self.assertFalse(isNeighbourDiscovery(encodeIp6(A6, B6, ICMP6, bytes((kind,)) + bytes(7))))
        self.assertFalse(isNeighbourDiscovery(encodeIp6(A6, B6, ICMP6, b"")))
        self.assertFalse(isNeighbourDiscovery(encodeIp6(A6, B6, 17, bytes((135,)))))

    @given(st.binary(max_size=100), st.sampled_from([b"", b"\x87\0\0\0" + bytes(4) + B6]))
    def test_onlyDecodeError(self, data: bytes, start: bytes) -> None:
        """Whatever the bytes are, nothing but DecodeError is raised."""
        for packet in (data, withMessage(start + data)):
            for decode in (decodeSolicitation, decodeAdvertisement, isNeighbourDiscovery):
                with contextlib.suppress(DecodeError):
                    decode(packet)
