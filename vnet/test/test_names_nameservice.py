"""
Tests for L{vnet.client.names.nameservice}.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrs import define, evolve, field
from dns import message, rcode
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.names.nameservice import NameParts, NameService
from vnet.client.names.registry import Registry
from vnet.client.names.roster import Roster, RosterNetwork
from vnet.client.welcome import Welcome
from vnet.test.test_names_multicast import frame, question
from vnet.test.test_names_responder import Datagrams, Reactor

REALM, OWN, BOB, EVE, HOME = b"r" * 16, b"o" * 32, b"b" * 32, b"e" * 32, b"h" * 16
WELCOME = Welcome(
    REALM, b"", "100.64.0.1", "100.64.0.0/10", "fd12:3456:789a::1", "fd12:3456:789a::/48", (), ()
)
ADDRESSES = {BOB: ("100.64.0.7", "fd12:3456:789a::7"), EVE: ("100.64.0.8", "fd12:3456:789a::8")}


@define
class FakeResolved:
    """
    A systemd-resolved that keeps what it is told.
    """

    running: bool = True
    problem: str = ""
    told: list[tuple[str, tuple[str, ...], tuple[str, ...]]] = field(factory=list)

    def runs(self) -> bool:
        return self.running

    async def configure(self, interface: str, servers: Sequence[str], zones: Sequence[str]) -> str:
        self.told.append((interface, tuple(servers), tuple(zones)))
        return self.problem


class Table:
    """
    The peers.
    """

    def addressesOf(self, key: bytes) -> tuple[str, ...]:
        return ADDRESSES.get(key, ())

    def keyAt(self, address: str) -> bytes | None:
        return next((key for key, addresses in ADDRESSES.items() if address in addresses), None)


class NameServiceTests(SynchronousTestCase):
    """
    Tests of L{NameService}.
    """

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.reactor.refuses = {}
        self.resolved = FakeResolved()
        self.path = Path(self.mktemp())
        self.members = {BOB: "Bob"}
        self.whole = True
        self.frames: list[bytes] = []
        self.service = self.make()

    def make(self, off: bool = False) -> NameService:
        parts = NameParts(self.reactor, self.path, self.resolved, "attic")  # type: ignore[arg-type]
        return NameService(None if off else parts, "vnet0", OWN, Table(), self.frames.extend, self.roster)

    def roster(self) -> Roster:
        return Roster(REALM, OWN, "me", [RosterNetwork(HOME, "home", dict(self.members))], self.whole)

    def ask(self, name: str, kind: str = "A") -> list[str] | str:
        """
        Ask the responder.
        """
        transport = Datagrams()
        host, protocol, _ = self.reactor.udpServers[-2]
        protocol.transport = transport
        protocol.datagramReceived(message.make_query(name, kind).to_wire(), (host, 4000))
        answer = message.from_wire(transport.written[0][0])
        if answer.rcode():
            return rcode.to_text(answer.rcode())
        return [str(each) for group in answer.answer for each in group]

    def test_resolved(self) -> None:
        """
        Where systemd-resolved runs it is told of the responder, once, for our zones only.
        """
        self.assertEqual(self.service.status()["by"], "off")
        self.service.configured(WELCOME)
        ((interface, servers, zones),) = self.resolved.told
        self.assertEqual((interface, servers), ("vnet0", ("100.64.0.1", "fd12:3456:789a::1")))
        self.assertEqual((zones[0], zones[1], len(zones)), ("vnet", "64.100.in-addr.arpa", 66))
        self.reactor.advance(200)
        self.service.configured(evolve(WELCOME, epoch=b"of another login"))
        self.assertEqual(len(self.resolved.told), 1)
        expected = {"by": "resolved", "server": "100.64.0.1", "name": "me.vnet", "why": None}
        self.assertEqual(self.service.status(), expected)

    def test_answers(self) -> None:
        """
        The responder knows members, this node and itself, and from the moment that it is, a new member.
        """
        self.service.configured(WELCOME)
        self.assertEqual(self.ask("bob.home.vnet"), ["100.64.0.7"])
        self.assertEqual(self.ask("me.vnet"), self.ask("dns.vnet"))
        self.assertEqual(self.ask("me.home.vnet", "AAAA"), ["fd12:3456:789a::1"])
        self.assertEqual(self.ask("1.0.64.100.in-addr.arpa", "PTR"), ["me.vnet."])
        self.assertEqual(self.ask("7.0.64.100.in-addr.arpa", "PTR"), ["bob.vnet."])
        self.assertEqual(self.ask("eve.vnet"), "NXDOMAIN")
        self.members[EVE] = "eve"
        self.service.changed()
        self.assertEqual(self.ask("eve.vnet"), ["100.64.0.8"])
        self.assertEqual(self.service.nameIn(HOME, EVE), "eve.home.vnet")
        self.assertEqual(self.ask("example.com"), "REFUSED")

    def test_multicast(self) -> None:
        """
        Without systemd-resolved members are known by multicast DNS; this computer's names are not.
        """
        self.resolved.running = False
        self.members = {BOB: "Bob", EVE: "attic"}
        self.service.configured(WELCOME)
        status = self.service.status()
        self.assertEqual((status["by"], status["server"]), ("mdns", "100.64.0.1"))
        self.assertIn("systemd-resolved", status["why"])
        for name in ("bob.local", "attic.local", "me.local"):
            self.service.groupFrame(frame(question(name).to_wire()))
        self.reactor.advance(0.2)
        self.assertEqual(len(self.frames), 1)
        self.resolved.running = True
        self.reactor.advance(60)
        self.assertEqual(self.service.by, "resolved")
        self.service.groupFrame(frame(question("bob.local").to_wire()))
        self.reactor.advance(1)
        self.assertEqual(len(self.frames), 1)
        self.resolved.running = False
        self.reactor.advance(60)
        self.assertEqual(self.service.by, "mdns")

    def test_taken(self) -> None:
        """
        While another program has port 53, or systemd-resolved refuses, that is said, and multicast DNS goes on.
        """
        self.reactor.refuses = {WELCOME.address: errno.EADDRINUSE}
        self.service.configured(WELCOME)
        status = self.service.status()
        self.assertEqual((status["by"], status["server"], self.resolved.told), ("mdns", None, []))
        self.assertIn("port 53", status["why"])
        self.reactor.refuses = {}
        self.resolved.problem = "resolvectl dns: no"
        self.reactor.advance(60)
        self.assertEqual(self.service.status()["why"], "resolvectl dns: no")
        self.resolved.problem = ""
        self.reactor.advance(60)
        self.assertEqual(self.service.status()["by"], "resolved")
        responder = self.service._responder
        if responder is not None:
            responder.close()
        self.reactor.advance(60)
        self.assertEqual(self.service.status()["by"], "resolved")

    def test_moved(self) -> None:
        """
        With another address the responder is there, and systemd-resolved is told.
        """
        self.service.configured(WELCOME)
        self.service.configured(evolve(WELCOME, address="100.64.9.9"))
        self.assertEqual(self.service.status()["server"], "100.64.9.9")
        self.assertEqual([servers[0] for _, servers, _ in self.resolved.told], ["100.64.0.1", "100.64.9.9"])
        self.assertEqual(self.ask("me.vnet"), ["100.64.9.9"])

    def test_kept(self) -> None:
        """
        Who has which name is on disk 5 s later, and at the end.
        """
        self.service.configured(WELCOME)
        self.reactor.advance(0.2)
        self.assertFalse(self.path.exists())
        self.reactor.advance(5)
        self.assertEqual(Registry.load(self.path).find(["bob"]), BOB)
        self.members = {EVE: "Bob", BOB: "Bob"}
        self.service.changed()
        self.service.stop()
        self.assertEqual(Registry.load(self.path).find(["bob-2"]), EVE)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        again = self.make()
        again.configured(WELCOME)
        self.assertEqual(again.nameIn(HOME, BOB), "bob.home.vnet")

    def test_large(self) -> None:
        """
        Where there are thousands, what is known holds for a moment before who has come is looked at.
        """
        self.members = {number.to_bytes(32, "big"): f"node{number}" for number in range(2000)}
        self.service.configured(WELCOME)
        self.assertEqual(self.service.nameIn(HOME, (7).to_bytes(32, "big")), "node7.home.vnet")
        self.members[BOB] = "bob"
        self.service.changed()
        self.assertIsNone(self.service.nameIn(HOME, BOB))
        self.reactor.advance(0.21)
        self.assertEqual(self.service.nameIn(HOME, BOB), "bob.home.vnet")

    def test_damaged(self) -> None:
        """
        A damaged file is no reason to have no names.
        """
        self.path.write_text("{")
        service = self.make()
        service.configured(WELCOME)
        self.assertEqual(service.nameIn(HOME, BOB), "bob.home.vnet")

    def test_off(self) -> None:
        """
        With C{--no-names} there is nothing.
        """
        service = self.make(off=True)
        service.configured(WELCOME)
        service.changed()
        service.groupFrame(frame(question("bob.local").to_wire()))
        self.assertIsNone(service.nameIn(HOME, BOB))
        status: dict[str, Any] = service.status()
        self.assertEqual((status["by"], status["server"], status["name"]), ("off", None, None))
        self.assertIn("--no-names", status["why"])
        self.assertEqual(self.reactor.tcpServers, [])
        service.stop()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
