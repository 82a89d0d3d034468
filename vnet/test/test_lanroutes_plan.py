"""
Which LANs can be shared and used.
"""

from __future__ import annotations

from ipaddress import ip_network

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.lanroutes.plan import Connected, Gateway, Plan, Surroundings, Wish, makePlan

OVERLAY = (ip_network("100.64.0.0/10"), ip_network("fd76:1:2::/48"))
BOB, CAROL = (
    Gateway(b"b" * 32, "100.64.0.2", "fd76:1:2::2"),
    Gateway(b"c" * 32, "100.64.0.3", "fd76:1:2::3"),
)


def connected(**networks: str) -> Surroundings:
    """Interfaces, each with its networks."""
    return Surroundings(
        [Connected(ip_network(text), name) for name, each in networks.items() for text in each.split()]
    )


HOME = connected(eth0="192.168.7.0/24 fe80::/64", wlan0="192.168.7.0/24", docker0="172.17.0.0/16")


class OfferTests(SynchronousTestCase):
    """
    What this node shares.
    """

    def offer(self, *prefixes: str, around: Surroundings = HOME) -> Plan:
        """Plan it."""
        return makePlan(Wish(OVERLAY, prefixes), around)

    def refused(self, prefix: str, why: str, around: Surroundings = HOME) -> None:
        """It is refused, and says so."""
        plan = self.offer(prefix, around=around)
        self.assertIn(why, plan.offerProblems[prefix])
        self.assertEqual((plan.shared, plan.lans), ((), ()))

    def test_connected(self) -> None:
        """
        What is on interfaces of this computer can be shared, a part of it and a whole of it too; the overlay's own do not count.
        """
        self.assertEqual(self.offer("192.168.7.0/24"), Plan(("192.168.7.0/24",), ("eth0", "wlan0")))
        for prefix, interfaces in (
            ("172.17.3.0/24", ("docker0",)),
            ("172.17.3.4/32", ("docker0",)),
            ("172.16.0.0/12", ("docker0",)),
            ("192.168.0.0/16", ("eth0", "wlan0")),
        ):
            self.assertEqual(self.offer(prefix), Plan((prefix,), interfaces))

    def test_nearest(self) -> None:
        """
        A route to more than the LAN, such as one into a VPN, makes no LAN of what is behind it; parts of the LAN count.
        """
        around = connected(eth0="10.1.2.0/24", eth1="10.1.2.128/25", tun0="10.0.0.0/8")
        self.assertEqual(self.offer("10.1.2.0/24", around=around).lans, ("eth0", "eth1"))
        self.assertEqual(self.offer("10.1.0.0/16", around=around).lans, ("eth0", "eth1", "tun0"))
        self.assertEqual(self.offer("10.1.2.7", around=around).lans, ("eth0",))
        self.assertEqual(self.offer("10.9.0.0/16", around=around).lans, ("tun0",))

    def test_elsewhere(self) -> None:
        """
        What would go by the default route is not shared, nor what is on the loopback; others are all the same.
        """
        self.refused("192.168.8.0/24", "this computer is not connected to 192.168.8.0/24")
        self.refused("10.0.0.0/24", "not connected", connected(lo="10.0.0.0/24"))
        plan = self.offer("192.168.8.0/24", "192.168.7.0/24")
        self.assertEqual((plan.shared, list(plan.offerProblems)), (("192.168.7.0/24",), ["192.168.8.0/24"]))

    def test_never(self) -> None:
        """
        What nobody may share is refused whatever the mediator says.
        """
        around = connected(eth0="0.0.0.0/2 224.0.0.0/4 100.64.0.0/10 ::/1")
        for prefix in ("0.0.0.0/1", "224.0.0.0/24", "100.64.5.0/24", "127.0.0.0/8", "x", "10.0.0.1/8", ""):
            self.assertTrue(self.offer(prefix, around=around).offerProblems[prefix])

    def test_names(self) -> None:
        """
        An interface whose name would be more than a name in a rule, or another switch, is refused.
        """
        for name in ('e"', "e*", "e\\", "all", "default", "e f", "é"):
            around = Surroundings([Connected(ip_network("10.0.0.0/8"), name)])
            self.refused("10.0.0.0/8", "a name that the firewall does not take", around)
        self.assertEqual(
            self.offer("10.0.0.0/8", around=connected(**{"eth0.5@x": "10.0.0.0/8"})).lans, ("eth0.5@x",)
        )

    def test_six(self) -> None:
        """
        An IPv6 prefix is shared where this computer forwards IPv6 already.
        """
        around = connected(eth0="fd05::/64")
        self.refused("fd05::/64", "net.ipv6.conf.all.forwarding", around)
        self.assertEqual(
            self.offer("fd05::/64", around=evolve(around, forwards6=True)), Plan(("fd05::/64",), ("eth0",))
        )


