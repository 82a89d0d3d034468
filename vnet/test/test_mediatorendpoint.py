"""
Tests for L{vnet.client.mediatorendpoint}.
"""

from __future__ import annotations

from typing import Any

from attrs import define, field
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.error import (
    ConnectionDone,
    ConnectionRefusedError,
    DNSLookupError,
    NoRouteError,
    TCPTimedOutError,
)
from twisted.internet.interfaces import IHandshakeListener, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.test import iosim
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from vnet.client.dialer import Dialer
from vnet.client.mediatorendpoint import Mediators, NotReached
from vnet.client.proxychoice import ProxyChoice, chooseProxy
from vnet.protocols.codec.url import MediatorUrl
from vnet.protocols.controlclient import MediatorSilent
from vnet.protocols.proxied import FarEnd, ProxyError, ProxyUnusable
from vnet.protocols.tls import CertificateRefused, exportedKey, serverFactory, serverOptions, spkiHash
from vnet.test.pipes import Kept, Pipes
from vnet.test.test_tls import Authority

PIN = b"p" * 32


@implementer(IHandshakeListener)
class Client(Kept):
    """
    Notes when TLS is complete.
    """

    secure = False

    def handshakeCompleted(self) -> None:
        """See L{IHandshakeListener}."""
        self.secure = True


@define(eq=False)
class Ports:
    """
    A dialer to a host in memory: the test is the host.

    @ivar dialled: the ports, in the order in which they were.
    """

    proxied: bool = False
    pipes: dict[int, Pipes] = field(factory=lambda: {7443: Pipes(), 443: Pipes()})
    dialled: list[int] = field(factory=list)

    def usesProxy(self, host: str, port: int) -> bool:
        """See L{Dialer}."""
        return self.proxied

    def endpoint(self, host: str, port: int) -> Any:
        """See L{Dialer}."""
        self.dialled.append(port)
        return self.pipes[port]


