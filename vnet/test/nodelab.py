"""
Whole nodes and a whole mediator in memory, on one clock: every part is the real one but device, sockets, TLS and Argon2id.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import random
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.python.failure import Failure
from twisted.test import iosim

from vnet.client.identity import Identity
from vnet.client.keptclock import KeptClock
from vnet.client.node import Node
from vnet.client.nodeparts import NodeParts
from vnet.client.state import StateFile
from vnet.client.verbs import Verbs
from vnet.protocols.codec.ethernet import IPV4, IPV6, memberMac
from vnet.protocols.codec.icmp import Echo, decodeEcho, encodeEcho
from vnet.protocols.codec.url import MediatorUrl
from vnet.protocols.controlclient import ControlClient
from vnet.protocols.controlserver import Gate
from vnet.protocols.machine.sealer import Sealer
from vnet.protocols.machine.wireguard import WireGuard
from vnet.protocols.stun import StunServer
from vnet.server.tickets import Tickets
from vnet.test.mediatorlab import EXPORTED, MEDIATOR, Lab
from vnet.test.memoryrelay import MemoryRelay, RelayWorld
from vnet.testing import MemoryDevice, MemoryNetwork, MemoryPort, inPairs
from vnet.values import Address

__all__ = ["URL", "Overlay", "TestNode"]

URL = f"vnet://mediator.example:7443#sha256-{'A' * 43}"
_MEDIATOR_HOST = "198.51.100.1"
_RELAY_SECRET = b"the relays' common secret"


@define(eq=False)
class _Connector:
    """
    The endpoint of the mediator: a pipe in memory.
    """

    overlay: Overlay
    host: str

    def connect(self, factory: Any) -> Deferred[Any]:
        """Connect, unless the mediator is down."""
        if not self.overlay.reachable(self.host):
            return fail(Failure(Refused()))
        client = factory.buildProtocol(IPv4Address("TCP", _MEDIATOR_HOST, 7443))
        self.overlay.join(client, self.host)
        return succeed(client)


@define(eq=False)
class TestNode:
    """
    One node, and the operating system around it.

    @ivar answers: whether the operating system answers echo requests.
    @ivar received: the echo replies that came to the operating system.
    """

    __test__ = False

    node: Verbs
    core: Node
    device: MemoryDevice
    port: MemoryPort
    state: StateFile
    overlay: Overlay
    answers: bool = True
    received: list[Echo] = field(factory=list)

    def do(self, asked: Deferred[dict[str, Any]]) -> dict[str, Any]:
        """
        Wait for the answer to a verb.

        @raise Exception: what it fails with.
        """
        results: list[Any] = []
        asked.addBoth(results.append)
        for _ in range(600):
            if results:
                break
            self.overlay.advance(0.05)
        if not results:
            raise AssertionError("no answer in 30 s")
        if isinstance(results[0], Failure):
            results[0].raiseException()
        answer: dict[str, Any] = results[0]
        return answer

    def members(self) -> dict[str, tuple[str, str]]:
        """
        @return: state and path of each member of each network, by C{network/nick}.
        """
        networks = self.do(self.node.networks())["networks"]
        return {
            f"{network['name']}/{member['nick']}": (member["state"], member["path"])
            for network in networks
            for member in network["members"]
        }

    @property
    def address(self) -> str:
        """The virtual IPv4 address."""
        return str(self.do(self.node.status())["address"])

    def reaches(self, other: TestNode) -> bool:
        """
        Whether an echo through the tunnel is answered by the other's operating system.
        """
        try:
            self.do(self.node.ping(other.address))
        except Exception:
            return False
        return True

    def sendEcho(self, other: TestNode, sequence: int) -> None:
        """
        Be a program that pings another node, once.
        """
        own, peer = ip_address(self.address).packed, ip_address(other.address).packed
        packet = encodeEcho(Echo(own, peer, 7, sequence, b"", reply=False))
        self.device.deliver([memberMac(peer) + self.device.mac + IPV4 + packet])

    def answerEchoes(self) -> None:
        """
        Be the operating system: answer the echo requests that came.
        """
        for frame in self.device.take():
            if frame[0] & 1 or frame[12:14] not in (IPV4, IPV6) or not self.answers:
                continue
            echo = decodeEcho(frame[14:])
            if echo.reply:
                self.received.append(echo)
            else:
                reply = type(echo)(
                    echo.destination, echo.source, echo.identifier, echo.sequence, echo.data, reply=True
                )
                self.device.deliver(
                    [memberMac(echo.source) + self.device.mac + frame[12:14] + encodeEcho(reply)]
                )


@define
class _StunTransport:
    """
    What the STUN server writes to.
    """

    port: MemoryPort

    def write(self, data: bytes, address: tuple[str, int]) -> None:
        """Send an answer."""
        self.port.send([(data, Address(*address))])


class _ClientTransport(iosim.FakeTransport):
    """
    A pipe to the mediator, which knows where the mediator is.
    """

    def getPeer(self) -> IPv4Address:
        """The mediator's address."""
        return IPv4Address("TCP", _MEDIATOR_HOST, 7443)


