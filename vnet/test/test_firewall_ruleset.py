"""
The scripts for nft.
"""

from __future__ import annotations

import json
import re

from twisted.trial.unittest import SynchronousTestCase

from vnet.client.firewall.policy import OPEN, PING_ONLY, parsePolicy
from vnet.client.firewall.ruleset import OTHER, Ruled, change, install, readCounters, remove

WHOLE = """\
add table inet vnet-vnet0
delete table inet vnet-vnet0
table inet vnet-vnet0 {
set n0_4 { type ipv4_addr; }
set n0_6 { type ipv6_addr; }
counter n0 { }
set n0_tcp { type inet_service; flags interval; elements = { 22, 80-90 } }
chain n0 {
icmp type echo-request accept
icmpv6 type echo-request accept
meta l4proto tcp ct original proto-dst @n0_tcp accept
}
set n1_4 { type ipv4_addr; }
set n1_6 { type ipv6_addr; }
counter n1 { }
chain n1 {
accept
}
counter other { }
chain refused {
ip saddr @n0_4 counter name n0
ip6 saddr @n0_6 counter name n0
ip saddr @n1_4 counter name n1
ip6 saddr @n1_6 counter name n1
ip saddr @n0_4 drop
ip saddr @n1_4 drop
ip6 saddr @n0_6 drop
ip6 saddr @n1_6 drop
counter name other drop
}
chain virtual {
ct direction reply ct state established accept
ct status expected accept
ct state related accept
icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
ether saddr 02:76:00:00:00:00 accept
ip saddr @n0_4 jump n0
ip6 saddr @n0_6 jump n0
ip saddr @n1_4 jump n1
ip6 saddr @n1_6 jump n1
goto refused
}
chain input { type filter hook input priority filter; policy accept; iifname "vnet0" goto virtual; }
chain forward { type filter hook forward priority filter; policy accept; iifname "vnet0" goto virtual; }
}
add element inet vnet-vnet0 n0_4 { 100.64.0.2 }
add element inet vnet-vnet0 n0_6 { fd00::2 }
"""


class RulesetTests(SynchronousTestCase):
    """
    Tests of L{install}, L{change} and L{remove}.
    """

    def test_whole(self) -> None:
        """
        The table of two networks, one with ports and one open; it takes the place of an older one.
        """
        ruled = [Ruled(parsePolicy("tcp/80-90,tcp/22"), {"100.64.0.2", "fd00::2"}), Ruled(OPEN)]
        self.assertEqual(install("vnet0", ruled), WHOLE)

    def test_change(self) -> None:
        """
        Members that go and come are elements of sets.
        """
        self.assertEqual(
            change("vnet0", {1: {"fd00::3", "100.64.0.3"}}, {0: {"100.64.0.4", "100.64.0.2"}}),
            "delete element inet vnet-vnet0 n0_4 { 100.64.0.2, 100.64.0.4 }\n"
            "add element inet vnet-vnet0 n1_4 { 100.64.0.3 }\n"
            "add element inet vnet-vnet0 n1_6 { fd00::3 }\n",
        )

    def test_thousands(self) -> None:
        """
        Thousands of members are elements, not rules, and lines stay of bounded length.
        """
        many = {f"100.64.{number // 250}.{number % 250}" for number in range(5000)}
        few, whole = install("v", [Ruled(PING_ONLY)]), install("v", [Ruled(PING_ONLY, many)])
        self.assertEqual(whole.count("\n") - few.count("\n"), 10)
        self.assertLess(max(map(len, whole.splitlines())), 10_000)
        self.assertEqual(set(re.findall(r"100\.64\.\d+\.\d+", whole)), many)

    def test_onlyAddresses(self) -> None:
        """
        What is no address does not get into a script.
        """
        for text in ("100.64.0.2 } ; flush ruleset #", "fd00::1%x }\n", "", "*", "100.64.0.0/10"):
            self.assertRaises(ValueError, change, "vnet0", {0: {text}}, {})
            self.assertRaises(ValueError, install, "vnet0", [Ruled(PING_ONLY, {text})])

    def test_remove(self) -> None:
        """
        To remove the table succeeds whether it is there or not.
        """
        self.assertEqual(remove("a.b-c"), "add table inet vnet-a.b-c\ndelete table inet vnet-a.b-c\n")

    def test_counters(self) -> None:
        """
        What was dropped is read from nft's JSON; what is none is refused.
        """
        values = [
            {"metainfo": {}},
            *({"counter": {"name": n, "packets": p}} for n, p in (("n1", 7), ("other", 2))),
        ]
        self.assertEqual(readCounters(json.dumps({"nftables": values}).encode()), {1: 7, OTHER: 2})
        for output in (
            b"",
            b"[]",
            b'{"nftables": 1}',
            b'{"nftables": [{"counter": {"name": "x", "packets": 1}}]}',
        ):
            self.assertRaises(ValueError, readCounters, output)
