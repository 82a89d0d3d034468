"""
How a node reaches relays.
"""

from __future__ import annotations

from typing import Any

from attrs import define, field
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.error import DNSLookupError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.reach import reachRelays, resolveHost
from vnet.protocols.codec.turnuri import RelayUri


class Resolver(Clock):
    """
    A reactor that resolves names when the test says.
    """

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.nameResolver = self
        self.receiver: Any = None

    def resolveHostName(self, receiver: Any, host: str) -> None:
        """See C{IHostnameResolver}."""
        self.asked.append(host)
        self.receiver = receiver
        receiver.resolutionBegan(None)

    def answer(self, *hosts: str) -> None:
        """The name has these addresses."""
        for host in hosts:
            kind = IPv6Address if ":" in host else IPv4Address
            self.receiver.addressResolved(kind("TCP", host, 0))
        self.receiver.resolutionComplete()


@define(eq=False)
class Dialer:
    """
    Remembers what it is asked for.
    """

    dialled: list[tuple[str, int]] = field(factory=list)
    proxied: str = ""

    def endpoint(self, host: str, port: int) -> Any:
        """The endpoint of a host."""
        self.dialled.append((host, port))
        return f"endpoint of {host}"

    def usesProxy(self, host: str, port: int) -> bool:
        """Whether a host is reached through a proxy."""
        return host == self.proxied


class ResolveTests(SynchronousTestCase):
    def setUp(self) -> None:
        """A reactor."""
        self.reactor = Resolver()

    def resolve(self, host: str) -> Deferred[Any]:
        """Ask for a name."""
        return resolveHost(self.reactor, host)

    def test_literal(self) -> None:
        """An IP literal is its own address, in canonical form, and nobody is asked."""
        self.assertEqual(self.successResultOf(self.resolve("192.0.2.1")), ["192.0.2.1"])
        self.assertEqual(self.successResultOf(self.resolve("2001:DB8:0::1")), ["2001:db8::1"])
        self.assertEqual(self.reactor.asked, [])

    def test_name(self) -> None:
        """A name has its addresses without repetition, IPv4 first."""
        found = self.resolve("relay.example")
        self.reactor.answer("2001:db8::1", "192.0.2.1", "2001:db8::1", "192.0.2.2")
        self.assertEqual(self.successResultOf(found), ["192.0.2.1", "192.0.2.2", "2001:db8::1"])

    def test_many(self) -> None:
        """Of many addresses 16 are taken."""
        found = self.resolve("relay.example")
        self.reactor.answer(*(f"192.0.2.{n}" for n in range(100)))
        self.assertEqual(len(self.successResultOf(found)), 16)

    def test_scoped(self) -> None:
        """A zone index, which means nothing elsewhere, is left away."""
        found = self.resolve("relay.example")
        self.reactor.answer("fe80::1%eth0")
        self.assertEqual(self.successResultOf(found), ["fe80::1"])

    def test_none(self) -> None:
        """A name without an address fails."""
        found = self.resolve("relay.example")
        self.reactor.answer()
        self.failureResultOf(found, DNSLookupError)

    def test_silent(self) -> None:
        """So does one whose name server does not answer, after five seconds; an answer that comes later is no matter."""
        found = self.resolve("relay.example")
        self.reactor.advance(4.9)
        self.assertNoResult(found)
        self.reactor.advance(0.2)
        self.failureResultOf(found, TimeoutError)
        self.reactor.answer("192.0.2.1")


class ReachTests(SynchronousTestCase):
    def test_connections(self) -> None:
        """Connections go the dialer's way, with TLS where the URI wants it; whether a proxy makes them is told."""
        dialer = Dialer(proxied="relay.example")
        reach = reachRelays(Resolver(), dialer)
        self.assertEqual(reach.connect(RelayUri("192.0.2.1", 3478, "tcp")), "endpoint of 192.0.2.1")
        secure: Any = reach.connect(RelayUri("relay.example", 443, "tls", b"p" * 32))
        self.assertEqual(dialer.dialled, [("192.0.2.1", 3478), ("relay.example", 443)])
        self.assertEqual(secure._wrappedEndpoint, "endpoint of relay.example")
        self.assertTrue(reach.isProxied(RelayUri("relay.example", 443, "tls")))
        self.assertFalse(reach.isProxied(RelayUri("192.0.2.1", 443, "tls")))

    def test_impossibleName(self) -> None:
        """A name that cannot be one is a C{ValueError}, which the search takes for a way that does not work."""
        self.assertRaises(ValueError, reachRelays(Resolver(), Dialer()).connect, RelayUri("a..b", 443, "tls"))
