"""
Whole nodes on L{vnet.test.natsim}: the L{Overlay} on an Internet with NATs, with a mediator that is some way off.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from attrs import define, evolve, field
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure
from twisted.test import iosim

from vnet.client.reach import RelayReach
from vnet.protocols.codec.turnuri import RelayUri
from vnet.protocols.controlclient import ControlClient
from vnet.protocols.controlserver import Gate
from vnet.protocols.stun import StunServer
from vnet.test.mediatorlab import Lab
from vnet.test.natkinds import Site, build
from vnet.test.natsim import HeapClock, Internet, NatHost
from vnet.test.nodelab import Overlay, TestNode
from vnet.testing import MemoryNetwork, inPairs
from vnet.values import Address

__all__ = ["MEDIATOR_HOSTS", "NatOverlay", "SkewedClock"]

MEDIATOR_HOSTS = ("198.51.100.1", "198.51.100.2")
_MEDIATOR6 = ("2001:db8:99::1", "2001:db8:99::2")
_STUN_PORTS = (3478, 3479)


@define(eq=False)
class SkewedClock:
    """
    The clock of a computer that is not the others'.

    @ivar offset: seconds that it is ahead; C{rate}: seconds of it in one true second.
    """

    clock: HeapClock
    offset: float = 0.0
    rate: float = 1.0

    def seconds(self) -> float:
        """See C{IReactorTime}."""
        return self.clock.seconds() * self.rate + self.offset

    def callLater(self, delay: float, callable: Callable[..., object], *args: Any, **kw: Any) -> IDelayedCall:
        """See C{IReactorTime}."""
        return self.clock.callLater(delay / self.rate, callable, *args, **kw)

    def getDelayedCalls(self) -> Sequence[IDelayedCall]:
        """See C{IReactorTime}."""
        return self.clock.getDelayedCalls()


class _Wire(iosim.FakeTransport):
    """
    One end of a connection on which data needs time.
    """

    other: _Wire

    def __init__(self, protocol: Any, isServer: bool, peer: Any, overlay: NatOverlay, host: str) -> None:
        super().__init__(protocol, isServer, peer, peer)
        self.overlay, self.host = overlay, host

    def write(self, data: bytes) -> None:
        """Send."""
        if not self.disconnecting:
            self.overlay.later(self.other.deliver, data)

    def deliver(self, data: bytes) -> None:
        """Data has come."""
        if not self.disconnected and self.overlay.reachable(self.host):
            self.protocol.dataReceived(data)

    def loseConnection(self) -> None:
        """End the connection, for both sides."""
        if not self.disconnecting:
            self.disconnecting = True
            self.overlay.later(self.other.reportDisconnect)
            self.overlay.lab.clock.callLater(0.0, self.reportDisconnect)

    abortConnection = loseConnection

    def reportDisconnect(self) -> None:
        """The connection has ended."""
        if not self.disconnected:
            self.disconnected = self.disconnecting = True
            self.protocol.connectionLost(Failure(ConnectionDone()))


class _Idle:
    """
    What the overlay asks to move data; here data moves by itself.
    """

    def flush(self) -> bool:
        """Nothing waits."""
        return False


@define(eq=False)
class _StunTransport:
    port: Any
    host: str

    def write(self, data: bytes, address: tuple[str, int]) -> None:
        """Send an answer."""
        self.port.send([(data, Address(*address[:2]))])

    def getHost(self) -> IPv4Address | IPv6Address:
        """Where it is."""
        kind = IPv6Address if ":" in self.host else IPv4Address
        return kind("UDP", self.host, self.port.port)


@define(eq=False)
class _Unreachable:
    """
    The endpoint of what a firewall keeps this computer from: nothing ever comes back.
    """

    def connect(self, factory: Any) -> Deferred[Any]:
        """Wait for ever."""
        return Deferred()


@define(eq=False)
class _Connector:
    overlay: NatOverlay
    host: str

    def connect(self, factory: Any) -> Deferred[Any]:
        """Connect, after two round trips, for TCP and TLS."""
        connecting: Deferred[Any] = Deferred()

        def connected() -> None:
            if not self.overlay.reachable(self.host):
                connecting.errback(Failure(Refused()))
                return
            client = factory.buildProtocol(IPv4Address("TCP", MEDIATOR_HOSTS[0], 7443))
            self.overlay.join(client, self.host)
            connecting.callback(client)

        call = self.overlay.lab.clock.callLater(4 * self.overlay.mediatorDelay, connected)
        connecting._canceller = lambda _: call.cancel() if call.active() else None
        return connecting


@define(eq=False)
class NatOverlay(Overlay):
    """
    A mediator, an Internet with NATs, relays, and nodes behind them.

    @ivar seed: of the Internet and of the nodes.
    @ivar mediatorDelay: from each node to the mediator and to a relay, one way, seconds.
    @ivar loss: the share of the datagrams on the Internet that is lost.
    """

    lab: Lab = field(factory=lambda: Lab(clock=HeapClock()))
    seed: int = 0
    mediatorDelay: float = 0.025
    loss: float = 0.0
    keepsLog: bool = False
    sites: list[Site] = field(factory=list, init=False)
    _stun: Any = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._random.seed(self.seed)
        second = MEDIATOR_HOSTS[1]
        self.lab.stun = (":3478", ":3479", f"{second}:3478", f"{second}:3479", f"[{_MEDIATOR6[0]}]:3478")
        self.lab.start()
        super().__attrs_post_init__()

    @property
    def clock(self) -> HeapClock:
        """What it runs on."""
        return cast(HeapClock, self.lab.clock)

    @property
    def net(self) -> Internet:
        """The Internet."""
        return cast(Internet, self.internet)

    def _makeInternet(self) -> MemoryNetwork:
        # It has what relays need of a network.
        internet: Any = Internet(self.clock, self.seed, self.mediatorDelay, self.loss, keepsLog=self.keepsLog)
        return cast(MemoryNetwork, internet)

    def _startStun(self) -> None:
        """
        Serve STUN at two addresses with two ports each (RFC 5780).
        """
        self._stun = StunServer(self.clock)
        self._stun.origins.pairPorts(*_STUN_PORTS)
        for pair in (MEDIATOR_HOSTS, _MEDIATOR6):
            self._stun.origins.pairHosts(*pair)
        first = True
        for hosts in zip(MEDIATOR_HOSTS, _MEDIATOR6, strict=True):
            for number in _STUN_PORTS:
                for host in hosts:
                    self._serveStun(self._stun if first else self._stun.sibling(), host, number)
                    first = False

    def _serveStun(self, server: Any, host: str, number: int) -> None:
        port = self.net.port(host, port=number)
        port.open()
        server.makeConnection(_StunTransport(port, host))

        def received(batch: Sequence[tuple[bytes, Address]]) -> None:
            for data, source in batch:
                server.datagramReceived(data, source[:2])

        port.start(inPairs(received))

    def site(self, kind: str) -> Site:
        """
        Make a site of a kind of L{vnet.test.natkinds}.
        """
        site = build(kind, self.net, len(self.sites) + 1)
        self.sites.append(site)
        return site

    def addBehind(self, name: str, site: Site, computer: NatHost | None = None, **parts: Any) -> TestNode:
        """
        Start a node at a site.

        @param computer: where; otherwise a new one of the site.
        @param parts: see L{Overlay.add}.
        """
        computer = computer or site.computer()
        parts.setdefault("port", computer.port())
        parts.setdefault("openPort", computer.port)
        parts.setdefault("relayReach", self._reach(site, computer))
        return self.add(name, site.public[0], **parts)

    def _reach(self, site: Site, computer: NatHost) -> RelayReach:
        reach = self._world.reachFrom(next(iter(computer.addresses)))
        free = reach.connect

        def connect(uri: RelayUri) -> Any:
            return free(uri) if site.tcp == "any" or uri.port == 443 else _Unreachable()

        return evolve(reach, connect=connect)

    def later(self, what: Callable[..., object], *arguments: Any) -> None:
        """
        Do something when a message to or from the mediator has arrived.
        """
        self.clock.callLater(self.mediatorDelay, what, *arguments)

    def _endpoint(self, url: Any, host: str) -> Any:
        return _Connector(self, host)

    def join(self, client: Any, host: str) -> None:
        """
        Join a client's protocol to the mediator's.
        """
        seen = IPv4Address("TCP", host, 1024)
        server: Any = Gate(self.lab.factory, self.lab.admission).buildProtocol(seen)
        ends = (
            _Wire(server, True, seen, self, host),
            _Wire(client, False, IPv4Address("TCP", MEDIATOR_HOSTS[0], 7443), self, host),
        )
        ends[0].other, ends[1].other = ends[1], ends[0]
        self._pipes.append((host, _Idle(), ends))
        for end in ends:
            end.protocol.makeConnection(end)
        server.handshakeCompleted()
        inner = client
        while not isinstance(inner, ControlClient):
            inner = inner._protocol
        inner.handshakeCompleted()

    def advance(self, seconds: float, step: float = 0.05) -> None:
        """
        Let time pass.
        """
        end = self.clock.seconds() + seconds
        while (left := end - self.clock.seconds()) > 1e-9:
            self.clock.run(min(step, left))
            for node in self.nodes:
                node.answerEchoes()
