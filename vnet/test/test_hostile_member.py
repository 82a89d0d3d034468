"""
A member of our network that sends whatever it likes, through a real tunnel: nothing of it reaches the operating system.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from ipaddress import ip_address

import pytest
from nacl.public import PrivateKey
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.dataplane.forwarder import Forwarder
from vnet.protocols.codec.arp import REPLY, REQUEST, ArpPacket, encodeArp
from vnet.protocols.codec.etherip import encodeEtherIp
from vnet.protocols.codec.ethernet import memberMac
from vnet.protocols.codec.ip import ICMP, ICMP6, UDP, encodeIp4, encodeIp6, transportChecksum6
from vnet.protocols.machine.wireguard import WireGuard
from vnet.test.test_linkscope import ports, withOptions
from vnet.test.test_llc import IPX, ether2, ieee, snap
from vnet.testing import MemoryDevice, MemoryNetwork, datagramsOf
from vnet.values import Address

EACH, BATCH = 10_000, 500
POOL, POOL6 = "100.64.0.0/10", "fd00::/48"
OURS, OURS6 = ip_address("100.64.0.1").packed, ip_address("fd00::1").packed
ITS, ITS6 = ip_address("100.64.0.2").packed, ip_address("fd00::2").packed
OTHER, OTHER6 = ip_address("100.64.0.3").packed, ip_address("fd00::3").packed
HOME, OUTSIDE6 = ip_address("192.168.1.1").packed, ip_address("2001:db8::1").packed
EVERYBODY, ALL_NODES6 = b"\xff" * 4, ip_address("ff02::1").packed
OUR_MAC, ITS_MAC, OTHER_MAC = memberMac(OURS), memberMac(ITS), memberMac(OTHER)
BRIDGES = bytes.fromhex("0180c2000000")
UDP_DATA = ports(1000, 2000)


def icmp6(kind: int, destination: bytes = OURS6, extension: bytes = b"") -> bytes:
    """A message of ICMPv6 with a right checksum, perhaps behind an extension header, whose first byte is its own number."""
    message = bytes((kind, 0, 0, 0)) + bytes(20)
    total = transportChecksum6(ITS6, destination, ICMP6, message)
    message = message[:2] + total.to_bytes(2, "big") + message[4:]
    if extension:
        return encodeIp6(ITS6, destination, extension[0], b"\x3a" + extension[1:] + message, 255)
    return encodeIp6(ITS6, destination, ICMP6, message, 255)


def ether(frame: bytes) -> bytes:
    """A frame in the tunnel."""
    return encodeEtherIp(ITS, OURS, frame)


def arp(operation: int, sender: bytes, target: bytes) -> bytes:
    """A claim that an address is the hostile member's."""
    return ether2(0x0806, encodeArp(ArpPacket(operation, ITS_MAC, sender, bytes(6), target)), ITS_MAC)


def longer(packet: bytes, place: int) -> bytes:
    """A packet that says it is longer than it is."""
    return packet[:place] + (len(packet) + 100).to_bytes(2, "big") + packet[place + 2 :]


def asFragment(packet: bytes) -> bytes:
    """An IPv4 packet that says there is more of it."""
    return packet[:6] + b"\x20" + packet[7:]


