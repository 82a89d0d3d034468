"""
Where the tunnel's datagrams go: whole nodes, one of which is hostile or moves.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from vnet.client.logins import Logins
from vnet.protocols.codec.ethernet import IPV4, memberMac
from vnet.protocols.codec.icmp import Echo, encodeEcho
from vnet.test.nodelab import URL, Overlay, TestNode
from vnet.testing import MemoryPort, inPairs
from vnet.values import Address

#: Somebody who has asked for nothing.
VICTIM = Address("192.0.2.66", 53)


def isTunnel(data: bytes) -> bool:
    """
    Whether a datagram carries packets of the tunnel.
    """
    return data[:4] == b"\x04\0\0\0"


class RoamingTests(SynchronousTestCase):
    """
    Ann and Bea share a network, with a tunnel between them.
    """

    def setUp(self) -> None:
        self.overlay = Overlay(self.mktemp)
        self.addCleanup(self.overlay.stopAll)
        self.ann, self.bea = self.overlay.add("ann", "203.0.113.1"), self.overlay.add("bea", "203.0.113.2")
        self.ann.do(self.ann.node.login(URL))
        self.ann.do(self.ann.node.create("home", "secret"))
        self.bea.do(self.bea.node.joinInvite(self.ann.do(self.ann.node.invite("home"))["link"]))
        self.overlay.advance(2)
        self.assertTrue(self.ann.reaches(self.bea))
        self.addresses = [bytes(map(int, each.address.split("."))) for each in (self.ann, self.bea)]

    def sends(self, node: TestNode, count: int = 1) -> None:
        """
        The operating system of one has packets for the other.
        """
        source, destination = self.addresses if node is self.ann else reversed(self.addresses)
        packet = encodeEcho(Echo(source, destination, 1, 1, bytes(500), reply=True))
        node.device.deliver([memberMac(destination) + node.device.mac + IPV4 + packet] * count)

    def spoof(self) -> None:
        """
        Bea sends an authentic packet, as if the victim had sent it.
        """
        passes, self.overlay.internet.passes = self.overlay.internet.passes, lambda source, destination: False
        before = len(self.bea.port.sent)
        self.sends(self.bea)
        self.overlay.internet.passes = passes
        data = [data for data, _ in self.bea.port.sent[before:] if isTunnel(data)]
        self.overlay.internet.carry(VICTIM, Address("203.0.113.1", self.ann.port.port), data)

    def toVictim(self) -> tuple[int, int]:
        """
        How many datagrams of the tunnel, and how many others, Ann has sent to the victim.
        """
        sent = [data for data, address in self.ann.port.sent if address == VICTIM]
        return sum(map(isTunnel, sent)), sum(not isTunnel(data) for data in sent)

    def test_noFlood(self) -> None:
        """
        A member cannot have its traffic sent to somebody else: whoever has not answered a check gets nothing of the tunnel,
        and few checks.
        """
        for _ in range(20):
            self.spoof()
            self.overlay.advance(0.5)
            self.sends(self.ann, 100)
        tunnel, checks = self.toVictim()
        self.assertEqual(tunnel, 0)
        self.assertLessEqual(checks, 20)
        self.assertTrue(self.ann.reaches(self.bea))

    def test_noConsent(self) -> None:
        """
        Who answers no more checks is sent nothing more, though it be authentic what comes from it.
        """
        self.bea.core.puncher.close()
        for _ in range(60):
            self.sends(self.ann)
            self.overlay.advance(1)
        for _ in range(10):
            self.spoof()
            self.overlay.advance(0.5)
            self.sends(self.ann, 100)
        self.assertEqual(self.toVictim()[0], 0)

    def test_moves(self) -> None:
        """
        When a NAT gives a member another address without a word, the tunnel follows within a second of the first packet
        from there, in both directions.
        """
        moved = self.overlay.internet.port("198.51.100.77", port=self.bea.port.port)
        self._take(self.bea, moved)
        self.overlay.advance(3)
        self.sends(self.bea)
        self.overlay.advance(1)
        self.assertTrue(self.ann.reaches(self.bea))
        path = self.ann.do(self.ann.node.peer(self.bea.address))
        self.assertEqual(path["endpoint"], f"198.51.100.77:{moved.port}")

    def filtered(self, node: TestNode) -> None:
        """
        From now on a node gets only what comes from where it has sent to.
        """
        host, own = self.overlay.internet, node.port.hosts[0]
        asked: set[Address] = set()

        def passes(source: Address, destination: Address) -> bool:
            if source.host == own:
                asked.add(destination)
            return destination.host != own or source in asked

        host.passes = passes

    def test_movesBehindFilter(self) -> None:
        """
        A node that gets another address finds a peer again that hears only whom it has sent to, within a second and a half.
        """
        self.filtered(self.bea)
        self.overlay.advance(15)
        self.assertTrue(self.ann.reaches(self.bea))
        moved = self.overlay.internet.port("198.51.100.77", port=self.ann.port.port)
        self._take(self.ann, moved)
        self.ann.core.linksChanged()
        self.overlay.advance(1.5)
        self.assertTrue(self.ann.reaches(self.bea))
        path = self.bea.do(self.bea.node.peer(self.ann.address))
        self.assertEqual(path["endpoint"], f"198.51.100.77:{moved.port}")

    def test_remappedBehindFilter(self) -> None:
        """
        The same when only a NAT has changed the address, of which nobody tells, and the node sends.
        """
        self.filtered(self.bea)
        self.overlay.advance(15)
        self.assertTrue(self.ann.reaches(self.bea))
        moved = self.overlay.internet.port("198.51.100.77", port=self.ann.port.port)
        self._take(self.ann, moved)
        for _ in range(30):
            self.sends(self.ann)
            self.overlay.advance(0.05)
        self.assertTrue(self.bea.reaches(self.ann))
        path = self.bea.do(self.bea.node.peer(self.ann.address))
        self.assertEqual(path["endpoint"], f"198.51.100.77:{moved.port}")

    def test_silentPeer(self) -> None:
        """
        A peer that is gone without a word does not make a node ask the mediator or its STUN servers without end.
        """
        stun = Address("198.51.100.1", 3478)
        self.bea.port.close()
        mark = len(self.ann.port.sent)
        asked: list[object] = []
        self.patch(Logins, "tell", lambda logins, command, **arguments: asked.append(command))
        for _ in range(400):
            self.sends(self.ann)
            self.overlay.advance(0.05)
        self.assertLessEqual(len(asked), 20)
        self.assertLessEqual([address for _, address in self.ann.port.sent[mark:]].count(stun), 40)

    def _take(self, node: TestNode, moved: MemoryPort) -> None:
        internet = self.overlay.internet
        internet.unbind(node.port)
        moved.open()
        moved.start(inPairs(node.port.arrived))
        node.port.hosts = moved.hosts
