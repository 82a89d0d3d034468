"""
Relays in memory: a L{TurnScript} on a L{MemoryNetwork}, which connections reach too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import define, field
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost, DNSLookupError
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from vnet.client.reach import RelayReach
from vnet.protocols.codec.turn import Splitter
from vnet.protocols.codec.turnuri import RelayUri
from vnet.test.turnscript import TurnScript
from vnet.testing import MemoryNetwork, MemoryPort, inPairs
from vnet.values import Address

__all__ = ["MemoryRelay", "Pipe", "RelayWorld"]

_PORTS = {"udp": 3478, "tcp": 3478, "tls": 443}


@define(eq=False, slots=False)
class Pipe:
    """
    The client's end of a connection to a relay: a transport of Twisted's.

    @ivar client: whom the relay takes the client for.
    """

    relay: MemoryRelay
    client: Address
    protocol: Any
    lost: bool = False
    _splitter: Splitter = field(factory=Splitter)

    def write(self, data: bytes) -> None:
        """Send to the relay."""
        if not self.lost:
            self._later(self._arrived, data)

    def _later(self, what: Any, *arguments: Any) -> None:
        self.relay.internet.clock.callLater(self.relay.internet.delay, what, *arguments)

    def _arrived(self, data: bytes) -> None:
        if not self.relay.down:
            for frame in self._splitter.feed(data):
                self.relay.script.received(frame, self.client)

    def deliver(self, data: bytes) -> None:
        """The relay sends to the client."""
        self._later(self._delivered, data + bytes(-len(data) % 4))

    def _delivered(self, data: bytes) -> None:
        if not self.lost:
            self.protocol.dataReceived(data)

    def lose(self, reason: type[Exception] = ConnectionLost) -> None:
        """The connection is gone, for both sides."""
        if not self.lost:
            self.lost = True
            self.relay.pipes.pop(self.client, None)
            self.protocol.connectionLost(Failure(reason()))

    def loseConnection(self) -> None:
        """See C{ITransport}: after what was written has arrived."""
        if not self.relay.clings:
            self._later(self.lose, ConnectionDone)

    def abortConnection(self) -> None:
        """See C{ITCPTransport}."""
        self.lose()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """See C{IConsumer}."""

    def unregisterProducer(self) -> None:
        """See C{IConsumer}."""

    def getPeer(self) -> IPv4Address:
        """The relay's address."""
        return IPv4Address("TCP", self.relay.host, 3478)

    def getHost(self) -> IPv4Address:
        """The client's address."""
        return IPv4Address("TCP", self.client.host, self.client.port)


@define(eq=False, slots=False)
class MemoryRelay:
    """
    One relay.

    @ivar closed: the transports over which it is not reached; with C{udp} its answers are lost too.
    @ivar silent: the transports whose connections are not even refused.
    @ivar barred: the clients that do not reach it at all.
    @ivar clings: whether it never lets a connection end in order.
    @ivar down: whether its process is gone.
    """

    internet: MemoryNetwork
    host: str
    closed: set[str] = field(factory=set)
    silent: set[str] = field(factory=set)
    barred: set[str] = field(factory=set)
    clings: bool = False
    down: bool = False
    pipes: dict[Address, Pipe] = field(factory=dict)
    script: TurnScript = field(init=False)
    connections: list[str] = field(factory=list)
    _udp: MemoryPort = field(init=False)
    _relayed: dict[Address, MemoryPort] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        clock: IReactorTime = self.internet.clock
        self.script = TurnScript(
            clock.seconds, self.host, self._toClient, self._toPeer, self._opened, self._ended
        )
        self._udp = self.internet.port(self.host, port=_PORTS["udp"])
        self._udp.open()
        self._udp.start(inPairs(self._received))

    def _received(self, batch: Sequence[tuple[bytes, Address]]) -> None:
        for data, source in batch:
            if not self.down and "udp" not in self.closed:
                self.script.received(data, source)

    def _toClient(self, data: bytes, client: Address) -> None:
        if client.via:
            pipe = self.pipes.get(client)
            if pipe is not None:
                pipe.deliver(data)
        elif "udp" not in self.closed:
            self._udp.send([(data, client)])

    def _toPeer(self, data: bytes, relayed: Address, peer: Address) -> None:
        if not self.down:
            self._relayed[relayed].send([(data, peer)])

    def _opened(self, relayed: Address) -> None:
        port = self._relayed[relayed] = self.internet.port(self.host, port=relayed.port)
        port.open()

        def received(batch: Sequence[tuple[bytes, Address]]) -> None:
            for data, peer in batch:
                if not self.down:
                    self.script.arrived(data, peer, relayed)

        port.start(inPairs(received))

    def _ended(self, relayed: Address) -> None:
        self._relayed.pop(relayed).close()

    def die(self) -> None:
        """
        The process is killed: connections break, and nothing answers.
        """
        self.down = True
        for pipe in list(self.pipes.values()):
            pipe.lose()
        self.script.forget()

    def rise(self) -> None:
        """
        Another process takes its place.
        """
        self.down = False

    def connect(self, transport: str, factory: Any, client: str) -> Deferred[Any]:
        """
        A client connects.
        """
        self.connections.append(transport)
        connecting: Deferred[Any] = Deferred()
        if transport in self.silent or client in self.barred:
            return connecting
        trips = 4 if transport == "tls" else 2
        call = self.internet.clock.callLater(
            trips * self.internet.delay, self._connected, transport, factory, client, connecting
        )
        connecting._canceller = lambda _: call.cancel() if call.active() else None
        return connecting

    def _connected(self, transport: str, factory: Any, client: str, connecting: Deferred[Any]) -> None:
        if self.down or transport in self.closed:
            connecting.errback(Failure(Refused()))
            return
        address = Address(client, 30000 + len(self.connections), transport)
        protocol = factory.buildProtocol(None)
        pipe = self.pipes[address] = Pipe(self, address, protocol)
        protocol.makeConnection(pipe)
        connecting.callback(protocol)


@define(eq=False)
class _Endpoint:
    relay: MemoryRelay | None
    transport: str
    client: str

    def connect(self, factory: Any) -> Deferred[Any]:
        """See C{IStreamClientEndpoint}."""
        if self.relay is None:
            return fail(Failure(Refused()))
        return self.relay.connect(self.transport, factory, self.client)


@define(eq=False)
class RelayWorld:
    """
    The relays of an Internet, and their names.

    @ivar names: the addresses of each host name.
    @ivar wallOffset: seconds between the wall clock and the clock.
    """

    internet: MemoryNetwork
    relays: dict[str, MemoryRelay] = field(factory=dict)
    names: dict[str, list[str]] = field(factory=dict)
    wallOffset: float = 1_700_000_000.0

    def add(self, name: str, host: str) -> MemoryRelay:
        """
        Start a relay.
        """
        relay = self.relays[host] = MemoryRelay(self.internet, host)
        self.names[name] = [host]
        return relay

    def reachFrom(self, client: str) -> RelayReach:
        """
        How a computer with this address reaches them.
        """

        def resolve(host: str) -> Deferred[Sequence[str]]:
            if host in self.names:
                return succeed(self.names[host])
            return succeed([host]) if host[0].isdigit() or ":" in host else fail(DNSLookupError(host))

        def connect(uri: RelayUri) -> Any:
            hosts = self.names.get(uri.host, [uri.host])
            return _Endpoint(self.relays.get(hosts[0]), uri.transport, client)

        return RelayReach(
            resolve, connect, lambda uri: False, lambda: self.wallOffset + self.internet.clock.seconds()
        )
