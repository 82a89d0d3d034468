"""
Two punchers behind NATs that need more than checks, in an Internet in memory.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from attrs import define, evolve, field
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.dataplane.paths import Paths
from vnet.client.dataplane.sockets import SpareSockets
from vnet.protocols.codec import signal as signals
from vnet.protocols.codec.natsignal import Prediction, Traits
from vnet.protocols.codec.stun import isStun
from vnet.protocols.punch import Attempt, Puncher
from vnet.protocols.stun import StunServer
from vnet.test.natsim import HeapClock, Internet, Nat, NatHost
from vnet.test.natsim.ports import Allocation, RandomPorts, Sequential
from vnet.testing import inPairs
from vnet.values import Address

STUN = Address("198.51.100.1", 3478)
APDM = "address-and-port-dependent"
EASY = Traits(mapping="endpoint-independent", filtering=APDM, allocation="preserving")
LATENCY = 0.05


@define(eq=False)
class Side:
    """
    One computer behind a NAT.
    """

    lab: Lab
    host: NatHost
    nat: Nat
    traits: Traits
    noise: float = 0.0
    paths: Paths = field(init=False)
    sockets: SpareSockets = field(init=False)
    puncher: Puncher = field(init=False)
    attempt: Attempt | None = field(default=None, init=False)
    other: Side | None = field(default=None, init=False)
    probes: list[Address] = field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self.paths = Paths(self.host.port())
        self.paths.open()
        self.sockets = SpareSockets(self.host.port, self.paths)
        self.puncher = Puncher(
            self.lab.clock,
            self.send,
            self.lab.random.randbytes,
            sockets=self.sockets,
            sendLimited=self.paths.sendLimited,
        )
        self.paths.start(inPairs(self.received))
        self.puncher.setLocal(list(self.host.addresses), self.paths.port)
        self.puncher.setServers([STUN])
        self.puncher.setTraits(evolve(self.traits, host=self.nat.external), self.noise)

    def send(self, datagrams: list[tuple[bytes, Address]]) -> None:
        """Note what goes out."""
        self.probes += [address for _, address in datagrams if address.host != STUN.host]
        self.paths.send(datagrams)

    def received(self, datagrams: Any) -> None:
        """Hand on what is STUN."""
        for data, source in datagrams:
            if isStun(data):
                self.puncher.datagramReceived(data, source)

    def connect(self, other: Side, controlling: bool, startAt: float, observed: str) -> None:
        """Begin."""
        self.other = other
        self.attempt = self.puncher.connect(
            b"peer",
            controlling=controlling,
            startAt=startAt,
            onEvent=lambda event: None,
            observed=observed,
            onSignal=self.tell,
        )
        self.tell()

    def tell(self) -> None:
        """Send the other side a signal, as through a mediator."""
        if self.attempt is not None and self.other is not None:
            data = signals.encode(self.attempt.signal(1))
            self.lab.clock.callLater(LATENCY, self.other.told, data)

    def told(self, data: bytes) -> None:
        """A signal has come."""
        if self.attempt is not None:
            self.attempt.remoteSignal(signals.decode(data))

    @property
    def isDirect(self) -> bool:
        """Whether this side has a path."""
        return self.attempt is not None and self.attempt.selected is not None


@define(eq=False)
class Lab:
    """
    An Internet with a STUN server.
    """

    seed: int
    loss: float = 0.02
    clock: HeapClock = field(factory=HeapClock, init=False)
    random: random.Random = field(init=False)
    internet: Internet = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.internet = Internet(self.clock, self.seed, 0.04, self.loss, keepsLog=False)
        port = self.internet.port(STUN.host, port=STUN.port)
        port.open()
        server: Any = StunServer(self.clock)

        class Transport:
            def write(self, data: bytes, address: tuple[str, int]) -> None:
                port.send([(data, Address(*address))])

        server.transport = Transport()

        def received(batch: Any) -> None:
            for data, source in batch:
                server.datagramReceived(data, source[:2])

        port.start(inPairs(received))

    def side(self, number: int, traits: Traits = EASY, noise: float = 0.0, **behaviour: Any) -> Side:
        """A computer behind a NAT of this behaviour."""
        lan = self.internet.lan()
        nat = Nat(lan, self.internet, f"203.0.113.{number}", unreplied=30.0, **behaviour)
        return Side(self, NatHost({f"192.168.{number}.2": lan}), nat, traits, noise)

    def connect(
        self, one: Side, two: Side, seconds: float, observed: bool = True, late: float = 0.0
    ) -> float | None:
        """
        @return: seconds from the start to a path on both sides.
        """
        self.clock.run(1.0)
        start = self.clock.seconds() + 0.1
        one.connect(two, True, start, two.nat.external if observed else "")
        two.connect(one, False, start + late, one.nat.external if observed else "")
        reached = self.clock.run(seconds, lambda: one.isDirect and two.isDirect)
        return self.clock.seconds() - start if reached else None


def symmetric(allocation: Allocation) -> dict[str, Any]:
    """The behaviour of a NAT that gives each destination another port."""
    return {"mapping": APDM, "allocation": allocation}


SEQUENTIAL = Traits(mapping=APDM, filtering=APDM, allocation="sequential", step=1)
BLOCK = Traits(mapping=APDM, filtering=APDM, allocation="block", low=20000, high=20511)
RANDOM = Traits(mapping=APDM, filtering=APDM, allocation="random")


def easy(lab: Lab, number: int) -> Side:
    """A computer behind a NAT of a home."""
    return lab.side(number)


def trapped(lab: Lab, number: int) -> Side:
    """The same, but what comes early spoils the mapping."""
    return lab.side(number, trap=True)


def sequential(lab: Lab, number: int) -> Side:
    """Behind a quiet NAT that gives one port after the other."""
    return lab.side(number, SEQUENTIAL, **symmetric(Sequential()))


def noisy(lab: Lab, number: int) -> Side:
    """Behind one with a step of 2, and many others."""
    return lab.side(number, evolve(SEQUENTIAL, step=2), 20.0, **symmetric(Sequential(2, 20.0)))


def block(lab: Lab, number: int) -> Side:
    """Behind a carrier's NAT."""
    return lab.side(number, BLOCK, **symmetric(RandomPorts(20000, 20511)))


