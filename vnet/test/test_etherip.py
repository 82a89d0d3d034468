"""
Tests for L{vnet.protocols.codec.etherip} and L{vnet.client.dataplane.etherip}, through the forwarder with a scripted machine.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from vnet.errors import DecodeError
from vnet.protocols.codec.etherip import ETHERIP, decodeEtherIp, encodeEtherIp
from vnet.protocols.codec.ethernet import BROADCAST, memberMac
from vnet.protocols.codec.ip import UDP, decodeIp, encodeIp4, encodeIp6
from vnet.test.test_forwarder import BOB, BOB_MAC, OUR_MAC, STATUS, Scripted
from vnet.test.test_ip import A4, A6, B4, B6
from vnet.test.test_llc import IPX, ether2, ieee, snap

CAROL, CAROL4 = b"c" * 32, bytes((100, 64, 0, 3))
CAROL_MAC = memberMac(CAROL4)
NETBEUI_GROUP = bytes.fromhex("030000000001")


def fourKinds(source: bytes, to: bytes) -> list[bytes]:
    """IPX as 802.3 raw, 802.2 LLC, SNAP and Ethernet II."""
    payloads = (IPX, b"\xe0\xe0\x03" + IPX, snap(0x8137))
    return [*(ieee(payload, source, to) for payload in payloads), ether2(0x8137, IPX, source, to)]


class CodecTests(SynchronousTestCase):
    def test_packet(self) -> None:
        """A frame is the payload of protocol 97, after the version, and comes out as it went in."""
        packet = encodeEtherIp(A4, B4, b"frame")
        header = decodeIp(packet)
        self.assertEqual(
            (header.source, header.destination, header.protocol, packet[20:]), (A4, B4, 97, b"\x30\0frame")
        )
        self.assertEqual(decodeEtherIp(packet), b"frame")
        self.assertEqual(decodeEtherIp(packet + bytes(11)), b"frame")

    def test_malformed(self) -> None:
        """Other versions, protocols and fragments are errors."""
        whole = encodeEtherIp(A4, B4, b"frame")
        for packet in (
            b"",
            whole[:-1],
            encodeIp4(A4, B4, ETHERIP, b""),
            encodeIp4(A4, B4, ETHERIP, b"\x30"),
            encodeIp4(A4, B4, ETHERIP, b"\x20\0frame"),
            encodeIp4(A4, B4, ETHERIP, b"\x30\x01frame"),
            encodeIp4(A4, B4, UDP, b"\x30\0frame"),
            encodeIp6(A6, B6, ETHERIP, b"\x30\0frame"),
            whole[:6] + b"\x20\0" + whole[8:],
            whole[:6] + b"\0\x01" + whole[8:],
        ):
            self.assertRaises(DecodeError, decodeEtherIp, packet)


class EtherIpTests(Scripted):
    """
    Bob has a path, Carol has none.
    """

    def setUp(self) -> None:
        super().setUp()
        self.machine.statuses[CAROL] = STATUS
        self.forwarder.addMember(CAROL, "100.64.0.3", "fd00::3")
        self.forwarder.setLive(BOB, True)

    def etherFromBob(self, *frames: bytes) -> list[bytes]:
        return self.fromBob(*(encodeEtherIp(B4, A4, frame) for frame in frames))

    def test_unicast(self) -> None:
        """All four kinds of frames go, as they are, to the member whose MAC address they are for."""
        frames = fourKinds(OUR_MAC, BOB_MAC)
        self.device.deliver(frames)
        self.assertEqual(self.machine.sent, [(BOB, (encodeEtherIp(A4, B4, frame),)) for frame in frames])
        self.assertEqual(self.forwarder.counters["etherSent"], 4)

    def test_group(self) -> None:
        """What is for a group goes to each member that has a path, and to no other."""
        netbeui = ieee(b"\xf0\xf0\x03" + bytes(40), OUR_MAC, NETBEUI_GROUP)
        frames = [*fourKinds(OUR_MAC, BROADCAST), netbeui]
        self.device.deliver(frames)
        self.assertEqual(self.machine.sent, [(BOB, (encodeEtherIp(A4, B4, frame),)) for frame in frames])
        self.machine.sent.clear()
        self.forwarder.setLive(CAROL, True)
        self.device.deliver([netbeui])
        self.assertEqual([key for key, _ in self.machine.sent], [BOB, CAROL])

    def test_wakes(self) -> None:
        """A frame for one member asks for the path that is not there, as IP does."""
        del self.machine.statuses[CAROL]
        self.device.deliver([ether2(0x8137, IPX, OUR_MAC, CAROL_MAC)])
        self.assertEqual((self.wanted, self.machine.sent), ([CAROL], []))

    def test_notSent(self) -> None:
        """Other protocols, foreign MAC addresses, what is for bridges, and giants stay here, each counted."""
        self.device.deliver(
            [
                ether2(0x88CC, IPX, OUR_MAC, BOB_MAC),
                ether2(0x8100, b"\0\0\x81\x37" + IPX, OUR_MAC, BOB_MAC),
                ieee(snap(0x0800), OUR_MAC, BOB_MAC),
                ether2(0x8137, IPX, CAROL_MAC, BOB_MAC),
                ether2(0x8137, IPX, OUR_MAC, memberMac(bytes((100, 64, 0, 9)))),
                ether2(0x8137, IPX, OUR_MAC, b"\x02\x77" + B4),
                ether2(0x8137, IPX, OUR_MAC, OUR_MAC),
                ether2(0x8137, IPX, OUR_MAC, bytes.fromhex("0180c2000000")),
                ether2(0x8137, bytes(1401), OUR_MAC, BOB_MAC),
                bytes(14),
            ]
        )
        self.assertEqual(self.machine.sent, [])
        counters = self.forwarder.counters
        self.assertEqual((counters["etherType"], counters["etherForeign"], counters["etherSize"]), (3, 5, 1))

    def test_received(self) -> None:
        """What a member sends to us or to a group comes out as it went in."""
        frames = [*fourKinds(BOB_MAC, OUR_MAC), *fourKinds(BOB_MAC, BROADCAST)]
        frames.append(ether2(0x8137, bytes(1400), BOB_MAC, OUR_MAC))
        self.assertEqual(self.etherFromBob(*frames), frames)
        self.assertEqual(self.forwarder.counters["etherReceived"], 9)

    def test_notReceived(self) -> None:
        """A frame of another protocol, from another MAC address, for another member, or too long stays outside."""
        frames = [
            ether2(0x0800, encodeIp4(B4, A4, UDP, bytes(8)), BOB_MAC, OUR_MAC),
            ether2(0x0806, bytes(28), BOB_MAC, BROADCAST),
            ether2(0x86DD, bytes(40), BOB_MAC, OUR_MAC),
            ether2(0x8100, b"\0\0\x08\0" + bytes(40), BOB_MAC, OUR_MAC),
            ieee(snap(0x0806), BOB_MAC, OUR_MAC),
            ieee(b"\x42\x42\x03" + bytes(35), BOB_MAC, bytes.fromhex("0180c2000000")),
            *fourKinds(CAROL_MAC, OUR_MAC),
            *fourKinds(BOB_MAC, CAROL_MAC),
            ether2(0x8137, IPX, OUR_MAC, OUR_MAC),
            ether2(0x8137, IPX, BROADCAST, OUR_MAC),
            ether2(0x8137, bytes(1401), BOB_MAC, OUR_MAC),
            BOB_MAC,
        ]
        self.assertEqual(self.etherFromBob(*frames), [])
        counters = self.forwarder.counters
        self.assertEqual((counters["etherType"], counters["etherForeign"], counters["etherSize"]), (6, 10, 1))
        self.assertEqual(counters["malformed"], 1)
        self.assertEqual(self.fromBob(encodeEtherIp(B4, b"\xff" * 4, ether2(0x8137, IPX, BOB_MAC))), [])

    def test_bounds(self) -> None:
        """Frames to groups count with broadcast and multicast, both ways."""
        frame = ether2(0x8137, IPX, BOB_MAC, BROADCAST)
        self.assertEqual(len(self.etherFromBob(*[frame] * 300)), 200)
        self.assertEqual(len(self.etherFromBob(*[ether2(0x8137, IPX, BOB_MAC, OUR_MAC)] * 300)), 300)
        self.device.deliver([ether2(0x8137, IPX, OUR_MAC, BROADCAST)] * 300)
        self.assertEqual(len(self.machine.sent), 200)
        self.assertEqual(self.forwarder.counters["groupTooMany"], 100)
