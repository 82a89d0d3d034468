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
from vnet.protocols.codec.natsignal import Traits
from vnet.protocols.codec.stun import isStun
from vnet.protocols.punch import Attempt, Puncher
from vnet.protocols.stun import StunServer
from vnet.test.natsim import HeapClock, Internet, Nat, NatHost
from vnet.test.natsim.ports import Allocation, RandomPorts, Sequential
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
        self.paths.start(self.received)
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
        port.start(lambda batch: [server.datagramReceived(data, source[:2]) for data, source in batch])

    def side(self, number: int, traits: Traits = EASY, noise: float = 0.0, **behaviour: Any) -> Side:
        """A computer behind a NAT of this behaviour."""
        lan = self.internet.lan()
        nat = Nat(lan, self.internet, f"203.0.113.{number}", unreplied=30.0, **behaviour)
        return Side(self, NatHost({f"192.168.{number}.2": lan}), nat, traits, noise)

    def connect(self, one: Side, two: Side, seconds: float, observed: bool = True) -> float | None:
        """
        @return: seconds from the start to a path on both sides.
        """
        self.clock.run(1.0)
        start = self.clock.seconds() + 0.1
        one.connect(two, True, start, two.nat.external if observed else "")
        two.connect(one, False, start, one.nat.external if observed else "")
        reached = self.clock.run(seconds, lambda: one.isDirect and two.isDirect)
        return self.clock.seconds() - start if reached else None


def symmetric(allocation: Allocation) -> dict[str, Any]:
    """The behaviour of a NAT that gives each destination another port."""
    return {"mapping": APDM, "allocation": allocation}


SEQUENTIAL = Traits(mapping=APDM, filtering=APDM, allocation="sequential", step=1)
BLOCK = Traits(mapping=APDM, filtering=APDM, allocation="block", low=20000, high=20511)
RANDOM = Traits(mapping=APDM, filtering=APDM, allocation="random")


class TraversalTests(SynchronousTestCase):
    def times(self, runs: int, seconds: float, one: Callable[[Lab], Side], two: Callable[[Lab], Side]) -> list[float]:
        """The sorted times of the runs that found a path."""
        found = []
        for seed in range(runs):
            lab = Lab(seed)
            sides = [one(lab), two(lab)]
            if seed % 2:
                sides.reverse()
            time = lab.connect(*sides, seconds)
            if time is not None:
                found.append(time)
        print(f"{len(found)}/{runs}", sorted(round(each, 2) for each in found))
        return sorted(found)

    def test_easy(self) -> None:
        times = self.times(20, 10, lambda lab: lab.side(1), lambda lab: lab.side(2))
        self.assertGreaterEqual(len(times), 20)

    def test_trap(self) -> None:
        times = self.times(40, 15, lambda lab: lab.side(1, trap=True), lambda lab: lab.side(2, trap=True))
        self.assertGreaterEqual(len(times), 38)

    def test_sequential(self) -> None:
        times = self.times(
            40, 20, lambda lab: lab.side(1), lambda lab: lab.side(2, SEQUENTIAL, **symmetric(Sequential()))
        )
        self.assertGreaterEqual(len(times), 38)

    def test_noisy(self) -> None:
        traits = evolve(SEQUENTIAL, step=2)
        times = self.times(
            40, 20, lambda lab: lab.side(1), lambda lab: lab.side(2, traits, 20.0, **symmetric(Sequential(2, 20.0)))
        )
        self.assertGreaterEqual(len(times), 34)

    def test_block(self) -> None:
        times = self.times(
            20, 30, lambda lab: lab.side(1), lambda lab: lab.side(2, BLOCK, **symmetric(RandomPorts(20000, 20511)))
        )
        self.assertGreaterEqual(len(times), 19)

    def test_random(self) -> None:
        times = self.times(10, 40, lambda lab: lab.side(1), lambda lab: lab.side(2, RANDOM, **symmetric(RandomPorts())))
        self.assertGreaterEqual(len(times), 9)

    def test_meet(self) -> None:
        times = self.times(
            40,
            30,
            lambda lab: lab.side(1, SEQUENTIAL, **symmetric(Sequential())),
            lambda lab: lab.side(2, SEQUENTIAL, **symmetric(Sequential())),
        )
        self.assertGreaterEqual(len(times), 30)

    def test_meetNoisy(self) -> None:
        traits = evolve(SEQUENTIAL, step=2)
        times = self.times(
            40,
            30,
            lambda lab: lab.side(1, traits, 20.0, **symmetric(Sequential(2, 20.0))),
            lambda lab: lab.side(2, traits, 20.0, **symmetric(Sequential(2, 20.0))),
        )
        self.assertGreaterEqual(len(times), 12)
