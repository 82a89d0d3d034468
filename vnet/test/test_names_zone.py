"""
Tests for L{vnet.client.names.zone}.
"""

from __future__ import annotations

from collections.abc import Sequence

from dns import flags, message, rcode, rdatatype, reversename
from dns.message import Message
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.names.reverse import addressIn, reverseZones
from vnet.client.names.zone import Zone
from vnet.errors import DecodeError

BOB = ("100.64.0.7", "fd12:3456:789a::7")
POOLS = ("100.64.0.0/10", "fd12:3456:789a::/48")


class OneMember:
    """
    A book with Bob in it, of the network C{home}.
    """

    def addressesOf(self, labels: Sequence[str]) -> tuple[str, ...]:
        return BOB if list(labels) in (["bob"], ["bob", "home"]) else ()

    def isNetwork(self, label: str) -> bool:
        return label == "home"

    def nameAt(self, address: str) -> str | None:
        return "bob.vnet" if address in BOB else None


class ZoneTests(SynchronousTestCase):
    """
    Tests of L{Zone}, which dnspython asks.
    """

    def setUp(self) -> None:
        self.zone = Zone(OneMember(), reverseZones(*POOLS))

    def ask(self, name: str, kind: str = "A", edns: bool = False) -> Message:
        query = message.make_query(name, kind, use_edns=0 if edns else False)
        answer = message.from_wire(self.zone.answer(query.to_wire()) or b"")
        self.assertTrue(query.is_response(answer))
        self.assertFalse(answer.flags & flags.RA)
        return answer

    def found(self, name: str, kind: str = "A") -> list[str]:
        """
        The records of an answer; empty where there are none of the kind, and then an SOA says for how long that holds.
        """
        answer = self.ask(name, kind)
        self.assertEqual(answer.rcode(), rcode.NOERROR)
        self.assertTrue(answer.flags & flags.AA)
        if not answer.answer:
            self.assertEqual(answer.authority[0].rdtype, rdatatype.SOA)
        return [str(record) for group in answer.answer for record in group]

    def refused(self, name: str, kind: str = "A") -> str:
        answer = self.ask(name, kind)
        self.assertEqual(answer.answer, [])
        if answer.rcode() == rcode.NXDOMAIN:
            self.assertEqual(answer.authority[0].rdtype, rdatatype.SOA)
        return rcode.to_text(answer.rcode())

    def test_addresses(self) -> None:
        """
        A member's names have its two addresses, however they are written.
        """
        for name in ("bob.vnet", "bob.home.vnet", "BoB.hOmE.VNET"):
            self.assertEqual(self.found(name), [BOB[0]])
            self.assertEqual(self.found(name, "AAAA"), [BOB[1]])
            self.assertEqual(self.found(name, "ANY"), list(BOB))
            self.assertEqual(self.found(name, "MX"), [])
            self.assertEqual(self.found(name, "HTTPS"), [])

    def test_zone(self) -> None:
        """
        Each zone has an SOA and an NS; a network has no records.
        """
        for zone in (
            "vnet",
            "64.100.in-addr.arpa",
            "127.100.in-addr.arpa",
            "a.9.8.7.6.5.4.3.2.1.d.f.ip6.arpa",
        ):
            self.assertIn("dns.vnet.", self.found(zone, "SOA")[0])
            self.assertEqual(self.found(zone, "NS"), ["dns.vnet."])
            self.assertEqual(self.found(zone, "A"), [])
        self.assertEqual(self.found("home.vnet"), [])

    def test_unknown(self) -> None:
        """
        Other names in our zones do not exist.
        """
        for name in ("eve.vnet", "x.bob.vnet", "eve.home.vnet", "bob.work.vnet", "_ldap._tcp.vnet"):
            self.assertEqual(self.refused(name), "NXDOMAIN")
        for address in ("100.64.0.8", "fd12:3456:789a::8"):
            self.assertEqual(self.refused(reversename.from_address(address).to_text(), "PTR"), "NXDOMAIN")

    def test_others(self) -> None:
        """
        All else is refused, and nobody is asked.
        """
        for name in (
            "example.com",
            ".",
            "vnet.example.com",
            "xvnet",
            "1.1.1.1.in-addr.arpa",
            "128.100.in-addr.arpa",
        ):
            self.assertEqual(self.refused(name), "REFUSED", name)
        query = message.make_query("bob.vnet", "A", "CH")
        answer = message.from_wire(self.zone.answer(query.to_wire()) or b"")
        self.assertEqual(answer.rcode(), rcode.REFUSED)

    def test_reverse(self) -> None:
        """
        The name of an address.
        """
        for address in BOB:
            name = reversename.from_address(address).to_text()
            self.assertEqual(self.found(name, "PTR"), ["bob.vnet."])
            self.assertEqual(self.found(name.partition(".")[2], "PTR"), [])

    def test_edns(self) -> None:
        """
        Who speaks EDNS is answered in it.
        """
        self.assertEqual(self.ask("bob.vnet", edns=True).edns, 0)
        self.assertEqual(self.ask("eve.vnet", edns=True).rcode(), rcode.NXDOMAIN)
        self.assertEqual(self.ask("bob.vnet").edns, -1)

    def test_noQuestion(self) -> None:
        """
        An answer gets none; an operation that there is not, and several questions, are errors.
        """
        query = message.make_query("bob.vnet", "A")
        query.flags |= flags.QR
        self.assertIsNone(self.zone.answer(query.to_wire()))
        wire = message.make_query("bob.vnet", "A").to_wire()
        for changed, code in (
            (wire[:2] + b"\x10" + wire[3:], rcode.NOTIMP),
            (wire[:5] + b"\0" + wire[6:], rcode.FORMERR),
            (wire[:5] + b"\2" + wire[6:] + wire[12:], rcode.FORMERR),
        ):
            answer = message.from_wire(self.zone.answer(changed) or b"")
            self.assertEqual(answer.rcode(), code)

    def test_malformed(self) -> None:
        """
        What is no message is not answered.
        """
        whole = message.make_query("bob.vnet", "A").to_wire()
        for data in (
            b"",
            whole[:-1],
            whole[:5] + b"\2" + whole[6:],
            b"x" * 11,
            b"\0\1\1\0\0\1\0\0\0\0\0\0\xc0\x0c\0\1\0\1",
            b"\0\1\1\0\0\1\0\0\0\0\0\0\x41" + b"a" * 65 + b"\0\0\1\0\1",
        ):
            self.assertRaises(DecodeError, self.zone.answer, data)


