"""
Tests for L{vnet.test.natsim}: how a NAT chooses ports, what it has room for, and where packets die.
"""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from vnet.test.natsim import (
    Block,
    Firewall,
    HeapClock,
    Internet,
    Link,
    Nat,
    NatHost,
    Preserving,
    RandomPorts,
    Sequential,
    SimPort,
)
from vnet.testing import inPairs
from vnet.values import Address

APD, EI = "address-and-port-dependent", "endpoint-independent"
NAT = "198.51.100.1"


class Stranger:
    """
    A public computer that notes from where its ports hear.
    """

    def __init__(self, internet: Internet, host: str = "203.0.113.1") -> None:
        self.host, self.computer = host, NatHost({host: internet})
        self.heard: list[Address] = []

    def listen(self, number: int = 0) -> Address:
        """
        Open a port.
        """
        port = opened(self.computer, number)
        port.start(inPairs(lambda batch: self.heard.extend(source for _, source in batch)))
        return Address(self.host, port.port)


def opened(computer: NatHost, number: int = 0) -> SimPort:
    """
    An open port of a computer.
    """
    port = computer.port(number)
    port.open()
    return port


class KnobCase(SynchronousTestCase):
    """
    A NAT with two computers behind it, and a stranger.
    """

    def setUp(self) -> None:
        self.clock = HeapClock()
        self.internet = Internet(self.clock, seed=7, delay=0.01)
        self.stranger = Stranger(self.internet)
        self.received: list[tuple[bytes, Address]] = []

    def build(self, **knobs: Any) -> Nat:
        """
        Make the NAT.
        """
        self.lan = self.internet.lan()
        self.nat = Nat(self.lan, self.internet, NAT, **knobs)
        self.inside = NatHost({"10.0.0.2": self.lan})
        self.other = NatHost({"10.0.0.3": self.lan})
        return self.nat

    def sender(self, number: int = 0, computer: NatHost | None = None) -> SimPort:
        """
        A port behind the NAT; what it receives is in C{received}.
        """
        port = opened(computer or self.inside, number)
        port.start(inPairs(self.received.extend))
        return port

    def sent(self, port: SimPort, *remotes: Address) -> list[Address]:
        """
        Send to each, 0.1 seconds apart.

        @return: from where the stranger heard it.
        """
        before = len(self.stranger.heard)
        for remote in remotes:
            port.send([(b"x", remote)])
            self.clock.run(0.1)
        return self.stranger.heard[before:]

    def remotes(self, count: int) -> list[Address]:
        """
        So many ports of the stranger.
        """
        return [self.stranger.listen() for _ in range(count)]

    def ports(self, count: int = 20, **knobs: Any) -> list[int]:
        """
        The external ports of so many mappings.
        """
        self.build(mapping=APD, **knobs)
        return [source.port for source in self.sent(self.sender(), *self.remotes(count))]


