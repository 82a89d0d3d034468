"""
Tests for L{vnet.protocols.tunnel}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone, ConnectionRefusedError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from vnet.protocols.proxied import FarEnd, ProxyError, ProxyUnusable, Reconnect
from vnet.protocols.tunnel import MAXIMUM_ANSWER, TunnelEndpoint
from vnet.test.pipes import Kept, Pipes, keptFactory

FAR = FarEnd("host.example", 443)


class Script:
    """
    A negotiation: C{yes} and a newline end it well, C{again} wants another connection.
    """

    def __init__(self) -> None:
        self.ready = False
        self.rest = b""

    def begin(self) -> bytes:
        self.said = b""
        return b"please"

    def receive(self, data: bytes) -> bytes:
        self.said += data
        if self.said.startswith(b"again"):
            raise Reconnect("once more")
        if self.said.startswith(b"no"):
            raise ProxyError("it does not want to")
        _, newline, rest = self.said.partition(b"\n")
        self.ready, self.rest = bool(newline), rest
        return b"thanks" if newline else b""

    def closed(self) -> ProxyError:
        return ProxyUnusable("it closed")


class TunnelTests(SynchronousTestCase):
    """
    L{TunnelEndpoint}.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.pipes = Pipes()
        self.endpoint = TunnelEndpoint(self.pipes, FAR, self.clock, Script, "the proxy p:1")
        self.addCleanup(lambda: self.assertEqual(self.clock.getDelayedCalls(), []))

    def connect(self, factory: Any = None) -> Deferred[Any]:
        return self.endpoint.connect(factory or keptFactory())

    def test_endpoint(self) -> None:
        """
        It is an endpoint like others.
        """
        self.assertTrue(verifyObject(IStreamClientEndpoint, self.endpoint))

    def test_opened(self) -> None:
        """
        When the negotiation is done the protocol gets the connection: what is sent and what comes is its own, its peer is the
        far end, and what came together with the proxy's last answer is not lost.
        """
        connected = self.connect()
        self.assertEqual(self.pipes.last.sent(), b"please")
        self.pipes.last.say(b"y")
        self.assertNoResult(connected)
        self.pipes.last.say(b"es\nfirst")
        protocol = self.successResultOf(connected)
        self.assertIsInstance(protocol, Kept)
        self.assertEqual(protocol.received, b"first")
        self.assertEqual(self.pipes.last.sent(), b"thanks")
        protocol.transport.write(b"more")
        protocol.transport.writeSequence([b"an", b"d"])
        self.assertEqual(self.pipes.last.sent(), b"moreand")
        self.pipes.last.say(b" second")
        self.assertEqual(protocol.received, b"first second")
        self.assertEqual(protocol.transport.getPeer(), FAR)
        self.pipes.last.close()
        self.assertIsNotNone(protocol.lost.check(ConnectionDone))

    def test_order(self) -> None:
        """
        The protocol is connected before it is handed out, and data comes after that.
        """
        events: list[str] = []

        class Noting(Protocol):
            def connectionMade(self) -> None:
                events.append("made")

            def dataReceived(self, data: bytes) -> None:
                events.append("data")

        factory = keptFactory()
        factory.protocol = Noting
        self.connect(factory).addCallback(lambda _: events.append("out"))
        self.pipes.last.say(b"yes\nfirst")
        self.assertEqual(events, ["made", "out", "data"])

    def test_closedAtOnce(self) -> None:
        """
        A protocol that ends the connection when it gets it hears nothing more.
        """
        connected = self.connect()
        connected.addCallback(lambda protocol: protocol.transport.abortConnection() or protocol)
        self.pipes.last.say(b"yes\nfirst")
        protocol = self.successResultOf(connected)
        self.assertEqual(protocol.received, b"")
        self.assertIsNotNone(protocol.lost)
        self.assertFalse(self.pipes.last.open)

    def test_notWanted(self) -> None:
        """
        Where the factory makes no protocol the connection is closed.
        """
        factory = keptFactory()
        factory.buildProtocol = lambda _: None
        connected = self.connect(factory)
        self.pipes.last.say(b"yes\n")
        self.failureResultOf(connected)
        self.assertFalse(self.pipes.last.open)

    def assertFails(self, connected: Deferred[Any], kind: type[Exception], text: str) -> None:
        failure = self.failureResultOf(connected, kind)
        self.assertEqual(str(failure.value), text)
        self.assertFalse(any(pipe.open for pipe in self.pipes.made))

    def test_refused(self) -> None:
        """
        A refusal ends the connection.
        """
        connected = self.connect()
        self.pipes.last.say(b"no")
        self.assertFails(connected, ProxyError, "it does not want to")

    def test_closed(self) -> None:
        """
        A proxy that closes is told of as the negotiation has it.
        """
        connected = self.connect()
        self.pipes.last.close()
        self.assertFails(connected, ProxyUnusable, "it closed")

    def test_brokenTls(self) -> None:
        """
        A proxy that is reached by TLS, which fails, is told of.
        """
        connected = self.connect()
        self.pipes.last.close(OSError("certificate verify failed"))
        self.assertIn("TLS failed", str(self.failureResultOf(connected, ProxyUnusable).value))

    def test_unreachable(self) -> None:
        """
        That the proxy is not reached is told as that.
        """
        self.pipes.failure = ConnectionRefusedError()
        text = "the proxy p:1 cannot be reached: nothing listens there: the connection was refused"
        self.assertFails(self.connect(), ProxyUnusable, text)

    def test_throughAnother(self) -> None:
        """
        What a proxy in front of the proxy says is not changed.
        """
        self.pipes.failure = ProxyError("the other one does not")
        self.assertFails(self.connect(), ProxyError, "the other one does not")

    def test_again(self) -> None:
        """
        A negotiation may go on over a second connection, and over no third one.
        """
        connected = self.connect()
        self.pipes.last.say(b"again")
        self.assertFalse(self.pipes.made[0].open)
        self.assertEqual(len(self.pipes.made), 2)
        self.assertEqual(self.pipes.last.sent(), b"please")
        self.pipes.last.say(b"yes\n")
        self.successResultOf(connected)
        connected = self.connect()
        self.pipes.last.say(b"again")
        self.pipes.last.say(b"again")
        self.assertIsInstance(self.failureResultOf(connected).value, ProxyError)
        self.assertEqual(len(self.pipes.made), 4)

    def test_silent(self) -> None:
        """
        A proxy that does not answer is given up after 15 s, whether it is connected or not, and over all connections.
        """
        text = "the proxy p:1 made no connection to host.example:443 within 15 seconds"
        connected = self.connect()
        self.clock.advance(10)
        self.pipes.last.say(b"again")
        self.clock.advance(4.9)
        self.assertNoResult(connected)
        self.clock.advance(0.1)
        self.assertFails(connected, ProxyError, text)
        self.pipes.failure = Deferred()
        connected = self.connect()
        self.clock.advance(15)
        self.assertFails(connected, ProxyError, text)

    def test_cancelled(self) -> None:
        """
        Who does not want to wait any more cancels, and the connection ends.
        """
        connected = self.connect()
        connected.cancel()
        self.failureResultOf(connected, CancelledError)
        self.assertFalse(self.pipes.last.open)

    def test_talkative(self) -> None:
        """
        A proxy that says too much is given up.
        """
        connected = self.connect()
        for _ in range(MAXIMUM_ANSWER // 1024):
            self.pipes.last.say(bytes(1024))
        self.assertNoResult(connected)
        self.pipes.last.say(b"x")
        self.assertIn("too much", str(self.failureResultOf(connected, ProxyUnusable).value))
        self.assertFalse(self.pipes.last.open)