def fullyRandom(lab: Lab, number: int) -> Side:
    """Behind a NAT that takes any port."""
    return lab.side(number, RANDOM, **symmetric(RandomPorts()))


def few(lab: Lab, number: int) -> Side:
    """Behind a NAT that takes any port, but has few to give."""
    return lab.side(number, evolve(RANDOM, limited=True), limit=256, **symmetric(RandomPorts()))


Maker = Callable[[Lab, int], Side]


class TraversalTests(SynchronousTestCase):
    """
    The figures of the pairs are those of the NAT matrix; there are few runs here, each with another seed.
    """

    def run_(self, runs: int, seconds: float, one: Maker, two: Maker, late: float = 0.0) -> list[float]:
        """
        @param late: by how much the second side's clock is wrong.
        @return: the sorted times of the runs that found a path.
        """
        found = []
        for seed in range(runs):
            lab = Lab(seed)
            sides = [one(lab, 1), two(lab, 2)]
            if seed % 2:
                sides.reverse()
            time = lab.connect(sides[0], sides[1], seconds, late=late)
            if time is not None:
                found.append(time)
                lab.clock.run(8.0)
                self.assertTrue(all(side.isDirect for side in sides), seed)
                self.assertLessEqual(max(len(side.sockets) for side in sides), 2, "sockets that won nothing")
            for side in sides:
                side.puncher.close()
                self.assertEqual(len(side.sockets), 0)
            lab.clock.run(1.0)
        return sorted(found)

    def test_easy(self) -> None:
        """Where checks suffice nothing else is done."""
        times = self.run_(10, 10, easy, easy)
        self.assertEqual(len(times), 10)
        self.assertLess(times[-1], 1.0)

    def test_trap(self) -> None:
        """A packet that comes early does not spoil it for good, on one side or both, whoever is late."""
        for two in (trapped, easy):
            for late in (0.0, 0.3):
                self.assertGreaterEqual(len(self.run_(10, 12, trapped, two, late)), 10, (two, late))

    def test_predict(self) -> None:
        """A sequential NAT is no obstacle towards an easy one, with others or without."""
        for two in (sequential, noisy):
            times = self.run_(10, 15, easy, two)
            self.assertEqual(len(times), 10)
            self.assertLess(times[5], 2.0)

    def test_birthday(self) -> None:
        """The ports of a carrier's block are found soon, those of the full range by and by."""
        for two, median in ((block, 3.0), (fullyRandom, 8.0)):
            times = self.run_(8, 30, easy, two)
            self.assertGreaterEqual(len(times), 7)
            self.assertLess(times[len(times) // 2], median)

    def test_meet(self) -> None:
        """Two sequential NATs meet, with others or without."""
        self.assertGreaterEqual(len(self.run_(10, 15, sequential, sequential)), 10)
        self.assertGreaterEqual(len(self.run_(10, 15, noisy, noisy)), 8)

    def test_scatter(self) -> None:
        """A sequential NAT and a carrier's block find each other by chance, one time in eight a round."""
        found = len(self.run_(16, 120, sequential, block))
        self.assertGreaterEqual(found, 2)

    def test_hopeless(self) -> None:
        """Two random NATs are left in peace: a few checks, no spare socket."""
        lab = Lab(1)
        sides = fullyRandom(lab, 1), block(lab, 2)
        self.assertIsNone(lab.connect(*sides, 60))
        for side in sides:
            self.assertEqual((len(side.sockets), side.attempt and side.attempt.story.sockets), (0, 0))
            self.assertLess(len(side.probes), 100)

    def test_unseen(self) -> None:
        """Ports are guessed nowhere but where the mediator sees the peer."""
        lab = Lab(1)
        sides = easy(lab, 1), fullyRandom(lab, 2)
        self.assertIsNone(lab.connect(*sides, 40, observed=False))
        for side in sides:
            self.assertLess(len(side.probes), 100)
            self.assertTrue(side.attempt and side.attempt.story.unseen)

    def test_victim(self) -> None:
        """A peer that names another host as its NAT's makes nobody send there more than checks of ICE."""
        lab = Lab(1)
        side, other = easy(lab, 1), fullyRandom(lab, 2)
        lab.connect(side, other, 0.5)
        before = len(side.probes)
        for number in range(1, 40):
            forged = Prediction(number, "ports", "192.0.2.77", 1024, 65535)
            assert side.attempt is not None and other.attempt is not None
            side.told(signals.encode(evolve(other.attempt.signal(1), prediction=forged)))
            side.told(signals.encode(evolve(other.attempt.signal(1), prediction=evolve(forged, kind="next"))))
            side.told(
                signals.encode(evolve(other.attempt.signal(1), prediction=evolve(forged, kind="exact")))
            )
            lab.clock.run(0.5)
        self.assertLess(sum(each.host == "192.0.2.77" for each in side.probes[before:]), 60)

    def test_few(self) -> None:
        """At a NAT that has few mappings to give, never more than 64 are used, whoever the peer is."""
        for two in (easy, fullyRandom, sequential):
            lab = Lab(2)
            sides = few(lab, 1), two(lab, 2)
            lab.connect(*sides, 60)
            self.assertLessEqual(max(sides[0].nat.peakMappings.values()), 64)

    def test_onceInAWhile(self) -> None:
        """A birthday round is not repeated at once, be there ever so many rendezvous."""
        lab = Lab(3)
        side, other = fullyRandom(lab, 1), easy(lab, 2)
        lab.clock.run(1.0)
        # It is online, and no UDP gets out any more.
        other.nat.passesUdp = False
        opened = []
        for _ in range(4):
            self.assertIsNone(lab.connect(side, other, 20))
            for each in (side, other):
                assert each.attempt is not None
                opened.append(each.attempt.story.sockets)
                each.attempt.close()
        self.assertEqual(opened, [256, 0, 0, 0, 0, 0, 0, 0])
