"""
The part of the firewall that has LANs be shared: its rules, and when they are set.
"""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.firewall.firewall import AGAIN, Firewall
from vnet.client.firewall.forwarded import Forwarded, forwardRules
from vnet.client.firewall.nft import NftError
from vnet.client.firewall.policy import OPEN, PING_ONLY
from vnet.client.firewall.ruleset import Ruled, install, remove
from vnet.test.test_firewall import HOME, FakeNft, FakePopulation

SHARED = Forwarded(
    overlay=("100.64.0.0/10", "fd76:1:2::/48"),
    shared=("192.168.7.0/24",),
    lans=("eth0", "wlan0"),
    used=("10.0.0.0/8", "fd01::/64"),
    guarded=("eth0", "vnet0"),
)

WHOLE = """\
add table inet vnet-vnet0
delete table inet vnet-vnet0
table inet vnet-vnet0 {
set shared_4 { type ipv4_addr; flags interval; auto-merge; elements = { 192.168.7.0/24 } }
set used_4 { type ipv4_addr; flags interval; auto-merge; elements = { 10.0.0.0/8 } }
set flows_4 { type ipv4_addr; flags dynamic; size 65535; }
chain members_4 {
ct state new ip saddr @used_4 ct count over 4096 counter drop
ct state new ip saddr != @used_4 add @flows_4 { ip saddr ct count over 4096 } counter drop
accept
}
set shared_6 { type ipv6_addr; flags interval; auto-merge; }
set used_6 { type ipv6_addr; flags interval; auto-merge; elements = { fd01::/64 } }
set flows_6 { type ipv6_addr; flags dynamic; size 65535; }
chain members_6 {
ct state new ip6 saddr @used_6 ct count over 4096 counter drop
ct state new ip6 saddr != @used_6 add @flows_6 { ip6 saddr ct count over 4096 } counter drop
accept
}
chain lan {
iifname "vnet0" oifname "vnet0" drop
iifname "vnet0" tcp flags syn tcp option maxseg size set rt mtu
oifname "vnet0" tcp flags syn tcp option maxseg size set rt mtu
iifname "vnet0" oifname { "eth0", "wlan0" } ip daddr @shared_4 jump members_4
iifname "vnet0" ip daddr @shared_4 counter drop
iifname { "eth0", "wlan0" } oifname "vnet0" ip saddr @shared_4 ip daddr @used_4 accept
iifname "vnet0" oifname { "eth0", "wlan0" } ip6 daddr @shared_6 jump members_6
iifname "vnet0" ip6 daddr @shared_6 counter drop
iifname { "eth0", "wlan0" } oifname "vnet0" ip6 saddr @shared_6 ip6 daddr @used_6 accept
iifname "vnet0" ct direction reply ct state established accept
iifname "vnet0" ct state related accept
oifname "vnet0" ct direction reply ct state established accept
oifname "vnet0" ct state related accept
iifname "eth0" oifname != "eth0" counter drop
iifname "vnet0" counter drop
}
chain postrouting { type nat hook postrouting priority srcnat; policy accept;
oifname { "eth0", "wlan0" } ip saddr 100.64.0.0/10 ip daddr @shared_4 masquerade
oifname { "eth0", "wlan0" } ip saddr @used_4 ip daddr @shared_4 masquerade
oifname "vnet0" ip saddr @shared_4 ip daddr @used_4 masquerade
oifname { "eth0", "wlan0" } ip6 saddr fd76:1:2::/48 ip6 daddr @shared_6 masquerade
oifname { "eth0", "wlan0" } ip6 saddr @used_6 ip6 daddr @shared_6 masquerade
oifname "vnet0" ip6 saddr @shared_6 ip6 daddr @used_6 masquerade
}
chain begun { type filter hook postrouting priority srcnat + 20; policy accept;
oifname "vnet0" ip saddr @shared_4 ct direction original counter drop
oifname "vnet0" ip6 saddr @shared_6 ct direction original counter drop
}
chain input { type filter hook input priority filter; policy accept; iifname "vnet0" ip daddr @shared_4 \
fib daddr type broadcast counter drop; }
chain forward { type filter hook forward priority filter; policy accept; jump lan; }
}
"""


