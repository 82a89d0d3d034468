"""
Tests for L{vnet.protocols.httpconnect}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from vnet.protocols.codec.httpauth import ProxyLogin, parseChallenges
from vnet.protocols.httpconnect import HttpNegotiation, wrapHttpConnect
from vnet.protocols.proxied import FarEnd, ProxyError, ProxyLoginRefused, ProxyUnusable
from vnet.test.pipes import Pipe, Pipes, keptFactory

LOGIN = ProxyLogin("ann", "s3cret")
BASIC = b"Basic YW5uOnMzY3JldA=="


def refusal(status: str, *headers: str, page: bytes = b"") -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(page)}", *headers, "", ""]
    return "\r\n".join(head).encode() + page


def wanted(*challenges: str, page: bytes = b"<p>no</p>", headers: tuple[str, ...] = ()) -> bytes:
    """A refusal that wants a login."""
    lines = [f"Proxy-Authenticate: {each}" for each in challenges]
    return refusal("407 Proxy Authentication Required", *lines, *headers, page=page)


class ConnectTests(SynchronousTestCase):
    """
    L{wrapHttpConnect}.
    """

    def setUp(self) -> None:
        self.pipes = Pipes()
        self.clock = Clock()

    def connect(self, login: ProxyLogin | None = None, host: str = "host.example") -> Deferred[Any]:
        endpoint = wrapHttpConnect(self.pipes, host, 443, self.clock, login, "the proxy p:3128")
        self.assertTrue(verifyObject(IStreamClientEndpoint, endpoint))
        return endpoint.connect(keptFactory())

    @property
    def proxy(self) -> Pipe:
        """The proxy's side of the newest connection."""
        return self.pipes.last

    def request(self) -> tuple[str, dict[str, str]]:
        """What the proxy is asked for now."""
        head, end, rest = self.proxy.sent().partition(b"\r\n\r\n")
        self.assertEqual((end, rest), (b"\r\n\r\n", b""))
        first, *lines = head.decode("ascii").split("\r\n")
        return first, dict(line.split(": ", 1) for line in lines)

    def test_noLogin(self) -> None:
        """
        A proxy without a login is asked once, and what the far end says together with the proxy's answer is not lost.
        """
        connected = self.connect()
        first, headers = self.request()
        self.assertEqual(first, "CONNECT host.example:443 HTTP/1.1")
        self.assertEqual(headers, {"Host": "host.example:443", "User-Agent": "vnet"})
        self.proxy.say(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.proxy.say(b"HTTP/1.0 200 Connection established\r\n")
        self.assertNoResult(connected)
        self.proxy.say(b"\r\n\x16\x03first")
        protocol = self.successResultOf(connected)
        self.assertEqual(protocol.received, b"\x16\x03first")
        self.assertEqual(protocol.transport.getPeer(), FarEnd("host.example", 443))
        self.proxy.say(b"HTTP/1.1 500 is data now")
        self.assertEqual(protocol.received, b"\x16\x03firstHTTP/1.1 500 is data now")

    def test_ipv6(self) -> None:
        """
        An IPv6 address stands in brackets.
        """
        self.connect(host="2001:db8::1")
        self.assertEqual(self.request()[0], "CONNECT [2001:db8::1]:443 HTTP/1.1")

    def test_basic(self) -> None:
        """
        No password is sent before the proxy wants one; then it is, over the same connection.
        """
        connected = self.connect(LOGIN)
        self.assertNotIn("Proxy-Authorization", self.request()[1])
        answer = wanted('Basic realm="x"', page=bytes(3000))
        self.proxy.say(answer[:1000])
        self.proxy.say(answer[1000:])
        self.assertEqual(self.request()[1]["Proxy-Authorization"], BASIC.decode())
        self.proxy.say(b"HTTP/1.1 200 OK\r\n\r\n")
        self.successResultOf(connected)
        self.assertEqual(len(self.pipes.made), 1)

    def test_digest(self) -> None:
        """
        Digest is answered for CONNECT and the target, with a random cnonce of its own each time; no password is sent.
        """
        seen = set()
        for algorithm in ("MD5", "SHA-256"):
            connected = self.connect(LOGIN)
            self.proxy.sent()
            self.proxy.say(
                wanted(f'Digest realm="x", nonce="n", qop="auth", algorithm={algorithm}', 'Basic realm="x"')
            )
            ((value),) = parseChallenges([self.request()[1]["Proxy-Authorization"].encode()])
            self.assertEqual(value.parameters["uri"], b"host.example:443")
            self.assertEqual(value.parameters["algorithm"], algorithm.encode())
            seen.add(value.parameters["cnonce"])
            self.proxy.say(b"HTTP/1.1 200 OK\r\n\r\n")
            self.successResultOf(connected)
        self.assertEqual(len(seen), 2)

    def test_closes(self) -> None:
        """
        A proxy that closes after it has wanted a login is answered over another connection.
        """
        challenge = 'Digest realm="x", nonce="n", qop="auth"'
        endless = b"HTTP/1.0 407 x\r\nProxy-Authenticate: " + challenge.encode() + b"\r\n\r\nno"
        for answer, closes in (
            (wanted(challenge, headers=("Connection: close",)), False),
            (wanted(challenge)[:-2], True),
            (endless, True),
            (wanted(challenge, page=bytes(50_000)), False),
        ):
            before = len(self.pipes.made)
            connected = self.connect(LOGIN)
            self.proxy.sent()
            first = self.proxy
            first.say(answer)
            if closes:
                first.close()
            self.assertFalse(first.open)
            self.assertEqual(len(self.pipes.made), before + 2)
            self.assertIn("response=", self.request()[1]["Proxy-Authorization"])
            self.proxy.say(b"HTTP/1.1 200 OK\r\n\r\n")
            self.successResultOf(connected)

    def fails(self, connected: Deferred[Any], kind: type[ProxyError], text: str) -> None:
        error = self.failureResultOf(connected).value
        self.assertIs(type(error), kind)
        self.assertEqual(str(error), f"the proxy p:3128 {text}")
        self.assertFalse(self.proxy.open)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_wrongPassword(self) -> None:
        """
        A login that is refused is not sent again.
        """
        for challenge in ('Basic realm="x"', 'Digest realm="x", nonce="n", qop="auth"'):
            connected = self.connect(LOGIN)
            self.proxy.say(wanted(challenge))
            self.proxy.sent()
            self.proxy.say(wanted(challenge))
            self.assertEqual(self.proxy.sent(), b"")
            self.fails(connected, ProxyLoginRefused, "refuses the name or the password")

    def test_stale(self) -> None:
        """
        A nonce that is too old already is answered with the new one, once.
        """
        connected = self.connect(LOGIN)
        self.proxy.say(wanted('Digest realm="x", nonce="one", qop="auth"'))
        self.proxy.sent()
        self.proxy.say(wanted('Digest realm="x", nonce="two", qop="auth", stale=true'))
        self.assertIn('nonce="two"', self.request()[1]["Proxy-Authorization"])
        self.proxy.say(wanted('Digest realm="x", nonce="three", qop="auth", stale=true'))
        self.fails(connected, ProxyLoginRefused, "refuses the name or the password")

    def test_loginMissing(self) -> None:
        """
        That a login is wanted is said where there is none.
        """
        connected = self.connect()
        self.proxy.say(wanted('Basic realm="x"'))
        self.fails(connected, ProxyUnusable, "wants a name and a password, and none were given: see --proxy")

    def test_loginUnknown(self) -> None:
        """
        What kinds of login a proxy wants is said where none is known here.
        """
        for challenges, text in (
            (("Negotiate", "NTLM"), "wants a login by Negotiate, Ntlm: only Basic and Digest work"),
            ((), "wants a login by unknown means: only Basic and Digest work"),
            (('Basic realm="x',), "wants a login in a way that makes no sense"),
        ):
            connected = self.connect(LOGIN)
            self.proxy.say(wanted(*challenges))
            self.fails(connected, ProxyUnusable, text)

    def test_refusals(self) -> None:
        """
        Each refusal is one line, which says no more of the proxy's words than the number.
        """
        for status, text in (
            ("403 \x1b[31m", "does not allow connections to host.example:443 (403 Forbidden)"),
            ("502 x", "cannot reach host.example:443 (502 Bad Gateway)"),
            ("503 x", "cannot reach host.example:443 (503 Service Unavailable)"),
            ("504 x", "cannot reach host.example:443 (504 Gateway Timeout)"),
            ("405 x", "makes no connections: is it an HTTP proxy? (405 Method Not Allowed)"),
            ("400 x", "makes no connections: is it an HTTP proxy? (400 Bad Request)"),
            ("302 x", "does not connect to host.example:443 (302 Found)"),
            ("599 x", "does not connect to host.example:443 (599)"),
        ):
            connected = self.connect(LOGIN)
            self.proxy.say(refusal(status.replace("\x1b", "")))
            self.fails(connected, ProxyError, text)

    def test_noProxy(self) -> None:
        """
        What speaks no HTTP, or closes, is no HTTP proxy.
        """
        for said in (
            b"SSH-2.0-x\r\n\r\n",
            b"\x05\xff\x00\r\n\r\n",
            bytes(17_000),
            b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
        ):
            connected = self.connect()
            self.proxy.say(said)
            self.fails(connected, ProxyUnusable, "does not speak HTTP: is it an HTTP proxy?")
        connected = self.connect()
        self.proxy.close()
        self.fails(connected, ProxyUnusable, "closed the connection: is it an HTTP proxy?")

    def test_longHead(self) -> None:
        """
        A head of more than 16 KiB is not taken.
        """
        connected = self.connect()
        self.proxy.say(b"HTTP/1.1 200 OK\r\n")
        for _ in range(17):
            self.proxy.say(b"X: " + b"y" * 1021 + b"\r\n")
        self.fails(connected, ProxyUnusable, "does not speak HTTP: is it an HTTP proxy?")

    def test_hidden(self) -> None:
        """
        What is shown of a negotiation, and of an endpoint, holds no password.
        """
        negotiation = HttpNegotiation(FarEnd("host.example", 443), LOGIN, bytes)
        negotiation.begin()
        self.assertIn(b"Basic", negotiation.receive(wanted("Basic")))
        endpoint = wrapHttpConnect(self.pipes, "host.example", 443, self.clock, LOGIN)
        for shown in (repr(negotiation), repr(endpoint), str(endpoint)):
            self.assertNotIn("s3cret", shown)
            self.assertNotIn("YW5u", shown)

    def test_alwaysCloses(self) -> None:
        """
        A proxy that closes whenever it is to take a login is given up.
        """
        connected = self.connect(LOGIN)
        stale = 'Digest realm="x", nonce="n", qop="auth", stale=true'
        for _ in range(2):
            self.proxy.say(wanted(stale, headers=("Connection: close",)))
        self.fails(connected, ProxyUnusable, "closes the connection whenever it is asked")
        self.assertEqual(len(self.pipes.made), 2)
