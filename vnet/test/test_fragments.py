"""
Tests for L{vnet.protocols.codec.fragments}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.codec.fragments import fragment, fragmentOwn, mayBeFragmented
from vnet.protocols.codec.ip import UDP, checksum, decodeIp, encodeIp4, encodeIp6
from vnet.test.test_ip import A4, A6, B4, B6


def joined(fragments: list[bytes]) -> bytes:
    """The payload of the packet that was cut."""
    payload = bytearray()
    for each in fragments:
        header = decodeIp(each)
        assert header.fragmentOffset - decodeIp(fragments[0]).fragmentOffset == len(payload)
        payload += each[20:]
    return bytes(payload)


class FragmentTests(SynchronousTestCase):
    @given(st.binary(min_size=1, max_size=3000), st.integers(28, 1500))
    def test_all(self, payload: bytes, mtu: int) -> None:
        """The fragments fit, are in order, have right checksums, and hold all: only the last one says that it is that."""
        packet = encodeIp4(A4, B4, UDP, payload)
        fragments = fragment(packet, mtu)
        self.assertEqual(joined(fragments), payload)
        self.assertTrue(all(len(each) <= mtu and checksum(each[:20]) == 0 for each in fragments))
        self.assertEqual(
            [bool(each[6] & 0x20) for each in fragments], [True] * (len(fragments) - 1) + [False]
        )
        self.assertEqual({each[4:6] for each in fragments}, {packet[4:6]})

    def test_again(self) -> None:
        """A fragment that is not the last one is cut into fragments that are not."""
        first, second = fragment(encodeIp4(A4, B4, UDP, bytes(range(200)) * 7), 1000)
        again = [*fragment(first, 500), *fragment(second, 500)]
        self.assertEqual(joined(again), bytes(range(200)) * 7)
        self.assertEqual([bool(each[6] & 0x20) for each in again][-2:], [True, False])

    def test_mayBe(self) -> None:
        """Only IPv4 without options whose sender allows it may be cut."""
        packet = encodeIp4(A4, B4, UDP, b"x" * 99)
        self.assertTrue(mayBeFragmented(packet))
        self.assertFalse(mayBeFragmented(packet[:6] + b"\x40" + packet[7:]))
        self.assertFalse(mayBeFragmented(b"\x46" + packet[1:]))
        self.assertFalse(mayBeFragmented(encodeIp6(A6, B6, UDP, b"x" * 99)))

    @given(st.binary(min_size=1, max_size=3000), st.integers(100, 1500), st.integers(0, 2**32 - 1))
    def test_own(self, payload: bytes, mtu: int, number: int) -> None:
        """A packet that nobody else may cut becomes fragments that fit, whose identification is the given one."""
        packet = encodeIp4(A4, B4, UDP, payload)
        fragments = fragmentOwn(packet[:6] + b"\x40\x00" + packet[8:], mtu, number)
        self.assertEqual(joined(fragments), payload)
        self.assertTrue(all(len(each) <= mtu and checksum(each[:20]) == 0 for each in fragments))
        self.assertEqual({each[4:6] for each in fragments}, {(number & 0xFFFF).to_bytes(2, "big")})
        self.assertFalse(any(each[6] & 0x40 for each in fragments))
        packet = encodeIp6(A6, B6, UDP, payload)
        whole = b""
        for each in fragmentOwn(packet, mtu, number):
            self.assertTrue(len(each) <= mtu and decodeIp(each).totalLength == len(each))
            self.assertEqual((each[6], each[40], each[7:40]), (44, UDP, packet[7:40]))
            self.assertEqual(int.from_bytes(each[42:44], "big") & 0xFFF8, len(whole))
            self.assertEqual(each[44:48], number.to_bytes(4, "big"))
            whole += each[48:]
            self.assertEqual(bool(each[43] & 1), len(whole) < len(payload))
        self.assertEqual(whole, payload)

    def test_notOwn(self) -> None:
        """What is a fragment already, or has other headers, stays as it is."""
        packet, packet6 = encodeIp4(A4, B4, UDP, b"x" * 1200), encodeIp6(A6, B6, UDP, b"x" * 1200)
        for each in (
            packet[:7] + b"\x01" + packet[8:],
            packet[:6] + b"\x20" + packet[7:],
            b"\x46" + packet[1:],
            packet6[:6] + b"\x2c" + packet6[7:],
            packet6[:6] + b"\x00" + packet6[7:],
            packet6[:100],
        ):
            self.assertEqual(fragmentOwn(each, 600, 1), [each])
