"""
Tests for L{vnet.protocols.codec.finishedruns}: what is joined is what L{vnet.test.segmentreference} cuts into the same packets
again, and its checksum is right only if each of theirs is.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.codec import virtio
from vnet.protocols.codec.finishedruns import joinFinished
from vnet.protocols.codec.segmentation import pseudoSum
from vnet.test.segmentreference import (
    ACK,
    CWR,
    ETHERNET4,
    ETHERNET6,
    FIN,
    PSH,
    UDP,
    Packet,
    cutUp,
    trainFrame,
    wordSum,
)
from vnet.values import Buffer

_flags = st.sampled_from((ACK, ACK | PSH, ACK | FIN | PSH, ACK | CWR))


@st.composite
def trains(draw: st.DrawFn) -> tuple[Packet, int]:
    """A train of TCP, and the size of its segments."""
    version = draw(st.sampled_from((4, 6)))
    segment = draw(st.integers(1, 300))
    packet = Packet(
        version=version,
        payload=draw(st.binary(min_size=segment * 2 + 1, max_size=segment * 7)),
        tcpOptions=draw(st.sampled_from((b"", b"\1\1\x08\x0a12345678"))),
        flags=draw(_flags),
        sequence=draw(st.sampled_from((1, 0x7FFF1234, 0xFFFFFF00))),
        identification=draw(st.sampled_from((0, 1, 0x7FFE, 0xFFFE))),
    )
    return packet, segment


def framesOf(packets: Sequence[bytes]) -> list[Sequence[Buffer]]:
    """Packets as frames that need nothing."""
    fronts = {4: virtio.FINISHED + ETHERNET4, 6: virtio.FINISHED + ETHERNET6}
    return [(fronts[packet[0] >> 4], packet) for packet in packets]


def whole(frame: Sequence[Buffer]) -> bytes:
    """A frame in one part."""
    return b"".join(map(bytes, frame))


def partial(frame: bytes) -> bytes:
    """The same train as the kernel gives it: with the sum of the pseudo-header."""
    packet = bytearray(frame[24:])
    start, addresses = (20, packet[12:20]) if packet[0] >> 4 == 4 else (40, packet[8:40])
    packet[start + 16 : start + 18] = struct.pack("!H", pseudoSum(addresses, 6, len(packet) - start))
    _, kind, size, segment, _, _ = virtio.unpackHeader(frame)
    return virtio.packHeader(1, kind, size, segment, 14 + start, 16) + frame[10:24] + packet


def isRight(frame: bytes) -> bool:
    """Whether the checksum of TCP is right."""
    packet = frame[24:]
    start, addresses = (20, packet[12:20]) if packet[0] >> 4 == 4 else (40, packet[8:40])
    body = packet[start:]
    return wordSum(addresses, struct.pack("!II", len(body), 6), body) in (0, 0xFFFF)


def packetsIn(frame: bytes) -> list[bytes]:
    """The packets that the kernel makes of a frame."""
    return cutUp(partial(frame), True) if frame[1] else [frame[24:]]


class JoinTests(SynchronousTestCase):
    @given(trains())
    def test_joined(self, train: tuple[Packet, int]) -> None:
        """Segments become one train, where no field of the header runs over; its checksum is right, and it is cut the same way."""
        segments = cutUp(trainFrame(*train), True)
        frames = list(map(whole, joinFinished(framesOf(segments))))
        self.assertEqual([packet for frame in frames for packet in packetsIn(frame)], segments)
        for frame in frames:
            self.assertTrue(isRight(frame))
        if train[0].sequence == 1 and train[0].identification == 1:
            self.assertEqual(len(frames), 1)

    @given(trains(), st.data())
    def test_damaged(self, train: tuple[Packet, int], data: st.DataObject) -> None:
        """If a payload is damaged the checksum of the train is wrong."""
        packet = evolve(train[0], sequence=1, identification=1)
        segments = cutUp(trainFrame(packet, train[1]), True)
        number = data.draw(st.integers(0, len(segments) - 1))
        damaged = bytearray(segments[number])
        damaged[-1] ^= 0x10
        frames = joinFinished(framesOf([*segments[:number], bytes(damaged), *segments[number + 1 :]]))
        self.assertEqual([isRight(whole(each)) for each in frames], [False])

    @given(st.lists(trains(), min_size=1, max_size=3), st.data())
    def test_nothingLost(self, several: list[tuple[Packet, int]], data: st.DataObject) -> None:
        """Whatever comes, in whatever order and however changed: all goes on, in this order."""
        packets = [segment for train in several for segment in cutUp(trainFrame(*train), True)]
        for _ in range(data.draw(st.integers(0, 4))):
            number = data.draw(st.integers(0, len(packets) - 1))
            what = data.draw(st.sampled_from(("again", "drop", "change")))
            if what == "again":
                packets.insert(data.draw(st.integers(0, len(packets))), packets[number])
            elif what == "drop" and len(packets) > 1:
                del packets[number]
            else:
                changed = bytearray(packets[number])
                place = data.draw(st.integers(1, min(len(changed), 60) - 1))
                changed[place] ^= data.draw(st.integers(1, 255))
                packets[number] = bytes(changed)
        frames = list(map(whole, joinFinished(framesOf(packets))))
        found = b"".join(frame[24:] if not frame[1] else b"".join(packetsIn(frame)) for frame in frames)
        if all(isRight(frame) for frame in frames if frame[1]):
            self.assertEqual(found, b"".join(packets))
        self.assertEqual(sum(len(packetsIn(frame)) if frame[1] else 1 for frame in frames), len(packets))

    def test_others(self) -> None:
        """UDP, frames that are unfinished or of one part, and lone packets stay as they are."""
        udp = cutUp(trainFrame(Packet(protocol=UDP, payload=b"x" * 300), 100), True)
        unfinished = virtio.packHeader(1, 0, 0, 0, 34, 16) + ETHERNET4
        frames: list[Sequence[Buffer]] = [
            *framesOf(udp),
            (unfinished, b"E" * 60),
            (unfinished, b"E" * 60),
            (virtio.FINISHED + b"x" * 60,),
            *framesOf([bytes(Packet())]),
        ]
        self.assertEqual(joinFinished(frames), frames)