class ReverseTests(SynchronousTestCase):
    """
    Tests of L{reverseZones} and L{addressIn}.
    """

    def test_zones(self) -> None:
        """
        The zones hold the blocks and nothing else.
        """
        for pool, count, first in (
            ("25.0.0.0/8", 1, "25.in-addr.arpa"),
            ("100.64.0.0/10", 64, "64.100.in-addr.arpa"),
            ("198.18.0.0/15", 2, "18.198.in-addr.arpa"),
            ("100.64.1.0/24", 1, "1.64.100.in-addr.arpa"),
        ):
            *zones, last = reverseZones(pool, POOLS[1])
            self.assertEqual((len(zones), zones[0]), (count, first))
            self.assertEqual(last, "a.9.8.7.6.5.4.3.2.1.d.f.ip6.arpa")

    def test_addressIn(self) -> None:
        """
        A name of another form is no address.
        """
        for address in BOB:
            self.assertEqual(
                addressIn(reversename.from_address(address).to_text(omit_final_dot=True)), address
            )
        for name in (
            "1.0.64.in-addr.arpa",
            "256.0.64.100.in-addr.arpa",
            "x.0.64.100.in-addr.arpa",
            "1.ip6.arpa",
            "",
        ):
            self.assertIsNone(addressIn(name))
