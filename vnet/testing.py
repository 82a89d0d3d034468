# -*- test-case-name: vnet.test.test_testing -*-
"""
Doubles of the public borders, so that whole nodes run in one test, on one L{twisted.internet.task.Clock},
without sockets and without privileges.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from ipaddress import ip_address, ip_network

import attrs
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from vnet.errors import ConfigurationError
from vnet.interfaces import IDatagramPort, IDevice
from vnet.protocols.codec import virtio
from vnet.protocols.codec.ethernet import memberMac
from vnet.values import Address, Buffer, Offload, Superframe, Train

__all__ = ["MemoryDevice", "MemoryNetwork", "MemoryPort", "datagramsOf", "inPairs"]


def datagramsOf(trains: Iterable[Train]) -> list[tuple[bytes, Address]]:
    """
    Copies of the datagrams that a port gives, and where they came from.
    """
    return [(data, train.address) for train in trains for data in train.datagrams()]


def inPairs(received: Callable[[list[tuple[bytes, Address]]], object]) -> Callable[[Sequence[Train]], None]:
    """
    What to give to C{start} of a port for a callback that wants each datagram with its source.
    """
    return lambda trains: _nothing(received(datagramsOf(trains)))


def _nothing(_: object) -> None:
    """
    Whatever a callback gives back.
    """


def _everything(source: Address, destination: Address) -> bool:
    """
    Let every datagram pass.
    """
    return True


@implementer(IDevice)
@attrs.define(eq=False, repr=False)
class MemoryDevice:
    """
    An interface without an operating system.

    @ivar written: the frames that were handed to the operating system, oldest first, without their virtio headers, which are
        in C{headers}.
    @ivar state: C{"new"}, C{"open"} or C{"closed"}.
    @ivar configured: the four arguments of the last L{configure}, or L{None}.
    @ivar routes: the prefixes that this computer has routes to on another interface, and its name.
    """

    name: str = "vnet0"
    mtu: int = 1400
    mac: bytes = bytes(6)
    routes: dict[str, str] = attrs.field(factory=dict)
    written: list[bytes] = attrs.field(factory=list, init=False)
    headers: list[bytes] = attrs.field(factory=list, init=False)
    state: str = attrs.field(default="new", init=False)
    configured: tuple[str, str, str, str] | None = attrs.field(default=None, init=False)
    offload: Offload = attrs.field(factory=Offload)
    _received: Callable[[Sequence[bytes | Superframe]], None] | None = attrs.field(default=None, init=False)

    def open(self) -> None:
        """
        See L{IDevice.open}.
        """
        self.state = "open"
        self.mac = b"\x02" + random.randbytes(5)

    def configure(self, address: str, pool: str, address6: str, pool6: str) -> None:
        """
        See L{IDevice.configure}.
        """
        for block in (pool, pool6):
            for route, interface in self.routes.items():
                ours, theirs = ip_network(block), ip_network(route)
                if ours.version == theirs.version and ours.overlaps(theirs):
                    raise ConfigurationError(f"{block} overlaps the route to {route} on {interface}")
        self.mac = memberMac(ip_address(address).packed)
        self.configured = (address, pool, address6, pool6)

    def start(self, received: Callable[[Sequence[bytes | Superframe]], None]) -> None:
        """
        See L{IDevice.start}.
        """
        self._received = received

    def write(self, frames: Sequence[Sequence[Buffer]]) -> None:
        """
        See L{IDevice.write}.
        """
        if self.state == "open":
            for parts in frames:
                frame = b"".join(parts)
                self.written.append(frame[virtio.SIZE :])
                self.headers.append(frame[: virtio.SIZE])

    def close(self) -> None:
        """
        See L{IDevice.close}.
        """
        self.state = "closed"
        self._received = None

    def deliver(self, frames: Sequence[bytes]) -> None:
        """
        The operating system sends these frames, as one batch.

        @param frames: finished, without virtio headers.
        """
        self.deliverUnfinished([virtio.FINISHED + frame for frame in frames])

    def deliverUnfinished(self, frames: Sequence[bytes | Superframe]) -> None:
        """
        The operating system sends these frames, with their virtio headers, as one batch.
        """
        if self._received is not None:
            self._received(tuple(frames))

    def take(self) -> list[bytes]:
        """
        The frames written since the last time.
        """
        frames, self.written[:] = list(self.written), []
        return frames


@attrs.define(eq=False, repr=False)
class MemoryNetwork:
    """
    An Internet in memory.  Every datagram arrives C{delay} seconds later, in order, unless it is lost.

    @ivar clock: what it runs on; a datagram never arrives inside the call that sent it.
    @ivar delay: one way, seconds.
    @ivar loss: the share of the datagrams that is lost, 0 to 1.
    @ivar largest: bytes of a datagram that may arrive unfragmented; what is sent by L{MemoryPort.sendWhole} and is longer is lost.
    @ivar passes: whether a datagram may go from one address to another; replace it to cut and to block.
    @ivar counters: C{sent}, C{delivered}, C{lost}, C{blocked}, C{nobody}, C{expired} (by a hop limit), C{tooLong}.
    """

    clock: IReactorTime
    delay: float = 0.0
    loss: float = 0.0
    largest: int = 65507
    passes: Callable[[Address, Address], bool] = _everything
    seed: int = 0
    counters: Counter[str] = attrs.field(factory=Counter, init=False)
    _random: random.Random = attrs.field(init=False)
    _ports: dict[Address, MemoryPort] = attrs.field(factory=dict, init=False)
    _nextPort: Iterator[int] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._nextPort = iter(range(49152, 65536))

    def port(self, *hosts: str, port: int = 0) -> MemoryPort:
        """
        A port, not yet open, of a computer that has these addresses.
        """
        return MemoryPort(self, hosts, port)

    def bind(self, owner: MemoryPort, wanted: int) -> int:
        """
        Attach a port to all addresses of its computer.

        @return: its number.
        @raise ConfigurationError: another has it.
        """
        number = wanted or next(self._nextPort)
        addresses = [Address(host, number) for host in owner.hosts]
        if any(address in self._ports for address in addresses):
            raise ConfigurationError(f"UDP port {number} is in use")
        self._ports.update(dict.fromkeys(addresses, owner))
        return number

    def unbind(self, owner: MemoryPort) -> None:
        """
        Detach a port.
        """
        for address in [address for address, port in self._ports.items() if port is owner]:
            del self._ports[address]

    def carry(self, source: Address, destination: Address, data: Sequence[bytes]) -> None:
        """
        Carry datagrams, as one batch.
        """
        self.counters["sent"] += len(data)
        if not self.passes(source, destination):
            self.counters["blocked"] += len(data)
            return
        arriving = [each for each in data if not (self.loss and self._random.random() < self.loss)]
        self.counters["lost"] += len(data) - len(arriving)
        if arriving:
            self.clock.callLater(self.delay, self._arrive, source, destination, arriving)

    def _arrive(self, source: Address, destination: Address, data: Sequence[bytes]) -> None:
        port = self._ports.get(destination)
        if port is None:
            self.counters["nobody"] += len(data)
            return
        self.counters["delivered"] += len(data)
        port.arrived([(each, source) for each in data])


@implementer(IDatagramPort)
@attrs.define(eq=False, repr=False)
class MemoryPort:
    """
    A UDP port of a L{MemoryNetwork}.

    @ivar hosts: the addresses of its computer; datagrams leave from the first of the right version.
    @ivar sent: all that was sent, oldest first.
    """

    _network: MemoryNetwork
    hosts: tuple[str, ...]
    _wanted: int = 0
    port: int = attrs.field(default=0, init=False)
    sent: list[tuple[bytes, Address]] = attrs.field(factory=list, init=False)
    _received: Callable[[Sequence[Train]], None] | None = attrs.field(default=None, init=False)

    def open(self) -> None:
        """
        See L{IDatagramPort.open}.
        """
        self.port = self._network.bind(self, self._wanted)

    def start(self, received: Callable[[Sequence[Train]], None]) -> None:
        """
        See L{IDatagramPort.start}.
        """
        self._received = received

    def send(self, datagrams: Sequence[tuple[bytes, Address]]) -> None:
        """
        See L{IDatagramPort.send}.
        """
        if not self.port:
            return
        self.sent.extend(datagrams)
        byDestination: dict[Address, list[bytes]] = {}
        for data, destination in datagrams:
            byDestination.setdefault(destination, []).append(data)
        for destination, batch in byDestination.items():
            source = next((host for host in self.hosts if (":" in host) == (":" in destination.host)), None)
            if source is not None:
                self._network.carry(Address(source, self.port), destination, batch)

    def sendTrains(self, trains: Sequence[Train]) -> None:
        """
        See L{IDatagramPort.sendTrains}.
        """
        self.send([(datagram, train.address) for train in trains for datagram in train.datagrams()])

    def sendLimited(self, datagrams: Sequence[tuple[bytes, Address]], hopLimit: int) -> None:
        """
        See L{IDatagramPort.sendLimited}: they reach nobody.
        """
        self.sent.extend(datagrams)
        self._network.counters["sent"] += len(datagrams)
        self._network.counters["expired"] += len(datagrams)

    def sendWhole(self, data: bytes, addr: Address) -> bool:
        """
        See L{IDatagramPort.sendWhole}.
        """
        if len(data) > self._network.largest:
            self._network.counters["tooLong"] += 1
        else:
            self.send([(data, addr)])
        return True

    def localAddresses(self) -> Sequence[str]:
        """
        See L{IDatagramPort.localAddresses}.
        """
        return self.hosts

    def close(self) -> None:
        """
        See L{IDatagramPort.close}.
        """
        self._network.unbind(self)
        self._received = None
        self.port = 0

    def arrived(self, datagrams: Sequence[tuple[bytes, Address]]) -> None:
        """
        Datagrams have come.
        """
        if self._received is not None:
            self._received([Train.single(data, source) for data, source in datagrams])
