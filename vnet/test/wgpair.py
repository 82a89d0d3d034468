"""
Two WireGuard machines and the network between them, for tests.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

import attrs
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.codec.handshake import encodeHandshake
from vnet.protocols.machine.cookie import CookieHolder
from vnet.protocols.machine.keypair import Keypair
from vnet.protocols.machine.noise import StaticKey, createInitiation
from vnet.protocols.machine.wireguard import PacketsReceived, WireGuard, WireGuardEvent
from vnet.values import Address, Train

ADDRESSES = (Address("192.0.2.1", 1001), Address("192.0.2.2", 1002))
#: Somebody who is no peer, or from where no peer sends.
STRANGER = Address("203.0.113.9", 999)

INNER = (b"\x64\x40\x00\x01", b"\x64\x40\x00\x02")

Datagram = tuple[bytes, Address]


def seededRandom(seed: object) -> Callable[[int], bytes]:
    """
    Bytes that are the same in each run, each time a new object.
    """
    return random.Random(repr(seed)).randbytes


def ipPacket(source: bytes, destination: bytes, payload: bytes = b"") -> bytes:
    """
    An IPv4 or IPv6 packet, as far as the tunnel looks at it.
    """
    if len(source) == 4:
        size = (20 + len(payload)).to_bytes(2, "big")
        return b"\x45\x00" + size + bytes(5) + b"\x11" + bytes(2) + source + destination + payload
    return (
        b"\x60\x00\x00\x00" + len(payload).to_bytes(2, "big") + b"\x11\x40" + source + destination + payload
    )


def trainsOf(datagrams: Iterable[Datagram]) -> list[Train]:
    """
    Datagrams as a port gives them: those of one size in a row from one address as one train.
    """
    trains: list[Train] = []
    for data, source in datagrams:
        last = trains[-1] if trains else None
        if (
            last is None
            or last.address != source
            or len(last.data) % last.stride
            or not 0 < len(data) <= last.stride
        ):
            trains.append(Train.single(data, source))
        else:
            trains[-1] = Train.of(bytes(last.data) + data, last.stride, source)
    return trains


@attrs.define
class Wall:
    """
    The wall clock.
    """

    nanoseconds: int = 1_700_000_000_000_000_000

    def __call__(self) -> int:
        return self.nanoseconds


def makeMachine(seed: object, wall: Wall | None = None, **options: int) -> WireGuard:
    """
    A machine whose keys and randomness come from C{seed}.
    """
    source = seededRandom(seed)
    return WireGuard(source(32), random=source, wallClock=wall or Wall(), **options)


def initiationTo(
    machine: WireGuard, seed: object, *, private: bytes | None = None, timestamp: bytes = b"\x40" + bytes(11)
) -> bytes:
    """
    An initiation, with MACs, from somebody to C{machine}.
    """
    source = seededRandom(seed)
    static = StaticKey(private or source(32))
    agreed = bytearray(static.agree(machine.publicKey) or b"")
    begun = createInitiation(static, machine.publicKey, agreed, 7, source(32), timestamp)
    assert begun is not None
    return CookieHolder(machine.publicKey).addMacs(encodeHandshake(begun[0]), 0.0)


class Pair:
    """
    Two machines that know each other.

    @ivar now: the time of both.
    @ivar machines: the two.
    @ivar wire: each datagram that was sent: number of the sender, bytes, destination.
    @ivar drop: tells whether a datagram is lost, by number of the sender and bytes.
    @ivar told: the events of each machine.
    @ivar seals: whether packets are sealed for who sends them, as the data path does it.
    """

    def __init__(self, *, presharedKeys: tuple[list[bytes], list[bytes]] = ([], [])) -> None:
        self.now = 1000.0
        self.wall = Wall()
        self.machines = (makeMachine("a", self.wall), makeMachine("b", self.wall))
        self.wire: list[tuple[int, bytes, Address]] = []
        self.drop: Callable[[int, bytes], bool] = lambda sender, data: False
        self.told: tuple[list[WireGuardEvent], list[WireGuardEvent]] = ([], [])
        self.addresses = list(ADDRESSES)
        self.seals = False
        self._deadlines: list[float | None] = [None, None]
        for number, machine in enumerate(self.machines):
            machine.addPeer(
                self.machines[1 - number].publicKey,
                allowedIps=[f"100.64.0.{2 - number}/32", f"fd00::{2 - number}/128"],
                presharedKeys=presharedKeys[number],
                endpoint=ADDRESSES[1 - number],
            )

    def publicKey(self, number: int) -> bytes:
        """
        The key of the peer of machine C{number}.
        """
        return self.machines[1 - number].publicKey

    def send(self, sender: int, *packets: bytes) -> None:
        """
        Send inner packets to the other, and let the network work.
        """
        machine = self.machines[sender]
        if self.seals:
            for train in machine.sealPackets(self.publicKey(sender), packets, self.now):
                for data in train.datagrams():
                    self._carry(sender, data, train.address)
        else:
            machine.send(self.publicKey(sender), packets, self.now)
        self.run()

    def packet(self, sender: int, payload: bytes = b"hello") -> bytes:
        """
        An inner packet from one to the other.
        """
        return ipPacket(INNER[sender], INNER[1 - sender], payload)

    def run(self) -> None:
        """
        Carry datagrams until there are none.
        """
        busy = True
        while busy:
            busy = False
            for number, machine in enumerate(self.machines):
                for data, addr in machine.datagramsToSend(self.now):
                    busy = True
                    self._carry(number, data, addr)
        for number, machine in enumerate(self.machines):
            while (event := machine.nextEvent()) is not None:
                self.told[number].append(event)

    def _carry(self, sender: int, data: bytes, addr: Address) -> None:
        self.wire.append((sender, data, addr))
        if not self.drop(sender, data) and addr == self.addresses[1 - sender]:
            self.machines[1 - sender].receive(data, self.addresses[sender], self.now)

    def deadline(self, number: int) -> float | None:
        """
        When a machine's timer fires: it is asked only where it has something new, as the data path does it.
        """
        if self.machines[number].isPending:
            self._deadlines[number] = self.machines[number].deadline()
        return self._deadlines[number]

    def advance(self, seconds: float) -> None:
        """
        Let time pass, with all timers at their time.
        """
        end = self.now + seconds
        while True:
            deadlines = [at for at in map(self.deadline, (0, 1)) if at is not None]
            if not deadlines or min(deadlines) > end:
                break
            self.now = max(self.now, min(deadlines))
            for number, machine in enumerate(self.machines):
                at = self.deadline(number)
                if at is not None and at <= self.now:
                    machine.timerFired(self.now)
                    self._deadlines[number] = machine.deadline()
            self.run()
        self.now = end

    def received(self, number: int) -> list[bytes]:
        """
        Take the packets that have reached machine C{number}.
        """
        packets = [
            packet
            for event in self.told[number]
            if isinstance(event, PacketsReceived)
            for packet in event.packets
        ]
        self.told[number][:] = [
            event for event in self.told[number] if not isinstance(event, PacketsReceived)
        ]
        return packets

    def events(self, number: int) -> list[WireGuardEvent]:
        """
        Take the events of machine C{number}.
        """
        events = list(self.told[number])
        self.told[number].clear()
        return events

    def sent(self, number: int, kind: int | None = None) -> list[bytes]:
        """
        Take what machine C{number} has put on the wire; of one type, or all.
        """
        taken = [data for sender, data, _ in self.wire if sender == number and kind in (None, data[0])]
        self.wire[:] = [entry for entry in self.wire if entry[0] != number or kind not in (None, entry[1][0])]
        return taken


class SessionTestCase(SynchronousTestCase):
    """
    Two machines.
    """

    def setUp(self) -> None:
        self.pair = Pair()

    def establish(self) -> None:
        """
        A session that machine 0 began, with nothing left on the wire.
        """
        self.pair.send(0, self.pair.packet(0))
        for number in (0, 1):
            self.pair.events(number)
            self.pair.sent(number)

    def keypair(self, number: int) -> Keypair:
        """
        What machine C{number} sends with.
        """
        session = self.pair.machines[number]._peers[self.pair.publicKey(number)]
        current = session._keypairs.current
        assert current is not None
        return current
