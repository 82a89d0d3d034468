"""
Tests for L{vnet.protocols.codec.linkscope}.
"""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from vnet.errors import DecodeError
from vnet.protocols.codec.ip import ICMP, ICMP6, TCP, UDP, checksum, encodeIp4, encodeIp6
from vnet.protocols.codec.linkscope import concernsLink
from vnet.test.test_ip import A4, A6, B4, B6

HOP_BY_HOP, ROUTER_ALERT = 0, bytes((5, 2, 0, 0, 1, 0))


def ports(source: int, destination: int) -> bytes:
    """A UDP header, and nothing in it."""
    return source.to_bytes(2, "big") + destination.to_bytes(2, "big") + b"\0\x08\0\0"


def withOptions(options: bytes, source: bytes = A4, destination: bytes = B4) -> bytes:
    """An IPv4 packet of UDP with options."""
    packet = bytearray(encodeIp4(source, destination, UDP, options + ports(1000, 2000)))
    packet[0] = 0x45 + len(options) // 4
    packet[10:12] = bytes(2)
    packet[10:12] = checksum(bytes(packet[: 20 + len(options)])).to_bytes(2, "big")
    return bytes(packet)


class ConcernsLinkTests(SynchronousTestCase):
    def test_crosses(self) -> None:
        """What programs say to each other crosses, whatever the ports, protocols and options."""
        fragment = bytearray(encodeIp4(A4, B4, UDP, ports(1000, 67)))
        fragment[6:8] = b"\x20\x08"
        for packet in (
            encodeIp4(A4, B4, UDP, ports(68, 1067)),
            encodeIp4(A4, B4, UDP, ports(5353, 5353)),
            encodeIp4(A4, B4, TCP, ports(67, 67)),
            encodeIp4(A4, B4, ICMP, b"\x08\0" + bytes(6)),
            encodeIp4(A4, B4, ICMP, b""),
            encodeIp4(A4, B4, 89, b""),
            withOptions(b"\x01\x01\x94\x04\0\0\0\0"),
            bytes(fragment),
            encodeIp6(A6, B6, UDP, ports(547, 1546)),
            encodeIp6(A6, B6, ICMP6, b"\x80\0" + bytes(6)),
            encodeIp6(A6, B6, 59, b""),
            encodeIp6(A6, B6, 44, b"\x3a\0\0\x08\0\0\0\0\x86"),
        ):
            self.assertEqual(concernsLink(packet), "", packet.hex())

    def test_stays(self) -> None:
        """What concerns the link does not cross, behind options and extension headers neither."""
        for packet, reason in (
            (encodeIp4(A4, B4, UDP, ports(67, 68)), "dhcp"),
            (encodeIp4(A4, B4, UDP, ports(68, 67)), "dhcp"),
            (encodeIp4(A4, B4, ICMP, b"\x05\x01" + bytes(26)), "redirect"),
            (encodeIp4(A4, B4, ICMP, b"\x09\0" + bytes(6)), "routers"),
            (encodeIp4(A4, B4, ICMP, b"\x0a\0" + bytes(6)), "routers"),
            (encodeIp4(A4, B4, 2, b"\x16" + bytes(7)), "listeners"),
            (withOptions(b"\x83\x07\x04" + B4 + b"\0"), "sourceRoute"),
            (withOptions(b"\x01\x89\x07\x04" + B4), "sourceRoute"),
            (encodeIp6(A6, B6, UDP, ports(547, 546)), "dhcp"),
            (encodeIp6(A6, B6, UDP, ports(546, 547)), "dhcp"),
            (encodeIp6(A6, B6, 44, b"\x11\0\0\x01\0\0\0\0" + ports(547, 546)), "dhcp"),
            (encodeIp6(A6, B6, ICMP6, b"\x86" + bytes(15)), "discovery"),
            (encodeIp6(A6, B6, ICMP6, b"\x97" + bytes(7)), "discovery"),
            (
                encodeIp6(A6, B6, HOP_BY_HOP, b"\x3a\0" + ROUTER_ALERT + b"\x8f" + bytes(7)),
                "listeners",
            ),
        ):
            self.assertEqual(concernsLink(packet), reason, packet.hex())

    def test_hidden(self) -> None:
        """What hides its kind in a later fragment, or cannot be read, is an error."""
        for packet in (
            b"",
            b"\x55" + bytes(60),
            encodeIp4(A4, B4, UDP, b"")[:19],
            withOptions(b"\x07\x01\0\0"),
            encodeIp6(A6, B6, ICMP6, b""),
            encodeIp6(A6, B6, 44, b"\x3c\0\0\x01\0\0\0\0\x3a\0" + bytes(6)),
            encodeIp6(A6, B6, HOP_BY_HOP, b"\x3a\x09"),
        ):
            self.assertRaises(DecodeError, concernsLink, packet)

    @given(st.binary(max_size=120), st.sampled_from((b"", b"\x45", b"\x46", b"\x60")))
    def test_anything(self, data: bytes, first: bytes) -> None:
        """Of any bytes it says something, or raises L{DecodeError}."""
        with contextlib.suppress(DecodeError):
            concernsLink(first + data)
