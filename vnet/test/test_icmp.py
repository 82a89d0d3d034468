"""
Tests for L{vnet.protocols.codec.icmp}.
"""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from vnet.errors import DecodeError
from vnet.protocols.codec.icmp import Echo, decodeEcho, encodeEcho, encodeTooBig, encodeUnreachable
from vnet.protocols.codec.ip import ICMP, ICMP6, TCP, UDP, checksum, decodeIp, encodeIp4, encodeIp6
from vnet.test.test_ip import A4, A6, B4, B6

sixteenBits = st.integers(0, 0xFFFF)


class EchoTests(SynchronousTestCase):
    @given(st.booleans(), sixteenBits, sixteenBits, st.binary(max_size=64), st.booleans())
    def test_roundTrip(self, v6: bool, identifier: int, sequence: int, data: bytes, reply: bool) -> None:
        """Every echo of either version is read back as it was written."""
        source, destination = (A6, B6) if v6 else (A4, B4)
        echo = Echo(source, destination, identifier, sequence, data, reply)
        self.assertEqual(decodeEcho(encodeEcho(echo)), echo)

    def test_wire4(self) -> None:
        """An IPv4 request is type 8 with a checksum over the message alone."""
        packet = encodeEcho(Echo(A4, B4, 0x1234, 5, b"abc"))
        self.assertEqual(packet[9], ICMP)
        self.assertEqual(packet[20:22] + packet[24:], b"\x08\x00\x12\x34\x00\x05abc")
        self.assertEqual(checksum(packet[20:]), 0)

    def test_wire6(self) -> None:
        """An IPv6 reply is type 129 of ICMPv6."""
        packet = encodeEcho(Echo(A6, B6, 0x1234, 5, b"abc", reply=True))
        self.assertEqual((packet[6], packet[40]), (ICMP6, 129))

    def test_damaged(self) -> None:
        """A message in which one bit has changed is refused."""
        for echo in (Echo(A4, B4, 1, 2, b"data"), Echo(A6, B6, 1, 2, b"data")):
            bad = bytearray(encodeEcho(echo))
            bad[-1] ^= 1
            self.assertRaises(DecodeError, decodeEcho, bytes(bad))

    def test_notAnEcho(self) -> None:
        """Other protocols, other types, other codes, fragments and short messages are refused."""
        good = encodeEcho(Echo(A4, B4, 1, 2))
        for bad in (
            encodeIp4(A4, B4, UDP, good[20:]),
            encodeIp4(A4, B4, ICMP6, good[20:]),
            encodeIp4(A4, B4, ICMP, good[20:-1]),
            encodeIp4(A4, B4, ICMP, b"\x03" + good[21:]),
            encodeIp4(A4, B4, ICMP, b"\x08\x01" + good[22:]),
            good[:7] + b"\x01" + good[8:],
        ):
            self.assertRaises(DecodeError, decodeEcho, bad)

    @given(st.binary(max_size=80), st.sampled_from([b"", b"\x45\x00\x00\x1e\x00\x00\x00\x00\x40\x01"]))
    def test_onlyDecodeError(self, data: bytes, prefix: bytes) -> None:
        """Whatever the bytes are, nothing but DecodeError is raised."""
        for decode in (decodeEcho, encodeUnreachable, lambda packet: encodeTooBig(packet, 1280)):
            with contextlib.suppress(DecodeError):
                decode(prefix + data)


class UnreachableTests(SynchronousTestCase):
    def test_ipv4(self) -> None:
        """The sender is told "host unreachable" from the destination's address, with its packet quoted."""
        packet = encodeIp4(A4, B4, UDP, b"x" * 100)
        header = decodeIp(error := encodeUnreachable(packet))
        self.assertEqual((header.source, header.destination, header.protocol), (B4, A4, ICMP))
        self.assertEqual(error[20:22], b"\x03\x01")
        self.assertEqual(error[28:], packet)
        self.assertEqual(checksum(error[20:]), 0)

    def test_ipv6(self) -> None:
        """On IPv6 it is "address unreachable", and a long packet is cut."""
        packet = encodeIp6(A6, B6, TCP, b"x" * 1300)
        error = encodeUnreachable(packet)
        self.assertEqual((error[6], error[40:42]), (ICMP6, b"\x01\x03"))
        self.assertEqual(error[48:], packet[:548])

    def test_neverAboutAnError(self) -> None:
        """Errors, echo replies, later fragments and what goes to groups get no error."""
        error = encodeUnreachable(encodeIp4(A4, B4, UDP, b"x"))
        udp = encodeIp4(A4, B4, UDP, b"x")
        for bad in (
            error,
            encodeEcho(Echo(A4, B4, 1, 2, reply=True)),
            encodeEcho(Echo(A6, B6, 1, 2, reply=True)),
            udp[:7] + b"\x01" + udp[8:],
            encodeIp4(A4, bytes((224, 0, 0, 251)), UDP, b"x"),
            encodeIp6(A6, b"\xff" + bytes(15), UDP, b"x"),
        ):
            self.assertRaises(DecodeError, encodeUnreachable, bad)

    def test_echoRequest(self) -> None:
        """Somebody who pings gets the error."""
        for echo in (Echo(A4, B4, 1, 2), Echo(A6, B6, 1, 2)):
            self.assertEqual(decodeIp(encodeUnreachable(encodeEcho(echo))).destination, echo.source)


class TooBigTests(SynchronousTestCase):
    def test_ipv4(self) -> None:
        """Over IPv4 it is "fragmentation needed", with the MTU in the lower half of the second word, and quotes the packet."""
        packet = encodeIp4(A4, B4, UDP, b"q" * 1400)
        error = encodeTooBig(packet, 1328)
        header = decodeIp(error)
        self.assertEqual((header.source, header.destination, header.protocol), (B4, A4, ICMP))
        self.assertEqual(error[20:22] + error[24:28], b"\x03\x04\x00\x00" + (1328).to_bytes(2, "big"))
        self.assertEqual((checksum(error[20:]), error[28:]), (0, packet[:548]))

    def test_ipv6(self) -> None:
        """Over IPv6 it is "packet too big", with an MTU of 32 bits."""
        packet = encodeIp6(A6, B6, TCP, b"q" * 1400)
        error = encodeTooBig(packet, 1328)
        self.assertEqual(
            (error[6], error[40:42], error[44:48]), (ICMP6, b"\x02\x00", (1328).to_bytes(4, "big"))
        )
        self.assertEqual(error[48:], packet[:548])

    def test_notAnswered(self) -> None:
        """Errors, later fragments, and what goes to a group are not answered; echoes are."""
        echo = encodeEcho(Echo(A4, B4, 1, 2, bytes(1400)))
        self.assertEqual(encodeTooBig(echo, 1300)[20:22], b"\x03\x04")
        for packet in (
            encodeTooBig(echo, 1300),
            echo[:7] + b"\x01" + echo[8:],
            encodeIp4(A4, b"\xe0\x00\x00\x01", UDP, bytes(1400)),
            encodeIp6(A6, b"\xff\x02" + bytes(14), UDP, bytes(1400)),
        ):
            self.assertRaises(DecodeError, encodeTooBig, packet, 1300)
