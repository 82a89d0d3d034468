"""
Tests for L{vnet.protocols.codec.segmentation}: what it makes is what L{vnet.test.segmentreference} makes, byte for byte.
"""

from __future__ import annotations

import itertools
import struct

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from vnet.errors import DecodeError
from vnet.protocols.codec import virtio
from vnet.protocols.codec.runs import partialHeader
from vnet.protocols.codec.segmentation import finish, finishPacket, isPlainPartial, pseudoSum, split
from vnet.test.segmentpackets import packets
from vnet.test.segmentreference import (
    ETHERNET4,
    ETHERNET6,
    UDP,
    Packet,
    cutUp,
    finished,
    pseudo,
    superframe,
    trainFrame,
    wordSum,
)

#: Small ones, those about the size of the payload, and those of real links.
_SEGMENTS = st.one_of(
    st.integers(1, 70), st.sampled_from((536, 1388, 1400, 1460, 65_535)), st.integers(1, 3000)
)


def checksumPlace(packet: Packet) -> int:
    """Where the checksum stands in the packet."""
    return packet.start + (6 if packet.protocol == UDP else 16)


def lone(packet: Packet) -> bytes:
    """A packet whose checksum is unfinished, as a frame."""
    place = checksumPlace(packet) - packet.start
    header = virtio.packHeader(virtio.NEEDS_CSUM, virtio.NONE, 0, 0, 14 + packet.start, place)
    return header + (ETHERNET4 if packet.version == 4 else ETHERNET6) + bytes(packet)


def finishedOf(packet: Packet) -> bytes:
    """The packet with its checksum finished."""
    return finished(bytes(packet), packet.start, checksumPlace(packet))


