"""
Tests for L{vnet.client.dialer}: what connects where, and what is said there.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.interfaces import IHostnameResolver
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from vnet.client.dialer import FIRST_PAUSE, LONGEST_PAUSE, Dialer
from vnet.client.proxychoice import ProxyChoice, parseExemptions
from vnet.client.reach import reachRelays
from vnet.protocols.codec.proxyurl import parseProxy
from vnet.protocols.codec.turnuri import parseRelayUri
from vnet.protocols.proxied import ProxyLoginRefused, ProxyUnusable
from vnet.test.pipes import Pipe, keptFactory

REFUSED = b"HTTP/1.1 407 x\r\nContent-Length: 0\r\nProxy-Authenticate: Basic\r\n\r\n"


@implementer(IHostnameResolver)
class Literals:
    """
    Knows addresses only.
    """

    def resolveHostName(
        self, resolutionReceiver: Any, hostName: str, portNumber: int = 0, *arguments: Any, **more: Any
    ) -> Any:
        """See L{IHostnameResolver}."""
        resolutionReceiver.addressResolved(IPv4Address("TCP", hostName, portNumber))
        resolutionReceiver.resolutionComplete()


class Named(Literals):
    """
    Knows one address for all names.
    """

    def __init__(self, address: str) -> None:
        self._address = address

    def resolveHostName(self, resolutionReceiver: Any, hostName: str, *arguments: Any, **more: Any) -> Any:
        """See L{IHostnameResolver}."""
        resolutionReceiver.addressResolved(IPv4Address("TCP", self._address, 0))
        resolutionReceiver.resolutionComplete()


class DialerTests(SynchronousTestCase):
    """
    L{Dialer}.
    """

    def setUp(self) -> None:
        self.reactor: Any = MemoryReactorClock()
        self.reactor.installNameResolver(Literals())

    def dialer(self, proxy: str | None, exempt: str = "") -> Dialer:
        choice = ProxyChoice(parseProxy(proxy) if proxy else None, parseExemptions(exempt), "--proxy")
        return Dialer(self.reactor, choice)

    def accept(self) -> tuple[tuple[str, int], Pipe]:
        """
        @return: where the newest connection goes, and the other side of it.
        """
        host, port, factory, _, _ = self.reactor.tcpClients[-1]
        pipe = Pipe()
        pipe.protocol = factory.buildProtocol(IPv4Address("TCP", host, port))
        pipe.protocol.makeConnection(pipe)
        return (host, port), pipe

    def dial(self, dialer: Dialer, host: str = "192.0.2.7") -> Deferred[Any]:
        return dialer.endpoint(host, 443).connect(keptFactory())

    def test_direct(self) -> None:
        """
        Without a proxy the host itself is connected to, and its address is the peer.
        """
        dialer = self.dialer(None)
        connected = self.dial(dialer)
        place, _ = self.accept()
        self.assertEqual(place, ("192.0.2.7", 443))
        self.assertFalse(dialer.usesProxy("192.0.2.7", 443))
        self.successResultOf(connected)

    def test_ipv4First(self) -> None:
        """Of a host that has both, IPv4 is tried first, and IPv6 soon when nothing comes of that."""

        @implementer(IHostnameResolver)
        class Both(Literals):
            def resolveHostName(
                self, resolutionReceiver: Any, hostName: str, *arguments: Any, **more: Any
            ) -> Any:
                resolutionReceiver.resolutionBegan(None)
                resolutionReceiver.addressResolved(IPv6Address("TCP", "2001:db8::1", 7443))
                resolutionReceiver.addressResolved(IPv4Address("TCP", "192.0.2.1", 7443))
                resolutionReceiver.resolutionComplete()

        self.reactor.installNameResolver(Both())
        connecting = self.dialer(None).endpoint("mediator.example", 7443).connect(keptFactory())
        self.assertEqual([each[0] for each in self.reactor.tcpClients], ["192.0.2.1"])
        self.reactor.advance(1.0)
        self.assertEqual([each[0] for each in self.reactor.tcpClients], ["192.0.2.1", "2001:db8::1"])
        self.assertNoResult(connecting)
        connecting.cancel()
        self.failureResultOf(connecting)

    def test_literals(self) -> None:
        """
        An IP literal is connected to without a resolver, but for one with a zone.
        """
        asked: list[str] = []

        @implementer(IHostnameResolver)
        class Noting(Literals):
            def resolveHostName(
                self, resolutionReceiver: Any, hostName: str, *arguments: Any, **more: Any
            ) -> Any:
                asked.append(hostName)

        self.reactor.installNameResolver(Noting())
        for host in ("192.0.2.1", "2001:db8::1", "fe80::1%eth0"):
            self.dialer(None).endpoint(host, 7443).connect(keptFactory())
        self.assertEqual([each[0] for each in self.reactor.tcpClients], ["192.0.2.1", "2001:db8::1"])
        self.assertEqual(asked, ["fe80::1%eth0"])

    def test_exempt(self) -> None:
        """
        Neither what is exempt nor this computer is reached through the proxy.
        """
        dialer = self.dialer("http://203.0.113.1:3128", "192.0.2.0/24")
        for host, seen in (("192.0.2.7", "192.0.2.7"), ("127.0.0.1", "127.0.0.1")):
            self.dial(dialer, host)
            self.assertEqual(self.accept()[0], (seen, 443))

    def test_proxyHosts(self) -> None:
        """
        Where the proxy is, is known from the beginning, or as soon as its name led there; the last few addresses count.
        """
        self.assertEqual(self.dialer(None).proxyHosts(), ())
        dialer = self.dialer("http://203.0.113.1:3128")
        self.assertEqual(dialer.proxyHosts(), ("203.0.113.1",))
        for proxy in (
            "http://proxy.example:3128",
            "https://proxy.example:443",
            "socks5://proxy.example:1080",
        ):
            dialer = self.dialer(proxy)
            self.assertEqual(dialer.proxyHosts(), ())
            for number in (*range(10), 9):
                resolver = Named(f"192.0.2.{number}")
                self.reactor.installNameResolver(resolver)
                self.dial(dialer, "192.0.2.200").addErrback(lambda failure: None)
                host, port, factory, _, _ = self.reactor.tcpClients[-1]
                pipe = Pipe(IPv4Address("TCP", host, port))
                factory.buildProtocol(IPv4Address("TCP", host, port)).makeConnection(pipe)
            self.assertEqual(dialer.proxyHosts(), tuple(f"192.0.2.{number}" for number in range(2, 10)))

    def test_http(self) -> None:
        """
        An HTTP proxy is asked for the host by its name.
        """
        dialer = self.dialer("http://203.0.113.1:3128")
        self.assertTrue(dialer.usesProxy("host.example", 443))
        connected = self.dial(dialer, "host.example")
        place, pipe = self.accept()
        self.assertEqual(place, ("203.0.113.1", 3128))
        self.assertIn(b"CONNECT host.example:443 ", pipe.sent())
        pipe.say(b"HTTP/1.1 200 OK\r\n\r\n")
        self.successResultOf(connected)

    def test_socks(self) -> None:
        """
        So is a SOCKS5 proxy.
        """
        connected = self.dial(self.dialer("socks5://203.0.113.1"), "host.example")
        place, pipe = self.accept()
        self.assertEqual(place, ("203.0.113.1", 1080))
        self.assertEqual(pipe.sent(), b"\x05\x01\x00")
        pipe.say(b"\x05\x00")
        self.assertIn(b"host.example", pipe.sent())
        pipe.say(b"\x05\x00\x00\x01" + bytes(6))
        self.successResultOf(connected)

    def test_https(self) -> None:
        """
        To an https proxy TLS comes first.
        """
        self.dial(self.dialer("https://203.0.113.1"))
        place, pipe = self.accept()
        self.assertEqual(place, ("203.0.113.1", 443))
        hello = pipe.sent()
        self.assertEqual(hello[:2], b"\x16\x03")
        self.assertNotIn(b"CONNECT", hello)

    def test_unreachable(self) -> None:
        """
        That the proxy is not reached is told with its URL, without name and password.
        """
        connected = self.dial(self.dialer("http://ann:s3cret@203.0.113.1:3128"))
        self.reactor.tcpClients[-1][2].clientConnectionFailed(None, Failure(ConnectionRefusedError()))
        self.reactor.advance(1)
        error = self.failureResultOf(connected, ProxyUnusable).value
        self.assertEqual(
            str(error),
            "the proxy http://203.0.113.1:3128 cannot be reached: nothing listens there: the connection was refused",
        )

    def refuse(self, dialer: Dialer) -> str:
        """
        Connect, and refuse the login.
        """
        connected = self.dial(dialer)
        _, pipe = self.accept()
        pipe.say(REFUSED)
        pipe.say(REFUSED)
        return str(self.failureResultOf(connected, ProxyLoginRefused).value)

    def test_insists(self) -> None:
        """
        A login that was refused is tried again ever more seldom, wherever to: else the proxy may lock the account.
        """
        dialer = self.dialer("http://ann:s3cret@203.0.113.1:3128")
        pause = FIRST_PAUSE
        for _ in range(7):
            line = self.refuse(dialer)
            self.assertEqual(line, "the proxy http://203.0.113.1:3128 refuses the name or the password")
            before = len(self.reactor.tcpClients)
            error = self.failureResultOf(self.dial(dialer, "192.0.2.9"), ProxyLoginRefused).value
            self.assertEqual(str(error), f"{line}; it is not asked again for {pause:.0f} seconds")
            self.reactor.advance(pause - 1)
            self.failureResultOf(self.dial(dialer))
            self.assertEqual(len(self.reactor.tcpClients), before)
            self.reactor.advance(1)
            pause = min(2 * pause, LONGEST_PAUSE)

    def test_succeeds(self) -> None:
        """
        A login that was taken may be tried at once when it is refused for the first time after that.
        """
        dialer = self.dialer("http://ann:s3cret@203.0.113.1:3128")
        self.refuse(dialer)
        self.reactor.advance(FIRST_PAUSE)
        connected = self.dial(dialer)
        self.accept()[1].say(b"HTTP/1.1 200 OK\r\n\r\n")
        self.successResultOf(connected)
        self.refuse(dialer)
        self.reactor.advance(FIRST_PAUSE)
        self.refuse(dialer)

    def test_relays(self) -> None:
        """
        Connections to relays go through the proxy too.
        """
        reach = reachRelays(self.reactor, self.dialer("http://203.0.113.1:3128"))
        for uri in ("turn:relay.example:443?transport=tcp", "turns:relay.example:443"):
            reach.connect(parseRelayUri(uri)[-1]).connect(keptFactory())
            place, pipe = self.accept()
            self.assertEqual(place, ("203.0.113.1", 3128))
            self.assertIn(b"CONNECT relay.example:443 ", pipe.sent())
