"""
Whole nodes whose peers are reached through relays.
"""

from __future__ import annotations

from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.codec.ethernet import IPV4, memberMac
from vnet.protocols.codec.icmp import Echo, encodeEcho
from vnet.test.memoryrelay import MemoryRelay
from vnet.test.nodelab import URL, Overlay, TestNode

ANN, BEA = "203.0.113.1", "203.0.113.2"


class RelayedCase(SynchronousTestCase):
    """
    Ann and Bea, and relays.
    """

    relayCount = 1

    def setUp(self) -> None:
        self.overlay = Overlay(self.mktemp, self.relayCount)
        self.addCleanup(self.overlay.stopAll)
        self.sequence = 0

    def pair(self, seconds: float = 2.0) -> None:
        """
        Let both be in one network.
        """
        self.ann, self.bea = self.overlay.add("ann", ANN), self.overlay.add("bea", BEA)
        self.ann.do(self.ann.node.login(URL))
        self.ann.do(self.ann.node.create("home", "secret"))
        self.bea.do(self.bea.node.joinInvite(self.ann.do(self.ann.node.invite("home"))["link"]))
        self.addresses = {node: bytes(map(int, node.address.split("."))) for node in (self.ann, self.bea)}
        self.overlay.advance(seconds)

    def paths(self) -> set[str]:
        """
        The kinds of the paths, as both see them.
        """
        return {path for node in (self.ann, self.bea) for _, path in node.members().values()}

    def stream(self, seconds: float, *senders: TestNode, rate: int = 1000) -> None:
        """
        Send packets of one node, or of both, to the other.
        """
        for _ in range(round(seconds * 100)):
            for sender in senders:
                other = self.bea if sender is self.ann else self.ann
                batch = [self.packet(sender, other) for _ in range(rate // 100)]
                sender.device.deliver(batch)
            self.overlay.advance(0.01, step=0.01)

    def packet(self, sender: TestNode, other: TestNode) -> bytes:
        """The next packet of the stream, as a frame."""
        source, destination = self.addresses[sender], self.addresses[other]
        self.sequence += 1
        echo = Echo(source, destination, self.sequence >> 16, self.sequence & 0xFFFF, b"x" * 100, reply=True)
        return memberMac(destination) + sender.device.mac + IPV4 + encodeEcho(echo)

    def delivered(self, node: TestNode) -> Counter[int]:
        """How often each packet of the stream has come."""
        return Counter(echo.identifier << 16 | echo.sequence for echo in node.received)

    def assertAll(self, node: TestNode) -> None:
        """All packets that were sent so far have come to a node, once."""
        self.overlay.advance(1.0)
        delivered = self.delivered(node)
        lost = [n for n in range(1, self.sequence + 1) if n not in delivered]
        self.assertEqual((lost, max(delivered.values())), ([], 1))

    def noUdp(self, *hosts: str) -> None:
        """Let no UDP get out of these hosts."""
        self.overlay.cutUdp(*hosts)


class ConnectTests(RelayedCase):
    def test_neitherHasUdp(self) -> None:
        """Two nodes without UDP reach each other through the relay, over TCP, and are told so."""
        self.noUdp(ANN, BEA)
        self.pair()
        self.assertEqual(self.paths(), {"relayed"})
        self.assertTrue(self.ann.reaches(self.bea) and self.bea.reaches(self.ann))
        found = self.ann.do(self.ann.node.peer("bea"))
        self.assertEqual((found["relay"], found["transport"]), ("relay1.example:3478", "tcp"))
        self.overlay.advance(20)
        self.assertIn("no UDP gets out", self.ann.do(self.ann.node.peer("bea"))["why"])
        [relay] = self.ann.do(self.ann.node.status())["relays"]
        self.assertEqual((relay["relay"], relay["transport"]), ("relay1.example:3478", "tcp"))
        self.assertEqual(len(relay["addresses"]), 1)

    def test_onlyTls(self) -> None:
        """The same where TLS alone gets out, on one side or on both."""
        self.overlay.relays[0].closed = {"tcp"}
        self.overlay.relays[0].silent = {"tcp"}
        self.noUdp(ANN, BEA)
        self.pair(3.0)
        self.assertTrue(self.ann.reaches(self.bea))
        self.assertEqual(self.ann.do(self.ann.node.peer("bea"))["transport"], "tls")

    def test_oneHasUdp(self) -> None:
        """A node without UDP reaches one that has it, and the other way round; each says what it knows."""
        self.noUdp(ANN)
        self.pair()
        self.assertEqual(self.paths(), {"relayed"})
        self.assertTrue(self.ann.reaches(self.bea) and self.bea.reaches(self.ann))
        self.overlay.advance(20)
        self.assertIn("no UDP gets out of this", self.ann.do(self.ann.node.peer("bea"))["why"])
        found = self.bea.do(self.bea.node.peer("ann"))
        self.assertEqual(found["why"], "ann's network blocks UDP")
        self.assertEqual(found["help"], ["ann's network blocks UDP: only its administrator can allow it"])
        self.assertEqual((found["nat"]["peer"]["udp"], found["answersPing"]), (False, True))

    def test_firstPing(self) -> None:
        """
        Where no direct path is possible the tunnel is up within half a second of being online, and within one and one and a
        half where only TCP or TLS gets out, with round trips of 40 ms.
        """
        for cut, silent, longest in (
            (((ANN, BEA),), set(), 0.5),
            ((ANN, BEA), set(), 1.0),
            ((ANN, BEA), {"tcp"}, 1.5),
        ):
            self.setUp()
            self.overlay.cutUdp(*cut)
            self.overlay.relays[0].silent = silent
            ann = self.overlay.add("ann", ANN)
            ann.do(ann.node.login(URL))
            ann.do(ann.node.create("home", "secret"))
            link = ann.do(ann.node.invite("home"))["link"]
            self.overlay.advance(5)
            bea = self.overlay.add("bea", BEA)
            bea.node.joinInvite(link).addErrback(self.fail)
            self.overlay.advance(longest, step=0.01)
            self.assertTrue([peer for peer in bea.core.peers.all() if peer.answers], (cut, silent))

    def test_direct(self) -> None:
        """Where there is a direct path it is used soon, and the relay is no more than a standby."""
        self.pair()
        self.assertEqual(self.paths(), {"direct"})
        found = self.ann.do(self.ann.node.peer("bea"))
        self.assertEqual((found["relay"], found["transport"], found["why"]), (None, "udp", None))

    def test_relayDown(self) -> None:
        """Where no relay helps either it is said why, and when the relay is there the path is, too."""
        self.noUdp(ANN, BEA)
        self.overlay.relays[0].down = True
        self.pair(60)
        self.assertEqual(self.paths(), {"none"})
        self.assertIn("nor does a relay help: relay turn", self.ann.do(self.ann.node.peer("bea"))["why"])
        self.assertIn("relay turn", self.ann.do(self.ann.node.status())["relayError"])
        self.overlay.relays[0].rise()
        self.overlay.advance(75)
        self.assertEqual(self.paths(), {"relayed"})
        self.assertIsNone(self.ann.do(self.ann.node.status())["relayError"])

    def test_logout(self) -> None:
        """Who logs out gives the allocations back, and the peer sees it go."""
        self.noUdp(ANN, BEA)
        self.pair()
        self.bea.do(self.bea.node.logout())
        self.overlay.advance(1)
        self.assertEqual(len(self.overlay.relays[0].script.allocations), 1)
        self.assertEqual(self.ann.members(), {"home/bea": ("offline", "none")})
        self.assertEqual(self.bea.do(self.bea.node.status())["relays"], [])


class StreamTests(RelayedCase):
    relayCount = 2

    def test_twoRelays(self) -> None:
        """Two nodes without UDP, each of which reaches another relay only, reach each other through both."""
        one, other = self.overlay.relays
        one.barred, other.barred = {BEA}, {ANN}
        self.noUdp(ANN, BEA)
        self.pair(3.0)
        self.assertTrue(self.ann.reaches(self.bea) and self.bea.reaches(self.ann))
        for node, peer, relay in ((self.ann, "bea", "relay1"), (self.bea, "ann", "relay2")):
            self.assertEqual(node.do(node.node.peer(peer))["relay"], f"{relay}.example:3478")
        self.stream(3.0, self.ann)
        self.assertAll(self.bea)

    def test_toDirect(self) -> None:
        """From the relay to a direct path during a stream of 1,000 packets a second: none lost, none twice."""
        self.overlay.cutUdp((ANN, BEA))
        self.pair()
        self.assertEqual(self.paths(), {"relayed"})
        self.stream(1.0, self.ann)
        self.overlay.cutUdp()
        self.stream(9.0, self.ann)
        self.assertEqual(self.paths(), {"direct"})
        self.assertAll(self.bea)

    def test_cut(self) -> None:
        """A direct path that is cut during the stream: the relay carries on in less than a second, none lost, none twice."""
        self.pair()
        self.overlay.advance(20, step=0.01)
        self.stream(2.0, self.ann)
        self.overlay.cutUdp((ANN, BEA))
        self.stream(0.8, self.ann)
        before = len(self.bea.received)
        self.stream(0.2, self.ann)
        self.assertGreaterEqual(len(self.bea.received), before + 190)
        self.stream(3.0, self.ann)
        self.assertEqual(self.paths(), {"relayed"})
        self.assertAll(self.bea)

    def test_cutBothWays(self) -> None:
        """The same with a stream in both directions."""
        self.pair()
        self.overlay.advance(20)
        self.stream(2.0, self.ann, self.bea, rate=500)
        self.overlay.cutUdp((ANN, BEA))
        self.stream(3.0, self.ann, self.bea, rate=500)
        self.overlay.advance(1)
        self.assertEqual(self.paths(), {"relayed"})
        both = self.delivered(self.ann) + self.delivered(self.bea)
        self.assertEqual((len(both), max(both.values())), (self.sequence, 1))

    def test_halfCut(self) -> None:
        """A path that works in one direction only is left as soon, and in both directions."""
        self.pair()
        self.overlay.advance(20)
        self.stream(2.0, self.ann, self.bea, rate=500)
        self.overlay.internet.passes = lambda source, target: (source.host, target.host) != (ANN, BEA)
        self.stream(1.5, self.ann, self.bea, rate=500)
        self.assertEqual(self.paths(), {"relayed"})
        self.assertTrue(self.ann.reaches(self.bea))

    def test_relayDies(self) -> None:
        """When the relay that carries the stream dies, the other one does in less than a second; none lost, none twice."""
        self.overlay.cutUdp((ANN, BEA))
        self.pair()
        self.overlay.advance(30)
        self.stream(2.0, self.ann)
        self.currentRelay().die()
        self.stream(1.0, self.ann)
        before = len(self.bea.received)
        self.stream(0.2, self.ann)
        self.assertGreater(len(self.bea.received), before)
        self.stream(5.0, self.ann)
        self.assertAll(self.bea)

    def currentRelay(self) -> MemoryRelay:
        """The relay that carries what Ann sends."""
        name = self.ann.do(self.ann.node.peer("bea"))["relay"]
        found = [relay for n, relay in enumerate(self.overlay.relays, 1) if name == f"relay{n}.example:3478"]
        found += [relay for relay in self.overlay.relays if name.startswith(relay.host + ":")]
        return found[0]

    def test_idleCut(self) -> None:
        """A path that is cut while nothing is sent costs the first packets no more than two seconds."""
        self.pair()
        self.overlay.advance(120)
        self.overlay.cutUdp((ANN, BEA))
        self.overlay.advance(3)
        self.stream(2.0, self.ann, rate=100)
        self.assertEqual(self.paths(), {"relayed"})
        self.assertAll(self.bea)

    def test_mediatorLost(self) -> None:
        """While the mediator is away a relayed path goes on for an hour, and even the death of one relay is survived."""
        self.noUdp(ANN, BEA)
        self.pair()
        self.overlay.mediatorUp = False
        self.overlay.dropControl()
        for _ in range(2):
            self.overlay.advance(1800, step=0.5)
            self.assertTrue(self.ann.reaches(self.bea))
        self.currentRelay().die()
        self.overlay.advance(20)
        self.assertTrue(self.ann.reaches(self.bea))
        self.assertEqual(self.paths(), {"relayed"})

    def test_restarted(self) -> None:
        """A peer that dies without a word and starts again has its relayed path back at once."""
        self.noUdp(ANN, BEA)
        self.pair()
        self.overlay.kill(self.bea)
        self.overlay.advance(3)
        self.bea = self.overlay.add("bea", "203.0.113.3", self.bea.state)
        self.noUdp(ANN, "203.0.113.3")
        self.overlay.advance(8)
        self.assertEqual(self.paths(), {"relayed"})
        self.assertTrue(self.ann.reaches(self.bea))

    def test_restartedDirect(self) -> None:
        """A peer that starts again at another place does not leave the other on the direct path that it had."""
        self.pair()
        self.overlay.kill(self.bea)
        self.overlay.advance(0.5)
        self.bea = self.overlay.add("bea", "203.0.113.3", self.bea.state)
        self.noUdp("203.0.113.3")
        self.overlay.advance(4)
        self.assertEqual(self.paths(), {"relayed"})
        self.assertTrue(self.ann.reaches(self.bea))

    def test_udpComesAndGoes(self) -> None:
        """Through a time in which UDP comes and goes there is a path at all times but moments."""
        self.pair()
        for minute in range(12):
            cuts: list[list[str | tuple[str, str]]] = [[], [(ANN, BEA)], [ANN], [ANN, BEA]]
            cut = cuts[minute % 4]
            self.overlay.cutUdp(*cut)
            self.overlay.advance(45)
            self.assertTrue(self.ann.reaches(self.bea), (minute, cut))
            self.overlay.advance(15)
        self.overlay.cutUdp()
        self.overlay.advance(320)
        self.assertEqual(self.paths(), {"direct"})
