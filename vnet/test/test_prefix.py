"""
Tests for L{vnet.protocols.codec.prefix}.
"""

from __future__ import annotations

from ipaddress import ip_network

from twisted.trial.unittest import SynchronousTestCase

from vnet.errors import DecodeError
from vnet.protocols.codec.prefix import overlapping, parsePrefix, sharablePrefix

OVERLAY = (ip_network("100.64.0.0/10"), ip_network("fd01:203:405::/48"))


class PrefixTests(SynchronousTestCase):
    """
    Which prefixes are shared.
    """

    def refusal(self, text: str) -> str:
        return str(self.assertRaises(DecodeError, sharablePrefix, text, OVERLAY))

    def test_taken(self) -> None:
        """Networks and single addresses are taken, and written in one form."""
        for text, expected in (
            ("192.168.7.0/24", "192.168.7.0/24"),
            (" 10.0.0.0/8 ", "10.0.0.0/8"),
            ("192.168.7.9", "192.168.7.9/32"),
            ("2001:DB8:0:0::/32", "2001:db8::/32"),
            ("fd00:1::7", "fd00:1::7/128"),
        ):
            self.assertEqual(expected, str(sharablePrefix(text, OVERLAY)))

    def test_hostBits(self) -> None:
        """An address of a network is refused, and the network is named."""
        self.assertIn("that is 192.168.7.0/24", self.refusal("192.168.7.1/24"))
        self.assertIn("that is fd00:1::/64", self.refusal("fd00:1::7/64"))

    def test_nonsense(self) -> None:
        """What is no prefix is refused, however long or strange."""
        for text in (
            *("", "/", "home", "192.168.7.0/", "/24", "192.168.7.0/33", "192.168.7.0/-1", "192.168.7/24"),
            *("192.168.7.0/255.255.255.0", "192.168.7.0/0.0.0.255", "fe80::1%eth0/64", "fd00::/64/64"),
            *("192.168.7.0/\u0662\u0664", "1" * 1000, "fd00::/" + "1" * 500, "192.168.7.0 /24", "3232237312"),
        ):
            self.assertIn("no prefix", self.refusal(text))

    def test_tooLarge(self) -> None:
        """Nobody shares half the Internet."""
        for text, limit in (("0.0.0.0/0", "/8"), ("10.0.0.0/7", "/8"), ("2000::/3", "/32"), ("::/0", "/32")):
            self.assertIn(f"at most a {limit} is shared", self.refusal(text))

    def test_never(self) -> None:
        """Blocks that are nobody's LAN, and the overlay's own, are refused with the reason."""
        for text, reason in (
            ("0.0.0.0/8", "this network"),
            ("127.0.0.0/24", "loopback"),
            ("169.254.7.0/24", "link-local"),
            ("224.0.0.0/8", "multicast"),
            ("255.255.255.255", "reserved"),
            ("::1", "loopback"),
            ("::ffff:10.0.0.0/104", "IPv4"),
            ("fe80::/64", "link-local"),
            ("ff02::/32", "multicast"),
            ("100.0.0.0/8", "100.64.0.0/10, from which members"),
            ("100.64.7.0/24", "100.64.0.0/10, from which members"),
            ("fd01:203:405:7::/64", "from which members"),
            ("fd01:203::/32", "from which members"),
        ):
            self.assertIn(reason, self.refusal(text))
        self.assertEqual("100.0.0.0/8", str(sharablePrefix("100.0.0.0/8")))

    def test_overlapping(self) -> None:
        """Prefixes of two versions do not overlap; the first that does is found."""
        others = [parsePrefix("fd00::/32"), parsePrefix("10.0.0.0/8"), parsePrefix("10.1.0.0/16")]
        self.assertEqual(others[1], overlapping(parsePrefix("10.1.2.0/24"), others))
        self.assertIsNone(overlapping(parsePrefix("192.168.7.0/24"), others))
