"""
LANs behind nodes, in the data plane and in the tunnels.
"""

from __future__ import annotations

import os
import time
from ipaddress import ip_address

from attrs import evolve
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.dataplane.clamp import Clamp
from vnet.client.dataplane.forwarder import Forwarder
from vnet.client.dataplane.lans import Lans
from vnet.client.tunnels import TunnelTable
from vnet.protocols.codec.ethernet import IPV4, IPV6
from vnet.protocols.codec.ip import ICMP, TCP, UDP, encodeIp4, encodeIp6
from vnet.protocols.machine.noise import StaticKey
from vnet.protocols.machine.wireguard import WireGuard
from vnet.protocols.machine.wireguardevents import PacketsReceived
from vnet.test.test_forwarder import BOB, BOB_MAC, OUR_MAC, STATUS, STUN, TRANSPORT, Scripted, frame4, frame6
from vnet.test.test_ip import A4, A6, B4, B6
from vnet.test.wgpair import Pair, ipPacket
from vnet.testing import MemoryDevice, MemoryNetwork
from vnet.values import Address

CAROL = b"c" * 32


def packed(text: str) -> bytes:
    """An address."""
    return ip_address(text).packed


INSIDE, INSIDE6, OUTSIDE = packed("192.168.7.9"), packed("fd05::9"), packed("192.168.8.9")


class LansTests(SynchronousTestCase):
    """
    Tests of L{Lans}.
    """

    def test_reach(self) -> None:
        """
        A member reaches what it is admitted to, of both versions, and is asked for once until that is forgotten.
        """
        asked: list[tuple[bytes, str]] = []

        def admits(key: bytes, prefix: str) -> bool:
            asked.append((key, prefix))
            return key == BOB and prefix != "10.0.0.0/8"

        lans = Lans()
        self.assertFalse(lans)
        self.assertFalse(lans.mayReach(BOB, INSIDE))
        lans.share(("192.168.7.0/24", "10.0.0.0/8", "fd05::/64", "172.16.0.1/32"), admits)
        self.assertTrue(lans)
        for _ in range(2):
            for text, may in (
                ("192.168.7.0", True),
                ("192.168.7.255", True),
                ("192.168.6.255", False),
                ("192.168.8.0", False),
                ("10.1.1.1", False),
                ("172.16.0.1", True),
                ("172.16.0.2", False),
                ("fd05::", True),
                ("fd05::ffff:ffff:ffff:ffff", True),
                ("fd05:0:0:1::", False),
            ):
                self.assertEqual(lans.mayReach(BOB, packed(text)), may, text)
                self.assertFalse(lans.mayReach(CAROL, packed(text)))
        self.assertFalse(lans.mayReach(BOB, b""))
        self.assertEqual(len(asked), 8)
        lans.forget()
        lans.mayReach(BOB, INSIDE)
        self.assertEqual(len(asked), 12)
        lans.share((), admits)
        self.assertFalse(lans)
        self.assertFalse(lans.mayReach(BOB, INSIDE))

    def test_bounded(self) -> None:
        """
        What is remembered of members is bounded.
        """
        lans = Lans()
        lans.share(("192.168.7.0/24",), lambda key, prefix: True)
        for number in range(10000):
            lans.mayReach(b"%d" % number, INSIDE)
        self.assertLessEqual(len(lans._reach), 4096)

    def test_behind(self) -> None:
        """
        The longest prefix says behind whom an address is; what moves on to another stays there.
        """
        lans = Lans()
        lans.use(BOB, ("192.168.0.0/16", "fd05::/64"))
        lans.use(CAROL, ("192.168.7.0/24",))
        self.assertEqual([lans.behind(each) for each in (INSIDE, OUTSIDE, INSIDE6)], [CAROL, BOB, BOB])
        lans.use(CAROL, ("192.168.0.0/16",))
        lans.use(bytes(bytearray(BOB)), ("fd05::/64",))
        self.assertEqual([lans.behind(each) for each in (INSIDE, OUTSIDE, INSIDE6)], [CAROL, CAROL, BOB])
        lans.use(CAROL, ())
        lans.use(bytes(bytearray(BOB)), ())
        self.assertEqual([lans.behind(each) for each in (INSIDE, OUTSIDE, INSIDE6)], [None] * 3)
        self.assertEqual(lans.used(), [])