#: What it sends, the counter that has to tell of it, and its name.
KINDS = (
    (encodeIp4(OTHER, OURS, UDP, UDP_DATA), "wrongSource", "IPv4 from another member"),
    (encodeIp4(OURS, OURS, UDP, UDP_DATA), "wrongSource", "IPv4 from ourselves"),
    (encodeIp4(OTHER, EVERYBODY, UDP, UDP_DATA), "wrongSource", "broadcast from another member"),
    (encodeIp6(OTHER6, OURS6, UDP, UDP_DATA), "wrongSource", "IPv6 from another member"),
    (encodeIp6(OUTSIDE6, ALL_NODES6, UDP, UDP_DATA), "wrongSource", "IPv6 multicast from outside"),
    (encodeIp4(ITS, OTHER, UDP, UDP_DATA), "notForUs", "IPv4 to another member"),
    (encodeIp4(ITS, HOME, UDP, UDP_DATA), "notForUs", "IPv4 to our LAN"),
    (encodeIp6(ITS6, OUTSIDE6, UDP, UDP_DATA), "notForUs", "IPv6 to the Internet"),
    (
        encodeIp6(ITS6, b"\xff\x01" + ALL_NODES6[2:], UDP, UDP_DATA),
        "notForUs",
        "multicast of our own interface",
    ),
    (encodeIp4(ITS, OURS, UDP, ports(67, 68)), "dhcp", "DHCP offer"),
    (encodeIp4(ITS, EVERYBODY, UDP, ports(67, 68)), "dhcp", "DHCP offer to all"),
    (encodeIp6(ITS6, OURS6, UDP, ports(547, 546)), "dhcp", "DHCPv6 reply"),
    (icmp6(134), "discovery", "router advertisement"),
    (icmp6(134, ALL_NODES6), "discovery", "router advertisement to all"),
    (icmp6(134, ALL_NODES6, b"\0\0\x01\x04\0\0\0\0"), "discovery", "router advertisement behind options"),
    (icmp6(134, OURS6, b"\x2c\0\0\0\0\0\0\x01"), "discovery", "router advertisement in a fragment"),
    (icmp6(136), "discovery", "neighbour advertisement"),
    (icmp6(135, ALL_NODES6), "discovery", "neighbour solicitation"),
    (icmp6(137), "discovery", "redirect of IPv6"),
    (icmp6(130, ALL_NODES6), "listeners", "MLD query"),
    (encodeIp4(ITS, EVERYBODY, 2, b"\x11" + bytes(7)), "listeners", "IGMP query"),
    (encodeIp4(ITS, OURS, ICMP, b"\x05\x01" + bytes(30)), "redirect", "redirect"),
    (encodeIp4(ITS, EVERYBODY, ICMP, b"\x09\0" + bytes(14)), "routers", "router advertisement of ICMP"),
    (withOptions(b"\x83\x07\x04" + HOME + b"\0", ITS, OURS), "sourceRoute", "source route"),
    (longer(encodeIp4(ITS, OURS, UDP, UDP_DATA), 2), "badLength", "false length of IPv4"),
    (longer(encodeIp6(ITS6, OURS6, UDP, UDP_DATA), 4), "badLength", "false length of IPv6"),
    (arp(REPLY, OTHER, OURS), "notIp", "bare ARP"),
    (ether(arp(REPLY, OTHER, OURS)), "etherType", "ARP claim"),
    (ether(arp(REQUEST, OURS, OURS)), "etherType", "gratuitous ARP"),
    (ether(ether2(0x86DD, icmp6(134), ITS_MAC)), "etherType", "router advertisement in a frame"),
    (ether(ether2(0x8100, b"\0\0\x08\0" + bytes(40), ITS_MAC, OUR_MAC)), "etherType", "VLAN 0"),
    (ether(ieee(snap(0x0800), ITS_MAC, OUR_MAC)), "etherType", "IP in LLC and SNAP"),
    (ether(ieee(b"\x42\x42\x03" + bytes(35), ITS_MAC, BRIDGES)), "etherType", "spanning tree"),
    (ether(ether2(0x8137, IPX, OTHER_MAC, OUR_MAC)), "etherForeign", "IPX from a foreign MAC"),
    (ether(ether2(0x8137, IPX, ITS_MAC, OTHER_MAC)), "etherForeign", "IPX to another member"),
    (ether(ether2(0x8137, bytes(1441), ITS_MAC)), "etherSize", "giant"),
    (ether(bytes(12) + b"\0\x40" + IPX), "malformed", "false length of 802.3"),
    (asFragment(ether(ether2(0x8137, IPX, ITS_MAC, OUR_MAC))), "malformed", "EtherIP in a fragment"),
    (encodeEtherIp(ITS, EVERYBODY, ether2(0x8137, IPX, ITS_MAC)), "etherForeign", "EtherIP to all"),
)


