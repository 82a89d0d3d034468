"""
Tests for L{vnet.client.dataplane.groups}, through the forwarder with a scripted machine.
"""

from __future__ import annotations

from ipaddress import ip_address

from vnet.client.dataplane.clamp import Clamp
from vnet.client.dataplane.groups import MEMBER_RATE
from vnet.protocols.codec import virtio
from vnet.protocols.codec.ethernet import BROADCAST, HEADER, IPV4, IPV6, memberMac
from vnet.protocols.codec.ip import ICMP, ICMP6, UDP, encodeIp4, encodeIp6, transportChecksum6
from vnet.protocols.codec.segmentation import pseudoSum
from vnet.protocols.machine.wireguardevents import PacketsReceived
from vnet.test.test_forwarder import BOB, BOB_MAC, STATUS, Scripted, frame4, frame6
from vnet.test.test_ip import A4, A6, B4, B6
from vnet.test.test_linkscope import ports

EVERYBODY = b"\xff" * 4
BLOCK = ip_address("100.127.255.255").packed
MDNS, MDNS6 = ip_address("224.0.0.251").packed, ip_address("ff02::fb").packed
MDNS_MAC, MDNS6_MAC = bytes.fromhex("01005e0000fb"), bytes.fromhex("3333000000fb")
CAROL, CAROL4 = b"c" * 32, bytes((100, 64, 0, 3))
DATA = ports(5353, 5353)


