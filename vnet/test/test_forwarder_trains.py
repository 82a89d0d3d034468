"""
Tests for L{vnet.client.dataplane.forwarder} with segment trains: whatever either system leaves to the other, what one has sent is
what the other has in the end.
"""

from __future__ import annotations

import itertools

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from vnet.protocols.codec import virtio
from vnet.protocols.codec.ethernet import IPV4, IPV6
from vnet.protocols.codec.runs import runsOf
from vnet.protocols.codec.segmentation import finish
from vnet.protocols.machine.wireguardevents import PacketsReceived
from vnet.test.segmentpackets import packets
from vnet.test.segmentreference import ACK, CWR, UDP, Packet, cutUp, superframe, trainFrame
from vnet.test.test_forwarder import BOB, BOB_MAC, OUR_MAC, Scripted
from vnet.test.test_ip import A4, A6, B4, B6
from vnet.values import Offload

OFFLOADS = [
    Offload(),
    Offload(checksum=True),
    Offload(checksum=True, tcp=True),
    Offload(checksum=True, udp=True),
    Offload(checksum=True, tcp=True, udp=True),
]


def between(packet: Packet, isOurs: bool) -> Packet:
    """The packet with our address and Bob's."""
    ends = (A4, B4) if packet.version == 4 else (A6, B6)
    source, destination = ends if isOurs else ends[::-1]
    return evolve(packet, source=source, destination=destination)


def framed(frame: bytes) -> bytes:
    """A frame of the operating system's, to Bob."""
    return frame[:10] + BOB_MAC + OUR_MAC + frame[22:]


class OutTests(Scripted):
    """
    From the operating system to peers.
    """

    def test_finished(self) -> None:
        """Who does not take unfinished checksums gets none; who does gets them where it can tell: not with options."""
        for version, protocol, takes, isPlain in itertools.product(
            (4, 6), (6, UDP), (False, True), (False, True)
        ):
            self.forwarder.setTakesPartial(BOB, takes)
            options = b"" if isPlain else b"\1" * 4 if version == 4 else bytes(4) + b"\1\2\0\0"
            packet = between(Packet(version, protocol, bytes(range(250)), options=options), True)
            frame = framed(trainFrame(packet, 100))
            self.machine.sent.clear()
            self.forwarder._framesReceived([superframe(frame)])
            wanted = cutUp(frame, not (takes and isPlain))
            self.assertEqual(self.machine.sent, [(BOB, tuple(wanted))])
            alone = virtio.packHeader(1, 0, 0, 0, *virtio.unpackHeader(frame)[4:]) + frame[10:]
            self.machine.sent.clear()
            self.forwarder._framesReceived([alone])
            lone = alone if takes and isPlain else finish(alone)
            self.assertEqual(self.machine.sent, [(BOB, (lone[24:],))])

    def test_order(self) -> None:
        """What came before a train goes before it, and what came after it goes after it."""
        frame = framed(trainFrame(between(Packet(payload=bytes(250)), True), 100))
        lone = framed(virtio.FINISHED + trainFrame(between(Packet(payload=b"x"), True), 1)[10:])
        self.forwarder._framesReceived([lone, lone, superframe(frame), lone])
        sent = [len(each) for _, each in self.machine.sent]
        self.assertEqual(sent, [2, 3, 1])

    def test_malformed(self) -> None:
        """A train that is none is counted, and the next frame is forwarded."""
        frame = framed(trainFrame(between(Packet(payload=bytes(250)), True), 100))
        bad = b"\1\3" + frame[2:]
        self.forwarder._framesReceived([superframe(bad), superframe(frame)])
        self.assertEqual((len(self.machine.sent), self.forwarder.counters["malformed"]), (1, 1))


class InTests(Scripted):
    """
    From peers to the operating system.
    """

    def deliver(self, offload: Offload, sent: list[bytes]) -> list[bytes]:
        """What the operating system has of these in the end, with all that it was left to do done."""
        self.device.offload = offload
        self.device.headers.clear()
        self.machine.events.append(PacketsReceived(BOB, runsOf(sent)))
        self.forwarder.flush()
        found: list[bytes] = []
        for header, frame in zip(self.device.headers, self.device.take(), strict=True):
            self.assertEqual(frame[:12], OUR_MAC + BOB_MAC)
            self.assertEqual(frame[12:14], IPV4 if frame[14] >> 4 == 4 else IPV6)
            flags, kind = header[0], header[1] & 0x7F
            self.assertTrue(not flags or offload.checksum)
            self.assertTrue(kind == 0 or (offload.udp if kind == virtio.UDP else offload.tcp))
            if kind and flags:
                found += cutUp(header + frame, True)
            else:
                found.append(finish(header + frame)[24:])
        return found

    @settings(max_examples=60, deadline=None)
    @given(packets(900, isPlain=True), st.integers(60, 400), st.sampled_from(OFFLOADS))
    def test_unfinished(self, packet: Packet, segment: int, offload: Offload) -> None:
        """Unfinished segments are finished in the end, whatever the operating system takes."""
        # With DHCP's ports nothing comes in; alone TCP writes a sum of 0 as all ones.
        packet = evolve(between(packet, False), ports=(1, 2), flags=ACK | packet.flags & CWR)
        train = trainFrame(packet, segment)
        found = self.deliver(offload, cutUp(train, False))
        wanted = cutUp(train, True)
        place = packet.start + 16
        if packet.protocol != UDP:
            found, wanted = (
                [
                    each[:place] + each[place : place + 2].replace(b"\xff\xff", b"\0\0") + each[place + 2 :]
                    for each in several
                ]
                for several in (found, wanted)
            )
        self.assertEqual(found, wanted)

    def test_asItIs(self) -> None:
        """A finished checksum stays as it is, right, wrong, or 0 of UDP."""
        for version, protocol, offload in itertools.product((4, 6), (6, UDP), OFFLOADS):
            packet = between(Packet(version, protocol, b"x" * 100), False)
            place = packet.start + (6 if protocol == UDP else 16)
            (right,) = cutUp(trainFrame(packet, 100), True)
            for value in (right[place : place + 2], b"\x12\x34", b"\0\0"):
                sent = right[:place] + value + right[place + 2 :]
                self.assertEqual(self.deliver(offload, [sent]), [sent])
                self.assertEqual(self.deliver(offload, [sent, sent]), [sent, sent])

    def test_usual(self) -> None:
        """A train of TCP is one frame where the operating system takes that."""
        train = trainFrame(between(Packet(payload=bytes(5000)), False), 1000)
        for offload in OFFLOADS:
            self.assertEqual(self.deliver(offload, cutUp(train, False)), cutUp(train, True))
            self.assertEqual(len(self.device.headers), 1 if offload.tcp else 5)

    def test_passedOn(self) -> None:
        """
        Segments whose checksums are finished are one frame for us, but go to a LAN as they came: what the operating system passes
        on it does not check, and of a train it would make the checksums right, of damaged segments too.
        """
        inside = b"\xc0\xa8\7\x09"
        self.forwarder.shareLans(("192.168.7.0/24",), lambda key, prefix: True)
        packet = between(Packet(payload=bytes(range(250))), False)
        self.deliver(OFFLOADS[-1], cutUp(trainFrame(packet, 50), True))
        self.assertEqual(len(self.device.headers), 1)
        segments = cutUp(trainFrame(evolve(packet, destination=inside), 50), True)
        self.assertEqual(self.deliver(OFFLOADS[-1], segments), segments)
