"""
From one path to another without loss.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import define, field
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from vnet.client.dataplane.handover import BOTH, KEPT, Handover
from vnet.interfaces import IDatagramPort
from vnet.testing import datagramsOf
from vnet.values import Address, Train

OLD, NEW, OTHER = Address("192.0.2.1", 1), Address("192.0.2.9", 9, "r1"), Address("198.51.100.1", 1)
Datagrams = Sequence[tuple[bytes, Address]]


@implementer(IDatagramPort)
@define(eq=False)
class Port:
    """
    A port that keeps what is sent.
    """

    port: int = 7
    sent: list[tuple[bytes, Address]] = field(factory=list)

    def open(self) -> None:
        """See L{IDatagramPort}."""

    def start(self, received: Callable[[Sequence[Train]], None]) -> None:
        """See L{IDatagramPort}."""

    def sendTrains(self, trains: Sequence[Train]) -> None:
        """See L{IDatagramPort}."""
        self.sent += datagramsOf(trains)

    def send(self, datagrams: Datagrams) -> None:
        """See L{IDatagramPort}."""
        self.sent += datagrams

    def sendLimited(self, datagrams: Datagrams, hopLimit: int) -> None:
        """See L{IDatagramPort}."""

    def sendWhole(self, data: bytes, addr: Address) -> bool:
        """See L{IDatagramPort}."""
        self.sent.append((data, addr))
        return len(data) < 9000

    def localAddresses(self) -> Sequence[str]:
        """See L{IDatagramPort}."""
        return ["192.0.2.7"]

    def close(self) -> None:
        """See L{IDatagramPort}."""

    def to(self, address: Address) -> list[bytes]:
        """What was sent there."""
        return [data for data, each in self.sent if each == address]


class HandoverTests(SynchronousTestCase):
    def setUp(self) -> None:
        """A port behind a handover that keeps what is sent."""
        self.clock, self.port = Clock(), Port()
        self.handover = Handover(self.port, self.clock)
        self.handover.keep(True)

    def stream(self, count: int, address: Address, start: int = 0) -> list[bytes]:
        """Send one datagram each millisecond."""
        sent = [b"%d" % n for n in range(start, start + count)]
        for each in sent:
            self.handover.send([(each, address)])
            self.clock.advance(0.001)
        return sent

    def test_face(self) -> None:
        """It is a port like any other."""
        verifyObject(IDatagramPort, self.handover)
        self.assertEqual((self.handover.port, list(self.handover.localAddresses())), (7, ["192.0.2.7"]))

    def test_better(self) -> None:
        """When a better path takes over, what follows goes to both for half a second, and nothing is sent again."""
        self.stream(100, OLD)
        self.handover.move(OLD, NEW)
        both = self.stream(499, NEW, 100)
        self.clock.advance(BOTH)
        after = self.stream(10, NEW, 1000)
        self.assertEqual(self.port.to(NEW), both + after)
        self.assertEqual(self.port.to(OLD)[100:], both)
        self.assertEqual((self.handover.resent, self.handover.doubled), (0, 499))

    def test_broken(self) -> None:
        """When a path breaks, what was sent on it since it last worked is sent again on the new one, in order."""
        self.stream(500, OLD)
        broke = self.clock.seconds()
        lost = self.stream(400, OLD, 500)
        self.stream(5, OTHER)
        self.handover.move(OLD, NEW, broke)
        self.clock.pump([0.01] * 10)
        self.assertEqual(self.port.to(NEW), lost)
        self.assertEqual((self.handover.resent, self.clock.getDelayedCalls()), (400, []))

    def test_notAtOnce(self) -> None:
        """What is sent again is spread over some time, and what is new does not wait for it."""
        lost = self.stream(1000, OLD)
        self.handover.move(OLD, NEW, 0.0)
        self.assertEqual(len(self.port.to(NEW)), 64)
        self.handover.send([(b"new", NEW)])
        self.assertEqual(self.port.to(NEW)[-1], b"new")
        self.clock.pump([0.01] * 30)
        self.assertEqual([each for each in self.port.to(NEW) if each != b"new"], lost)

    def test_breaksAgain(self) -> None:
        """When the new path breaks before long, what was sent again is sent again once more on the next one."""
        lost = self.stream(50, OLD)
        self.handover.move(OLD, NEW, 0.0)
        lost += self.stream(50, NEW, 50)
        self.handover.move(NEW, OTHER, 0.0)
        self.clock.pump([0.01] * 10)
        self.assertEqual(sorted(set(self.port.to(OTHER))), sorted(lost))

    def test_closed(self) -> None:
        """A port that is closed sends nothing again."""
        self.stream(500, OLD)
        self.handover.move(OLD, NEW, 0.0)
        self.handover.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_limit(self) -> None:
        """No more is remembered than the newest."""
        sent = self.stream(3 * KEPT, OLD)
        self.handover.move(OLD, NEW, 0.0)
        self.clock.pump([0.01] * 40)
        self.assertEqual(self.port.to(NEW), sent[-KEPT:])

    def test_alone(self) -> None:
        """Nothing is remembered while there is no other path to move to."""
        self.handover.keep(False)
        self.stream(100, OLD)
        self.handover.move(OLD, NEW, 0.0)
        self.assertEqual(self.port.to(NEW), [])

    def test_double(self) -> None:
        """A path whose peer has moved already is doubled on the other one, for half a second, unless it is left before."""
        self.handover.double(OLD, NEW)
        self.stream(10, OLD)
        self.clock.advance(BOTH)
        self.stream(10, OLD, 10)
        self.assertEqual((len(self.port.to(OLD)), len(self.port.to(NEW))), (20, 10))
        self.handover.double(OLD, NEW)
        self.handover.move(OLD, NEW, self.clock.seconds())
        self.stream(10, NEW, 20)
        self.assertEqual((len(self.port.to(OLD)), len(self.port.to(NEW))), (20, 20))

    def test_back(self) -> None:
        """A path that takes over again is not doubled onto itself."""
        self.handover.move(OLD, NEW)
        self.handover.move(NEW, OLD)
        self.handover.send([(b"x", OLD)])
        self.assertEqual(self.port.sent, [(b"x", OLD), (b"x", NEW)])