class SplitTests(SynchronousTestCase):
    """
    L{split}.
    """

    @settings(max_examples=250, deadline=None)
    @given(packets(), _SEGMENTS, st.booleans(), st.booleans())
    def test_reference(self, packet: Packet, segment: int, finishes: bool, ecn: bool) -> None:
        """
        Segments are those of the reference, whatever the flags, options, sizes and numbers; with all they say of themselves.
        """
        frame = trainFrame(packet, segment, ecn)
        wanted = cutUp(frame, finishes)
        segments = split(superframe(frame), finishes)
        self.assertEqual([bytes(each) for each in segments], wanted)
        sizes = [len(each) for each in wanted]
        self.assertEqual((segments.count, segments.lastSize), (len(sizes), sizes[-1]))
        self.assertEqual(set(sizes[:-1]) - {segments.size}, set())
        self.assertEqual(segments.destination, packet.addresses[1])
        self.assertEqual(segments.isPlain, not packet.options)

    def test_long(self) -> None:
        """
        The longest trains that there are, of many segments, and over all that runs over.
        """
        for version, segment in itertools.product((4, 6), (1, 7, 536, 1388, 8900)):
            payload = bytes(range(256)) * (240 if segment > 7 else 8 * segment)
            for packet in (
                Packet(
                    version, payload=payload, sequence=2**32 - 30_000 % len(payload), identification=65_530
                ),
                Packet(version, payload=payload, sequence=2**32 - 1, checksum=5),
                Packet(version, UDP, payload, checksum=1),
                Packet(version, flags=0xFFF, payload=payload[:-1], tcpOptions=b"\1" * 40),
            ):
                frame = trainFrame(packet, segment)
                found = [bytes(each) for each in split(superframe(frame), False)]
                self.assertEqual(found, cutUp(frame, False))

    @settings(deadline=None)
    @given(packets(isPlain=True), st.integers(50, 1500))
    def test_recognised(self, packet: Packet, segment: int) -> None:
        """
        Whoever gets the unfinished segments of a plain train sees that they are.
        """
        for each in split(superframe(trainFrame(packet, segment)), False):
            self.assertEqual(partialHeader(bytes(each))[0], virtio.NEEDS_CSUM)

    def test_routed(self) -> None:
        """
        Where the pseudo-header has other addresses than the header, as with a routing header, segments are no plain ones, and
        keep it.
        """
        packet = bytearray(trainFrame(Packet(6, payload=bytes(300)), 100))
        struct.pack_into("!H", packet, 24 + 40 + 16, 0x1234)
        segments = split(superframe(bytes(packet)), True)
        self.assertFalse(segments.isPlain)
        self.assertEqual([bytes(each) for each in segments], cutUp(bytes(packet), True))

    def test_zero(self) -> None:
        """
        A sum of zero is written as all ones in UDP, where 0 would be no checksum, and as it is in TCP.
        """
        for version in (4, 6):
            for protocol, wanted in ((UDP, b"\xff\xff"), (6, b"\0\0")):
                packet = Packet(version, protocol, bytes(4))
                plain = cutUp(trainFrame(packet, 2), True)
                place = checksumPlace(packet)
                # The checksum itself as payload makes the sum zero.
                packet = evolve(packet, payload=plain[0][place : place + 2] * 2)
                first = next(iter(split(superframe(trainFrame(packet, 2)), True)))
                self.assertEqual(bytes(first[place : place + 2]), wanted)

    @given(st.data())
    @settings(max_examples=150, deadline=None)
    def test_damaged(self, data: st.DataObject) -> None:
        """
        Whatever is in the buffer, there are segments, or L{DecodeError}.
        """
        frame = bytearray(trainFrame(data.draw(packets(300)), data.draw(_SEGMENTS)))
        for _ in range(data.draw(st.integers(1, 3))):
            frame[data.draw(st.integers(0, min(len(frame), 100) - 1))] = data.draw(st.integers(0, 255))
        frame = frame[: data.draw(st.integers(25, len(frame)))] if data.draw(st.booleans()) else frame
        try:
            segments = split(superframe(bytes(frame)), data.draw(st.booleans()))
        except DecodeError:
            return
        found = list(map(len, segments))
        self.assertEqual(found, [segments.size] * (segments.count - 1) + [segments.lastSize])

    def test_refused(self) -> None:
        """
        What is no train as the kernel makes them is refused.
        """
        frame = trainFrame(Packet(payload=bytes(300)), 100)
        self.assertEqual(len(list(split(superframe(frame), False))), 3)

        def header(*values: int) -> bytes:
            return struct.pack("=BBHHHH", *values) + frame[10:]

        for bad in (
            header(1, 4, 54, 100, 34, 16),
            header(1, 5, 54, 100, 34, 16),
            header(1, 3, 54, 100, 34, 16),
            header(0, 1, 54, 100, 34, 16),
            header(1, 1, 54, 0, 34, 16),
            header(1, 1, 54, 100, 33, 16),
            header(1, 1, 54, 100, 0, 16),
            header(1, 1, 54, 100, 380, 16),
            header(1, 1, 54, 100, 65_535, 16),
            header(1, 1, 54, 100, 34, 14),
            frame[:22] + b"\x86\xdd" + frame[24:],
            frame[:24] + b"\x65" + frame[25:],
            frame[: 24 + 40],
            frame[: 24 + 30],
            frame[: 24 + 32] + b"\x40" + frame[24 + 33 :],
        ):
            self.assertRaises(DecodeError, split, superframe(bad), False)


