"""
Tests for L{vnet.protocols.socks}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from vnet.protocols.codec.httpauth import ProxyLogin
from vnet.protocols.proxied import FarEnd, ProxyError, ProxyLoginRefused, ProxyUnusable
from vnet.protocols.socks import wrapSocks
from vnet.test.pipes import Pipe, Pipes, keptFactory

LOGIN = ProxyLogin("ann", "s3cret")
OPEN = b"\x05\x00\x00\x01\x7f\x00\x00\x01\x04\x38"


class SocksTests(SynchronousTestCase):
    """
    L{wrapSocks}.
    """

    def setUp(self) -> None:
        self.pipes = Pipes()
        self.clock = Clock()

    def connect(self, login: ProxyLogin | None = None, host: str = "host.example") -> Deferred[Any]:
        endpoint = wrapSocks(self.pipes, host, 443, self.clock, login, "the proxy p:1080")
        self.assertTrue(verifyObject(IStreamClientEndpoint, endpoint))
        return endpoint.connect(keptFactory())

    @property
    def proxy(self) -> Pipe:
        """The proxy's side of the newest connection."""
        return self.pipes.last

    def asked(self, login: ProxyLogin | None = None, host: str = "host.example") -> Deferred[Any]:
        """Connect as far as the request."""
        connected = self.connect(login, host)
        self.proxy.sent()
        self.proxy.say(b"\x05\x00")
        return connected

    def test_noLogin(self) -> None:
        """
        A proxy without a login is given the name of the host, and what the far end says together with its answer is not lost.
        """
        connected = self.connect()
        self.assertEqual(self.proxy.sent(), b"\x05\x01\x00")
        self.proxy.say(b"\x05\x00")
        self.assertEqual(self.proxy.sent(), b"\x05\x01\x00\x03\x0chost.example\x01\xbb")
        self.proxy.say(OPEN + b"\x05first")
        protocol = self.successResultOf(connected)
        self.assertEqual(protocol.received, b"\x05first")
        self.assertEqual(protocol.transport.getPeer(), FarEnd("host.example", 443))

    def test_addresses(self) -> None:
        """
        IP addresses are sent as what they are.
        """
        self.asked(host="192.0.2.1")
        self.assertEqual(self.proxy.sent(), b"\x05\x01\x00\x01\xc0\x00\x02\x01\x01\xbb")
        self.asked(host="2001:db8::1")
        self.assertEqual(
            self.proxy.sent(), b"\x05\x01\x00\x04\x20\x01\x0d\xb8" + bytes(11) + b"\x01" + b"\x01\xbb"
        )

    def test_answers(self) -> None:
        """
        Each form of the answer is read, byte by byte too.
        """
        for answer in (
            OPEN,
            b"\x05\x00\x00\x04" + bytes(16) + b"\x04\x38",
            b"\x05\x00\x00\x03\x04here\x04\x38",
            b"\x05\x00\x00\x03\x00\x04\x38",
        ):
            connected = self.connect()
            for octet in b"\x05\x00" + answer[:-1]:
                self.proxy.say(bytes([octet]))
            self.assertNoResult(connected)
            self.proxy.say(answer[-1:] + b"rest")
            self.assertEqual(self.successResultOf(connected).received, b"rest")

    def test_login(self) -> None:
        """
        Name and password are sent where the proxy wants them, and not where it does not.
        """
        connected = self.connect(LOGIN)
        self.assertEqual(self.proxy.sent(), b"\x05\x02\x00\x02")
        self.proxy.say(b"\x05\x02")
        self.assertEqual(self.proxy.sent(), b"\x01\x03ann\x06s3cret")
        self.proxy.say(b"\x01\x00")
        self.assertEqual(self.proxy.sent()[:3], b"\x05\x01\x00")
        self.proxy.say(OPEN)
        self.successResultOf(connected)
        connected = self.asked(LOGIN)
        self.assertEqual(self.proxy.sent()[:3], b"\x05\x01\x00")

    def test_longLogin(self) -> None:
        """
        The longest name and password that there can be are sent.
        """
        self.connect(ProxyLogin("n" * 255, "\u00e4" * 127 + "p"))
        self.proxy.sent()
        self.proxy.say(b"\x05\x02")
        self.assertEqual(len(self.proxy.sent()), 3 + 510)

    def fails(self, connected: Deferred[Any], kind: type[ProxyError], text: str) -> None:
        error = self.failureResultOf(connected).value
        self.assertIs(type(error), kind)
        self.assertEqual(str(error), f"the proxy p:1080 {text}")
        self.assertFalse(self.proxy.open)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_loginRefused(self) -> None:
        """
        A refused login is told as that.
        """
        connected = self.connect(LOGIN)
        self.proxy.say(b"\x05\x02\x01\x01")
        self.fails(connected, ProxyLoginRefused, "refuses the name or the password")

    def test_loginMissing(self) -> None:
        """
        That a login is wanted is said, where there is none; so is a kind of login that is not known.
        """
        text = "wants a name and a password, and none were given: see --proxy"
        for answer in (b"\x05\xff", b"\x05\x02", b"\x05\x01"):
            connected = self.connect()
            self.proxy.say(answer)
            self.fails(connected, ProxyUnusable, text)
        for answer in (b"\x05\xff", b"\x05\x01", b"\x05\x80"):
            connected = self.connect(LOGIN)
            self.proxy.say(answer)
            text = "does not take a name and a password, but another kind of login"
            self.fails(connected, ProxyUnusable, text)

    def test_replies(self) -> None:
        """
        Each refusal is one line, also where the proxy ends it after the number.
        """
        for code, text in (
            (1, "could not connect to host.example:443, and does not say why"),
            (2, "does not allow connections to host.example:443"),
            (3, "cannot reach the network of host.example:443"),
            (4, "cannot reach host.example:443"),
            (5, "was refused by host.example:443: nothing listens there"),
            (6, "got no answer from host.example:443"),
            (7, "makes no connections"),
            (8, "does not know the kind of address that host.example:443 is"),
            (9, "does not connect to host.example:443 (SOCKS5 reply 9)"),
            (255, "does not connect to host.example:443 (SOCKS5 reply 255)"),
        ):
            for answer in (bytes([5, code]), bytes([5, code]) + OPEN[2:]):
                connected = self.asked()
                self.proxy.say(answer)
                self.fails(connected, ProxyError, text)

    def test_noProxy(self) -> None:
        """
        What speaks another protocol, or closes, is no SOCKS5 proxy.
        """
        for said in (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x04", b"\x00\x5b"):
            connected = self.connect()
            self.proxy.say(said)
            self.fails(connected, ProxyUnusable, "does not speak SOCKS5: is it a SOCKS5 proxy?")
        connected = self.asked()
        self.proxy.say(b"\x06")
        self.fails(connected, ProxyUnusable, "does not speak SOCKS5: is it a SOCKS5 proxy?")
        for said in (b"\x05\x00\x00\x09\x00\x00", b"\x05\x00\x00\x03\x01\xff\x00\x00"):
            connected = self.asked()
            self.proxy.say(said)
            self.fails(connected, ProxyUnusable, "gives an answer that makes no sense")
        connected = self.connect()
        self.proxy.close()
        self.fails(connected, ProxyUnusable, "closed the connection: is it a SOCKS5 proxy?")
