"""
Tests for L{vnet.protocols.codec.runs}: what is joined is what L{vnet.test.segmentreference} cuts into the same packets again.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.codec import virtio
from vnet.protocols.codec.runs import MOST, Run, join, partialHeader, runsOf
from vnet.protocols.codec.slots import ROOM, Slots
from vnet.test.segmentpackets import packets
from vnet.test.segmentreference import (
    ACK,
    CWR,
    ETHERNET4,
    ETHERNET6,
    FIN,
    PSH,
    TCP,
    UDP,
    Packet,
    cutUp,
    trainFrame,
    wordSum,
)

#: Where a change is likely to matter: all of the headers.
_HEADERS = 100


def ethernetOf(packet: bytes) -> bytes:
    """The Ethernet header of a packet."""
    return ETHERNET4 if packet[0] >> 4 == 4 else ETHERNET6


def segmentsOf(packet: Packet, segment: int) -> list[bytes]:
    """The packets of a train."""
    return cutUp(trainFrame(packet, segment), False)


def joined(run: Run) -> bytes:
    """The run as one frame."""
    return b"".join(map(bytes, join(run, ethernetOf(run[0]))))


def trimmed(packet: bytes) -> bytes:
    """A packet without what follows it."""
    place = 2 if packet[0] >> 4 == 4 else 4
    (length,) = struct.unpack_from("!H", packet, place)
    return packet[: length + (40 if place == 4 else 0)]


def counted(run: Run) -> Run:
    """
    A run with identifications that go on.  Those of packets that may not be fragmented mean nothing, and may all be the same.
    """
    first = run[0]
    if first[0] >> 4 != 4 or not first[6] & 0x40 or run[1][4:6] != first[4:6]:
        return run
    (identification,) = struct.unpack_from("!H", first, 4)
    found = []
    for number, packet in enumerate(run):
        head = bytearray(packet[:20])
        struct.pack_into("!H", head, 4, (identification + number) & 0xFFFF)
        head[10:12] = b"\0\0"
        struct.pack_into("!H", head, 10, 0xFFFF - wordSum(head))
        found.append(bytes(head) + packet[20:])
    return found


def headAsNumber(packet: bytes, payload: int) -> bytes:
    """
    What follows a packet if its header is taken for a number that grows, with all that carries over.
    """
    transport = 20 if packet[0] == 0x45 else 40
    isTcp = packet[9 if transport == 20 else 6] == TCP
    header = transport + ((packet[transport + 12] >> 4) * 4 if isTcp else 8)
    number = int.from_bytes(packet[:header], "big")
    if isTcp:
        number += payload << (header - transport - 8) * 8
    if transport == 20:
        number += (1 << (header - 6) * 8) - (1 << (header - 12) * 8)
    return (number % (1 << header * 8)).to_bytes(header, "big") + packet[header:]


@st.composite
def received(draw: st.DrawFn) -> list[bytes]:
    """
    What one peer may send: trains of several flows, interleaved, damaged, and whatever else.
    """
    flows: list[list[bytes]] = []
    for packet in draw(st.lists(packets(600), min_size=1, max_size=3)):
        segments = segmentsOf(packet, draw(st.integers(20, 300)))
        if draw(st.booleans()):
            segments = [_withNumber(each, segments[0]) for each in segments]
        flows.append(segments)
    found: list[bytes] = []
    while flows:
        flow = draw(st.sampled_from(flows))
        count = draw(st.integers(1, 40))
        found += flow[:count]
        del flow[:count]
        if not flow:
            flows.remove(flow)
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, len(found) - 1))
        found[place : place + 1] = draw(_changed(found[place]))
        found = found or [b"\x45"]
    return found


def _withNumber(packet: bytes, first: bytes) -> bytes:
    """
    An IPv4 packet with the identification of another one.
    """
    if packet[0] >> 4 != 4:
        return packet
    size = (packet[0] & 15) * 4
    head = bytearray(packet[:size])
    head[4:6] = first[4:6]
    head[10:12] = b"\0\0"
    struct.pack_into("!H", head, 10, 0xFFFF - wordSum(head))
    return bytes(head) + packet[size:]


def _changed(packet: bytes) -> st.SearchStrategy[Sequence[bytes]]:
    """
    What may become of a packet.
    """

    def flip(place: int, value: int) -> list[bytes]:
        return [packet[:place] + bytes((value,)) + packet[place + 1 :]]

    follower = headAsNumber(packet, len(packet)) if packet[0] in (0x45, 0x60) and len(packet) > 60 else packet
    return st.one_of(
        st.just(()),
        st.just((packet, packet)),
        st.just((packet, follower)),
        st.integers(1, 15).map(lambda size: (packet + bytes(size),)),
        st.integers(1, max(len(packet) - 1, 1)).map(lambda size: (packet[:size],)),
        st.binary(min_size=1, max_size=80).map(lambda data: (data, packet)),
        st.builds(flip, st.integers(0, min(len(packet), _HEADERS) - 1), st.integers(0, 255)),
    )


class RunsTests(SynchronousTestCase):
    """
    L{runsOf} and L{join}.
    """

    def check(self, sent: list[bytes]) -> list[Run]:
        """
        All that must hold of the runs of any packets.
        """
        runs = runsOf(sent)
        flat = [packet for run in runs for packet in run]
        self.assertEqual(len(flat), len(sent))
        for run in runs:
            self.assertTrue(1 <= len(run) <= MOST)
        place = 0
        for run in runs:
            came = sent[place : place + len(run)]
            place += len(run)
            if len(run) == 1:
                self.assertEqual(run, came)
                continue
            self.assertEqual(run, [trimmed(each) for each in came])
            self.assertEqual({len(each) for each in run[:-1]}, {len(run[0])})
            self.assertTrue(len(run[-1]) <= len(run[0]))
            for each in run:
                self.assertEqual(partialHeader(each), partialHeader(run[0]))
                self.assertNotEqual(partialHeader(each), virtio.FINISHED)
            frame = joined(run)
            self.assertTrue(len(frame) <= 65_535 + 24)
            self.assertEqual(cutUp(frame, False), counted(run))
        self.checkSlots(sent)
        return runs

    def checkSlots(self, sent: list[bytes]) -> None:
        """
        The same of packets in slots as of packets in a list.
        """
        size = max(map(len, sent))
        if size * len(sent) > ROOM:
            return
        padded = [each + bytes(size - len(each)) for each in sent[:-1]] + sent[-1:]
        slots = Slots()
        for space, each in zip(slots.take(size, len(sent), len(sent[-1])), padded, strict=True):
            space[:] = each
        self.assertEqual((list(slots), slots.byteCount), (padded, sum(map(len, padded))))
        wanted, found = runsOf(padded), runsOf(slots)
        self.assertEqual([list(run) for run in found], [list(run) for run in wanted])
        for run, other in zip(found, wanted, strict=True):
            if len(run) > 1:
                self.assertEqual(joined(run), joined(other))
                self.assertEqual((run[-1], list(run[1:])), (other[-1], list(other[1:])))

    @settings(max_examples=150, deadline=None)
    @given(received())
    def test_any(self, sent: list[bytes]) -> None:
        """
        Nothing is lost, nothing changes its place, and each run makes a train that is cut into the same packets again, byte for
        byte; whatever came.
        """
        self.check(sent)

    @settings(deadline=None)
    @given(st.lists(st.binary(min_size=1, max_size=90), min_size=1, max_size=6))
    def test_garbage(self, sent: list[bytes]) -> None:
        """
        Whatever a peer sends is in a run.
        """
        self.check(sent)

    @settings(max_examples=150, deadline=None)
    @given(packets(1200, isPlain=True), st.integers(20, 700))
    def test_whole(self, packet: Packet, segment: int) -> None:
        """
        A train that a kernel would make comes out in as few runs as what runs over in it allows.
        """
        usual = evolve(
            packet,
            flags=packet.flags & 0xF00 | ACK | packet.flags & (CWR | FIN | PSH),
            sequence=packet.sequence & 0x7FFFFFFF,
            identification=packet.identification & 0x7FFF,
            checksum=0x4000,
        )
        segments = segmentsOf(usual, segment)
        self.assertEqual(self.check(segments), [segments])

    def test_padded(self) -> None:
        """
        What is padded is joined, without its padding.
        """
        segments = segmentsOf(Packet(payload=bytes(range(250))), 45)
        self.assertEqual(self.check([each + bytes(-len(each) % 16) for each in segments]), [segments])

    def test_carries(self) -> None:
        """
        A packet whose header only follows if what runs over in one field is carried to the next one, to the port, the
        addresses, the protocol, is no part of a run.
        """
        full = b"\xff" * 4
        for version in (4, 6):
            for packet in (
                Packet(version, payload=bytes(80), sequence=2**32 - 40, ports=(1, 79)),
                Packet(version, payload=bytes(80), sequence=2**32 - 40, ports=(0xFFFF, 0xFFFF)),
                Packet(
                    version,
                    payload=bytes(80),
                    sequence=2**32 - 40,
                    ports=(0xFFFF, 0xFFFF),
                    destination=full * (version // 2 - 1 if version == 4 else 4),
                ),
                Packet(version, payload=bytes(80), checksum=0),
                Packet(version, UDP, payload=bytes(80), checksum=0),
                Packet(version, payload=bytes(80), identification=0xFFFF),
            ):
                first = bytes(evolve(packet))
                second = headAsNumber(first, 80)
                for last in (second, self.shortened(second, 80), self.shortened(second, 40)):
                    runs = self.check([first, last])
                    if len(runs) == 1:
                        self.assertEqual(
                            first[20:24] if version == 4 else first[40:44],
                            last[20:24] if version == 4 else last[40:44],
                        )
                        self.assertEqual(first[8:10], last[8:10])

    def shortened(self, packet: bytes, size: int) -> bytes:
        """
        A packet of TCP or UDP with so many bytes of payload, and what follows from that.
        """
        transport = 20 if packet[0] == 0x45 else 40
        isTcp = packet[9 if transport == 20 else 6] != UDP
        header = transport + (20 if isTcp else 8)
        head = bytearray(packet[:header])
        length = header - transport + size
        place = transport + (16 if isTcp else 6)
        if not isTcp:
            struct.pack_into("!H", head, transport + 4, length)
        if transport == 20:
            struct.pack_into("!H", head, 2, 20 + length)
            head[10:12] = b"\0\0"
            struct.pack_into("!H", head, 10, 0xFFFF - wordSum(head[:20]))
        else:
            struct.pack_into("!H", head, 4, length)
        addresses = head[12:20] if transport == 20 else head[8:40]
        struct.pack_into(
            "!H", head, place, wordSum(addresses, struct.pack("!II", length, TCP if isTcp else UDP))
        )
        return bytes(head) + bytes(size)

    def test_long(self) -> None:
        """
        Packets so long that two of them are more than one IP packet holds are not joined, nor are more than fit.
        """
        for version in (4, 6):
            for protocol in (TCP, UDP):
                for segment, payload in (
                    (40_000, 60_000),
                    (32_501, 65_000),
                    (30_000, 65_000),
                    (9000, 65_000),
                ):
                    packet = Packet(version, protocol, bytes(payload))
                    segments = segmentsOf(packet, segment)
                    doubled = segments[:1] + segments
                    self.check(segments)
                    self.check(doubled)
                first = bytes(Packet(version, protocol, bytes(40_000)))
                again = bytes(
                    Packet(
                        version, protocol, bytes(40_000), sequence=40_001, identification=2, flags=ACK | PSH
                    )
                )
                self.assertEqual(self.check([first, again]), [[first], [again]])

    def test_finishedThenUnfinished(self) -> None:
        """
        After a packet whose checksum is finished, one of the same flow whose checksum is not is no part of its run.
        """
        for version in (4, 6):
            for size in (100, 60):
                segments = segmentsOf(Packet(version, payload=bytes(size) + b"x" * 100), 100)
                place = 36 if version == 4 else 56
                done = segments[0][:place] + b"\x12\x34" + segments[0][place + 2 :]
                self.assertEqual(len(self.check([done, segments[1]])), 2)

    def test_wrongHeader(self) -> None:
        """
        The checksum of an IPv4 header that is wrong is not made right: such packets stay alone.
        """
        segments = segmentsOf(Packet(payload=bytes(300)), 100)
        wrong = [each[:10] + bytes((each[10] ^ 1,)) + each[11:] for each in segments]
        self.assertEqual(self.check(wrong), [[each] for each in wrong])

    def test_notJoined(self) -> None:
        """
        SYN, RST, URG and ECE are left alone, and so are fragments, options and segments after FIN or PSH.
        """
        for flags in (0x12, 0x14, 0x30, 0x50, 0x10 | FIN, 0x10 | PSH, 0):
            first = bytes(Packet(payload=bytes(100), flags=flags))
            second = bytes(Packet(payload=bytes(100), flags=flags, sequence=101, identification=2))
            self.assertEqual(len(self.check([first, second])), 2)
        for changes in ({"fragmentation": 0x2000}, {"fragmentation": 0x8000}, {"options": b"\1" * 4}):
            segments = segmentsOf(evolve(Packet(payload=bytes(300)), **changes), 100)
            self.assertEqual(len(self.check(segments)), 3)

    def test_identification(self) -> None:
        """
        Identifications may stand still only where a packet may not be fragmented, and then all of them.
        """
        for fragmentation, wanted in ((0x4000, 1), (0, 4)):
            packet = Packet(payload=bytes(350), fragmentation=fragmentation)
            segments = segmentsOf(packet, 100)
            still = [_withNumber(each, segments[0]) for each in segments]
            self.assertEqual(len(self.check(still)), wanted)
            self.assertTrue(len(self.check([*still[:2], *segments[2:]])) > 1)
            self.assertTrue(len(self.check([*segments[:2], *still[2:]])) > 1)

    def test_order(self) -> None:
        """
        A retransmission, a gap and another flow in between each end a run.
        """
        segments = segmentsOf(Packet(payload=bytes(400)), 100)
        other = segmentsOf(Packet(payload=bytes(100), ports=(3, 4)), 100)
        for sent, wanted in (
            ([*segments, *segments], 2),
            ([segments[0], segments[2], segments[3]], 2),
            ([*segments[:2], *other, *segments[2:]], 3),
            (segments[::-1], 4),
        ):
            self.assertEqual(len(self.check(sent)), wanted)
