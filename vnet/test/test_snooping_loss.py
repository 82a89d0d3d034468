"""
Who listens to which group, where packets are lost: two forwarders with real tunnels, on a network without time of its own.
"""

from __future__ import annotations

import random

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.dataplane.forwarder import Forwarder
from vnet.protocols.codec.ethernet import multicastMac4
from vnet.protocols.codec.grouprecords import TO_EXCLUDE, GroupRecord
from vnet.protocols.codec.igmp import encodeIgmpReport
from vnet.protocols.codec.ip import UDP, encodeIp4
from vnet.protocols.machine.wireguard import WireGuard
from vnet.test.test_forwarder import frame4
from vnet.test.test_groups import DATA, MDNS
from vnet.testing import MemoryDevice, MemoryNetwork, MemoryPort
from vnet.values import Address

GAME, REPORTS = bytes((239, 1, 2, 3)), bytes((224, 0, 0, 22))
ADDRESSES = [bytes((100, 64, 0, number)) for number in (1, 2)]
POOL, POOL6 = "100.64.0.0/10", "fd00::/48"
STEP = 0.25


class Side:
    """
    One of the two: 0 sends to a group, 1 listens.
    """

    def __init__(self, network: MemoryNetwork, clock: Clock, number: int) -> None:
        self.number = number
        self.device = MemoryDevice(mtu=1440)
        self.port: MemoryPort = network.port(f"192.0.2.{number + 1}")
        draw = random.Random(number).randbytes
        self.machine = WireGuard(draw(32), random=draw, wallClock=lambda: int(clock.seconds() * 1e9))
        self.forwarder = Forwarder(
            self.device, self.port, self.machine, clock, lambda data, addr: None, lambda event: None
        )
        self.device.open()
        self.port.open()
        self.forwarder.start()
        self.forwarder.configure(f"100.64.0.{number + 1}", POOL, f"fd00::{number + 1}", POOL6)

    def meet(self, other: Side) -> None:
        """Have a tunnel to the other one."""
        number, key = other.number + 1, other.machine.publicKey
        self.forwarder.addMember(key, f"100.64.0.{number}", f"fd00::{number}")
        endpoint = Address(f"192.0.2.{number}", other.port.port)
        self.machine.addPeer(
            key, allowedIps=(f"100.64.0.{number}/32", f"fd00::{number}/128"), endpoint=endpoint
        )
        self.forwarder.setLive(key, True)

    def system(self, *groups: bytes) -> None:
        """The operating system has joined groups."""
        records = [GroupRecord(TO_EXCLUDE, group) for group in groups]
        report = encodeIgmpReport(ADDRESSES[self.number], records)
        self.device.deliver([frame4(report, multicastMac4(REPORTS))])


class LossTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.network = MemoryNetwork(self.clock, delay=0.02)
        self.sender, self.listener = self.sides = [Side(self.network, self.clock, each) for each in (0, 1)]
        self.sender.meet(self.listener)
        self.listener.meet(self.sender)
        for side in self.sides:
            side.system(MDNS)
        self.step(60)
        self.assertFalse(self.reaches())

    def tearDown(self) -> None:
        for side in self.sides:
            side.forwarder.stop()

    def step(self, seconds: float) -> None:
        """Time passes."""
        self.clock.pump([STEP] * int(seconds / STEP))

    def reaches(self) -> bool:
        """Whether a packet to the group goes to the listener: it may be lost."""
        before = self.sender.forwarder.counters["groupSpared"]
        self.sender.device.deliver([frame4(encodeIp4(ADDRESSES[0], GAME, UDP, DATA), multicastMac4(GAME))])
        return self.sender.forwarder.counters["groupSpared"] == before

    def until(self, longest: float) -> float:
        """How long it takes until the group's packets go to the listener."""
        for number in range(int(longest / STEP)):
            if self.reaches():
                return number * STEP
            self.step(STEP)
        return longest

    def lose(self, seconds: float) -> None:
        """A program joins the group while nothing arrives."""
        self.network.passes = lambda source, destination: False
        self.listener.system(GAME)
        self.step(seconds)
        self.network.passes = lambda source, destination: True

    def again(self) -> None:
        """Begin anew."""
        self.tearDown()
        self.setUp()

    def test_outages(self) -> None:
        """
        Where nothing arrives for a while, and nobody notices that, who joined meanwhile gets the group's packets soon after: it is
        told again, or the tunnel notices that it gets no answer.
        """
        for seconds in (0.5, 2, 5, 9, 14, 20, 40, 80):
            self.lose(seconds)
            self.assertLess(self.until(60), 8, seconds)
            self.again()

    def test_paths(self) -> None:
        """Where it takes so long that one side or both have given up the path the same is true when there is one again."""
        sides = (0,), (1,), (0, 1)
        for noticing in sides:
            self.lose(30)
            self.network.passes = lambda source, destination: False
            for number in noticing:
                key = self.sides[1 - number].machine.publicKey
                self.sides[number].forwarder.setLive(key, False)
            self.step(200)
            self.network.passes = lambda source, destination: True
            for number in noticing:
                key = self.sides[1 - number].machine.publicKey
                self.sides[number].forwarder.setLive(key, True)
            self.assertLess(self.until(60), 8, noticing)
            self.again()

    def test_losses(self) -> None:
        """Where a third of all packets is lost it takes seconds."""
        self.network.loss = 0.33
        self.listener.system(GAME)
        self.assertLess(self.until(60), 16)
