"""
All ways out of the node as one port.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from vnet.client.dataplane.paths import Datagrams, Paths
from vnet.interfaces import IDatagramPort
from vnet.test.test_handover import Port
from vnet.testing import datagramsOf, inPairs
from vnet.values import Address, Train

SERVER, PEER = Address("192.0.2.1", 3478), Address("198.51.100.2", 5000)


@define(eq=False)
class FakeLeg:
    """
    A relay whose data begins with "d", and whose other answers concern others too.
    """

    sent: list[tuple[bytes, Address]] = field(factory=list)

    def send(self, datagrams: Datagrams) -> None:
        """See C{Carrier}."""
        self.sent += datagrams

    def sendTrains(self, trains: Sequence[Train]) -> None:
        """See C{Carrier}."""
        self.sent += datagramsOf(trains)

    def received(self, train: Train, found: list[Train]) -> None:
        """See C{Carrier}."""
        for data in train.datagrams():
            if data.startswith(b"d"):
                found.append(Train.single(data[1:], Address(*PEER[:2], "r1")))
            elif data.startswith(b"s"):
                found.append(Train.single(data, train.address))


class PathsTests(SynchronousTestCase):
    def setUp(self) -> None:
        """A port with one relay."""
        self.udp, self.leg = Port(), FakeLeg()
        self.paths = Paths(self.udp)
        self.got: list[tuple[bytes, Address]] = []
        self.paths.start(inPairs(self.got.extend))
        self.paths.add("r1", self.leg, SERVER)

    def arrive(self, *datagrams: tuple[bytes, Address]) -> None:
        """Datagrams have come to the UDP port."""
        self.paths._arrived([Train.single(*each) for each in datagrams])

    def test_face(self) -> None:
        """It is a port like any other."""
        verifyObject(IDatagramPort, self.paths)

    def test_out(self) -> None:
        """Each datagram takes the way that its address names; what names a relay that is gone is dropped."""
        via, gone = Address(*PEER[:2], "r1"), Address(*PEER[:2], "r2")
        self.paths.send([(b"a", PEER), (b"b", via), (b"c", gone), (b"e", PEER)])
        self.assertEqual(self.udp.sent, [(b"a", PEER), (b"e", PEER)])
        self.assertEqual(self.leg.sent, [(b"b", via)])
        self.paths.remove("r1")
        self.paths.send([(b"f", via), (b"g", PEER)])
        self.assertEqual(self.udp.sent[2:], [(b"g", PEER)])
        self.assertEqual((self.leg.sent, self.paths.counters["noLeg"]), ([(b"b", via)], 2))

    def test_trainsOut(self) -> None:
        """A train takes the way that its address names."""
        via, gone = Address(*PEER[:2], "r1"), Address(*PEER[:2], "r2")
        self.paths.sendTrains([Train.of(b"abc", 2, each) for each in (PEER, via, gone)])
        self.assertEqual(self.udp.sent, [(b"ab", PEER), (b"c", PEER)])
        self.assertEqual(self.leg.sent, [(b"ab", via), (b"c", via)])
        self.assertEqual(self.paths.counters["noLeg"], 2)

    def test_in(self) -> None:
        """What a relay brings comes from the peer, by that way; the relay's own answers reach who else asks it."""
        self.arrive((b"x", PEER), (b"dhello", SERVER), (b"stun", SERVER), (b"junk", SERVER))
        via = Address(*PEER[:2], "r1")
        self.assertEqual(self.got, [(b"x", PEER), (b"hello", via), (b"stun", SERVER)])

    def test_gone(self) -> None:
        """A server whose allocation is gone is a host like any other."""
        self.paths.remove("r1")
        self.arrive((b"dhello", SERVER))
        self.assertEqual(self.got, [(b"dhello", SERVER)])
