"""
Tests for L{vnet.test.natkinds} and L{vnet.test.natoverlay}.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols import control
from vnet.test.natkinds import KINDS, build
from vnet.test.natoverlay import MEDIATOR_HOSTS, NatOverlay, SkewedClock
from vnet.test.natsim import HeapClock, Internet, SimPort
from vnet.test.nodelab import URL
from vnet.testing import inPairs
from vnet.values import Address

ONE, PORT, HOST = (Address("203.0.113.1", 1), Address("203.0.113.1", 2), Address("203.0.113.2", 1))
SIX = Address("2001:db8:5::1", 1)

#: What does not map and filter as most: how many external addresses three destinations see, and who of them gets in then
#: when only the first was sent to.
_MAPPED = {
    **dict.fromkeys(("S1", "S2", "S256", "Sd", "B", "B2", "X", "U", "LX"), 3),
    "M": 2,
    **dict.fromkeys(("T", "T443", "6only"), 0),
}
_ENTERS = {
    **dict.fromkeys(("P", "Q", "F"), (ONE, PORT, HOST)),
    "A": (ONE, PORT),
    **dict.fromkeys(("T", "T443", "6only"), ()),
}


class KindTests(SynchronousTestCase):
    """
    Each kind.
    """

    def setUp(self) -> None:
        self.clock = HeapClock()
        self.received: list[Address] = []

    def build(self, kind: str) -> SimPort:
        """
        A port of a computer at a site of a kind, and strangers who note where it comes from.
        """
        self.internet = Internet(self.clock, seed=3, delay=0.01)
        self.heard: dict[Address, Address] = {}
        for host in (ONE.host, HOST.host, SIX.host):
            self.internet.members[host] = self._arrived
        port = build(kind, self.internet, 5).computer().port()
        port.open()
        self.received = []
        port.start(inPairs(lambda batch: self.received.extend(source for _, source in batch)))
        return port

    def _arrived(self, data: bytes, source: Address, destination: Address) -> None:
        self.heard[destination] = source

    def test_mapping(self) -> None:
        """
        It maps as its name says.
        """
        for kind in KINDS:
            port = self.build(kind)
            port.send([(b"x", each) for each in (ONE, PORT, HOST)])
            self.clock.run(1)
            self.assertEqual(len(set(self.heard.values())), _MAPPED.get(kind, 1), kind)

    def test_filtering(self) -> None:
        """
        It filters as its name says.
        """
        for kind in KINDS:
            port = self.build(kind)
            port.send([(b"x", ONE)])
            self.clock.run(1)
            for source in (ONE, PORT, HOST):
                self.internet.send(b"y", source, self.heard.get(ONE, HOST))
            self.clock.run(1)
            self.assertEqual(sorted(self.received), sorted(_ENTERS.get(kind, (ONE,))), kind)

    def test_six(self) -> None:
        """
        Those with IPv6 have it, the others have not.
        """
        for kind in KINDS:
            self.build(kind).send([(b"x", SIX)])
            self.clock.run(1)
            self.assertEqual(bool(self.heard), kind in ("6", "6only"), kind)

    def test_shared(self) -> None:
        """
        Two homes of the same carrier have one public address, and reach each other by it only where it hairpins.
        """
        for kind, passes in (("DC", False), ("DH", True), ("ISO", False), ("ISOH", True)):
            internet, received, heard = Internet(self.clock, delay=0.01), list[Address](), list[Address]()
            internet.members[ONE.host] = lambda data, source, to: heard.append(source)  # noqa: B023
            ports = [build(kind, internet, number).computer().port() for number in (1, 2)]
            for port in ports:
                port.open()
                port.send([(b"x", ONE)])
                self.clock.run(1)
            ports[1].start(inPairs(lambda batch: received.extend(source for _, source in batch)))  # noqa: B023
            for _ in range(2):
                for port, other in ((ports[0], heard[1]), (ports[1], heard[0])):
                    port.send([(b"y", other)])
                    self.clock.run(1)
            self.assertEqual({each.host for each in heard}, {"81.1.0.1"}, kind)
            self.assertEqual(len(received), int(passes), kind)
            # Nor by the addresses inside.
            ports[0].send([(b"z", Address(ports[1].hosts[0], ports[1].port))])
            self.clock.run(1)
            self.assertEqual(len(received), int(passes), kind)


class OverlayTests(SynchronousTestCase):
    """
    L{NatOverlay}.
    """

    def test_nodes(self) -> None:
        """
        Two nodes log in, meet and reach each other; the mediator sees the public address, and is 25 ms away.
        """
        overlay = NatOverlay(self.mktemp, relayCount=1, seed=2)
        self.addCleanup(overlay.stopAll)
        ann, bea = (overlay.addBehind(name, overlay.site("R")) for name in ("ann", "bea"))
        for node in (ann, bea):
            node.do(node.node.login(URL))
        ann.do(ann.node.create("home", "secret"))
        bea.do(bea.node.join("home", "secret"))
        overlay.advance(3)
        self.assertEqual(set(ann.members().values()), {("online", "direct")})
        self.assertTrue(ann.reaches(bea))
        hosts = {session.host for session in overlay.lab.mediator.sessions.values()}
        self.assertEqual(hosts, {"81.1.0.1", "81.2.0.1"})
        started = overlay.clock.seconds()
        answered: list[float] = []
        asked = Deferred.fromCoroutine(ann.core.logins.ask(control.Ping))
        asked.addCallback(lambda _: answered.append(overlay.clock.seconds()))
        overlay.advance(1)
        self.assertAlmostEqual(answered[0] - started, 0.05)

    def test_stun(self) -> None:
        """
        STUN answers at two addresses and two ports, and from the other ones if asked.
        """
        overlay = NatOverlay(self.mktemp)
        node = overlay.addBehind("ann", overlay.site("P"))
        self.addCleanup(overlay.stopAll)
        node.do(node.node.login(URL))
        overlay.advance(5)
        report = node.core.nat.report()
        self.assertEqual((report.udp, report.natted), (True, False))
        self.assertEqual(len(overlay.net.members.keys() & set(MEDIATOR_HOSTS)), 2)

    def test_clocks(self) -> None:
        """
        A clock that is wrong stays as wrong, or gets more so at its rate.
        """
        true = HeapClock()
        clock, seen = SkewedClock(true, 5.0, rate=1.5), list[tuple[float, float]]()
        clock.callLater(3.0, lambda: seen.append((true.seconds(), clock.seconds())))
        true.run(10.0)
        self.assertEqual((seen, clock.seconds()), ([(2.0, 8.0)], 20.0))
