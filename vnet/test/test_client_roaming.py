"""
Where the tunnel's datagrams go: whole nodes, one of which is hostile or moves.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.codec.ethernet import IPV4, memberMac
from vnet.protocols.codec.icmp import Echo, encodeEcho
from vnet.test.nodelab import URL, Overlay, TestNode
from vnet.testing import MemoryPort
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

    def _take(self, node: TestNode, moved: MemoryPort) -> None:
        internet = self.overlay.internet
        internet.unbind(node.port)
        moved.open()
        moved.start(node.port.arrived)
        node.port.hosts = moved.hosts