@define(eq=False)
class Overlay:
    """
    A mediator, an Internet, relays, and nodes.

    @ivar relayCount: how many relays there are.
    @ivar relays: what they are.
    @ivar mediatorUp: whether the mediator can be reached; C{cut} names the hosts that cannot reach it though.
    @ivar wallOffset: seconds by which the wall clock of all computers is wrong.
    """

    directory: Callable[[], str]
    relayCount: int = 0
    lab: Lab = field(factory=Lab)
    internet: MemoryNetwork = field(init=False)
    mediatorUp: bool = True
    cut: set[str] = field(factory=set)
    wallOffset: float = 0.0
    nodes: list[TestNode] = field(factory=list, init=False)
    relays: list[MemoryRelay] = field(factory=list, init=False)
    _world: RelayWorld = field(init=False)
    _random: random.Random = field(factory=lambda: random.Random(1), init=False)
    _pipes: list[tuple[str, Any, Any]] = field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self.internet = self._makeInternet()
        self._world = RelayWorld(self.internet)
        if self.relayCount:
            self._startRelays()
        self._startStun()

    def _makeInternet(self) -> MemoryNetwork:
        return MemoryNetwork(self.lab.clock, delay=0.02)

    def _startStun(self) -> None:
        port = self.internet.port(_MEDIATOR_HOST, port=3478)
        port.open()
        server: Any = StunServer(self.lab.clock)
        server.transport = _StunTransport(port)

        def received(batch: Sequence[tuple[bytes, Address]]) -> None:
            for data, source in batch:
                server.datagramReceived(data, source[:2])

        port.start(inPairs(received))

    def _startRelays(self) -> None:
        uris = []
        for number in range(1, self.relayCount + 1):
            host = f"198.51.100.{60 + number}"
            relay = self._world.add(f"relay{number}.example", host)
            relay.script.password = _relayPassword
            self.relays.append(relay)
            uris += [f"turn:relay{number}.example", f"turns:relay{number}.example:443"]
        self.lab.tickets = Tickets(
            uris, _RELAY_SECRET, lambda: self._world.wallOffset + self.lab.clock.seconds()
        )
        self.lab.start()

    def cutUdp(self, *cut: str | tuple[str, str]) -> None:
        """
        Let no UDP pass to and from a host, or between two; what was cut before is mended.
        """
        hosts = {each for each in cut if isinstance(each, str)}
        pairs = [set(each) for each in cut if not isinstance(each, str)]
        self.internet.passes = lambda source, destination: (
            {source.host, destination.host}.isdisjoint(hosts) and {source.host, destination.host} not in pairs
        )

    def reachable(self, host: str) -> bool:
        """Whether a host reaches the mediator."""
        return self.mediatorUp and host not in self.cut

    def add(self, name: str, host: str, state: StateFile | None = None, **parts: Any) -> TestNode:
        """
        Start a node.

        @param host: its address, as the mediator sees it.
        @param state: what it remembers, from an earlier life.
        @param parts: what is not made as usual, by the names that L{NodeParts} has.
        """
        identity = Identity(hashlib.sha256(name.encode()).digest())
        if state is None:
            state = StateFile(Path(self.directory()))
            state.update(nick=name)
        wall = KeptClock(
            state._path.with_name(f"{state._path.name}.timestamp"), self._nanoseconds, self.lab.clock.seconds
        )
        wall.load()
        device, port = MemoryDevice(), parts.pop("port", None) or self.internet.port(host)
        device.open()
        port.open()

        async def derive(password: str, realm: bytes, network: str) -> bytes:
            return hashlib.sha256(password.encode() + realm + network.encode()).digest()

        made: dict[str, Any] = dict(
            clock=self.lab.clock,
            identity=identity,
            state=state,
            device=device,
            port=port,
            wireguard=WireGuard(identity.tunnelPrivateKey(), random=self._random.randbytes, wallClock=wall),
            random=self._random.randbytes,
            sealer=Sealer(identity.seed, self._random.randbytes),
            endpointFor=lambda url: self._endpoint(url, host),
            deriveMaster=derive,
            identify=lambda transport: (MEDIATOR, EXPORTED),
            relayReach=self._world.reachFrom(host),
        )
        core = Node(NodeParts(**{**made, **parts}))
        node = TestNode(Verbs(core), core, device, port, state, self)
        self.nodes.append(node)
        core.start()
        return node

    def _endpoint(self, url: MediatorUrl, host: str) -> Any:
        return _Connector(self, host)

    def _nanoseconds(self) -> int:
        return int((1_700_000_000 + self.wallOffset + self.lab.clock.seconds()) * 1e9)

    def join(self, client: Any, host: str) -> None:
        """
        Join a client's protocol to the mediator's.
        """
        server: Any = Gate(self.lab.factory, self.lab.admission).buildProtocol(IPv4Address("TCP", host, 1024))
        transports = iosim.FakeTransport(server, True), _ClientTransport(client, False)
        pump = iosim.connect(server, transports[0], client, transports[1], greet=False, clock=self.lab.clock)
        self._pipes.append((host, pump, transports))
        server.handshakeCompleted()
        inner = client
        while not isinstance(inner, ControlClient):
            inner = inner._protocol
        inner.handshakeCompleted()

    def advance(self, seconds: float, step: float = 0.05) -> None:
        """
        Let time pass, with data moving.
        """
        while seconds > 0:
            self.lab.clock.advance(min(step, seconds))
            seconds -= step
            self._flush()
            for node in self.nodes:
                node.answerEchoes()

    def _flush(self) -> None:
        moving = True
        while moving:
            pipes = [pump for host, pump, _ in self._pipes if self.reachable(host)]
            moving = any([pump.flush() for pump in pipes])

    def dropControl(self, host: str | None = None) -> None:
        """
        Break the control connections of a host, or all.
        """
        for each, _, transports in list(self._pipes):
            if host in (None, each):
                for transport in transports:
                    if not transport.disconnected:
                        transport.abortConnection()
                        transport.reportDisconnect()
        self._pipes = [pipe for pipe in self._pipes if host not in (None, pipe[0])]

    def kill(self, node: TestNode) -> None:
        """
        The node's process is gone, without a word.
        """
        self.nodes.remove(node)
        self.cut.add(node.port.hosts[0])
        node.port.close()
        node.device.close()
        self.dropControl(node.port.hosts[0])
        node.core._traffic.stop()
        node.core.relayUse.clear()

    def stopAll(self) -> None:
        """
        Stop every node.
        """
        for node in list(self.nodes):
            stopping = Deferred.fromCoroutine(node.core.stop())
            stopping.addErrback(lambda _: None)
        self.advance(5)


def _relayPassword(username: str) -> str:
    return base64.b64encode(hmac.digest(_RELAY_SECRET, username.encode(), "sha1")).decode()
