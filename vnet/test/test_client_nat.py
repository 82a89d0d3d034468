"""
Tests for L{vnet.client.nat}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from vnet.client.nat import INTERVAL
from vnet.test.discoverylab import HOME, ONE, PUBLIC, TWO, DiscoveryLab, Site
from vnet.test.natsim import Nat, RandomPorts
from vnet.values import Address, NatReport

APD = "address-and-port-dependent"


class NatDiscoveryTests(SynchronousTestCase):
    """
    L{NatDiscovery}.
    """

    def online(self, **behaviour: object) -> tuple[DiscoveryLab, Site]:
        """
        A computer that has just got online.
        """
        lab = DiscoveryLab(**behaviour)  # type: ignore[arg-type]
        site = Site(lab.internet)
        lab.start(*site.addresses)
        return lab, site

    def discoveries(self, lab: DiscoveryLab) -> int:
        """
        How many have sampled ports so far.
        """
        return lab.sockets._count // 8

    def test_early(self) -> None:
        """UDP and the public address are reported as soon as they are known, the rest later, and each change once."""
        lab, _ = self.online()
        self.assertEqual(lab.discovery.report(), NatReport())
        self.assertLess(lab.settle(), 1.5)
        seconds, first = lab.reports[0]
        self.assertLess(seconds, 0.1)
        self.assertEqual((first.udp, first.publicAddress), (True, Address(PUBLIC, 41641)))
        self.assertIsNone(first.filtering)
        reports = [report for _, report in lab.reports]
        self.assertEqual(reports[-1], lab.discovery.report())
        self.assertEqual(len(reports), len(dict.fromkeys(reports)))
        self.assertEqual((reports[-1].mapping, reports[-1].filtering), ("endpoint-independent", APD))

    def test_quiet(self) -> None:
        """While nothing changes nothing more is found out, however often one says the same; and no socket stays open."""
        lab, site = self.online()
        lab.settle()
        self.assertEqual((self.discoveries(lab), len(lab.sockets)), (1, 0))
        for _ in range(10):
            lab.discovery.setLocal((HOME,), 41641)
            lab.discovery.setServers(site.addresses)
            lab.run(5.0)
        self.assertEqual(self.discoveries(lab), 1)

    def test_sockets(self) -> None:
        """No more than twelve sockets are open at once."""
        lab, _ = self.online()
        most = 0
        for _ in range(200):
            lab.run(0.01)
            most = max(most, len(lab.sockets))
        self.assertEqual((most, len(lab.sockets)), (8, 0))

    def test_network(self) -> None:
        """In another network all is found out anew, and nothing of the old one is said of it."""
        lab, _ = self.online()
        lab.discovery.learnLifetime(30.0)
        lab.settle()
        lab.run(INTERVAL)
        other = lab.internet.lan()
        Nat(other, lab.internet, "198.51.100.9", APD, allocation=RandomPorts())
        lab.computer.move({"192.168.9.9": other})
        lab.discovery.setLocal(("192.168.9.9",), 41641)
        report = lab.discovery.report()
        self.assertEqual((report.mapping, report.filtering, report.allocation), (None, None, None))
        self.assertIsNone(report.lifetime)
        lab.settle()
        report = lab.discovery.report()
        self.assertEqual(
            (report.mapping, report.allocation, report.hosts), (APD, "random", ("198.51.100.9",))
        )

    def test_added(self) -> None:
        """With one more address all is found out anew, and what was known holds until then; links alone change nothing."""
        lab, _ = self.online()
        lab.settle()
        lab.run(INTERVAL)
        known = lab.discovery.report()
        lab.discovery.setLocal((HOME, "fe80::1"), 41641)
        lab.discovery.setLocal((HOME,), 41641)
        lab.run(5.0)
        self.assertEqual(self.discoveries(lab), 1)
        lab.discovery.setLocal((HOME, "172.17.0.1"), 41641)
        self.assertEqual(lab.discovery.report(), known)
        lab.settle()
        self.assertEqual((self.discoveries(lab), lab.discovery.report()), (2, known))

    def test_seldom(self) -> None:
        """A network that comes and goes makes no more than one discovery in two seconds, one at a time."""
        lab, site = self.online()
        for number in range(40):
            lab.run(0.1)
            lab.discovery.setLocal((HOME, f"10.0.0.{number}"), 41641)
            self.assertLessEqual(len(lab.sockets), 8)
        lab.settle()
        lab.run(10.0)
        self.assertLessEqual(lab.sockets._count, 3 * 8)
        self.assertEqual(len(lab.sockets), 0)
        self.assertEqual(lab.discovery.report().allocation, "preserving")
        self.assertIsNotNone(site)

    def test_servers(self) -> None:
        """Other servers replace a discovery that is under way."""
        lab = DiscoveryLab()
        old, new = Site(lab.internet, (ONE,)), Site(lab.internet, (TWO, "203.0.113.60"))
        lab.start(*old.addresses)
        lab.run(0.3)
        self.assertEqual(len(lab.sockets), 8)
        lab.discovery.setServers(new.addresses)
        self.assertEqual(len(lab.sockets), 0)
        lab.settle()
        self.assertEqual(
            (lab.discovery.report().mapping, lab.discovery.report().filtering), ("endpoint-independent", APD)
        )
        lab.discovery.setServers(())
        done: list[None] = []
        lab.discovery.whenSettled(1.0).addCallback(done.append)
        self.assertEqual(done, [None])

    def test_keptMapped(self) -> None:
        """When all is found out, the first server of each host goes on being asked, and no other."""
        lab, site = self.online(mapping=APD)
        lab.settle()
        lab.run(5.0)
        lab.internet.log.clear()
        lab.run(100.0)
        asked = {destination for _, destination, _ in lab.internet.log if destination in site.addresses}
        self.assertEqual(asked, {site.addresses[0], site.addresses[2]})

    def test_otherServers(self) -> None:
        """Where all servers have one address and cannot tell, a relay that answers is asked too, once."""
        lab = DiscoveryLab(mapping="address-dependent", allocation=RandomPorts())
        site, relay = (
            Site(lab.internet, (ONE,)),
            Site(lab.internet, ("203.0.113.70",), (3478,), changes=False),
        )
        lab.start(*site.addresses)
        lab.discovery.learnServers([Address("2001:db8::1", 3478), Address(ONE, 3478)])
        lab.settle()
        self.assertEqual(
            (lab.discovery.report().mapping, lab.discovery.report().mappingVaries), (None, False)
        )
        for _ in range(5):
            lab.discovery.learnServers([Address(ONE, 3478), *relay.addresses])
            lab.run(5.0)
        self.assertEqual(lab.discovery.report().mapping, "address-dependent")
        self.assertEqual(self.discoveries(lab), 2)

    def test_otherServersNotNeeded(self) -> None:
        """Where the servers can tell, nobody else is asked."""
        lab, _ = self.online()
        relay = Site(lab.internet, ("203.0.113.70",), (3478,))
        lab.settle()
        lab.discovery.learnServers(relay.addresses)
        lab.run(10.0)
        self.assertEqual((relay.asked, self.discoveries(lab)), ([], 1))

    def test_publicHost(self) -> None:
        """A public address that was not seen before makes a discovery; a port that was not, or a known address, makes none."""
        lab, _ = self.online()
        lab.settle()
        lab.run(INTERVAL)
        lab.nat.forget()
        lab.nat.preserves = False
        lab.run(60.0)
        self.assertEqual(self.discoveries(lab), 1)
        (lan,) = lab.computer.addresses.values()
        Nat(lan, lab.internet, "198.51.100.9", APD, allocation=RandomPorts())
        lab.run(60.0)
        self.assertEqual(self.discoveries(lab), 2)
        self.assertEqual(lab.discovery.report().mapping, APD)
        lan.gateway = lab.nat._outbound
        lab.run(60.0)
        self.assertEqual(self.discoveries(lab), 2)

    def test_blocked(self) -> None:
        """UDP that is blocked is known in 3 s; when it gets out later, that and the rest is known too."""
        lab = DiscoveryLab()
        site = Site(lab.internet)
        lab.internet.cut = True
        lab.start(*site.addresses)
        self.assertIsNone(lab.discovery.report().udp)
        self.assertLess(lab.settle(), 3.0)
        self.assertEqual(lab.discovery.report(), NatReport(udp=False))
        lab.internet.cut = False
        lab.run(60.0)
        self.assertEqual(
            (lab.discovery.report().udp, lab.discovery.report().allocation), (True, "preserving")
        )

    def test_noSockets(self) -> None:
        """A node without spare sockets knows the mapping all the same."""
        lab, _ = self.online(spares=False, mapping=APD, allocation=RandomPorts())
        lab.settle()
        report = lab.discovery.report()
        self.assertEqual((report.mapping, report.mappingVaries), (APD, True))
        self.assertEqual((report.filtering, report.allocation, report.hairpin), (None, None, None))

    def test_learn(self) -> None:
        """What others find out is part of the report, and told."""
        lab, _ = self.online()
        lab.settle()
        lab.discovery.learnLifetime(45.0)
        self.assertEqual(lab.reports[-1][1].lifetime, 45.0)
        lab.discovery.learnRouter("100.70.0.1")
        self.assertTrue(lab.reports[-1][1].shared)
        lab.discovery.learnRouter(PUBLIC)
        self.assertIs(lab.reports[-1][1].shared, False)

    def test_ipv6(self) -> None:
        """Where there is IPv6 only, the filter is found out for it."""
        lab = DiscoveryLab(nat=None)
        lab.computer.move({"2001:db8::7": lab.internet})
        site = Site(lab.internet, ("2001:db8::53", "2001:db8::54"))
        lab.start(*site.addresses)
        lab.settle()
        report = lab.discovery.report()
        self.assertEqual((report.udp, report.publicAddress, report.natted), (True, None, None))
        self.assertEqual(report.publicAddress6, Address("2001:db8::7", 41641))
        self.assertEqual(report.hosts, ())

    def test_ipv6Beside(self) -> None:
        """A computer that has only IPv6 asks only servers that have it; where IPv4 is blocked, IPv6 counts."""
        for addresses in (("2001:db8::7",), (PUBLIC, "2001:db8::7")):
            lab = DiscoveryLab(nat=None)
            lab.computer.move(dict.fromkeys(addresses, lab.internet))
            site = Site(lab.internet, ("2001:db8::53", "2001:db8::54"))
            lab.start(Address(ONE, 3478), *site.addresses)
            lab.settle()
            report = lab.discovery.report()
            self.assertEqual((report.udp, report.publicAddress), (True, None))
            self.assertEqual(report.publicAddress6, Address("2001:db8::7", 41641))
            self.assertEqual(lab.sentTo(ONE) == 0, len(addresses) == 1)

    def test_settled(self) -> None:
        """Who waits for the end of a discovery waits no longer than he said, and not at all when there is none."""
        lab = DiscoveryLab()
        done: list[None] = []
        lab.discovery.whenSettled(3.0).addCallback(done.append)
        self.assertEqual(done, [None])
        lab.internet.cut = True
        lab.start(Address(ONE, 3478))
        lab.discovery.whenSettled(1.0).addCallback(done.append)
        lab.run(0.9)
        self.assertEqual(len(done), 1)
        lab.run(0.2)
        self.assertEqual(len(done), 2)

    def test_close(self) -> None:
        """Closing ends all: sockets, timers, and waiting."""
        lab, _ = self.online()
        lab.run(0.3)
        done: list[None] = []
        lab.discovery.whenSettled(3.0).addCallback(done.append)
        lab.discovery.close()
        lab.puncher.close()
        self.assertEqual((done, len(lab.sockets)), ([None], 0))
        lab.run(1.0)
        self.assertEqual(list(lab.clock.getDelayedCalls()), [])
