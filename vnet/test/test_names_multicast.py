"""
Tests for L{vnet.client.names.multicast}.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from ipaddress import ip_address

from dns import flags, message, rdatatype, reversename
from dns.message import Message, QueryMessage
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.names.multicast import MulticastResponder
from vnet.protocols.codec.ethernet import OWN_MAC
from vnet.protocols.codec.ip import checksum, decodeIp, encodeIp4, encodeIp6, transportChecksum6

BOB = ("100.64.0.7", "fd00::7")
OWN, OWN6 = ip_address("100.64.0.1").packed, ip_address("fd00::1").packed
GROUP, GROUP6 = ip_address("224.0.0.251").packed, ip_address("ff02::fb").packed
MAC, GROUP_MAC, GROUP6_MAC = b"\2vnet\1", bytes.fromhex("01005e0000fb"), bytes.fromhex("3333000000fb")


class OneMember:
    """
    Bob.
    """

    def memberAt(self, label: str) -> tuple[str, ...]:
        return BOB if label == "bob" else ()

    def labelAt(self, address: str) -> str | None:
        return "bob" if address in BOB else None


def frame(wire: bytes, source: bytes = OWN, port: int = 5353, there: int = 5353) -> bytes:
    """
    A datagram to the group.
    """
    body = struct.pack("!HHHH", port, there, 8 + len(wire), 0) + wire
    if len(source) == 4:
        return GROUP_MAC + MAC + b"\x08\x00" + encodeIp4(source, GROUP, 17, body, 255)
    return GROUP6_MAC + MAC + b"\x86\xdd" + encodeIp6(source, GROUP6, 17, body, 255)


def question(name: str, kind: str = "A") -> QueryMessage:
    query = message.make_query(name, kind, id=0)
    query.flags = flags.Flag(0)
    return query


class MulticastTests(SynchronousTestCase):
    """
    Tests of L{MulticastResponder}.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.written: list[bytes] = []
        self.responder = MulticastResponder(self.clock, OneMember(), lambda: [OWN, OWN6], self.write)

    def write(self, frames: Sequence[bytes]) -> None:
        self.written += frames

    def hear(self, heard: bytes) -> list[bytes]:
        """
        @return: the frames that answer.
        """
        self.written = []
        self.responder.heard(heard)
        self.assertEqual(self.written, [])
        self.clock.advance(0.12)
        return self.written

    def read(self, answer: bytes) -> tuple[str, int, Message]:
        """
        @return: where a frame goes, and the message.
        """
        packet = answer[14:]
        header = decodeIp(packet)
        self.assertEqual(answer[6:12], OWN_MAC)
        self.assertIn(str(ip_address(header.source)), BOB)
        self.assertEqual(header.hopLimit, 255)
        body = packet[header.headerLength :]
        source, port, length, _ = struct.unpack_from("!HHHH", body)
        self.assertEqual((source, length), (5353, len(body)))
        if header.version == 4:
            self.assertEqual(checksum(packet[:20]), 0)
        else:
            self.assertEqual(transportChecksum6(header.source, header.destination, 17, body), 0)
        return str(ip_address(header.destination)), port, message.from_wire(body[8:])

    def test_answers(self) -> None:
        """
        A member's name is answered to the group in the member's place, a moment later, without a claim to the name.
        """
        for source, group in ((OWN, "224.0.0.251"), (OWN6, "ff02::fb")):
            for kind, address in (("A", BOB[0]), ("AAAA", BOB[1])):
                (answer,) = self.hear(frame(question("Bob.local", kind).to_wire(), source))
                where, port, said = self.read(answer)
                self.assertEqual((where, port, said.id), (group, 5353, 0))
                self.assertTrue(said.flags & flags.QR and said.flags & flags.AA)
                (records,) = said.answer
                self.assertEqual([str(each) for each in records], [address])
                self.assertEqual((records.rdclass, said.question), (1, []))

    def test_reverse(self) -> None:
        """
        A member's address has a name.
        """
        for address in BOB:
            name = reversename.from_address(address).to_text()
            (answer,) = self.hear(frame(question(name, "PTR").to_wire()))
            self.assertEqual(str(self.read(answer)[2].answer[0][0]), "bob.local.")

    def test_unicast(self) -> None:
        """
        Who asks from another port gets the answer alone, with the question.
        """
        query = question("bob.local")
        query.id = 77
        (answer,) = self.hear(frame(query.to_wire(), port=40000))
        where, port, said = self.read(answer)
        self.assertEqual((answer[:6], where, port), (MAC, "100.64.0.1", 40000))
        self.assertEqual((said.id, said.question[0].name.to_text()), (77, "bob.local."))

    def test_unanswered(self) -> None:
        """
        Nothing is said of names that no member has, of other domains, and to what is no question of this computer.
        """
        good = question("bob.local")
        probe = question("bob.local", "ANY")
        probe.authority = [message.from_text("id 1\n;AUTHORITY\nbob.local. 120 IN A 192.0.2.1").authority[0]]
        knows = question("bob.local")
        knows.answer = [message.from_text(f"id 1\n;ANSWER\nbob.local. 9 IN A {BOB[0]}").answer[0]]
        answer = question("bob.local")
        answer.flags |= flags.QR
        wire = good.to_wire()
        for heard in (
            *(
                frame(question(name).to_wire())
                for name in ("eve.local", "bob.vnet", "a.bob.local", "local", ".")
            ),
            *(frame(each.to_wire()) for each in (probe, knows, answer)),
            frame(question("bob.local", "MX").to_wire()),
            frame(wire, source=b"\x64\x40\0\7"),
            frame(wire, there=1900),
            frame(wire[:-1]),
            frame(wire)[:-1],
            frame(b""),
            b"",
            frame(wire)[:20],
            b"\xff" * 6 + frame(wire)[6:],
        ):
            self.assertEqual(self.hear(heard), [])
        self.assertEqual(len(self.hear(frame(wire))), 1)

    def test_rate(self) -> None:
        """
        Of many questions at once 50 are answered, and of one with many questions in it 8.
        """
        for _ in range(200):
            self.responder.heard(frame(question("bob.local").to_wire()))
        self.assertEqual(len(self.clock.getDelayedCalls()), 50)
        self.clock.advance(10)
        query = question("bob.local")
        query.question = query.question * 100
        self.assertEqual(len(self.hear(frame(query.to_wire()))), 8)
        self.assertEqual(rdatatype.to_text(query.question[0].rdtype), "A")