class AllocationTests(KnobCase):
    """
    How ports are chosen.
    """

    def test_sequential(self) -> None:
        """
        A quiet sequential NAT goes on by its step, up or down, also from the last port to the first.
        """
        for step in (1, 2, 256, -1):
            ports = self.ports(allocation=Sequential(step))
            self.assertEqual({(b - a) % 64512 for a, b in itertools.pairwise(ports)}, {step % 64512})
        ports = self.ports(count=6, allocation=Sequential(1, low=5000, high=5003))[:4]
        self.assertEqual(sorted(ports), [5000, 5001, 5002, 5003])

    def test_noise(self) -> None:
        """
        Of a busy one the others take ports in between, in the mean as many as they are.
        """
        ports = self.ports(count=300, allocation=Sequential(2, noise=20.0))
        steps = [(b - a) % 64512 for a, b in itertools.pairwise(ports)]
        self.assertEqual({step % 2 for step in steps}, {0})
        # Every 0.1 s: 2 others and our own.
        self.assertTrue(5.4 < sum(steps) / len(steps) < 6.6, sum(steps) / len(steps))
        self.assertGreater(len(set(steps)), 5)

    def test_random(self) -> None:
        """
        A random one uses its whole range, and only that, and no port twice.
        """
        for low, high in ((1024, 65535), (50000, 50511)):
            ports = self.ports(count=200, allocation=RandomPorts(low, high))
            self.assertTrue(all(low <= port <= high for port in ports))
            self.assertGreater(max(ports) - min(ports), (high - low) * 0.9)
            self.assertEqual(len(set(ports)), 200)

    def test_full(self) -> None:
        """
        When all ports are taken nothing goes out, until a mapping is over.
        """
        self.assertEqual(
            sorted(self.ports(count=6, allocation=RandomPorts(4000, 4003))), [4000, 4001, 4002, 4003]
        )
        self.clock.run(121)
        self.assertEqual(len(self.sent(self.sender(), *self.remotes(1))), 1)

    def test_block(self) -> None:
        """
        Each computer inside has a block of its own.
        """
        self.build(mapping=APD, allocation=Block(512))
        remotes = self.remotes(100)
        blocks = []
        for computer in (self.inside, self.other):
            ports = [source.port for source in self.sent(self.sender(computer=computer), *remotes)]
            blocks.append({(port - 1024) // 512 for port in ports})
        self.assertEqual([len(block) for block in blocks], [1, 1])
        self.assertNotEqual(*blocks)

    def test_preserving(self) -> None:
        """
        The port is kept while it is free; the second computer with the same gets another, for all destinations.
        """
        self.build(allocation=Preserving())
        remotes = self.remotes(2)
        first = self.sent(self.sender(4000), *remotes)
        second = self.sent(self.sender(4000, self.other), *remotes)
        self.assertEqual(set(first), {Address(NAT, 4000)})
        self.assertEqual(len(set(second)), 1)
        self.assertNotEqual(second[0].port, 4000)

    def test_pooling(self) -> None:
        """
        With paired pooling a computer keeps its public address; with arbitrary pooling it does not.
        """
        for paired, count in ((True, 1), (False, 3)):
            self.build(mapping=APD, pool=("198.51.100.2", "198.51.100.3"), paired=paired, preserves=False)
            heard = self.sent(self.sender(), *self.remotes(30))
            self.assertEqual(len({source.host for source in heard}), count)


class LifetimeTests(KnobCase):
    """
    For how long something is remembered.
    """

    def answers(self, after: float, remote: Address) -> bool:
        """
        Whether what the stranger sends after so many seconds comes in.
        """
        before, external = len(self.received), self.stranger.heard[-1]
        self.clock.run(after)
        self.internet.send(b"y", remote, external)
        self.clock.run(0.1)
        return len(self.received) > before

    def test_unreplied(self) -> None:
        """
        As with Linux, a mapping that was never answered ends after 30 seconds, one that was after 120.
        """
        self.build(unreplied=30.0, refreshedInbound=True)
        port, (remote,) = self.sender(), self.remotes(1)
        self.sent(port, remote)
        self.assertFalse(self.answers(31, remote))
        self.sent(port, remote)
        self.assertTrue(self.answers(1, remote))
        self.sent(port, remote)
        self.assertTrue(self.answers(115, remote))
        self.assertTrue(self.answers(115, remote))
        self.assertFalse(self.answers(125, remote))

    def test_outbound(self) -> None:
        """
        Where only outbound packets count, answers keep nothing alive.
        """
        self.build(lifetime=15.0)
        port, (remote,) = self.sender(), self.remotes(1)
        self.sent(port, remote)
        self.assertTrue(self.answers(10, remote))
        self.assertFalse(self.answers(10, remote))

    def test_permission(self) -> None:
        """
        What keeps the mapping alive towards one remote address does not keep the permission of another.
        """
        self.build()
        port, (one, other) = self.sender(), self.remotes(2)
        self.sent(port, one)
        for _ in range(10):
            self.sent(port, other)
            self.clock.run(20)
        self.assertFalse(self.answers(0, one))
        self.assertTrue(self.answers(0, other))


class BudgetTests(KnobCase):
    """
    How many mappings there may be.
    """

    def test_peak(self) -> None:
        """
        The peak is of mappings at once, for each computer; what is over does not count.
        """
        self.build(mapping=APD, lifetime=10.0)
        port, remotes = self.sender(), self.remotes(60)
        self.sent(port, *remotes)
        self.assertEqual(self.nat.counters["made"], 60)
        # One each 0.1 s, of which each lives for 10 s.
        self.assertEqual(self.nat.peakMappings["10.0.0.2"], 60)
        self.clock.run(20)
        self.assertEqual(self.nat.inUse("10.0.0.2"), 0)
        self.sent(self.sender(computer=self.other), *remotes[:5])
        self.assertEqual((self.nat.peakMappings["10.0.0.2"], self.nat.peakMappings["10.0.0.3"]), (60, 5))
        self.assertEqual(self.nat.peak, 60)

    def test_counts(self) -> None:
        """
        An endpoint-independent NAT counts its mapping once, or as Linux each remote address.
        """
        for counts, peak in (("mappings", 1), ("flows", 25)):
            self.build(counts=counts)
            self.sent(self.sender(), *self.remotes(25))
            self.assertEqual((self.nat.peak, self.nat.inUse("10.0.0.2")), (peak, peak))
            self.clock.run(200)
            self.assertEqual(self.nat.inUse("10.0.0.2"), 0)

    def test_refuses(self) -> None:
        """
        At the limit a new mapping is refused, for this computer only, and the old ones go on.
        """
        for knobs in ({"mapping": APD}, {"counts": "flows"}):
            self.build(limit=10, **knobs)
            port, remotes = self.sender(), self.remotes(15)
            self.assertEqual(len(self.sent(port, *remotes)), 10)
            self.assertEqual((self.nat.peak, self.nat.counters["refused"]), (10, 5))
            self.assertEqual(len(self.sent(port, *remotes[:10])), 10)
            self.assertEqual(len(self.sent(self.sender(computer=self.other), *remotes)), 10)

    def test_oldest(self) -> None:
        """
        Or the oldest makes room.
        """
        self.build(mapping=APD, limit=10, overflow="oldest")
        port, remotes = self.sender(), self.remotes(15)
        sources = self.sent(port, *remotes)
        self.assertEqual((len(sources), self.nat.inUse("10.0.0.2")), (15, 10))
        self.internet.send(b"y", remotes[0], sources[0])
        self.internet.send(b"y", remotes[14], sources[14])
        self.clock.run(1)
        self.assertEqual([source for _, source in self.received], [remotes[14]])


class TrapTests(KnobCase):
    """
    The packet that comes too early.
    """

    def test_trap(self) -> None:
        """
        After it, what goes to its sender leaves from another port; to others from the same as before; after 30 s all is well.
        """
        self.build(trap=True)
        port, (one, other) = self.sender(4000), self.remotes(2)
        self.assertEqual(self.sent(port, other), [Address(NAT, 4000)])
        self.internet.send(b"early", one, Address(NAT, 4000))
        self.clock.run(0.1)
        (moved,) = self.sent(port, one)
        self.assertNotEqual(moved, Address(NAT, 4000))
        self.assertEqual(self.sent(port, other, one), [Address(NAT, 4000), moved])
        for external in (moved, Address(NAT, 4000)):
            self.internet.send(b"y", one, external)
        self.clock.run(1)
        self.assertEqual(len(self.received), 1)
        self.clock.run(200)
        self.assertEqual(self.sent(port, one), [Address(NAT, 4000)])

    def test_firstPacket(self) -> None:
        """
        The same holds for a computer that had sent nothing yet; and not when its packet came first.
        """
        self.build(trap=True)
        one, other = self.remotes(2)
        self.internet.send(b"early", one, Address(NAT, 4000))
        self.clock.run(0.1)
        port = self.sender(4000)
        self.assertNotEqual(self.sent(port, one)[0].port, 4000)
        self.sent(port, other)
        self.internet.send(b"late", other, Address(NAT, 4000))
        self.assertEqual(self.sent(port, other), [Address(NAT, 4000)])

    def test_without(self) -> None:
        """
        A NAT without it does nothing of the kind.
        """
        self.build()
        port, (one,) = self.sender(4000), self.remotes(1)
        self.internet.send(b"early", one, Address(NAT, 4000))
        self.clock.run(0.1)
        self.assertEqual(self.sent(port, one), [Address(NAT, 4000)])


class HopTests(KnobCase):
    """
    Where packets die, and what they have opened until then.
    """

    def opens(self, hopLimit: int) -> tuple[bool, bool]:
        """
        @return: whether a packet with this limit opens the NAT, and whether it arrives.
        """
        self.build()
        port, (remote,) = self.sender(4000), self.remotes(1)
        before = len(self.stranger.heard)
        port.sendLimited([(b"x", remote)], hopLimit)
        self.clock.run(0.1)
        arrived = len(self.stranger.heard) > before
        self.internet.send(b"y", remote, Address(NAT, 4000))
        self.clock.run(0.1)
        opened, self.received = bool(self.received), []
        return opened, arrived

    def test_oneNat(self) -> None:
        """
        A packet that dies in the NAT opens nothing; one that dies behind it has opened it; with enough it arrives.
        """
        self.assertEqual(
            [self.opens(limit) for limit in (1, 2, 7, 8)],
            [(False, False), (True, False), (True, False), (True, True)],
        )

    def test_double(self) -> None:
        """
        Two NATs and what lies between them cost as many hops as there are.
        """
        carrier = self.internet.lan(hops=2)
        outer = Nat(carrier, self.internet, "198.51.100.9")
        lan = self.internet.lan()
        inner = Nat(lan, carrier, "100.64.0.2")
        port, (remote,) = opened(NatHost({"10.0.0.2": lan}), 4000), self.remotes(1)
        made = []
        for limit in (1, 2, 4, 5, 11):
            port.sendLimited([(b"x", remote)], limit)
            self.clock.run(0.1)
            made.append((inner.counters["made"], outer.counters["made"], len(self.stranger.heard)))
        self.assertEqual(made, [(0, 0, 0), (1, 0, 0), (1, 0, 0), (1, 1, 0), (1, 1, 1)])


class LinkTests(KnobCase):
    """
    Loss, delay and jitter.
    """

    def test_link(self) -> None:
        """
        What is said of two addresses holds for them, both ways, and for no others.
        """
        near, far = Stranger(self.internet, "203.0.113.5"), Stranger(self.internet, "203.0.113.6")
        self.internet.connect(["203.0.113.5"], ["203.0.113.6"], Link(delay=0.2, jitter=0.1, loss=0.5))
        ports = {each: each.listen(99) for each in (near, far)}
        times: list[float] = []
        port = opened(near.computer)
        receiver = opened(far.computer, 98)
        receiver.start(lambda batch: times.extend(self.clock.seconds() - start for _ in batch))
        for _ in range(1000):
            start = self.clock.seconds()
            port.send([(b"x", Address("203.0.113.6", 98))])
            self.clock.run(0.5)
        self.assertTrue(420 < len(times) < 580, len(times))
        self.assertTrue(0.2 <= min(times) < 0.21 < 0.29 < max(times) <= 0.3)
        opened(self.stranger.computer).send([(b"x", ports[far])])
        self.clock.run(0.011)
        self.assertEqual(len(far.heard), 1)

    def test_watcher(self) -> None:
        """
        What becomes of packets is counted and told.
        """
        told: Counter[str] = Counter()
        self.internet.packets.watcher = lambda what, *rest: told.update([what])
        self.build(passesUdp=False)
        self.sent(self.sender(), *self.remotes(3))
        self.assertEqual(told, {"sent": 3, "refused": 3})
        self.assertEqual(told, self.internet.packets.counters)


class FirewallTests(KnobCase):
    """
    L{Firewall}.
    """

    def test_firewall(self) -> None:
        """
        What was not asked for stays outside, the address stays the same, and an answer comes in while the flow is young.
        """
        lan = self.internet.lan()
        host = "2001:db8:1::2"
        Firewall(lan, self.internet, (host,))
        port = opened(NatHost({host: lan}), 4000)
        port.start(inPairs(self.received.extend))
        stranger = Stranger(self.internet, "2001:db8:2::2")
        one, other = stranger.listen(1), stranger.listen(2)
        inside = Address(host, 4000)
        self.internet.send(b"early", one, inside)
        self.clock.run(0.1)
        port.send([(b"x", one)])
        self.clock.run(0.1)
        self.assertEqual(stranger.heard, [inside])
        for remote in (one, other):
            self.internet.send(b"y", remote, inside)
        self.clock.run(130)
        self.internet.send(b"late", one, inside)
        self.clock.run(0.1)
        self.assertEqual(self.received, [(b"y", one)])


class MoveTests(KnobCase):
    """
    A computer that changes its place.
    """

    def test_move(self) -> None:
        """
        Its ports stay open, and have the new addresses.
        """
        self.build()
        port, (remote,) = self.sender(4000), self.remotes(1)
        self.sent(port, remote)
        self.inside.move({"203.0.113.77": self.internet})
        self.assertEqual(
            (self.sent(port, remote), port.localAddresses()),
            ([Address("203.0.113.77", 4000)], ("203.0.113.77",)),
        )
        self.internet.send(b"y", remote, Address(NAT, 4000))
        self.clock.run(1)
        self.assertEqual(self.received, [])
