"""
Tests for L{vnet.client.dataplane.neighbours}.
"""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.dataplane.neighbours import Neighbours
from vnet.errors import VnetError
from vnet.protocols.codec.arp import REPLY, REQUEST, ArpPacket, decodeArp, encodeArp
from vnet.protocols.codec.ethernet import (
    ARP,
    BROADCAST,
    IPV6,
    EthernetFrame,
    decodeEthernet,
    encodeEthernet,
    memberMac,
    multicastMac6,
)
from vnet.protocols.codec.ip import ICMP6, encodeIp6
from vnet.protocols.codec.ndp import (
    UNSPECIFIED,
    NeighbourSolicitation,
    decodeAdvertisement,
    encodeSolicitation,
    solicitedNode,
)
from vnet.test.test_ip import A4, A6, B4, B6

KEY = b"k" * 32
OUR_MAC = bytes.fromhex("0276aabbccdd")
STRANGER4 = bytes((100, 64, 0, 99))
STRANGER6 = B6[:15] + b"\x63"


def arpFrame(sender: bytes, target: bytes, operation: int = REQUEST) -> bytes:
    """An ARP frame as our operating system sends it."""
    packet = ArpPacket(operation, OUR_MAC, sender, bytes(6), target)
    return encodeEthernet(EthernetFrame(BROADCAST, OUR_MAC, ARP, encodeArp(packet)))


def solicitation(source: bytes, target: bytes, destination: bytes | None = None) -> bytes:
    """A frame with a neighbour solicitation as our operating system sends it."""
    group = solicitedNode(target)
    mac = None if source == UNSPECIFIED else OUR_MAC
    packet = encodeSolicitation(NeighbourSolicitation(source, destination or group, target, mac))
    return encodeEthernet(EthernetFrame(multicastMac6(group), OUR_MAC, IPV6, packet))


class NeighboursTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.neighbours = Neighbours()
        self.neighbours.setOwn("100.64.0.1", "fd00::1")
        self.neighbours.add(KEY, "100.64.0.2", "fd00::2")

    def test_arp(self) -> None:
        """A request for a member's address is answered with the MAC that stands for it."""
        answer = self.neighbours.answer(arpFrame(A4, B4))
        assert answer is not None
        frame = decodeEthernet(answer)
        self.assertEqual((frame.destination, frame.source), (OUR_MAC, memberMac(B4)))
        self.assertEqual(decodeArp(frame.payload), ArpPacket(REPLY, memberMac(B4), B4, OUR_MAC, A4))

    def test_solicitation(self) -> None:
        """A solicitation is answered, to the group as to the member's own address (a reachability probe)."""
        for destination in (None, B6):
            answer = self.neighbours.answer(solicitation(A6, B6, destination))
            assert answer is not None
            frame = decodeEthernet(answer)
            self.assertEqual((frame.destination, frame.source), (OUR_MAC, memberMac(B4)))
            message = decodeAdvertisement(frame.payload)
            self.assertEqual((message.source, message.destination), (B6, A6))
            self.assertEqual((message.target, message.mac), (B6, memberMac(B4)))
            self.assertTrue(message.solicited and message.override and not message.router)

    def test_silence(self) -> None:
        """
        Nothing is answered for strangers and for ourselves, to probes, announcements and replies: otherwise
        an address conflict would be seen where there is none.
        """
        self.neighbours.add(b"us" * 16, "100.64.0.1", "fd00::1")
        for frame in (
            arpFrame(A4, STRANGER4),
            arpFrame(A4, A4),
            arpFrame(bytes(4), A4),
            arpFrame(bytes(4), B4),
            arpFrame(B4, B4),
            arpFrame(A4, B4, REPLY),
            solicitation(A6, STRANGER6),
            solicitation(UNSPECIFIED, A6),
            solicitation(UNSPECIFIED, B6),
            solicitation(A6, A6),
        ):
            self.assertIsNone(self.neighbours.answer(frame))
        self.assertEqual(self.neighbours.counters["unansweredArp"], 6)
        self.assertEqual(self.neighbours.counters["unansweredSolicitations"], 4)

    def test_otherDiscovery(self) -> None:
        """Router solicitations, multicast listener reports and DHCP get no answer."""
        router = encodeIp6(A6, b"\xff\x02" + bytes(13) + b"\x02", ICMP6, b"\x85" + bytes(7), 255)
        for payload in (router, encodeIp6(A6, b"\xff" + bytes(15), 0, bytes(8)), b"", b"\x60"):
            frame = EthernetFrame(b"\x33\x33\0\0\0\x02", OUR_MAC, IPV6, payload)
            self.assertIsNone(self.neighbours.answer(encodeEthernet(frame)))

    def test_removed(self) -> None:
        """A member that is gone is not answered for."""
        self.neighbours.remove(KEY)
        self.neighbours.remove(KEY)
        self.assertIsNone(self.neighbours.answer(arpFrame(A4, B4)))
        self.assertIsNone(self.neighbours.answer(solicitation(A6, B6)))
        self.assertIsNone(self.neighbours.get(KEY))

    def test_moved(self) -> None:
        """An address belongs to whoever got it last; the former owner's removal does not take it away."""
        self.neighbours.add(b"n" * 32, "100.64.0.2", "fd00::3")
        self.neighbours.remove(KEY)
        member = self.neighbours.at(B4)
        assert member is not None
        self.assertEqual(member.publicKey, b"n" * 32)
        self.assertIsNone(self.neighbours.at(B6))

    def test_changedAddress(self) -> None:
        """A member whose addresses change is no longer at the old ones."""
        self.neighbours.add(KEY, "100.64.0.99", "fd00::63")
        self.assertIsNone(self.neighbours.at(B4))
        self.assertIsNotNone(self.neighbours.at(STRANGER4))

    @given(st.sampled_from([ARP, IPV6, b"\x08\x00"]), st.binary(max_size=100))
    def test_garbage(self, kind: bytes, payload: bytes) -> None:
        """No frame makes this raise."""
        neighbours = Neighbours()
        with contextlib.suppress(VnetError):
            neighbours.answer(BROADCAST + OUR_MAC + kind + payload)
            return
        self.fail("an error came out")