class FinishTests(SynchronousTestCase):
    """
    Frames and packets that are no trains.
    """

    @settings(deadline=None)
    @given(packets())
    def test_finish(self, packet: Packet) -> None:
        """
        An unfinished frame is finished as the kernel would have done it, with 0 written as all ones.
        """
        frame = lone(packet)
        self.assertEqual(finish(frame), virtio.FINISHED + frame[10:24] + finishedOf(packet))

    @settings(deadline=None)
    @given(packets(), st.sampled_from((0, 2)))
    def test_finished(self, packet: Packet, flags: int) -> None:
        """
        A frame that is finished stays as it is, right or wrong, also with flag DATA_VALID, and is not plain partial.
        """
        frame = bytes((flags,)) + lone(packet)[1:]
        self.assertFalse(isPlainPartial(frame))
        self.assertEqual(finish(frame), virtio.FINISHED + frame[10:])

    @given(st.integers(0, 70_000), st.integers(0, 70_000), st.booleans())
    def test_outside(self, start: int, offset: int, isLong: bool) -> None:
        """
        A checksum outside of the frame is refused, wherever it is.
        """
        frame = virtio.packHeader(1, 0, 0, 0, start & 0xFFFF, offset & 0xFFFF) + bytes(200 if isLong else 4)
        try:
            found = finish(frame)
        except DecodeError:
            self.assertTrue(
                (start & 0xFFFF) < 14 or (start & 0xFFFF) + (offset & 0xFFFF) + 2 > len(frame) - 10
            )
        else:
            self.assertEqual(len(found), len(frame))

    @settings(deadline=None)
    @given(packets())
    def test_isPlainPartial(self, packet: Packet) -> None:
        """
        Plain are packets without options and extension headers; of these, and only of these, a receiver sees that they are
        unfinished.
        """
        self.assertEqual(isPlainPartial(lone(packet)), not packet.options)
        seen = partialHeader(bytes(packet))
        self.assertEqual(seen, lone(packet)[:10] if not packet.options else virtio.FINISHED)

    def test_notPlain(self) -> None:
        """
        A fragment, one with a reserved bit, and one of another protocol than the checksum's are not plain: nobody would see
        that they are unfinished.
        """
        packet = Packet(payload=bytes(100))
        for fragmentation in (0x2000, 0x8000, 1, 0x4001):
            fragment = evolve(packet, fragmentation=fragmentation)
            self.assertFalse(isPlainPartial(lone(fragment)))
            self.assertEqual(partialHeader(bytes(fragment)), virtio.FINISHED)
            self.assertFalse(split(superframe(trainFrame(fragment, 50)), False).isPlain)
        frame = lone(packet)
        for place, value in ((24 + 9, 17), (24 + 9, 47), (24, 0x46), (24, 0x65), (6, 35), (8, 6)):
            self.assertFalse(isPlainPartial(frame[:place] + bytes((value,)) + frame[place + 1 :]))
        for short in (frame[:10], frame[:24], frame[:25], frame[:33], frame[:40], b"", b"\1"):
            self.assertFalse(isPlainPartial(short))

    @settings(deadline=None)
    @given(packets(isPlain=True))
    def test_finishPacket(self, packet: Packet) -> None:
        """
        A packet is finished without its frame's header in the same way, and is then not seen as unfinished.
        """
        found = finishPacket(bytes(packet))
        self.assertEqual(found, finishedOf(packet))
        if found != bytes(packet):
            self.assertEqual(partialHeader(found), virtio.FINISHED)

    @settings(deadline=None)
    @given(packets(isPlain=True), st.integers(1, 0xFFFF))
    def test_wrongStaysWrong(self, packet: Packet, error: int) -> None:
        """
        A finished checksum that is wrong is not taken for an unfinished one, and 0 of UDP stays.
        """
        place = checksumPlace(packet)
        data = bytes(packet)
        (unfinished,) = struct.unpack_from("!H", data, place)
        for value in (unfinished ^ error, 0):
            wrong = data[:place] + struct.pack("!H", value) + data[place + 2 :]
            self.assertEqual(partialHeader(wrong), virtio.FINISHED)

    @given(st.sampled_from((b"\x45", b"\x4f", b"\x60")), st.binary(min_size=39, max_size=120))
    def test_partialHeaderAny(self, begin: bytes, rest: bytes) -> None:
        """
        Anything that begins like a packet may be asked about.
        """
        packet = begin + rest
        self.assertIn(partialHeader(packet)[:1], (b"\0", b"\1"))

    def test_partialHeaderShort(self) -> None:
        """
        A packet that ends before its checksum, or in it, is not seen as unfinished.
        """
        for head, protocol in ((b"\x45", 9), (b"\x60", 6)):
            size, place = (20, 36) if protocol == 9 else (40, 56)
            for kind, end in ((6, place + 2), (17, size + 8)):
                packet = bytearray(head + bytes(79))
                packet[protocol] = kind
                for length in range(40, end):
                    self.assertEqual(partialHeader(bytes(packet[:length])), virtio.FINISHED)

    @given(st.sampled_from((8, 32)), st.integers(0, 0xFFFF), st.sampled_from((6, 17)), st.randoms())
    def test_pseudoSum(self, size: int, length: int, protocol: int, random: object) -> None:
        """
        The sum of the pseudo-header is that of RFC 1071, also where it is all ones.
        """
        for addresses in (
            b"\xff" * size,
            bytes(size - 2) + struct.pack("!H", (0xFFFF - protocol - length) % 0xFFFF),
        ):
            half = size // 2
            wanted = pseudo(addresses[:half], addresses[half:], protocol, length)
            self.assertEqual(pseudoSum(addresses, protocol, length), wanted)
        self.assertEqual(wordSum(b"\xff\xff\0\1\1"), 0x0101)
