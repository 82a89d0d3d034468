"""
Our own TURN client and our own TURN server, over a network that loses, doubles and reorders.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from vnet.driver import Driver
from vnet.protocols.machine.allocation import Allocation, AllocationLost, Refused, Silent
from vnet.protocols.machine.relaycredentials import SharedSecrets
from vnet.protocols.machine.relaying import Allocated, Ended, Relaying, SendToPeer
from vnet.protocols.machine.relaysettings import RelaySettings
from vnet.protocols.trains import TrainSocket, cut
from vnet.protocols.turnclients import UdpClient
from vnet.protocols.turnforward import Forwarding
from vnet.test.relaycallers import SECRET, credentialsOf
from vnet.values import Address

SERVER = Address("8.0.0.1", 3478)
PEER = Address("8.9.9.9", 7)
HOSTS = {4: "8.0.0.1", 6: "2600::8"}
AFTER_FAILURE = 0.7
WALL = 1_700_000_000.0


@define(eq=False)
class Wire:
    """
    A network.

    @ivar loss: of a hundred datagrams; C{twice}: that come twice; C{jitter}: seconds that one may be late.
    """

    clock: Clock
    random: random.Random
    loss: int = 0
    twice: int = 0
    jitter: float = 0.0

    def carry(self, arrive: Callable[..., None], *arguments: Any) -> None:
        """
        Deliver something, or do not.
        """
        for _ in range(1 + (self.random.randrange(100) < self.twice)):
            if self.random.randrange(100) >= self.loss:
                self.clock.callLater(0.01 + self.random.random() * self.jitter, arrive, *arguments)


@define(eq=False)
class PretendedSocket:
    """
    What L{Forwarding} uses of a L{TrainSocket}.
    """

    address: Address
    arrive: Callable[[bytes, Address, Address], None]
    counters: Counter[str] = field(factory=Counter)

    def send(self, parts: list[Any], segment: int, count: int, to: tuple[str, int]) -> bool:
        data = memoryview(b"".join(parts))
        pieces = list(cut(data, segment)) if segment else [data]
        assert len(pieces) == count
        for each in pieces:
            self.arrive(bytes(each), self.address, Address(*to[:2]))
        return True

    def socketAddress(self, address: Address) -> tuple[str, int]:
        return address.host, address.port

    canonical = staticmethod(TrainSocket.canonical)


@define(eq=False)
class World:
    """
    A server, and two clients that have nothing but it.
    """

    wire: Wire
    clock: Clock
    sockets: dict[Address, PretendedSocket] = field(factory=dict)
    clients: dict[Address, Client] = field(factory=dict)
    echoed: int = 0
    relaying: Relaying = field(init=False)
    forwarding: Forwarding = field(init=False)
    driver: Driver[Any] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.relaying = Relaying(
            RelaySettings("relay.example", HOSTS),
            SharedSecrets((SECRET,)),
            random=self.wire.random.randbytes,
            wallClock=lambda: WALL + self.clock.seconds(),
            open=self.open,
            close=self.close,
        )
        self.forwarding = Forwarding(self.relaying, self.clock.seconds)
        self.driver = Driver(self.relaying, self.clock, self.answer, self.happened)
        for n, user in enumerate(("high-alice", "low-bob")):
            address = Address(f"8.2.2.{n}", 4000, "udp1")
            self.clients[address] = Client(self, address, user)

    def open(self, bound: Address) -> bool:
        socket: Any = PretendedSocket(
            bound, lambda data, source, to: self.wire.carry(self.atPeer, data, source, to)
        )
        self.sockets[bound] = socket
        self.forwarding.attach(bound, socket)
        return True

    def close(self, bound: Address) -> None:
        self.forwarding.detach(self.sockets.pop(bound).address)

    def answer(self, batch: list[tuple[bytes, Address]]) -> None:
        for data, client in batch:
            self.wire.carry(self.clients[client].arrived, data)

    def happened(self, event: object) -> None:
        if isinstance(event, SendToPeer):
            self.forwarding.sendToPeer(event.served, event.peer, event.data, event.whole)
        elif isinstance(event, Allocated):
            client = event.served.client
            socket: Any = PretendedSocket(SERVER, lambda data, _, to: self.answer([(data, client)]))
            event.served.driver = UdpClient(socket, client[:2])
        elif isinstance(event, Ended):
            event.served.driver = None

    def atServer(self, data: bytes, client: Address) -> None:
        """A client's datagram has come."""
        if data[0] >= 0x40:
            served = self.relaying.clients.get(client)
            self.forwarding.channelData(served, memoryview(data), len(data), self.clock.seconds())
        else:
            self.relaying.receive(data, client, self.clock.seconds())
            self.driver.wake()

    def atPeer(self, data: bytes, relayed: Address, peer: Address) -> None:
        """What was sent to a peer outside, which sends it back."""
        assert peer == PEER, peer
        self.echoed += 1
        served = self.relaying.servedAt(relayed)
        if served is not None:
            self.forwarding._in(served, peer, (data,), len(data), self.clock.seconds())

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.clock.seconds() + seconds
        while (now := self.clock.seconds()) < end - 1e-9:
            following = min((call.getTime() for call in self.clock.getDelayedCalls()), default=end)
            self.clock.advance(max(0.0, min(following, end) - now))

    def tables(self) -> dict[Address, set[Address]]:
        """What the server has, by client."""
        return {
            client: {side.relayed for side in s.sides.values()} for client, s in self.relaying.clients.items()
        }