class RuleTests(SynchronousTestCase):
    """
    Tests of L{forwardRules}.
    """

    def test_whole(self) -> None:
        """
        Where all networks are open, what is forwarded is all that there is.
        """
        self.assertEqual(install("vnet0", [], SHARED), WHOLE)

    def test_before(self) -> None:
        """
        What is shared is accepted before a network's policy is asked, for what is forwarded alone.
        """
        script = install("vnet0", [Ruled(PING_ONLY)], SHARED).splitlines()
        hooks = [line for line in script if " hook input " in line or " hook forward " in line]
        self.assertTrue(hooks[0].endswith('counter drop; iifname "vnet0" goto virtual; }'), hooks)
        self.assertTrue(hooks[1].endswith('policy accept; jump lan; iifname "vnet0" goto virtual; }'), hooks)

    def test_onlyPrefixes(self) -> None:
        """
        What is no prefix does not get into a script.
        """
        for text in ("10.0.0.0/8 } ; flush ruleset #", "", "10.0.0.1/8"):
            for bad in (evolve(SHARED, shared=(text,)), evolve(SHARED, used=(text,))):
                self.assertRaises(ValueError, list, forwardRules("vnet0", bad))


class FirewallTests(SynchronousTestCase):
    """
    Tests of L{Firewall.forward}.
    """

    def setUp(self) -> None:
        self.clock, self.nft, self.population = Clock(), FakeNft(), FakePopulation()
        self.firewall = Firewall(self.clock, "vnet0", self.population, self.nft)
        self.population.table = {b"ann": (("100.64.0.2",), [HOME])}

    def done(self, coroutine: Any) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(coroutine))

    def test_open(self) -> None:
        """
        While all networks are open there is a table for what is forwarded, and it goes with that; members change nothing in it.
        """
        self.done(self.firewall.forward(SHARED))
        self.assertEqual(self.nft.take(), [WHOLE])
        self.done(self.firewall.forward(SHARED))
        self.firewall.changed()
        self.clock.advance(1)
        self.assertEqual(self.nft.take(), [])
        self.done(self.firewall.forward(None))
        self.assertEqual(self.nft.take(), [remove("vnet0")])

    def test_policies(self) -> None:
        """
        With policies it is in the same table, and each stays when the other goes.
        """
        self.done(self.firewall.forward(SHARED))
        self.nft.take()
        self.population.chosen = {HOME: PING_ONLY}
        self.done(self.firewall.apply())
        ruled = [Ruled(PING_ONLY, {"100.64.0.2"})]
        self.assertEqual(self.nft.take(), [install("vnet0", ruled, SHARED)])
        self.done(self.firewall.forward(None))
        self.assertEqual(self.nft.take(), [install("vnet0", ruled)])
        self.done(self.firewall.forward(SHARED))
        self.nft.take()
        self.population.chosen = {HOME: OPEN}
        self.done(self.firewall.apply())
        self.assertEqual(self.nft.take(), [WHOLE])
        self.done(self.firewall.close())
        self.assertEqual(self.nft.take(), [remove("vnet0")])

    def test_refused(self) -> None:
        """
        What the system does not take is not tried again by itself: policies that come later are set without it.
        """
        self.nft.error = NftError("no NAT here")
        self.failureResultOf(Deferred.fromCoroutine(self.firewall.forward(SHARED)), NftError)
        self.nft.error = None
        self.clock.advance(AGAIN)
        self.assertNotIn(WHOLE, self.nft.take())
        self.population.chosen = {HOME: PING_ONLY}
        self.done(self.firewall.apply())
        self.assertEqual(self.nft.take(), [install("vnet0", [Ruled(PING_ONLY, {"100.64.0.2"})])])

    def test_none(self) -> None:
        """
        A client that sets no firewall forwards nothing.
        """
        firewall = Firewall(self.clock, "vnet0", self.population, None)
        self.failureResultOf(Deferred.fromCoroutine(firewall.forward(SHARED)), NftError)
        self.done(firewall.forward(None))

    def test_putBack(self) -> None:
        """
        When somebody has removed the table it is put back with what is forwarded.
        """
        self.done(self.firewall.forward(SHARED))
        self.nft.take()
        self.nft.missing = True
        self.firewall.check()
        self.assertEqual(self.nft.take(), [WHOLE])