class ForwarderTests(Scripted):
    """
    The forwarder of a node that shares LANs, or uses them.
    """

    def test_shared(self) -> None:
        """
        Packets to a shared prefix come in from who may reach it, and from nobody else; other addresses stay closed.
        """
        inside, inside6 = encodeIp4(B4, INSIDE, UDP, bytes(8)), encodeIp6(B6, INSIDE6, TCP, bytes(20))
        outside = encodeIp4(B4, OUTSIDE, UDP, bytes(8))
        self.assertEqual(self.fromBob(inside, inside6, outside), [])
        self.assertEqual(self.forwarder.counters["notForUs"], 3)
        allowed = {BOB}
        self.forwarder.shareLans(("192.168.7.0/24", "fd05::/64"), lambda key, prefix: key in allowed)
        head = OUR_MAC + BOB_MAC
        self.assertEqual(
            self.fromBob(inside, inside6, outside), [head + IPV4 + inside, head + IPV6 + inside6]
        )
        self.assertEqual(self.forwarder.counters["notForUs"], 4)
        allowed.clear()
        self.forwarder.membersMoved()
        self.assertEqual(self.fromBob(inside), [])
        self.assertEqual(self.forwarder.counters["notForUs"], 5)

    def test_link(self) -> None:
        """
        What concerns one link alone, and what cannot be read, does not go to a shared LAN either; no group is in one.
        """
        self.forwarder.shareLans(("192.168.7.0/24",), lambda key, prefix: True)
        redirect = encodeIp4(B4, INSIDE, ICMP, b"\x05" + bytes(27))
        dhcp = encodeIp4(B4, INSIDE, UDP, bytes((0, 68, 0, 67, 0, 8, 0, 0)))
        broken = b"\x4f" + encodeIp4(B4, INSIDE, TCP, bytes(20))[1:]
        self.assertEqual(self.fromBob(redirect, dhcp, broken), [])
        counters = self.forwarder.counters
        self.assertEqual((counters["redirect"], counters["dhcp"], counters["malformed"]), (1, 1, 1))

    def test_run(self) -> None:
        """
        A run is asked for once, and passes as a whole.
        """
        asked: list[bytes] = []

        def admits(key: bytes, prefix: str) -> bool:
            asked.append(key)
            return True

        self.forwarder.shareLans(("192.168.7.0/24",), admits)
        packet = encodeIp4(B4, INSIDE, UDP, bytes(8))
        self.machine.events.append(PacketsReceived(BOB, [[packet] * 20]))
        self.forwarder.flush()
        self.assertEqual(len(self.device.take()), 20)
        self.assertEqual(asked, [BOB])

    def test_used(self) -> None:
        """
        A packet to a prefix behind a member without a tunnel has that be made; where nobody is, the sender is told so.
        """
        packet, packet6 = encodeIp4(A4, INSIDE, UDP, b"x"), encodeIp6(A6, INSIDE6, UDP, b"x")
        self.forwarder.useLans(BOB, ("192.168.7.0/24", "fd05::/64"))
        self.device.deliver([frame4(packet), frame6(packet6)])
        self.assertEqual((self.wanted, self.device.take()), ([BOB], []))
        self.assertEqual(self.forwarder.counters["noTunnel"], 2)
        self.machine.peers[INSIDE] = BOB
        self.device.deliver([frame4(packet)])
        self.assertEqual(self.machine.sent, [(BOB, (packet,))])
        self.machine.peers.clear()
        self.forwarder.removeMember(BOB)
        self.device.deliver([frame4(packet)])
        self.assertEqual(len(self.device.take()), 1)
        self.assertEqual(self.forwarder.counters["noMember"], 1)

    def test_group(self) -> None:
        """
        What the operating system sends on from a LAN to a group goes to nobody.
        """
        self.forwarder.setLive(BOB, True)
        self.forwarder.shareLans(("192.168.7.0/24",), lambda key, prefix: True)
        group = packed("239.1.2.3")
        for target in (group, b"\xff" * 4):
            self.device.deliver(
                [frame4(encodeIp4(INSIDE, target, UDP, bytes(8)), b"\x01\x00\x5e\x01\x02\x03")]
            )
        self.assertEqual(self.machine.sent, [])
        self.assertEqual(self.forwarder.counters["groupOther"], 2)

    def test_noTunnelInTunnel(self) -> None:
        """
        A datagram from a prefix that is used has come through a tunnel, and is for none; it is taken again afterwards.
        """
        source = Address("192.168.7.9", 7)
        self.port.arrived([(TRANSPORT, source)])
        self.forwarder.useLans(BOB, ("192.168.7.0/24",))
        self.port.arrived([(TRANSPORT, source), (STUN, source)])
        self.forwarder.useLans(BOB, ())
        self.port.arrived([(TRANSPORT, source)])
        self.assertEqual(self.machine.received, [(TRANSPORT, source)] * 2)
        self.assertEqual((self.stun, self.forwarder.counters["fromInside"]), ([], 2))

    def test_noEndpoint(self) -> None:
        """
        Packets to a prefix behind a member whose tunnel has no path have that be looked for.
        """
        self.machine.statuses[BOB] = evolve(STATUS, endpoint=None)
        self.machine.peers[INSIDE] = BOB
        self.device.deliver([frame4(encodeIp4(A4, INSIDE, UDP, b"x"))] * 3)
        self.assertEqual(self.wanted, [BOB])


