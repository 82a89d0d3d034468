"""
Tests for L{vnet.client.portmapping.routerhttp}.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.portmapping.routerhttp import PATIENCE, RouterHttp
from vnet.client.portmapping.way import NoMapping, Silent
from vnet.protocols.codec.igd import Fault, Service
from vnet.protocols.codec.plainxml import MAXIMUM
from vnet.protocols.codec.ssdp import Place
from vnet.test.fakerouter import envelope, fault, response
from vnet.test.pipes import Pipes

PLACE = Place("192.168.1.1", 5000, "/root.xml?a=b")
SERVICE = Service("urn:schemas-upnp-org:service:WANIPConnection:1", PLACE)


class HttpTestCase(SynchronousTestCase):
    """
    One router in memory.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.pipes = Pipes()
        self.ports: list[int] = []
        self.http = RouterHttp(self.clock, self.endpoint)

    def endpoint(self, port: int) -> Pipes:
        self.ports.append(port)
        return self.pipes

    def fetch(self) -> Deferred[bytes]:
        return Deferred.fromCoroutine(self.http.fetch(PLACE))

    def assertClosed(self) -> None:
        self.assertFalse(any(pipe.open for pipe in self.pipes.made))
        self.assertEqual(self.clock.getDelayedCalls(), [])


class RequestTests(HttpTestCase):
    """
    Requests, and responses that are fine.
    """

    def test_get(self) -> None:
        """
        A document is asked for at the place's port and path.
        """
        got = self.fetch()
        self.assertEqual(
            self.pipes.last.sent(),
            b"GET /root.xml?a=b HTTP/1.1\r\nHost: 192.168.1.1:5000\r\nUser-Agent: vnet\r\nConnection: close\r\n\r\n",
        )
        self.pipes.last.say(response(b"body"))
        self.assertEqual(self.successResultOf(got), b"body")
        self.assertEqual(self.ports, [5000])
        self.assertClosed()

    def test_framing(self) -> None:
        """
        The body ends by its length, by chunks, or with the connection; a response may come byte by byte.
        """
        for data in (
            response(b"body"),
            b"HTTP/1.1 100 x\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n",
            b"HTTP/1.0 200 OK\r\n\r\nbody",
        ):
            got = self.fetch()
            for byte in data:
                self.pipes.last.say(bytes((byte,)))
            self.pipes.last.close()
            self.assertEqual(self.successResultOf(got), b"body")
            self.assertClosed()

    def test_call(self) -> None:
        """
        A call names its action, and gives results or a fault.
        """
        called = Deferred.fromCoroutine(self.http.call(SERVICE, "Get", A=1))
        head, _, body = self.pipes.last.sent().partition(b"\r\n\r\n")
        self.assertIn(b'SOAPAction: "urn:schemas-upnp-org:service:WANIPConnection:1#Get"', head)
        self.assertIn(b"Content-Length: %d\r\n" % len(body), head)
        self.assertIn(b"<A>1</A>", body)
        self.pipes.last.say(response(envelope("<u:GetResponse><B>2</B></u:GetResponse>")))
        self.assertEqual(self.successResultOf(called), {"B": "2"})
        called = Deferred.fromCoroutine(self.http.call(SERVICE, "Get"))
        self.pipes.last.say(fault(718))
        self.assertEqual(self.successResultOf(called), Fault(718))
        self.assertClosed()


class BadResponseTests(HttpTestCase):
    """
    Responses that are not.
    """

    def assertFails(self, got: Deferred[bytes]) -> str:
        error = self.failureResultOf(got, NoMapping).value
        self.assertClosed()
        return str(error)

    def test_status(self) -> None:
        """
        Redirections are not followed, and other statuses are failures.
        """
        for status in (301, 302, 307, 308, 401, 404, 500):
            got = self.fetch()
            self.pipes.last.say(
                b"HTTP/1.1 %d x\r\nLocation: http://192.0.2.1/\r\nContent-Length: 0\r\n\r\n" % status
            )
            self.assertEqual(self.assertFails(got), f"it answers {status} over HTTP")
        self.assertEqual(len(self.pipes.made), 7)

    def test_tooMuch(self) -> None:
        """
        Endless heads, bodies, chunks and informational responses end with the connection; what is kept is bounded.
        """
        for begin, more in (
            (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 100),
            (b"HTTP/1.1 200 OK\r\nX: ", b"y" * 1000),
            (b"HTTP/1.1 200 OK\r\n\r\n", b"y" * 1000),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n", b"y" * 1000),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\ny\r\n" * 100),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0" * 1000),
            (b"", b"HTTP/1.1 100 x\r\n\r\n" * 100),
            (b"", b"\0" * 1000),
        ):
            got = self.fetch()
            said = 0
            self.pipes.last.say(begin)
            while self.pipes.last.open:
                self.pipes.last.say(more)
                said += len(more)
                self.assertLess(said, MAXIMUM + 20000)
            self.assertFails(got)

    def test_garbage(self) -> None:
        """
        What is no HTTP, and what is cut short, fails.
        """
        for data in (
            b"",
            b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbody",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nbo",
            b"HTTP/1.1 101 x\r\nUpgrade: y\r\n\r\nz",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nz",
        ):
            got = self.fetch()
            self.pipes.last.say(data)
            self.pipes.last.close()
            self.assertFails(got)

    def test_slow(self) -> None:
        """
        A response that comes too slowly ends after 5 s, at whatever point it is.
        """
        slow = b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n" + bytes(100)
        for begun in (1, 17, 50):
            got = self.fetch()
            self.pipes.last.say(slow[:begun])
            for number in range(int(PATIENCE) * 2 - 1):
                self.clock.advance(0.5)
                self.pipes.last.say(slow[begun + number : begun + number + 1])
            self.assertNoResult(got)
            self.clock.advance(0.5)
            self.failureResultOf(got, Silent)
            self.assertClosed()

    def test_noConnection(self) -> None:
        """
        A port that is closed, and one that never answers, fail.
        """
        self.pipes.failure = ConnectionRefusedError()
        self.failureResultOf(self.fetch(), Silent)
        self.pipes.failure = Deferred()
        got = self.fetch()
        self.clock.advance(PATIENCE)
        self.failureResultOf(got, Silent)
        self.assertClosed()

    def test_badAnswer(self) -> None:
        """
        An answer to a call that cannot be read is a failure.
        """
        called = Deferred.fromCoroutine(self.http.call(SERVICE, "Get"))
        self.pipes.last.say(response(b"<!DOCTYPE a><a/>"))
        self.failureResultOf(called, NoMapping)
        called = Deferred.fromCoroutine(self.http.call(SERVICE, "Get"))
        self.pipes.last.say(response(b"", 404))
        self.failureResultOf(called, NoMapping)

    def test_closed(self) -> None:
        """
        What is under way when all is closed fails, and so does what comes later.
        """
        first, second = self.fetch(), self.fetch()
        self.http.close()
        for got in (first, second, self.fetch()):
            self.failureResultOf(got, Silent)
        self.assertEqual(len(self.pipes.made), 2)
        self.assertClosed()