class RaceTests(SynchronousTestCase):
    """
    L{Mediators} without TLS: the test says when TLS is complete.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.ports = Ports()
        self.located: Deferred[Any] = succeed(["192.0.2.7", "2001:db8::7"])
        self.make()

    def make(self, port: int = 7443, pin: bytes | None = PIN) -> None:
        dialer: Any = self.ports
        self.mediators = Mediators(
            self.clock, dialer, lambda host: self.located, lambda endpoint, url, clock: endpoint
        )
        self.url = MediatorUrl("m.example", port, pin)

    def connect(self) -> Deferred[Any]:
        endpoint = self.mediators.endpointFor(self.url)
        self.assertTrue(verifyObject(IStreamClientEndpoint, endpoint))
        self.ports.dialled.clear()
        return endpoint.connect(Factory.forProtocol(Client))

    def secure(self, port: int) -> None:
        """TLS is complete."""
        self.ports.pipes[port].last.protocol.handshakeCompleted()

    def assertQuiet(self) -> None:
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def fails(self, connected: Deferred[Any], kind: type[Exception]) -> str:
        error = self.failureResultOf(connected).value
        self.assertIs(type(error), kind)
        self.assertQuiet()
        for pipes in self.ports.pipes.values():
            self.assertFalse(any(pipe.open for pipe in pipes.made))
        return str(error)

    def test_own(self) -> None:
        """
        Where the port of the URL leads to the mediator no other is tried, and the protocol gets the connection when TLS is
        complete.
        """
        connected = self.connect()
        self.clock.advance(1.9)
        self.assertNoResult(connected)
        self.secure(7443)
        client = self.successResultOf(connected)
        self.assertTrue(client.secure)
        pipe = self.ports.pipes[7443].last
        client.transport.write(b"hello")
        self.assertEqual(pipe.sent(), b"hello")
        pipe.say(b"welcome")
        self.assertEqual(client.received, b"welcome")
        self.assertEqual(client.transport.getPeer(), pipe.getPeer())
        pipe.close()
        self.assertIsNotNone(client.lost.check(ConnectionDone))
        self.assertEqual(self.ports.dialled, [7443])
        self.assertQuiet()

    def test_late(self) -> None:
        """
        After 2 s port 443 is tried beside it; the first that is secure wins, and the other one is closed.
        """
        for winner, loser in ((7443, 443), (443, 7443)):
            self.make()
            connected = self.connect()
            self.clock.advance(2)
            self.assertEqual(self.ports.dialled, [7443, 443])
            self.assertNoResult(connected)
            self.secure(winner)
            self.successResultOf(connected)
            self.assertTrue(self.ports.pipes[winner].last.open)
            self.assertFalse(self.ports.pipes[loser].last.open)
            self.assertQuiet()

    def test_blocked(self) -> None:
        """
        A port that does not even connect is given up when the other one is secure.
        """
        cancelled: list[object] = []
        self.ports.pipes[7443].failure = Deferred(cancelled.append)
        connected = self.connect()
        self.clock.advance(2)
        self.secure(443)
        self.successResultOf(connected)
        self.assertEqual(len(cancelled), 1)
        self.assertQuiet()

    def test_fails(self) -> None:
        """
        Where the port of the URL fails, 443 is tried at once.
        """
        for error in (
            ConnectionRefusedError(),
            NoRouteError(),
            TCPTimedOutError(),
            SSL.Error([("", "", "wrong version number")]),
            CertificateRefused("a middle box has a key of its own"),
            ProxyError("the proxy does not allow 7443"),
        ):
            self.make()
            self.ports.pipes[7443].failure = error
            connected = self.connect()
            self.assertEqual(self.ports.dialled, [7443, 443])
            self.secure(443)
            self.successResultOf(connected)
            self.assertQuiet()

    def test_closes(self) -> None:
        """
        The same when it ends during TLS.
        """
        connected = self.connect()
        self.ports.pipes[7443].last.close()
        self.secure(443)
        self.successResultOf(connected)

    def test_neither(self) -> None:
        """
        Where both fail, the error is that of the URL's port, and says that 443 was tried.
        """
        self.ports.pipes[443].failure = NoRouteError()
        self.ports.pipes[7443].failure = ConnectionRefusedError()
        text = "nothing listens there: the connection was refused; port 443 was tried too"
        self.assertEqual(self.fails(self.connect(), NotReached), text)
        self.ports.pipes[443].failure = None
        connected = self.connect()
        self.ports.pipes[443].last.close(CertificateRefused("another key"))
        self.assertEqual(self.fails(connected, NotReached), text)
        self.ports.pipes[7443].failure = CertificateRefused("another key")
        self.ports.pipes[443].failure = NoRouteError()
        self.assertEqual(self.fails(self.connect(), CertificateRefused), "another key")

    def test_hopeless(self) -> None:
        """
        Where the other port would fail for the same reason it is not tried.
        """
        for error in (DNSLookupError("no such name"), ProxyUnusable("the proxy is down")):
            self.ports.pipes[7443].failure = error
            self.assertIn(str(error.args[0]), self.fails(self.connect(), type(error)))
            self.assertEqual(self.ports.dialled, [7443])

    def test_silent(self) -> None:
        """
        TLS that is not complete after 10 s is given up.
        """
        self.ports.pipes[443].failure = NoRouteError()
        connected = self.connect()
        self.clock.pump([1] * 9)
        self.assertNoResult(connected)
        self.clock.advance(1)
        self.assertEqual(
            self.fails(connected, NotReached), "no answer for 10 seconds; port 443 was tried too"
        )

    def test_only443(self) -> None:
        """
        A URL with port 443 has no other port.
        """
        self.make(443)
        connected = self.connect()
        self.clock.advance(9)
        self.assertEqual(self.ports.dialled, [443])
        self.clock.advance(1)
        self.assertEqual(self.fails(connected, MediatorSilent), "no answer for 10 seconds")

    def test_remembered(self) -> None:
        """
        The port that led to the mediator is tried first the next time, also by another endpoint for it.
        """
        self.ports.pipes[7443].failure = NoRouteError()
        self.enter(443)
        self.assertEqual(self.ports.dialled, [7443, 443])
        self.enter(443)
        self.assertEqual(self.ports.dialled, [443])
        self.ports.pipes[7443].failure = None
        connected = self.connect()
        self.clock.advance(2)
        self.assertEqual(self.ports.dialled, [443, 7443])
        self.secure(7443)
        self.successResultOf(connected)
        self.enter(7443)
        self.assertEqual(self.ports.dialled, [7443])

    def enter(self, port: int) -> None:
        """
        Connect by this port.
        """
        connected = self.connect()
        self.secure(port)
        self.successResultOf(connected)
        self.ports.pipes[port].last.close()

    def test_restarts(self) -> None:
        """
        A mediator that was there and refuses is asked again soon, by the same port; if it refuses then, by the other one too.
        """
        for port, other in ((7443, 443), (443, 7443)):
            self.make()
            self.ports.pipes[port].failure, self.ports.pipes[other].failure = None, NoRouteError()
            self.enter(port)
            self.ports.pipes[port].failure = ConnectionRefusedError()
            self.failureResultOf(self.connect(), ConnectionRefusedError)
            self.assertEqual(self.ports.dialled, [port])
            text = self.fails(self.connect(), NotReached)
            self.assertEqual(self.ports.dialled, [port, other])
            self.assertIn("nothing listens" if port == 7443 else "no route", text)
            self.ports.pipes[port].failure = None
            self.enter(port)
            self.assertEqual(self.ports.dialled, [port])

    def test_secondChance(self) -> None:
        """
        Where one port refuses and the other one does not answer, the attempt ends after 5 s.
        """
        self.ports.pipes[7443].failure = ConnectionRefusedError()
        self.ports.pipes[443].failure = Deferred()
        connected = self.connect()
        self.clock.advance(4.9)
        self.assertNoResult(connected)
        self.clock.advance(0.1)
        text = "nothing listens there: the connection was refused; port 443 was tried too"
        self.assertEqual(self.fails(connected, NotReached), text)

    def test_otherMediator(self) -> None:
        """
        What is known of one mediator says nothing of another.
        """
        self.ports.pipes[7443].failure = NoRouteError()
        self.connect()
        self.secure(443)
        self.url = MediatorUrl("other.example", 7443, PIN)
        self.connect()
        self.assertEqual(self.ports.dialled, [7443, 443])

    def test_unpinned(self) -> None:
        """
        Without a pin any web server of that name might answer on 443: it gets its turn later, and is not remembered.
        """
        self.make(pin=None)
        connected = self.connect()
        self.clock.advance(5.9)
        self.assertEqual(self.ports.dialled, [7443])
        self.clock.advance(0.1)
        self.assertEqual(self.ports.dialled, [7443, 443])
        self.secure(443)
        self.successResultOf(connected)
        self.connect()
        self.assertEqual(self.ports.dialled, [7443])

    def test_cancelled(self) -> None:
        """
        Who does not want to wait any more cancels, and all connections end.
        """
        for seconds in (1, 3):
            connected = self.connect()
            self.clock.advance(seconds)
            connected.cancel()
            self.failureResultOf(connected)
            self.assertQuiet()
            for pipes in self.ports.pipes.values():
                self.assertFalse(any(pipe.open for pipe in pipes.made))

    def behindProxy(self) -> None:
        self.ports.proxied = True
        for pipes in self.ports.pipes.values():
            pipes.peer = FarEnd("m.example", 7443)

    def test_located(self) -> None:
        """
        Behind a proxy the mediator's address is looked up beside.
        """
        self.behindProxy()
        connected = self.connect()
        self.secure(7443)
        client = self.successResultOf(connected)
        self.assertEqual(client.transport.getPeer(), FarEnd("192.0.2.7", 7443))

    def test_notLocated(self) -> None:
        """
        Where its name does not resolve the connection is made all the same, at most a second later.
        """
        self.behindProxy()
        located: list[Deferred[Any]] = [fail(DNSLookupError()), succeed([])]
        for self.located in located:
            connected = self.connect()
            self.secure(7443)
            self.assertEqual(self.successResultOf(connected).transport.getPeer(), FarEnd("m.example", 7443))
        self.located = Deferred()
        connected = self.connect()
        self.clock.advance(0.5)
        self.secure(7443)
        self.ports.pipes[7443].last.say(b"early")
        self.clock.advance(0.4)
        self.assertNoResult(connected)
        self.clock.advance(0.1)
        client = self.successResultOf(connected)
        self.assertEqual(client.transport.getPeer(), FarEnd("m.example", 7443))
        self.assertEqual(client.received, b"early")
        self.assertQuiet()

    def test_lostMeanwhile(self) -> None:
        """
        A connection that is lost during the look-up is no connection.
        """
        self.behindProxy()
        self.located = Deferred()
        connected = self.connect()
        self.secure(7443)
        self.ports.pipes[7443].last.close()
        self.clock.advance(1)
        self.failureResultOf(connected, ConnectionDone)
        self.located = Deferred()
        connected = self.connect()
        self.secure(7443)
        connected.cancel()
        self.failureResultOf(connected, CancelledError)
        self.assertFalse(self.ports.pipes[7443].last.open)

    def test_directPeer(self) -> None:
        """
        A connection that went past the proxy keeps its own peer.
        """
        self.ports.proxied = True
        connected = self.connect()
        self.secure(7443)
        peer = self.ports.pipes[7443].last.getPeer()
        self.assertEqual(self.successResultOf(connected).transport.getPeer(), peer)


class TlsTests(SynchronousTestCase):
    """
    L{Mediators} with TLS and the real dialer.
    """

    def setUp(self) -> None:
        self.reactor: Any = MemoryReactorClock()
        authority = Authority()
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = authority.issue(self.key, None)
        self.served: list[Kept] = []

    def connect(self, choice: ProxyChoice, pin: bytes) -> Deferred[Any]:
        mediators = Mediators(self.reactor, Dialer(self.reactor, choice), lambda host: succeed([host]))
        endpoint = mediators.endpointFor(MediatorUrl("192.0.2.7", 7443, pin))
        return endpoint.connect(Factory.forProtocol(Client))

    def serve(self, number: int, proxy: bool = False) -> Any:
        """
        Be the mediator on a connection that the node makes, or the proxy before it.
        """
        host, port, factory, _, _ = self.reactor.tcpClients[number]
        client = factory.buildProtocol(IPv4Address("TCP", host, port))

        def build(addr: object) -> Kept:
            self.served.append(Kept())
            return self.served[-1]

        mediator = Factory()
        mediator.buildProtocol = build  # type: ignore[method-assign]
        options = serverOptions(self.key, self.certificate)
        server: Any = serverFactory(options, mediator, self.reactor).buildProtocol(None)
        if proxy:
            server = _HttpProxy(server)
        clientIO, serverIO = iosim.FakeTransport(client, False), iosim.FakeTransport(server, True)
        pump = iosim.connect(server, serverIO, client, clientIO, greet=False, clock=self.reactor)
        pump.flush()
        return pump

    def test_pinned(self) -> None:
        """
        The connection is made with the right key, and gives both sides the same exported value.
        """
        connected = self.connect(ProxyChoice(), spkiHash(self.certificate))
        pump = self.serve(0)
        client = self.successResultOf(connected)
        client.transport.write(b"hello")
        pump.flush()
        server: Any = self.served[0]
        self.assertEqual(server.received, b"hello")
        self.assertEqual(exportedKey(client.transport), exportedKey(server.transport))

    def test_wrongPin(self) -> None:
        """
        Another key is refused, on both ports.
        """
        connected = self.connect(ProxyChoice(), PIN)
        self.serve(0)
        self.serve(1)
        self.assertEqual([each[1] for each in self.reactor.tcpClients], [7443, 443])
        self.assertIn("pin", str(self.failureResultOf(connected, CertificateRefused).value))

    def test_throughProxy(self) -> None:
        """
        The same through a proxy that connects to port 443 only: the exported value is that of the mediator's own TLS.
        """
        connected = self.connect(chooseProxy("http://203.0.113.1:3128", {}), spkiHash(self.certificate))
        self.serve(0, proxy=True)
        self.assertNoResult(connected)
        pump = self.serve(1, proxy=True)
        client = self.successResultOf(connected)
        client.transport.write(b"hello")
        pump.flush()
        server: Any = self.served[-1]
        self.assertEqual(server.received, b"hello")
        self.assertEqual(exportedKey(client.transport), exportedKey(server.transport))
        self.assertEqual(client.transport.getPeer(), FarEnd("192.0.2.7", 443))


class _HttpProxy(Kept):
    """
    A proxy that connects to port 443 only, where another protocol is.
    """

    def __init__(self, behind: Any) -> None:
        super().__init__()
        self.behind = behind
        self.open = False

    def dataReceived(self, data: bytes) -> None:
        """See L{twisted.internet.interfaces.IProtocol}."""
        transport: Any = self.transport
        if self.open:
            self.behind.dataReceived(data)
        elif b":443 " in data:
            self.open = True
            transport.write(b"HTTP/1.1 200 OK\r\n\r\n")
            self.behind.makeConnection(transport)
        else:
            transport.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
