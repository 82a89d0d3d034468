"""
Tests for L{vnet.protocols.codec.mss}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.codec.ip import TCP, UDP, checksum, encodeIp4, encodeIp6
from vnet.protocols.codec.mss import isSyn, lowerMss
from vnet.test.test_ip import A4, A6, B4, B6

MSS, NOTHING, SCALE, END = b"\x02\x04\x05\xb4", b"\x01", b"\x03\x03\x07", b"\x00"


def pseudo(packet: bytes, length: int) -> bytes:
    """What the checksum of TCP covers besides the segment."""
    addresses = packet[12:20] if packet[0] >> 4 == 4 else packet[8:40]
    return addresses + bytes((0, TCP)) + length.to_bytes(4, "big")


def syn(version: int, options: bytes = MSS, flags: int = 2, payload: bytes = b"", seed: int = 0) -> bytes:
    """A TCP segment with a right checksum, in a packet."""
    options += END * (-len(options) % 4)
    head = ((seed + 5) * 48271 % 2**96).to_bytes(12, "big")
    segment = bytearray(
        head + bytes(((20 + len(options)) // 4 << 4, flags, 0xFA, 0xF0, 0, 0, 0, 0)) + options + payload
    )
    packet = (
        encodeIp4(A4, B4, TCP, bytes(segment)) if version == 4 else encodeIp6(A6, B6, TCP, bytes(segment))
    )
    segment[16:18] = checksum(pseudo(packet, len(segment)) + segment).to_bytes(2, "big")
    return packet[: -len(segment)] + bytes(segment)


def isRight(packet: bytes) -> bool:
    """Whether the checksum of TCP is right."""
    start = 20 if packet[0] >> 4 == 4 else 40
    segment = packet[start:]
    return checksum(pseudo(packet, len(segment)) + segment) == 0


class MssTests(SynchronousTestCase):
    def test_lowered(self) -> None:
        """The option of a SYN and of a SYN/ACK is lowered to that of its version, and the checksum is right."""
        for version, expected in ((4, 1288), (6, 1268)):
            for flags in (0x02, 0x12, 0xC2):
                lowered = lowerMss(syn(version, flags=flags), 1288, 1268)
                start = 20 if version == 4 else 40
                self.assertEqual(lowered[start + 20 : start + 24], b"\x02\x04" + expected.to_bytes(2, "big"))
                self.assertTrue(isRight(lowered))

    @given(
        st.sampled_from([4, 6]),
        st.lists(st.sampled_from([NOTHING, SCALE, b"\x04\x02", b"\x08\x0a" + bytes(8)]), max_size=3),
        st.integers(0, 0xFFFF),
        st.integers(0, 0xFFFF),
        st.integers(0, 2**64),
        st.binary(max_size=9),
    )
    def test_anywhere(
        self, version: int, before: list[bytes], old: int, new: int, seed: int, payload: bytes
    ) -> None:
        """Wherever the option stands, and whatever it says, it is never raised, and the checksum stays right."""
        options = b"".join(before) + b"\x02\x04" + old.to_bytes(2, "big")
        packet = syn(version, options, payload=payload, seed=seed)
        lowered = lowerMss(packet, new, new)
        self.assertTrue(isRight(packet) and isRight(lowered))
        place = (20 if version == 4 else 40) + 20 + len(b"".join(before)) + 2
        self.assertEqual(lowered[place : place + 2], min(old, new).to_bytes(2, "big"))
        self.assertEqual(len(lowered), len(packet))

    def test_unfinished(self) -> None:
        """A checksum that is not made yet stays as it is."""
        for version in (4, 6):
            packet, start = syn(version), 20 if version == 4 else 40
            half = (0xFFFF - checksum(pseudo(packet, len(packet) - start))).to_bytes(2, "big")
            unfinished = packet[: start + 16] + half + packet[start + 18 :]
            lowered = lowerMss(unfinished, 1000, 1000)
            self.assertEqual(lowered[start + 16 : start + 18], half)
            self.assertEqual(lowered[start + 22 : start + 24], b"\x03\xe8")

    def test_untouched(self) -> None:
        """What is no SYN, has no such option, a smaller one, or cannot be read is given back as it is."""
        good = syn(4)
        for packet in (
            syn(4, flags=0x10),
            syn(6, flags=0x18, payload=b"x" * 50),
            syn(4, SCALE),
            syn(4, b"\x02\x04\x03\xe8"),
            syn(4, END + MSS),
            syn(4, b"\x02\x03\x05\xb4"),
            syn(4, b"\x08\x00\x02\x04\x05\xb4"),
            good[:43],
            good[:33],
            good[:6] + b"\x00\x01" + good[8:],
            good[:9] + bytes((UDP,)) + good[10:],
            good[:20],
            b"",
            b"\x55" * 60,
        ):
            self.assertIs(lowerMss(packet, 1200, 1200), packet)

    def test_behindExtensions(self) -> None:
        """A SYN behind extension headers of IPv6 is found."""
        plain = syn(6)
        packet = (
            plain[:4]
            + (len(plain) - 40 + 8).to_bytes(2, "big")
            + b"\x3c"
            + plain[7:40]
            + b"\x06\x00"
            + bytes(6)
            + plain[40:]
        )
        lowered = lowerMss(packet, 1200, 1200)
        self.assertTrue(isSyn(packet))
        self.assertEqual(lowered[48 + 22 : 48 + 24], b"\x04\xb0")
        self.assertTrue(isRight(lowered[:4] + plain[4:7] + lowered[7:40] + lowered[48:]))

    def test_isSyn(self) -> None:
        """It tells all SYN from nearly all that is none."""
        for version in (4, 6):
            self.assertTrue(isSyn(syn(version)))
            self.assertTrue(isSyn(syn(version, flags=0x12)))
            self.assertFalse(isSyn(syn(version, flags=0x10, payload=b"x" * 99)))
        self.assertFalse(isSyn(encodeIp4(A4, B4, UDP, b"\xff" * 40)))
        self.assertFalse(isSyn(encodeIp6(A6, B6, UDP, b"\xff" * 40)))

    @given(st.binary(min_size=20, max_size=120), st.sampled_from([b"", syn(4)[:34], syn(6)[:54]]))
    def test_anything(self, data: bytes, prefix: bytes) -> None:
        """Whatever the bytes are, nothing is raised, and the length stays."""
        packet = prefix + data
        isSyn(packet)
        self.assertEqual(len(lowerMss(packet, 500, 500)), len(packet))
