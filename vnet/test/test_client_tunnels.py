"""
Tests for L{vnet.client.tunnels}.
"""

from __future__ import annotations

import os
import time

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.dataplane.clamp import Clamp
from vnet.client.dataplane.forwarder import Forwarder
from vnet.client.tunnels import TunnelTable
from vnet.protocols.machine.noise import StaticKey
from vnet.protocols.machine.wireguard import WireGuard
from vnet.testing import MemoryDevice, MemoryNetwork
from vnet.values import Address

BOB = StaticKey(os.urandom(32)).public
THERE = Address("192.0.2.2", 1000)


class TunnelTableTests(SynchronousTestCase):
    """
    Tests of L{TunnelTable}.
    """

    def setUp(self) -> None:
        clock = Clock()
        self.machine = WireGuard(os.urandom(32), random=os.urandom, wallClock=time.time_ns)
        forwarder = Forwarder(
            MemoryDevice(),
            MemoryNetwork(clock).port("192.0.2.1"),
            self.machine,
            clock,
            lambda data, addr: None,
            lambda event: None,
        )
        self.secrets: tuple[bytes, ...] = (b"s" * 32,)
        self.asked = 0
        self.table = TunnelTable(clock, self.machine, forwarder, Clamp(1400, clock))
        self.table.add(BOB, "100.64.0.2", "fd00::2", self.secretsOfBob)

    def secretsOfBob(self) -> tuple[bytes, ...]:
        self.asked += 1
        return self.secrets

    def test_onDemand(self) -> None:
        """A member costs nothing of the machine until its tunnel is opened, and nothing any more when it is shut."""
        self.assertIsNone(self.machine.peerFor("100.64.0.2"))
        self.assertEqual((self.asked, list(self.table.opened)), (0, []))
        self.table.open(BOB)
        self.table.open(BOB)
        self.assertEqual(self.machine.peerFor("100.64.0.2"), BOB)
        self.assertEqual((self.asked, list(self.table.opened)), (1, [BOB]))
        self.table.shut(BOB)
        self.table.shut(BOB)
        self.assertIsNone(self.machine.peerFor("fd00::2"))
        self.assertEqual(list(self.table.opened), [])

    def test_nobody(self) -> None:
        """What is asked of one who is no member, or has no tunnel, has no effect."""
        for key in (b"x" * 32, BOB):
            self.table.setEndpoint(key, THERE, True)
            self.table.setSize(key, 1300)
            self.table.refresh(key)
            self.table.shut(key)
            self.assertEqual(self.table.status(key).endpoint, None)
        self.table.open(b"x" * 32)
        self.table.remove(b"x" * 32)
        self.assertEqual((self.asked, list(self.table.opened)), (0, []))

    def test_refresh(self) -> None:
        """Preshared keys that change are those of the next handshake."""
        self.table.open(BOB)
        self.table.setEndpoint(BOB, THERE)
        self.assertEqual(self.table.status(BOB).endpoint, THERE)
        self.secrets = (b"x" * 31,)  # of a wrong size: the machine says so
        self.assertRaises(ValueError, self.table.refresh, BOB)

    def test_impossible(self) -> None:
        """A tunnel that cannot be is not counted as one."""
        self.secrets = (b"x",)
        self.assertRaises(ValueError, self.table.open, BOB)
        self.assertEqual(list(self.table.opened), [])

    def test_remove(self) -> None:
        """With a member its tunnel goes."""
        self.table.open(BOB)
        self.table.remove(BOB)
        self.assertIsNone(self.machine.peerFor("100.64.0.2"))
        self.table.open(BOB)
        self.assertEqual(list(self.table.opened), [])
