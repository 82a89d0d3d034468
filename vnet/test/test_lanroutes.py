"""
LANs behind nodes: what is done, in which order, and when.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Mapping
from ipaddress import ip_address, ip_network
from typing import Any

from attrs import define, evolve, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.dataplane.clamp import Clamp
from vnet.client.dataplane.forwarder import Forwarder
from vnet.client.firewall.barriers import REST, Barriers
from vnet.client.firewall.firewall import Firewall
from vnet.client.firewall.nft import MISSING, NftError
from vnet.client.firewall.passage import OtherTable
from vnet.client.firewall.policy import PING_ONLY
from vnet.client.lanroutes.firsthop import Probe
from vnet.client.lanroutes.lanroutes import COALESCE, LOOK_AGAIN, LanRoutes
from vnet.client.lanroutes.plan import Connected, Gateway, Surroundings
from vnet.client.tunnels import TunnelTable
from vnet.protocols.machine.noise import StaticKey
from vnet.protocols.machine.wireguard import WireGuard
from vnet.test.test_firewall import HOME, FakeNft, FakePopulation
from vnet.testing import MemoryDevice, MemoryNetwork

BOB = Gateway(StaticKey(os.urandom(32)).public, "100.64.0.2", "fd76:1:2::2")
CAROL = Gateway(StaticKey(os.urandom(32)).public, "100.64.0.3", "fd76:1:2::3")
LAN, FAR, FAR6 = "192.168.7.0/24", "192.168.9.0/24", "fd05::/64"


@define
class FakeProbe:
    """
    A datagram into a LAN.
    """

    host: str
    isAnswered: bool = True
    isClosed: bool = False

    def answered(self) -> bool:
        """Whether it is."""
        return self.isAnswered

    def close(self) -> None:
        """It is forgotten."""
        self.isClosed = True


@define
class FakeKernel:
    """
    A computer at home.

    @ivar done: what it was told, in order.
    @ivar refusing: the calls that fail.
    """

    done: list[tuple[str, object]]
    around: Surroundings = field(
        factory=lambda: Surroundings([Connected(ip_network("192.168.7.0/24"), "eth0")])
    )
    routes: dict[str, str] = field(factory=dict)
    held: tuple[str, ...] = ()
    refusing: set[str] = field(factory=set)
    failing: dict[str, str] = field(factory=dict)
    probes: list[FakeProbe] = field(factory=list)

    def _try(self, what: str) -> None:
        if what in self.refusing:
            raise OSError(1, "Operation not permitted")

    def recover(self) -> None:
        """Nothing has been left."""
        self._try("recover")
        self.done.append(("recover", ()))

    def surroundings(self, interface: str, needed: Collection[str]) -> Surroundings:
        """As the test says."""
        self._try("surroundings")
        return evolve(self.around, needed=needed)

    def setRoutes(
        self, interface: str, routes: Mapping[str, str], sources: Collection[str]
    ) -> dict[str, str]:
        """Keep them."""
        self._try("setRoutes")
        failed = {prefix: why for prefix, why in self.failing.items() if prefix in routes}
        made = {prefix: gateway for prefix, gateway in routes.items() if prefix not in failed}
        if made != self.routes:
            self.routes = made
            self.done.append(("routes", dict(made)))
        return failed

    def setLinkLocal(self, interface: str, isWanted: bool) -> None:
        """Keep it."""
        self._try("setLinkLocal")
        self.done.append(("link", isWanted))

    def probe(self, host: str) -> Probe:
        """One that is answered."""
        self._try("probe")
        self.probes.append(FakeProbe(host))
        return self.probes[-1]

    def lacking(self, interfaces: Collection[str]) -> frozenset[str]:
        """All of them."""
        return frozenset(interfaces)

    def hold(self, interfaces: Collection[str]) -> None:
        """Keep them."""
        if interfaces:
            self._try("hold")
        if tuple(interfaces) != self.held:
            self.held = tuple(interfaces)
            self.done.append(("hold", self.held))


@define(eq=False)
class OrderedNft(FakeNft):
    """
    Tells when the table changes.
    """

    done: list[tuple[str, object]] = field(factory=list)

    def run(self, script: str) -> Deferred[None]:
        """See L{FakeNft}."""
        found = FakeNft.run(self, script)
        if self.error is None:
            self.done.append(("nft", "chain lan" in script))
        return found


class LanRoutesTests(SynchronousTestCase):
    """
    Tests of L{LanRoutes}.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.done: list[tuple[str, object]] = []
        self.kernel, self.nft = FakeKernel(self.done), OrderedNft(done=self.done)
        self.machine = WireGuard(os.urandom(32), random=os.urandom, wallClock=time.time_ns)
        self.forwarder = Forwarder(
            MemoryDevice(),
            MemoryNetwork(self.clock).port("192.0.2.1"),
            self.machine,
            self.clock,
            lambda data, addr: None,
            lambda event: None,
        )
        self.tunnels = TunnelTable(self.clock, self.machine, self.forwarder, Clamp(1400, self.clock))
        for each in (BOB, CAROL):
            self.tunnels.add(each.tunnelKey, each.address, each.address6, tuple)
            self.tunnels.open(each.tunnelKey)
        self.population = FakePopulation()
        self.firewall = Firewall(self.clock, "vnet0", self.population, self.nft)
        self.admitted = {BOB.tunnelKey}
        self.needed: list[str] = []
        self.changes = 0
        self.routes = self.make()

    def make(self, isTun: bool = False, **options: Any) -> LanRoutes:
        """A node, logged in."""
        routes = LanRoutes(
            self.clock,
            "vnet0",
            isTun,
            self.tunnels,
            self.forwarder,
            self.firewall,
            options.get("kernel", self.kernel),
            lambda key, prefix: key in self.admitted,
            lambda: self.needed,
            self.changed,
            Barriers(self.clock, "vnet0", self.nft),
        )
        routes.configure("100.64.0.1", "100.64.0.0/10", "fd76:1:2::1", "fd76:1:2::/48")
        return routes

    def changed(self) -> None:
        self.changes += 1

    def take(self) -> list[tuple[str, object]]:
        """What was done since, after all is done."""
        self.clock.advance(COALESCE)
        taken = list(self.done)
        self.done.clear()
        return taken

    def reaches(self, host: str) -> bool:
        """Whether Bob does, as the data plane sees it."""
        return self.forwarder._lans.mayReach(BOB.tunnelKey, ip_address(host).packed)

    def test_share(self) -> None:
        """
        First the firewall, then the kernel's forwarding, then the data plane; and back the other way round.
        """
        self.routes.offer((LAN,))
        self.assertFalse(self.reaches("192.168.7.9"))
        self.assertEqual(self.take(), [("nft", True), ("hold", ("eth0", "vnet0"))])
        self.assertTrue(self.reaches("192.168.7.9"))
        for needed in (f"elements = {{ {LAN} }}", 'iifname "eth0" oifname != "eth0" counter drop'):
            self.assertIn(needed, self.nft.scripts[-1])
        self.routes.offer((LAN,))
        self.routes.linksChanged()
        self.assertEqual(self.take(), [])
        self.routes.offer(())
        self.assertEqual(self.take(), [("hold", ()), ("nft", False)])
        self.assertFalse(self.reaches("192.168.7.9"))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_six(self) -> None:
        """
        For an IPv6 prefix a TAP gets a link-local address; a TUN needs none.
        """
        self.kernel.around = Surroundings([Connected(ip_network(FAR6), "eth0")], forwards6=True)
        self.routes.offer((FAR6,))
        self.assertEqual(self.take(), [("nft", True), ("hold", ("eth0", "vnet0")), ("link", True)])
        self.assertTrue(self.reaches("fd05::1"))
        self.routes.linksChanged()
        self.assertEqual(self.take(), [])
        self.routes.offer(())
        self.assertEqual(self.take(), [("hold", ()), ("nft", False), ("link", False)])
        routes = self.make(isTun=True)
        routes.offer((FAR6,))
        self.assertNotIn(("link", True), self.take())

    def test_members(self) -> None:
        """
        Who may reach what is asked for anew when members change.
        """
        self.routes.offer((LAN,))
        self.take()
        self.assertTrue(self.reaches("192.168.7.9"))
        self.admitted.clear()
        self.routes.membersChanged()
        self.assertFalse(self.reaches("192.168.7.9"))

    def test_use(self) -> None:
        """
        The tunnel of the member, and a route; both go again.
        """
        self.routes.use({BOB: (FAR, FAR6)})
        self.assertFalse(self.routes.holds("192.168.9.1"))
        self.assertEqual(self.take(), [("routes", {FAR: BOB.address, FAR6: BOB.address6})])
        self.assertEqual(self.machine.peerFor("192.168.9.1"), BOB.tunnelKey)
        self.assertTrue(self.routes.holds("192.168.9.1"))
        self.assertFalse(self.routes.holds("192.168.8.1"))
        self.routes.use({CAROL: (FAR,)})
        self.assertEqual(self.take(), [("routes", {FAR: CAROL.address})])
        self.assertEqual(self.machine.peerFor("192.168.9.1"), CAROL.tunnelKey)
        self.routes.use({})
        self.assertEqual(self.take(), [("routes", {})])
        self.assertIsNone(self.machine.peerFor("192.168.9.1"))
        self.assertFalse(self.routes.holds("192.168.9.1"))
        self.assertEqual(self.machine.peerFor(BOB.address), BOB.tunnelKey)
        self.assertEqual(self.nft.scripts, [])

    def test_both(self) -> None:
        """
        What hosts of a shared LAN may reach is in the table with it, and what becomes of that; on a TUN routes have no gateway.
        """
        self.routes = self.make(isTun=True)
        self.routes.offer((LAN,))
        self.routes.use({BOB: (FAR,)})
        self.assertEqual(self.take(), [("routes", {FAR: ""}), ("nft", True), ("hold", ("eth0", "vnet0"))])
        self.assertIn(f"elements = {{ {FAR} }}", self.nft.scripts[-1])
        self.routes.use({})
        self.assertEqual(self.take(), [("routes", {}), ("nft", True)])
        self.assertNotIn(FAR, self.nft.scripts[-1])

    def test_overlap(self) -> None:
        """
        When this computer gets into such a network itself the route goes, and the reason is told; it comes back afterwards.
        """
        self.routes.use({BOB: (FAR,)})
        self.take()
        home = self.kernel.around
        self.kernel.around = Surroundings([*home.connected, Connected(ip_network(FAR), "wlan0")])
        self.routes.linksChanged()
        self.assertEqual(self.take(), [("routes", {})])
        self.assertIsNone(self.machine.peerFor("192.168.9.1"))
        problem = f"{FAR} overlaps {FAR} on wlan0, a network of this computer"
        self.assertEqual(self.routes.useProblems(), {(BOB.tunnelKey, FAR): problem})
        self.assertEqual(self.routes.useRefusal(BOB, FAR), problem)
        self.assertEqual(self.changes, 1)
        self.kernel.around = home
        self.routes.linksChanged()
        self.assertEqual(self.take(), [("routes", {FAR: BOB.address})])
        self.assertEqual((self.routes.useProblems(), self.changes), ({}, 2))

    def test_looksAgain(self) -> None:
        """
        What nobody tells is seen after a while: an endpoint that is inside, a route that is gone.
        """
        self.routes.use({BOB: (FAR,)})
        self.take()
        self.needed.append("192.168.9.5")
        self.clock.advance(LOOK_AGAIN)
        self.assertEqual(self.take(), [("routes", {})])
        self.assertIn("holds 192.168.9.5", self.routes.useProblems()[BOB.tunnelKey, FAR])
        self.needed.clear()
        self.clock.advance(LOOK_AGAIN)
        self.assertEqual(self.take(), [("routes", {FAR: BOB.address})])

    def test_gone(self) -> None:
        """
        A LAN that this computer is not in any more is not shared, and what came from it goes nowhere else.
        """
        self.routes.offer((LAN,))
        self.take()
        self.kernel.around = Surroundings()
        self.routes.linksChanged()
        self.assertEqual(self.take(), [("hold", ()), ("nft", False)])
        self.assertFalse(self.reaches("192.168.7.9"))
        self.assertIn("not connected", self.routes.offerProblems()[LAN])

    def test_moved(self) -> None:
        """
        When a LAN is at another interface, the one before forwards no more before the table does not know it any more.
        """
        self.routes.offer((LAN,))
        self.take()
        self.kernel.around = Surroundings([Connected(ip_network(LAN), "wlan0")])
        self.routes.linksChanged()
        self.assertEqual(self.take(), [("hold", ("vnet0",)), ("nft", True), ("hold", ("wlan0", "vnet0"))])

    def test_refusals(self) -> None:
        """
        What cannot be is said before it is tried.
        """
        self.assertEqual(self.routes.offerRefusal(LAN), "")
        self.assertIn("not connected", self.routes.offerRefusal("10.0.0.0/8"))
        self.assertIn("that is 192.168.7.0/24", self.routes.offerRefusal("192.168.7.9/24"))
        self.assertEqual(self.routes.useRefusal(BOB, FAR), "")
        self.assertIn("on eth0", self.routes.useRefusal(BOB, LAN))
        self.routes.use({BOB: (FAR,)})
        self.assertEqual(self.routes.useRefusal(BOB, FAR), "")
        self.assertIn("uses from 100.64.0.2", self.routes.useRefusal(CAROL, "192.168.8.0/22"))
        self.take()

    def test_noFirewall(self) -> None:
        """
        Where the firewall cannot be set, nothing is forwarded and the reason is told; it is tried again.
        """
        self.nft.error = NftError(MISSING)
        self.routes.offer((LAN,))
        self.take()
        self.assertEqual(self.kernel.held, ())
        self.assertFalse(self.reaches("192.168.7.9"))
        self.assertEqual(self.routes.offerProblems(), {LAN: f"the firewall does not take it: {MISSING}"})
        self.nft.error = None
        self.clock.advance(LOOK_AGAIN)
        self.take()
        self.assertTrue(self.reaches("192.168.7.9"))
        self.assertEqual(self.routes.offerProblems(), {})

    def test_noForwarding(self) -> None:
        """
        Where forwarding cannot be turned on, nothing is left.
        """
        self.kernel.refusing.add("hold")
        self.routes.offer((LAN,))
        self.assertEqual(self.take(), [("nft", True), ("nft", False)])
        self.assertFalse(self.reaches("192.168.7.9"))
        self.assertIn("Operation not permitted", self.routes.offerProblems()[LAN])

    def test_whenSettled(self) -> None:
        """
        Who asks what is true waits for what is about to be done, and causes nothing else.
        """
        self.routes.use({BOB: (FAR,)})
        self.successResultOf(Deferred.fromCoroutine(self.routes.whenSettled()))
        self.assertEqual(self.kernel.routes, {FAR: BOB.address})
        self.kernel.refusing.add("surroundings")
        self.routes.use({})
        self.take()
        self.successResultOf(Deferred.fromCoroutine(self.routes.whenSettled()))
        self.assertTrue(self.successResultOf(Deferred.fromCoroutine(self.routes.reach(FAR))))
        self.assertFalse(self.successResultOf(Deferred.fromCoroutine(self.make(kernel=None).reach(FAR))))

    def test_barrier(self) -> None:
        """
        Another firewall that drops what is forwarded is told of when a LAN is shared, and when it appears, or goes, later; also
        one that is not told of, or could not be read.
        """
        docker = OtherTable("ip", "filter", {"FORWARD": "drop"}, {"FORWARD": [], "DOCKER-USER": []})
        self.routes.rulesChanged()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.nft.tables = [docker]
        self.routes.offer((LAN,))
        self.take()
        [(prefix, (why, commands))] = self.routes.barriers().items()
        self.assertEqual((prefix, self.changes), (LAN, 1))
        self.assertIn("the chain FORWARD of the table ip filter", why)
        self.assertEqual(commands[0], f"sudo iptables -I DOCKER-USER -i vnet0 -d {LAN} -j ACCEPT")
        self.assertTrue(self.reaches("192.168.7.9"))
        self.nft.tables = []
        for _ in range(3):
            self.routes.rulesChanged()
            self.take()
        self.assertEqual(self.changes, 1)
        self.clock.advance(REST)
        self.assertEqual((self.routes.barriers(), self.changes), ({}, 2))
        self.nft.tables, self.nft.error = [docker], NftError(MISSING)
        self.routes.rulesChanged()
        self.clock.advance(REST)
        self.assertEqual(self.routes.barriers(), {})
        self.nft.error = None
        self.clock.advance(LOOK_AGAIN)
        self.assertEqual(list(self.routes.barriers()), [LAN])
        self.routes.offer(())
        self.take()
        self.assertEqual((self.routes.barriers(), self.clock.getDelayedCalls()), ({}, []))

    def test_noRoute(self) -> None:
        """
        A route that the system does not take is not used either: nothing is taken from there.
        """
        self.kernel.failing[FAR] = "File exists"
        self.routes.use({BOB: (FAR, FAR6)})
        self.assertEqual(self.take(), [("routes", {FAR6: BOB.address6})])
        self.assertIsNone(self.machine.peerFor("192.168.9.1"))
        self.assertEqual(self.machine.peerFor("fd05::1"), BOB.tunnelKey)
        self.assertEqual(self.routes.useProblems(), {(BOB.tunnelKey, FAR): "File exists"})
        self.kernel.refusing.add("setRoutes")
        self.routes.linksChanged()
        self.take()
        self.assertIsNone(self.machine.peerFor("fd05::1"))
        self.assertIn("Operation not permitted", self.routes.useProblems()[BOB.tunnelKey, FAR6])

    def test_routeStays(self) -> None:
        """
        A route that the system does not take away is taken away as soon as it does, also when nothing is used any more.
        """
        self.routes.use({BOB: (FAR,)})
        self.take()
        self.kernel.refusing.add("setRoutes")
        self.kernel.around = Surroundings([Connected(ip_network(FAR), "eth0")])
        self.routes.linksChanged()
        self.take()
        self.routes.use({})
        self.take()
        self.assertEqual({FAR: BOB.address}, self.kernel.routes)
        self.kernel.refusing.clear()
        self.clock.advance(LOOK_AGAIN)
        self.assertEqual({}, self.kernel.routes)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_blind(self) -> None:
        """
        Where this computer's routes cannot be read, or there is no kernel, nothing is routed.
        """
        self.kernel.refusing.add("surroundings")
        for routes in (self.routes, self.make(kernel=None)):
            routes.offer((LAN,))
            routes.use({BOB: (FAR,)})
            self.assertEqual(self.take(), [])
            self.assertTrue(routes.offerProblems()[LAN])
            self.assertTrue(routes.useProblems()[BOB.tunnelKey, FAR])
            self.assertTrue(routes.offerRefusal(LAN))
            self.assertTrue(routes.useRefusal(BOB, FAR))
        routes.prepare()

    def test_close(self) -> None:
        """
        At the end all is given back, in order, and nothing happens any more; the policies stay with the firewall.
        """
        self.population.chosen = {HOME: PING_ONLY}
        self.routes.offer((LAN,))
        self.routes.use({BOB: (FAR,)})
        self.take()
        self.successResultOf(Deferred.fromCoroutine(self.routes.close()))
        self.assertEqual(self.take(), [("routes", {}), ("hold", ()), ("nft", False)])
        self.assertIn("goto virtual", self.nft.scripts[-1])
        self.routes.offer((LAN,))
        self.routes.linksChanged()
        self.assertEqual(self.take(), [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_recover(self) -> None:
        """
        What a client that died has left is given back at the start; that it cannot be is no reason not to start.
        """
        self.routes.prepare()
        self.assertEqual(self.take(), [("recover", ())])
        self.kernel.refusing.add("recover")
        self.routes.prepare()

    def test_settle(self) -> None:
        """
        Who waits for it sees what has come of it.
        """
        self.routes.offer((LAN, "10.0.0.0/8"))
        self.successResultOf(Deferred.fromCoroutine(self.routes.settle()))
        self.assertTrue(self.reaches("192.168.7.9"))
        self.assertEqual(list(self.routes.offerProblems()), ["10.0.0.0/8"])
        self.take()
        self.assertEqual([call.getTime() for call in self.clock.getDelayedCalls()], [LOOK_AGAIN])