class GroupTests(Scripted):
    """
    Bob has a path, Carol has none.
    """

    def setUp(self) -> None:
        super().setUp()
        self.machine.statuses[CAROL] = STATUS
        self.machine.peers[CAROL4] = CAROL
        self.forwarder.addMember(CAROL, "100.64.0.3", "fd00::3")
        self.forwarder.setLive(BOB, True)

    def test_sent(self) -> None:
        """
        What goes to everybody, to the block's last address and to groups of both versions goes once to each that has a path, in
        order, and wakes up nobody else.
        """
        self.forwarder.setLive(CAROL, True)
        packets = [encodeIp4(A4, group, UDP, DATA) for group in (EVERYBODY, BLOCK, MDNS)]
        six = encodeIp6(A6, MDNS6, UDP, DATA)
        self.device.deliver([frame4(each, BROADCAST) for each in packets] + [frame6(six, MDNS6_MAC)])
        sent = (*packets, six)
        self.assertEqual(self.machine.sent, [(BOB, sent), (CAROL, sent)])
        self.assertEqual(self.forwarder.counters["groupSent"], 4)
        self.machine.sent.clear()
        self.forwarder.setLive(CAROL, False)
        self.forwarder.removeMember(BOB)
        self.device.deliver([frame4(packets[0], BROADCAST)])
        self.assertEqual((self.machine.sent, self.wanted), ([], []))

    def test_liveIsMember(self) -> None:
        """Who is no member is not sent to; who is a tunnel no longer costs nothing."""
        self.forwarder.setLive(b"x" * 32, True)
        del self.machine.statuses[BOB]
        for _ in range(2):
            self.device.deliver([frame4(encodeIp4(A4, MDNS, UDP, DATA), MDNS_MAC)])
        self.assertEqual(self.machine.sent, [])

    def test_notSent(self) -> None:
        """
        What is from another address, to a group of this computer alone, or concerns the link, is not sent; neither is what
        only the MAC address says is for a group.
        """
        for packet in (
            encodeIp4(B4, EVERYBODY, UDP, DATA),
            encodeIp4(bytes(4), EVERYBODY, UDP, DATA),
            encodeIp4(A4, CAROL4, UDP, DATA),
            encodeIp4(A4, EVERYBODY, UDP, ports(68, 67)),
            encodeIp4(A4, MDNS, 2, bytes(8)),
            encodeIp4(A4, MDNS, UDP, DATA)[:19],
        ):
            self.device.deliver([frame4(packet, BROADCAST)])
        for packet in (
            encodeIp6(B6, MDNS6, UDP, DATA),
            encodeIp6(A6, b"\xff\x01" + MDNS6[2:], UDP, DATA),
            encodeIp6(A6, B6, UDP, DATA),
            encodeIp6(A6, MDNS6, UDP, ports(546, 547)),
            encodeIp6(A6, MDNS6, ICMP6, b"\x85" + bytes(7)),
            encodeIp6(A6, MDNS6, ICMP6, b"\x8f" + bytes(7)),
        ):
            self.device.deliver([frame6(packet, MDNS6_MAC)])
        self.assertEqual(self.machine.sent, [])
        counters = self.forwarder.counters
        self.assertEqual((counters["groupOther"], counters["dhcp"], counters["listeners"]), (6, 2, 2))

    def test_finished(self) -> None:
        """Checksums that the kernel left to us are finished."""
        body = bytearray(DATA)
        body[6:8] = pseudoSum(A6 + MDNS6, UDP, len(body)).to_bytes(2, "big")
        header = virtio.packHeader(virtio.NEEDS_CSUM, 0, 0, 0, HEADER + 40, virtio.UDP_OFFSET)
        self.device.deliverUnfinished([header + frame6(encodeIp6(A6, MDNS6, UDP, bytes(body)), MDNS6_MAC)])
        packet = self.machine.sent[0][1][0]
        self.assertEqual(transportChecksum6(A6, MDNS6, UDP, packet[40:]), 0)

    def test_fits(self) -> None:
        """What the path of one member does not carry whole is cut for this one."""
        self.forwarder._groups._clamp = clamp = Clamp(1400, self.clock)
        clamp.setSize(BOB, 1232)
        clamp.setSize(CAROL, 1500)
        self.forwarder.setLive(CAROL, True)
        self.device.deliver([frame4(encodeIp4(A4, MDNS, UDP, bytes(1360)), MDNS_MAC)])
        self.assertEqual([(key, len(packets)) for key, packets in self.machine.sent], [(BOB, 2), (CAROL, 1)])

    def test_senderBound(self) -> None:
        """At most 200 at once and 100 a second are sent, and fewer where they go to hundreds."""
        frames = [frame4(encodeIp4(A4, MDNS, UDP, DATA), MDNS_MAC)] * 50
        for _ in range(20):
            self.device.deliver(frames)
        self.assertEqual(self.forwarder.counters["groupSent"], 200)
        self.assertEqual(self.forwarder.counters["groupTooMany"], 800)
        self.clock.advance(0.5)
        for _ in range(20):
            self.device.deliver(frames)
        self.assertEqual(self.forwarder.counters["groupSent"], 250)
        for number in range(127):
            key = number.to_bytes(32, "big")
            self.machine.statuses[key] = STATUS
            self.forwarder.addMember(key, f"100.64.1.{number}", f"fd00::1:{number}")
            self.forwarder.setLive(key, True)
        self.clock.advance(10)
        for _ in range(20):
            self.device.deliver(frames)
        self.assertEqual(self.forwarder.counters["groupSent"], 350)

    def test_received(self) -> None:
        """What a member sends to groups comes in with its MAC address, to that of the group."""
        for packet, mac in (
            (encodeIp4(B4, EVERYBODY, UDP, DATA), BROADCAST),
            (encodeIp4(B4, BLOCK, UDP, DATA), BROADCAST),
            (encodeIp4(B4, MDNS, UDP, DATA), MDNS_MAC),
            (encodeIp4(B4, bytes((239, 255, 255, 250)), UDP, DATA), bytes.fromhex("01005e7ffffa")),
        ):
            self.assertEqual(self.fromBob(packet), [mac + BOB_MAC + IPV4 + packet])
        six = encodeIp6(B6, MDNS6, UDP, DATA)
        self.assertEqual(self.fromBob(six), [MDNS6_MAC + BOB_MAC + IPV6 + six])

    def test_receiverBound(self) -> None:
        """Of one member 200 at once and 100 a second come in; others do not suffer from that."""
        packet = encodeIp4(B4, EVERYBODY, UDP, DATA)
        self.assertEqual(len(self.fromBob(*[packet] * 1000)), 2 * MEMBER_RATE)
        self.clock.advance(1)
        self.assertEqual(len(self.fromBob(*[packet] * 1000)), MEMBER_RATE)
        self.assertEqual(self.forwarder.counters["stormDropped"], 1700)
        self.machine.events.append(PacketsReceived(CAROL, [[encodeIp4(CAROL4, EVERYBODY, UDP, DATA)]]))
        self.forwarder.flush()
        self.assertEqual(self.device.take()[0][6:12], memberMac(CAROL4))
        self.assertEqual(len(self.fromBob(encodeIp4(B4, A4, UDP, DATA))), 1)

    def test_muted(self) -> None:
        """A member that sends thousands more than that is not listened to for a second."""
        packet = encodeIp4(B4, EVERYBODY, UDP, DATA)
        self.fromBob(*[packet] * 2200)
        self.assertEqual(self.machine.muted, {})
        self.fromBob(packet)
        self.assertEqual(self.machine.muted, {BOB: self.clock.seconds() + 1})

    def test_notReceived(self) -> None:
        """Of what concerns the link nothing comes in, to a group or to us, each counted."""
        for four in (A4, EVERYBODY, MDNS):
            for packet in (
                encodeIp4(B4, four, UDP, ports(67, 68)),
                encodeIp4(B4, four, ICMP, b"\x05\x01" + bytes(26)),
                encodeIp4(B4, four, ICMP, b"\x09\0" + bytes(6)),
                encodeIp4(B4, four, 2, bytes(8)),
            ):
                self.assertEqual(self.fromBob(packet), [])
        for six in (A6, MDNS6):
            for packet in (
                encodeIp6(B6, six, UDP, ports(547, 546)),
                encodeIp6(B6, six, ICMP6, b"\x86" + bytes(15)),
                encodeIp6(B6, six, ICMP6, b"\x82" + bytes(23)),
                encodeIp6(B6, six, 0, b"\x3a\0\x05\x02\0\0\x01\0\x8f" + bytes(7)),
            ):
                self.assertEqual(self.fromBob(packet), [])
        wanted = {"dhcp": 5, "redirect": 3, "routers": 3, "listeners": 7, "discovery": 2}
        self.assertEqual({key: self.forwarder.counters[key] for key in wanted}, wanted)
        self.assertNotIn("groupReceived", self.forwarder.counters)

    def test_run(self) -> None:
        """A run to a group counts as its packets, and is dropped as a whole."""
        run = [encodeIp4(B4, EVERYBODY, UDP, DATA)] * 64
        self.machine.events.append(PacketsReceived(BOB, [run] * 4))
        self.forwarder.flush()
        self.assertEqual(len(self.device.take()), 192)
        self.assertEqual(self.forwarder.counters["stormDropped"], 64)
