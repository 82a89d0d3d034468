"""
The kernel as the judge of L{vnet.protocols.codec.segmentation} and L{vnet.protocols.codec.runs}: the same segment trains go out
by an interface that leaves them to us, and by one that leaves nothing.
"""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Sequence

import pytest
from attrs import define, evolve, field
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.dataplane.device import EVERYTHING, TapDevice
from vnet.protocols.codec import virtio
from vnet.protocols.codec.runs import join, runsOf
from vnet.protocols.codec.segmentation import finish, split
from vnet.test.priv.ownspace import HandReactor, command, ownSpace
from vnet.test.segmentreference import (
    ACK,
    CWR,
    ETHERNET4,
    FIN,
    PSH,
    SACK,
    TCP,
    TIMESTAMPS,
    UDP,
    Packet,
    cutUp,
    superframe,
    trainFrame,
    wordSum,
)
from vnet.values import Offload, Superframe

pytestmark = pytest.mark.privileged

_SOL_PACKET, _PACKET_VNET_HDR = 263, 15
_ETH_P_ALL = 3


def variants() -> list[tuple[Packet, int]]:
    """
    Packets and segment sizes: all flags that the kernel lets a train have, all options, all that runs over.
    """
    choose = random.Random(5)
    found: list[tuple[Packet, int]] = []
    for version in (4, 6):
        for _ in range(140):
            size = choose.choice((1, 2, 99, 1000, 1447, 1448, 5000, 20_001, 60_000))
            packet = Packet(
                version,
                choose.choice((TCP, TCP, UDP)),
                choose.randbytes(size),
                destination=b"\x64\x40\x00\x02" if version == 4 else b"\xfd" + bytes(14) + b"\2",
                ports=(choose.randrange(1, 65536), choose.randrange(1, 65536)),
                tcpOptions=choose.choice((b"", TIMESTAMPS, SACK, b"\1" * 40)),
                flags=choose.choice((ACK, ACK | PSH, ACK | FIN | PSH, ACK | CWR, choose.randrange(0x1000)))
                & ~0x06,
                sequence=choose.choice((0, 2**32 - 1, 2**32 - 30_000, choose.randrange(2**32))),
                acknowledged=choose.randrange(2**32),
                window=choose.choice((0, 1, 65535)),
                urgent=choose.choice((0, 7)),
                traffic=choose.choice((0, 1, 2, 3, 0xB8)),
                identification=choose.choice((0, 65535, 65530, choose.randrange(65536))),
                fragmentation=choose.choice((0, 0x4000)),
                checksum=choose.choice((None, None, 0, 3, 40)),
                options=choose.choice((b"", b"", b"\1" * 8 if version == 4 else bytes(4) + b"\1\2\0\0")),
            )
            segment = choose.choice((50, 536, 1000, 1200, 1388))
            # A queue of a TUN holds 500.
            segment = max(segment, size // 400)
            if packet.protocol == UDP:
                # The kernel takes 64 segments at most, and no fewer than two.
                segment = max(segment, -(-size // 60))
            if segment <= 1400 and segment < size:
                found.append((packet, segment))
    return found


@define(eq=False)
class Interface:
    """
    A TAP, or a TUN, and what a program sends by it.

    @ivar frames: what has come out; Ethernet headers of a TAP are as of a TUN.
    """

    name: str
    device: TapDevice
    reactor: HandReactor
    frames: list[bytes | Superframe] = field(factory=list)

    @classmethod
    def make(cls, case: SynchronousTestCase, name: str, offload: Offload, isTun: bool = False) -> Interface:
        """
        Make one.
        """
        reactor = HandReactor()
        device = TapDevice(reactor, name, isTun=isTun, wanted=offload)
        device.open()
        case.addCleanup(device.close)
        command(f"ip link set {name} addrgenmode none mtu 1500 gso_max_size 65000")
        command(f"ip link set {name} up")
        made = cls(name, device, reactor)
        device.start(made._received)
        case.assertEqual(device.offload, offload)
        return made

    def _received(self, frames: Sequence[bytes | Superframe]) -> None:
        # Other frames are the kernel's own.
        for each in frames:
            whole = bytes(each)
            if whole[24 + 16 : 24 + 20] == b"\x64\x40\x00\x02" or whole[24 + 24 : 24 + 25] == b"\xfd":
                self.frames.append(superframe(whole) if isinstance(each, Superframe) else whole)

    def send(self, frame: bytes) -> list[bytes | Superframe]:
        """
        Send a frame as a program does, and take what comes out.
        """
        self.frames.clear()
        opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        opened.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
        opened.bind((self.name, int.from_bytes(frame[22:24], "big")))
        if self.device.isTun:
            flags, kind, size, segment, start, offset = virtio.unpackHeader(frame)
            header = virtio.packHeader(flags, kind, max(size - 14, 0), segment, max(start - 14, 0), offset)
            frame = header + frame[24:]
        opened.send(frame)
        opened.close()
        self.reactor.turn(quiet=0.001)
        return list(self.frames)


class KernelTests(SynchronousTestCase):
    """
    Each interface is in the same namespace.
    """

    def setUp(self) -> None:
        space = ownSpace()
        space.__enter__()
        self.addCleanup(space.__exit__, None, None, None)

    def same(self, ours: Sequence[bytes], theirs: Sequence[bytes], packet: Packet) -> None:
        """
        The same packets; if not, what differs first.
        """
        if list(ours) == list(theirs):
            return
        self.assertEqual([len(each) for each in ours], [len(each) for each in theirs])
        place = next(place for place, each in enumerate(ours) if each != theirs[place])
        size = packet.start + 20
        heads = [f"{each[place][:size].hex()} {wordSum(each[place][size:])}" for each in (ours, theirs)]
        self.assertEqual(heads[0], heads[1], f"{place} of {len(ours)} {evolve(packet, payload=b'')}")
        self.fail("payloads differ")

    def test_finished(self) -> None:
        """
        What an interface without any offload sends is, byte for byte, what we make of a train and finish; also by a TUN.
        """
        plain = Interface.make(self, "plain0", Offload())
        tun = Interface.make(self, "tun0", Offload(), isTun=True)
        for packet, segment in variants():
            frame = trainFrame(packet, segment)
            ours = [bytes(each) for each in split(superframe(frame), True)]
            for interface in (plain, tun):
                theirs = [bytes(each)[24:] for each in interface.send(frame)]
                self.same(ours, theirs, packet)

    def test_unfinished(self) -> None:
        """
        What an interface sends that leaves only checksums to us is what we make of a train and do not finish.
        """
        for isTun in (False, True):
            interface = Interface.make(self, f"some{isTun:d}", Offload(checksum=True), isTun)
            for packet, segment in variants()[::3]:
                frame = trainFrame(packet, segment)
                ours = [bytes(each) for each in split(superframe(frame), False)]
                came = interface.send(frame)
                self.same(ours, [bytes(each)[24:] for each in came], packet)
                done = [bytes(each) for each in split(superframe(frame), True)]
                for each, wanted in zip(came, done, strict=True):
                    self.assertIsInstance(each, bytes)
                    # Alone, TCP writes 0 as all ones, too.
                    found = finish(bytes(each))[24:]
                    if found != wanted:
                        place = packet.start + 16
                        self.assertEqual(
                            (found[place : place + 2], wanted[place : place + 2]), (b"\xff\xff", b"\0\0")
                        )

    def test_whole(self) -> None:
        """
        An interface that leaves all to us sends the train whole, TAP or TUN, and it is cut the same way.
        """
        for isTun in (False, True):
            interface = Interface.make(self, f"all{isTun:d}", EVERYTHING, isTun)
            for packet, segment in variants()[::3]:
                frame = trainFrame(packet, segment)
                (came,) = interface.send(frame)
                assert isinstance(came, Superframe)
                self.same([frame[24:]], [bytes(came)[24:]], packet)
                self.same([bytes(each) for each in split(came, False)], cutUp(frame, False), packet)

    def test_joined(self) -> None:
        """
        What we join, the kernel cuts into the same packets again, when it has come in by one interface and goes out by another.
        """
        inside = Interface.make(self, "in0", EVERYTHING)
        outside = Interface.make(self, "out0", Offload(checksum=True))
        command("sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
        for name in ("all", "default", "in0"):
            command(f"sysctl -q -w net.ipv4.conf.{name}.rp_filter=0")
        command("ip addr add 192.0.2.1/24 dev out0")
        command("ip addr add 192.0.2.5/24 dev in0")
        command("ip addr add 2001:db8::1/64 dev out0 nodad")
        command("ip addr add 2001:db8:1::1/64 dev in0 nodad")
        command("ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 dev out0")
        command("ip neigh add 2001:db8::2 lladdr 02:00:00:00:00:02 dev out0")
        command("ip route add 100.64.0.2/32 via 192.0.2.2 dev out0")
        command("ip route add fd00::2/128 via 2001:db8::2 dev out0")
        (line,) = [each for each in command("ip -o link show dev in0").splitlines() if "ether" in each]
        mac = bytes.fromhex(line.split("ether ")[1].split()[0].replace(":", ""))
        joinedOnes = 0
        for packet, segment in variants():
            sent = evolve(
                packet,
                flags=packet.flags & ~0x160 | ACK,
                options=b"",
                source=b"\xc0\0\2\7"
                if packet.version == 4
                else bytes.fromhex("20010db8000100000000000000000007"),
                hops=64,
                checksum=None,
            )
            segments = cutUp(trainFrame(sent, segment), False)
            kind = ETHERNET4[12:] if sent.version == 4 else b"\x86\xdd"
            ethernet = mac + b"\2\0\0\0\0\3" + kind
            outside.frames.clear()
            for run in runsOf(segments):
                if len(run) > 1:
                    joinedOnes += 1
                    inside.device.write([join(run, ethernet)])
                else:
                    header = virtio.packHeader(1, 0, 0, 0, 14 + sent.start, 16 if sent.protocol == TCP else 6)
                    inside.device.write([(header + ethernet, run[0])])
            outside.reactor.turn(quiet=0.002)
            found = [bytes(each)[24:] for each in outside.frames]
            self.same([self.forwarded(each) for each in segments], found, sent)
        self.assertTrue(joinedOnes > 100)
        self.assertEqual(inside.device.counters, {})

    def forwarded(self, packet: bytes) -> bytes:
        """
        A packet that a router has passed on.
        """
        if packet[0] >> 4 == 6:
            return packet[:7] + bytes((packet[7] - 1,)) + packet[8:]
        (checksum,) = struct.unpack_from("!H", packet, 10)
        checksum = (checksum + 0x100) % 0xFFFF
        return packet[:8] + bytes((packet[8] - 1,)) + packet[9:10] + struct.pack("!H", checksum) + packet[12:]
