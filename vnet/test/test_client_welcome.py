"""
What a node takes from its mediator.
"""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from vnet.client.welcome import checkPool, memberAddressesIn, parseAddress, parseTickets, parseWelcome
from vnet.errors import DecodeError, Refused
from vnet.protocols.codec.address6 import address6Of
from vnet.values import Address

KEY, OTHER = b"k" * 32, b"o" * 32
PREFIX6 = bytes.fromhex("fd123456789a")
ADDRESS6, OTHER6 = str(address6Of(PREFIX6, KEY)), str(address6Of(PREFIX6, OTHER))


def answer(**changes: Any) -> dict[str, Any]:
    """
    A good answer to a login, with changes.
    """
    return {
        "realm": b"r" * 16,
        "epoch": b"e" * 8,
        "now": 0,
        "address": "100.64.0.7",
        "address6": ADDRESS6,
        "pool": "100.64.0.0/10",
        "pool6": "fd12:3456:789a::/48",
        "stun": [":3478", "[2001:db8::1]:3479"],
        "relays": [],
        **changes,
    }


class WelcomeTests(SynchronousTestCase):
    """
    Tests of L{vnet.client.welcome}.
    """

    def test_good(self) -> None:
        """
        A good answer is taken; a STUN server without a host is the mediator's own.
        """
        welcome = parseWelcome(answer(), "203.0.113.5", KEY)
        self.assertEqual(welcome.address, "100.64.0.7")
        self.assertEqual(welcome.stun, (Address("203.0.113.5", 3478), Address("2001:db8::1", 3479)))

    def test_behindProxy(self) -> None:
        """
        A mediator that a proxy connects to may be anywhere: its own address counts as any other's, and where that is not known
        it has no STUN server of its own.
        """
        servers = [":3478", "127.0.0.1:3478", "100.64.0.9:3478", "192.0.2.9:3478"]
        for host, expected in (
            ("203.0.113.5", ["203.0.113.5", "192.0.2.9"]),
            ("127.0.0.1", ["192.0.2.9"]),
            ("100.64.0.9", ["192.0.2.9"]),
            ("", ["192.0.2.9"]),
        ):
            welcome = parseWelcome(answer(stun=servers), host, KEY, reached=False)
            self.assertEqual([each.host for each in welcome.stun], expected, host)
        welcome = parseWelcome(answer(stun=servers), "127.0.0.1", KEY)
        self.assertEqual([each.host for each in welcome.stun], ["127.0.0.1", "127.0.0.1", "192.0.2.9"])

    def test_relays(self) -> None:
        """
        What the mediator says of relays is kept, 16 of them; no relay is asked in the overlay, in a group, nor on this computer
        unless the mediator is there too.
        """
        relays = [{"uri": f"turn:{n}", "username": "u", "credential": "c"} for n in range(20)]
        welcome = parseWelcome(answer(relays=relays), "203.0.113.5", KEY)
        self.assertEqual(welcome.relays, tuple((f"turn:{n}", "u", "c") for n in range(16)))
        self.assertEqual(parseTickets(relays), welcome.relays)
        for host, expected in (
            ("203.0.113.5", True),
            ("192.168.1.9", True),
            ("127.0.0.1", False),
            ("::1", False),
            ("100.64.0.9", False),
            ("224.0.0.1", False),
        ):
            self.assertEqual(welcome.mayServe(Address(host, 3478)), expected, host)
        self.assertFalse(welcome.mayServe(Address("203.0.113.9", 0)))
        self.assertTrue(parseWelcome(answer(), "127.0.0.1", KEY).mayServe(Address("127.0.0.1", 3478)))

    def test_refused(self) -> None:
        """
        No mediator can make a node route more than an overlay: home networks, the whole Internet, loopback,
        multicast or public IPv6 are refused in one line.
        """
        for changes in (
            {"pool": "0.0.0.0/0"},
            {"pool": "10.0.0.0/8", "address": "10.1.2.3"},
            {"pool": "192.168.0.0/16", "address": "192.168.1.1"},
            {"pool": "127.0.0.0/8", "address": "127.0.0.1"},
            {"pool": "224.0.0.0/8", "address": "224.0.0.9"},
            {"pool": "172.0.0.0/8", "address": "172.1.0.1"},
            {"pool": "100.64.0.0/25"},
            {"pool": "nonsense"},
            {"pool6": "::/0"},
            {"pool6": "2001:db8::/48", "address6": "2001:db8::1"},
            {"pool6": "fd12::/32", "address6": "fd12::1"},
            {"address": "8.8.8.8"},
            {"address6": "fd99::1"},
            {"address6": "fd12:3456:789a::7"},
            {"address6": OTHER6},
            {"address": "100.64.0.7/32"},
            {"stun": ["x"]},
            {"realm": b"short"},
        ):
            error = self.assertRaises(Refused, parseWelcome, answer(**changes), "203.0.113.5", KEY)
            self.assertNotIn("\n", str(error))

    def test_public(self) -> None:
        """
        A block that may be in use on the Internet is taken with the owner's consent only.
        """
        for pool, address in (
            ("8.0.0.0/8", "8.1.2.3"),
            ("203.0.113.0/24", "203.0.113.9"),
            ("25.0.0.0/8", "25.1.2.3"),
        ):
            welcome = parseWelcome(answer(pool=pool, address=address), "192.0.2.1", KEY)
            self.assertIn("--accept-pool", str(self.assertRaises(Refused, checkPool, welcome, ())))
            checkPool(welcome, (IPv4Network(pool),))
        for pool, address in (("100.64.0.0/10", "100.64.0.7"), ("198.18.4.0/24", "198.18.4.7")):
            checkPool(parseWelcome(answer(pool=pool, address=address), "192.0.2.1", KEY), ())

    def test_addresses(self) -> None:
        """
        An address and port is read in each of its forms, and nothing else is.
        """
        self.assertEqual(parseAddress("192.0.2.1:1", "x"), Address("192.0.2.1", 1))
        self.assertEqual(parseAddress("[::ffff:192.0.2.1]:1", "x"), Address("192.0.2.1", 1))
        for bad in ("", ":", "1", "192.0.2.1", "192.0.2.1:0", "192.0.2.1:65536", "host:1", "192.0.2.1:x"):
            self.assertRaises(DecodeError, parseAddress, bad, "203.0.113.5")

    def test_members(self) -> None:
        """
        A member has addresses inside of the blocks, the IPv6 address is of its key, and none is this node's own.
        """
        welcome = parseWelcome(answer(), "203.0.113.5", KEY)
        good = ("100.64.0.8", OTHER6)
        self.assertEqual(memberAddressesIn(welcome, OTHER, "100.64.0.8", OTHER6.upper()), good)
        self.assertRaises(DecodeError, memberAddressesIn, welcome, KEY, *good)
        for address, address6 in (
            ("8.8.8.8", good[1]),
            (good[0], "2001:db8::1"),
            (welcome.address, good[1]),
            (good[0], welcome.address6),
            ("", good[1]),
            (good[0], "100.64.0.8"),
        ):
            self.assertRaises(DecodeError, memberAddressesIn, welcome, OTHER, address, address6)

    def test_zones(self) -> None:
        """
        An IPv6 address with a zone is none of the overlay's, nor a STUN server: its text would reach system calls.
        """
        for changes in (
            {"address6": f"{ADDRESS6}%lo"},
            {"pool6": "fd12:3456:789a::%lo/48"},
            {"pool6": "fd12:3456:789a::%lo/48", "address6": f"{ADDRESS6}%lo"},
            {"stun": ["[2001:db8::1%lo]:3478"]},
        ):
            self.assertRaises(Refused, parseWelcome, answer(**changes), "203.0.113.5", KEY)
        welcome = parseWelcome(answer(), "203.0.113.5", KEY)
        with self.assertRaises(DecodeError):
            memberAddressesIn(welcome, OTHER, "100.64.0.8", f"{OTHER6}%lo")

    def test_longAddress(self) -> None:
        """
        A refusal stays one short line, whatever the mediator sends in place of an address.
        """
        for text in ("1" * 60_000, "1.2.3.\x1b[2J\n\u202e", "\ud800"):
            error = self.assertRaises(Refused, parseWelcome, answer(address=text), "203.0.113.5", KEY)
            self.assertTrue(str(error).isprintable() and len(str(error)) < 200, str(error))

    def test_stunServers(self) -> None:
        """
        A mediator cannot have this node ask groups, services of its own computer or the overlay; one on the same computer
        can be asked.
        """
        bad = ["127.0.0.1:53", "[::1]:53", "224.0.0.1:5353", "255.255.255.255:67", "[ff02::1]:1", "0.0.0.0:1"]
        inside = ["100.64.0.9:80", "[fd12:3456:789a::9]:80"]
        welcome = parseWelcome(answer(stun=[*bad, "203.0.113.9:1"]), "203.0.113.5", KEY)
        self.assertEqual(welcome.stun, (Address("203.0.113.9", 1),))
        self.assertEqual(parseWelcome(answer(stun=inside), "203.0.113.5", KEY).stun, ())
        self.assertEqual(
            parseWelcome(answer(stun=[":3478"]), "127.0.0.1", KEY).stun, (Address("127.0.0.1", 3478),)
        )
