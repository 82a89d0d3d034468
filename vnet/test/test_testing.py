"""
Tests for L{vnet.testing}: the doubles keep the contracts of what they stand for.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from vnet.interfaces import IDatagramPort
from vnet.test.bordertests import EXPERIMENTAL, DeviceContract, PortContract
from vnet.testing import MemoryDevice, MemoryNetwork, inPairs
from vnet.values import Address


class MemoryDeviceTests(DeviceContract):
    """
    The contract of devices.
    """

    __test__ = True

    def setUp(self) -> None:
        self.double = self.device = MemoryDevice()

    def systemSends(self, frames: Sequence[bytes]) -> None:
        self.double.deliver(frames)

    def systemGot(self) -> list[bytes]:
        return [each for each in self.double.take() if each[12:14] == EXPERIMENTAL]

    def blockedBy(self, prefix: str, interface: str) -> None:
        self.double.routes[prefix] = interface


class MemoryPortTests(PortContract):
    """
    The contract of ports.
    """

    __test__ = True

    host, host6 = "192.0.2.1", "2001:db8::1"

    def setUp(self) -> None:
        self.clock = Clock()
        self.network = MemoryNetwork(self.clock)

    def newPort(self, number: int = 0) -> IDatagramPort:
        return self.network.port(self.host, self.host6, port=number)

    def turn(self) -> None:
        self.clock.pump([0.01] * 3)


class MemoryNetworkTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.network = MemoryNetwork(self.clock, delay=0.05)
        self.alice, self.bob = self.network.port("192.0.2.1"), self.network.port("192.0.2.2")
        self.received: list[tuple[bytes, Address]] = []
        for port in (self.alice, self.bob):
            port.open()
        self.bob.start(inPairs(self.received.extend))
        self.toBob = Address("192.0.2.2", self.bob.port)

    def test_delay(self) -> None:
        """A datagram arrives after the delay, not before, and never inside the call that sent it."""
        self.alice.send([(b"x", self.toBob)])
        self.clock.advance(0.04)
        self.assertEqual(self.received, [])
        self.clock.advance(0.02)
        self.assertEqual(len(self.received), 1)

    def test_loss(self) -> None:
        """The share of datagrams that is lost is the one that was asked for."""
        self.network.loss = 0.25
        self.alice.send([(b"x", self.toBob)] * 2000)
        self.clock.advance(1)
        self.assertTrue(1400 < len(self.received) < 1600, len(self.received))
        self.assertEqual(self.network.counters["lost"] + len(self.received), 2000)

    def test_cut(self) -> None:
        """Where the network lets nothing pass, nothing arrives."""
        self.network.passes = lambda source, destination: source.host != "192.0.2.1"
        self.alice.send([(b"x", self.toBob)])
        self.clock.advance(1)
        self.assertEqual(self.received, [])
        self.assertEqual(self.network.counters["blocked"], 1)

    def test_nobody(self) -> None:
        """What goes to an address that nobody has, or in a version that the sender has not, is lost."""
        self.alice.send([(b"x", Address("192.0.2.9", 1)), (b"x", Address("2001:db8::2", self.bob.port))])
        self.clock.advance(1)
        self.assertEqual(self.network.counters["nobody"], 1)
        self.assertEqual(self.received, [])