@define(eq=False)
class Client:
    """
    A client that asks again when it has failed.
    """

    world: World
    address: Address
    user: str
    data: list[tuple[bytes, Address]] = field(factory=list)
    failures: int = 0
    refusals: list[object] = field(factory=list)
    stopped: bool = False
    machine: Allocation = field(init=False)
    driver: Driver[Any] = field(init=False)

    def start(self) -> None:
        clock = self.world.clock
        credentials = credentialsOf(self.user, WALL + 3600)
        self.machine = Allocation(SERVER, credentials, random=self.world.wire.random.randbytes, name="r")
        self.driver = Driver(self.machine, clock, self.send, self.happened)
        self.driver.wake()

    def happened(self, event: object) -> None:
        if isinstance(event, Refused):
            self.refusals.append(event)
        if isinstance(event, AllocationLost | Silent | Refused) and not self.stopped:
            self.failures += 1
            self.driver.stop()
            self.world.clock.callLater(AFTER_FAILURE, self.start)

    def send(self, batch: list[tuple[bytes, Address]]) -> None:
        for data, _ in batch:
            self.world.wire.carry(self.world.atServer, data, self.address)

    def arrived(self, data: bytes) -> None:
        found = self.machine.unwrap(data)
        if found is not None:
            self.data.append(found)
        elif data[0] < 0x40:
            self.driver.datagramReceived(data, SERVER)

    def tell(self, peer: Address, *texts: bytes) -> None:
        """Send to a peer."""
        frames = self.machine.wrap(
            [(text, peer._replace(via="r")) for text in texts], self.world.clock.seconds()
        )
        self.driver.wake()
        self.send([(frame, SERVER) for frame in frames])

    def stop(self) -> None:
        self.stopped = True
        self.machine.close(self.world.clock.seconds())
        self.driver.wake()
        self.driver.stop()


def newWorld(seed: int, loss: int = 0, twice: int = 0, jitter: float = 0.0) -> World:
    """
    A world whose clients have begun.
    """
    clock = Clock()
    clock.advance(100.0)
    world = World(Wire(clock, random.Random(seed), loss, twice, jitter), clock)
    for client in world.clients.values():
        client.start()
    return world


class ClientsTests(SynchronousTestCase):
    """
    Both machines, on one clock.
    """

    def quiet(self, world: World) -> None:
        """
        The network becomes a good one, and both clients have what they want.
        """
        world.wire.loss = world.wire.twice = 0
        world.wire.jitter = 0.0
        world.run(90)
        for client in world.clients.values():
            self.assertEqual(client.machine.state, "allocated", client.failures)
        expected = {address: set(client.machine.relayed) for address, client in world.clients.items()}
        self.assertEqual(world.tables(), expected)

    def talk(self, world: World, family: int) -> None:
        """
        Each tells the other ten things, which arrive in order, and once.
        """
        alice, bob = world.clients.values()
        texts = [b"%d" % n for n in range(10)]
        for one, other in ((alice, bob), (bob, alice)):
            other.data.clear()
            peer, source = other.machine.relayed[family], one.machine.relayed[family]
            # What the other has not permitted yet does not arrive.
            other.tell(source, b"open")
            world.run(1)
            one.data.clear()
            other.data.clear()
            one.tell(peer, *texts)
            world.run(1)
            self.assertEqual(other.data, [(text, source._replace(via="r")) for text in texts])

    def end(self, world: World) -> None:
        """
        Nothing is left.
        """
        for client in world.clients.values():
            client.stop()
        world.run(1)
        self.assertEqual((world.tables(), world.sockets), ({}, {}))
        world.run(1)
        self.assertEqual([call for call in world.clock.getDelayedCalls() if call.getTime() < 1e9], [])

    def test_together(self) -> None:
        """Two clients without UDP of their own reach each other through one server, over IPv4 and IPv6, and the world outside."""
        world = newWorld(1)
        world.run(1)
        for family in (0, 1):
            self.talk(world, family)
        alice = next(iter(world.clients.values()))
        alice.data.clear()
        alice.tell(PEER, b"hello")
        world.run(1)
        self.assertEqual((alice.data, world.echoed), ([(b"hello", PEER._replace(via="r"))], 1))
        self.assertEqual(sum(client.failures for client in world.clients.values()), 0)
        self.end(world)

    def test_hours(self) -> None:
        """For three hours, in which nonces become stale and credentials expire, the allocations stay, and channels in use work."""
        world = newWorld(2)
        world.run(1)
        for _ in range(3 * 60):
            alice, bob = world.clients.values()
            alice.tell(bob.machine.relayed[0], b"alive")
            bob.tell(alice.machine.relayed[0], b"alive")
            world.run(60)
        self.assertEqual([client.failures for client in world.clients.values()], [0, 0])
        for client in world.clients.values():
            self.assertGreaterEqual(len(client.data), 3 * 60 - 2)
        self.assertGreater(world.relaying.counters["error438"], 5)
        self.end(world)

    @settings(max_examples=60)
    @given(
        st.integers(0, 2**32),
        st.integers(0, 45),
        st.integers(0, 30),
        st.sampled_from((0.0, 0.05, 0.5)),
        st.integers(1, 400),
    )
    def test_badNetwork(self, seed: int, loss: int, twice: int, jitter: float, seconds: int) -> None:
        """
        Whatever a network did to them, when it is a good one both agree on what there is, nobody is refused for good, and data
        passes both ways.
        """
        world = newWorld(seed, loss, twice, jitter)
        for _ in range(seconds // 10 + 1):
            world.run(min(10, seconds))
            alice, bob = world.clients.values()
            for one, other in ((alice, bob), (bob, alice)):
                if one.machine.state == "allocated" and other.machine.relayed:
                    one.tell(other.machine.relayed[world.wire.random.randrange(2)], b"noise")
        self.quiet(world)
        self.talk(world, 0)
        self.talk(world, 1)
        self.end(world)