class UseTests(SynchronousTestCase):
    """
    What this node uses.
    """

    def use(self, *wanted: tuple[Gateway, str], around: Surroundings = HOME) -> Plan:
        """Plan it."""
        used: dict[Gateway, tuple[str, ...]] = {}
        for gateway, prefix in wanted:
            used[gateway] = (*used.get(gateway, ()), prefix)
        return makePlan(Wish(OVERLAY, (), used), around)

    def refused(self, prefix: str, why: str, around: Surroundings = HOME) -> None:
        """It is refused, and says so."""
        plan = self.use((BOB, prefix), around=around)
        self.assertIn(why, plan.useProblems[BOB.tunnelKey, prefix])
        self.assertEqual((plan.used, plan.routes), ({}, {}))

    def test_used(self) -> None:
        """
        Prefixes of several members, of both versions, lead to those members.
        """
        plan = self.use((BOB, "192.168.9.0/24"), (BOB, "fd05::/64"), (CAROL, "10.0.0.0/8"))
        self.assertEqual(
            plan.used, {BOB.tunnelKey: ("192.168.9.0/24", "fd05::/64"), CAROL.tunnelKey: ("10.0.0.0/8",)}
        )
        self.assertEqual(
            plan.routes,
            {"192.168.9.0/24": BOB.address, "fd05::/64": BOB.address6, "10.0.0.0/8": CAROL.address},
        )
        self.assertEqual(plan.useProblems, {})

    def test_own(self) -> None:
        """
        This computer's own networks and routes win, whatever is larger; without them the prefix is used.
        """
        for prefix in ("192.168.7.0/24", "192.168.7.128/25", "192.168.0.0/16"):
            self.refused(prefix, f"{prefix} overlaps 192.168.7.0/24 on eth0, a network of this computer")
            self.assertEqual(self.use((BOB, prefix), around=Surroundings()).routes, {prefix: BOB.address})

    def test_others(self) -> None:
        """
        Of two members that share what overlaps the first is used; prefixes of one member may overlap.
        """
        plan = self.use((BOB, "10.0.0.0/8"), (BOB, "10.1.0.0/16"), (CAROL, "10.1.2.0/24"))
        self.assertEqual(plan.used, {BOB.tunnelKey: ("10.0.0.0/8", "10.1.0.0/16")})
        self.assertEqual(
            plan.useProblems,
            {
                (
                    CAROL.tunnelKey,
                    "10.1.2.0/24",
                ): "10.1.2.0/24 overlaps 10.0.0.0/8, which this node uses from 100.64.0.2"
            },
        )

    def test_needed(self) -> None:
        """
        A prefix with an address that the tunnels go to is not used: they would go through themselves.
        """
        around = Surroundings(needed=("203.0.113.9", "2001:db8::1"))
        self.refused(
            "203.0.113.0/24", "203.0.113.0/24 holds 203.0.113.9, which this node needs", around=around
        )
        self.refused("2001:db8::/64", "holds 2001:db8::1", around=around)
        self.assertTrue(self.use((BOB, "203.0.112.0/24"), around=around).routes)

    def test_never(self) -> None:
        """
        What nobody may share is not used whatever the mediator says.
        """
        for prefix in (
            "0.0.0.0/0",
            "100.64.0.0/16",
            "fd76:1:2::/64",
            "::/0",
            "127.0.0.0/8",
            "x",
            "10.0.0.1/8",
        ):
            plan = self.use((BOB, prefix), around=Surroundings())
            self.assertEqual((plan.used, len(plan.useProblems)), ({}, 1), prefix)