class MachineTests(SynchronousTestCase):
    """
    Tests of L{WireGuard.setAllowedIps}.
    """

    def test_runTime(self) -> None:
        """
        Prefixes are given and taken while a session goes on: what comes from there is taken while they are given, from this peer
        alone, and counted otherwise; the session stays.
        """
        pair = Pair()
        machine, carol = pair.machines[1], StaticKey(os.urandom(32)).public
        machine.addPeer(carol, allowedIps=("100.64.0.3/32",))
        own, foreign = pair.packet(0), ipPacket(INSIDE, packed("100.64.0.2"), b"hello")
        pair.send(0, own, foreign)
        pair.advance(1)
        self.assertEqual(pair.received(1), [own])
        before = machine.peerStatus(pair.publicKey(1)).lastHandshake
        host = "100.64.0.1/32"
        machine.setAllowedIps(pair.publicKey(1), (host, "192.168.7.0/24"))
        pair.send(0, own, foreign)
        self.assertEqual(pair.received(1), [own, foreign])
        self.assertEqual(machine.peerFor(INSIDE), pair.publicKey(1))
        machine.setAllowedIps(carol, ("100.64.0.3/32", "192.168.7.0/25"))
        pair.send(0, own, foreign)
        self.assertEqual(pair.received(1), [own])
        self.assertEqual(machine.peerFor(INSIDE), carol)
        machine.setAllowedIps(carol, ("100.64.0.3/32",))
        pair.send(0, own, foreign)
        self.assertEqual(pair.received(1), [own, foreign])
        machine.setAllowedIps(pair.publicKey(1), (host,))
        pair.send(0, own, foreign)
        self.assertEqual(pair.received(1), [own])
        self.assertIsNone(machine.peerFor(INSIDE))
        self.assertEqual(machine.counters["wrongSource"], 3)
        self.assertEqual(machine.peerStatus(pair.publicKey(1)).lastHandshake, before)

    def test_bad(self) -> None:
        """
        A prefix that is none changes nothing; neither does a peer that is not there.
        """
        pair = Pair()
        machine, key = pair.machines[0], pair.publicKey(0)
        self.assertRaises(ValueError, machine.setAllowedIps, key, ("100.64.0.2/32", "192.168.7.0/33"))
        self.assertEqual(machine.peerFor("100.64.0.2"), key)
        self.assertRaises(KeyError, machine.setAllowedIps, b"x" * 32, ())


class TunnelTableTests(SynchronousTestCase):
    """
    Tests of L{TunnelTable.setPrefixes}.
    """

    def test_whenever(self) -> None:
        """
        Prefixes hold whether they are given before a member is known, before its tunnel is opened, or after; and until taken.
        """
        clock, bob = Clock(), StaticKey(os.urandom(32)).public
        machine = WireGuard(os.urandom(32), random=os.urandom, wallClock=time.time_ns)
        port = MemoryNetwork(clock).port("192.0.2.1")
        forwarder = Forwarder(
            MemoryDevice(), port, machine, clock, lambda data, addr: None, lambda event: None
        )
        table = TunnelTable(clock, machine, forwarder, Clamp(1400, clock))
        table.setPrefixes(bob, ("192.168.7.0/24",))
        for _ in range(2):
            table.add(bob, "100.64.0.2", "fd00::2", tuple)
            self.assertIsNone(machine.peerFor(INSIDE))
            table.open(bob)
            self.assertEqual((machine.peerFor(INSIDE), machine.peerFor("100.64.0.2")), (bob, bob))
            table.remove(bob)
            self.assertIsNone(machine.peerFor(INSIDE))
        table.add(bob, "100.64.0.2", "fd00::2", tuple)
        table.open(bob)
        table.setPrefixes(bob, ("fd05::/64",))
        self.assertEqual((machine.peerFor(INSIDE), machine.peerFor(INSIDE6)), (None, bob))
        table.setPrefixes(bob, ())
        self.assertEqual((machine.peerFor(INSIDE6), machine.peerFor("100.64.0.2")), (None, bob))