@pytest.mark.timeout(240)
class HostileMemberTests(SynchronousTestCase):
    """
    We are 100.64.0.1, the hostile member is 100.64.0.2.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        network = MemoryNetwork(self.clock)
        self.device, self.port = MemoryDevice(mtu=1440), network.port("192.0.2.1")
        keys = bytes(PrivateKey.generate()), bytes(PrivateKey.generate())
        self.us, self.it = (WireGuard(key, random=os.urandom, wallClock=time.time_ns) for key in keys)
        self.forwarder = Forwarder(
            self.device, self.port, self.us, self.clock, lambda data, addr: None, lambda event: None
        )
        self.device.open()
        self.port.open()
        self.forwarder.start()
        self.forwarder.configure("100.64.0.1", POOL, "fd00::1", POOL6)
        # No queries among the frames that are counted.
        self.forwarder._groups.snooping.stop()
        self.here, self.there = Address("192.0.2.1", 5), Address("192.0.2.2", 7)
        self.us.addPeer(
            self.it.publicKey, allowedIps=("100.64.0.2/32", "fd00::2/128"), endpoint=self.there, roaming=False
        )
        self.it.addPeer(self.us.publicKey, allowedIps=("0.0.0.0/0", "::/0"), endpoint=self.here)
        self.forwarder.addMember(self.it.publicKey, "100.64.0.2", "fd00::2")
        self.it.initiate(self.us.publicKey, self.clock.seconds())
        for _ in range(2):
            self.port.arrived(self.it.datagramsToSend(self.clock.seconds()))
            for data, _ in self.port.sent:
                self.it.receive(data, self.here, self.clock.seconds())
            self.port.sent.clear()
        self.assertTrue(self.it.peerStatus(self.us.publicKey).established)

    def send(self, *packets: bytes) -> None:
        """The hostile member sends these."""
        sealed = datagramsOf(self.it.sealPackets(self.us.publicKey, packets, self.clock.seconds()))
        self.port.arrived([(data, self.there) for data, _ in sealed])

    def counted(self) -> Counter[str]:
        """What was dropped, by all counters."""
        return self.forwarder.counters + self.us.counters

    def test_harmless(self) -> None:
        """What a member may send arrives."""
        self.send(
            encodeIp4(ITS, OURS, UDP, UDP_DATA),
            encodeIp4(ITS, EVERYBODY, UDP, UDP_DATA),
            icmp6(128, ALL_NODES6),
        )
        self.send(ether(ether2(0x8137, IPX, ITS_MAC)))
        self.assertEqual(len(self.device.take()), 4)

    def test_kinds(self) -> None:
        """Of 10,000 packets of each kind none arrives, and each is counted."""
        self.assertGreaterEqual(len(KINDS), 25)
        for packet, reason, name in KINDS:
            before = self.counted()
            for _ in range(EACH // BATCH):
                self.send(*[packet] * BATCH)
            self.assertEqual(self.device.take(), [], name)
            self.assertEqual(self.counted() - before, {reason: EACH}, name)
        self.test_harmless()

    def test_storm(self) -> None:
        """Of 50,000 broadcasts in a second a few hundred arrive, and few more are opened; a moment later it may speak again."""
        packet = encodeIp4(ITS, EVERYBODY, UDP, UDP_DATA)
        for _ in range(100):
            self.send(*[packet] * BATCH)
            self.clock.advance(0.01)
        arrived, counters = len(self.device.take()), self.counted()
        self.assertLessEqual(arrived, 300)
        self.assertLess(counters["stormDropped"], 3000)
        self.assertEqual(counters["stormDropped"] + counters["muted"] + arrived, 50_000)
        self.clock.advance(3)
        self.test_harmless()
