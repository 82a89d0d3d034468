"""
Which relays a node uses, over what, and for how long.
"""

from __future__ import annotations

import random
from typing import Any

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.dataplane.paths import Paths
from vnet.client.relayleg import Leg
from vnet.client.relays import Relays
from vnet.protocols.codec.turn import ALLOCATE, REFRESH, encodeChannelData
from vnet.protocols.codec.turnuri import RelayUri
from vnet.protocols.machine.allocation import RelayCredentials
from vnet.protocols.machine.candidates import checkable
from vnet.test.memoryrelay import MemoryRelay, RelayWorld
from vnet.testing import MemoryNetwork, inPairs
from vnet.values import Address, Train

HOME = "192.0.2.7"
DELAY = 0.02


class RelaysCase(SynchronousTestCase):
    """
    A node's relays, and an Internet with relays.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.internet = MemoryNetwork(self.clock, delay=DELAY)
        self.world = RelayWorld(self.internet)
        self.port = self.internet.port(HOME, port=4000)
        self.port.open()
        self.paths = Paths(self.port)
        self.heard: list[tuple[bytes, Address]] = []
        self.paths.start(inPairs(self.heard.extend))
        self.told: list[dict[str, tuple[Address, ...]]] = []
        self.renewals: list[float] = []
        self.relays = self.make()

    def make(self, proxied: bool = False) -> Relays:
        reach = evolve(self.world.reachFrom(HOME), isProxied=lambda uri: proxied)
        return Relays(
            self.clock,
            random.Random(1).randbytes,
            self.paths,
            self.port,
            reach,
            changed=self.told.append,
            renew=lambda: self.renewals.append(self.clock.seconds()),
            accepts=lambda address: checkable(address) and not address.host.startswith("100.64."),
        )

    def add(self, number: int, **options: object) -> MemoryRelay:
        """A relay with the name C{relayN.example}."""
        relay = self.world.add(f"relay{number}.example", f"203.0.113.{number}")
        for name, value in options.items():
            setattr(relay, name, value)
        return relay

    def give(self, *uris: str, life: int = 86_400) -> None:
        """What the mediator says."""
        expiry = int(self.world.wallOffset + self.clock.seconds()) + life
        self.relays.setTickets([(uri, f"{expiry}:high-x", "secret") for uri in uris])

    def giveAll(self, *numbers: int, life: int = 86_400) -> None:
        """The mediator names these relays, each with UDP, TCP and TLS."""
        uris = [uri for n in numbers for uri in (f"turn:relay{n}.example", f"turns:relay{n}.example:443")]
        self.give(*uris, life=life)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        end = self.clock.seconds() + seconds
        while self.clock.seconds() < end - 1e-9:
            calls = self.clock.getDelayedCalls()
            following = min((call.getTime() for call in calls), default=end)
            self.clock.advance(max(0.0, min(following, end) - self.clock.seconds()))

    def used(self) -> list[tuple[str, str]]:
        """The relays in use and their transports, the best first."""
        return [(each.relay.partition(".")[0], each.transport) for each in self.relays.status()]

    def leases(self) -> int:
        """How many allocations all relays have."""
        scripts = [relay.script for relay in self.world.relays.values()]
        now = self.clock.seconds()
        return sum(lease.expires > now for script in scripts for lease in script.allocations.values())


class SearchTests(RelaysCase):
    def test_udp(self) -> None:
        """Over UDP an allocation is there after two round trips, and the owner is told its addresses."""
        self.add(1)
        self.giveAll(1)
        self.wait(4 * DELAY + 0.001)
        self.assertEqual(self.used(), [("relay1", "udp")])
        self.assertEqual(self.told, [{"r1": (Address("203.0.113.1", 50000),)}])
        [status] = self.relays.status()
        self.assertEqual((status.relay, status.rtt), ("relay1.example:3478", 2 * DELAY))
        self.assertEqual(self.relays.via("r1"), status)
        self.assertEqual(self.world.relays["203.0.113.1"].connections, [])

    def test_peerNamedAsRelay(self) -> None:
        """A mediator that names a peer's own address as a relay keeps no packet of its tunnel away."""
        got: list[tuple[bytes, Address]] = []
        self.add(1)
        self.relays._paths.start(inPairs(got.extend))
        self.giveAll(1)
        self.wait(4 * DELAY + 0.001)
        got.clear()
        where, packet = Address("203.0.113.1", 3478), b"\4\0\0\0" + bytes(28)
        self.relays._paths._arrived(
            [Train.single(each, where) for each in (packet, b"\0\x17" + bytes(30), b"junk" * 8)]
        )
        self.assertEqual(got, [(packet, where)])

    def test_tcp(self) -> None:
        """Where UDP does not pass, TCP is tried after 0.3 s, and an allocation is there three round trips later."""
        self.add(1, closed={"udp"})
        self.giveAll(1)
        self.wait(0.3 + 6 * DELAY + 0.001)
        self.assertEqual(self.used(), [("relay1", "tcp")])

    def test_tls(self) -> None:
        """Where TCP hangs too, TLS is tried after 0.6 s."""
        self.add(1, closed={"udp"}, silent={"tcp"})
        self.giveAll(1)
        self.wait(0.6 + 8 * DELAY + 0.001)
        self.assertEqual(self.used(), [("relay1", "tls")])

    def test_tcpRefused(self) -> None:
        """Where TCP is refused, TLS is tried at once."""
        self.add(1, closed={"udp", "tcp"})
        self.giveAll(1)
        self.wait(0.3 + 2 * DELAY + 8 * DELAY + 0.001)
        self.assertEqual(self.used(), [("relay1", "tls")])

    def test_udpRefused(self) -> None:
        """A relay that refuses over UDP, where an allocation of another life is in the way, is asked over TCP at once."""
        relay = self.add(1)
        relay.script.errors[ALLOCATE] = [437, 437, 437, 437]
        relay.script.unsigned[ALLOCATE] = []
        self.giveAll(1)
        self.wait(1.0)
        self.assertEqual(self.used(), [("relay1", "tcp")])

    def test_severalPorts(self) -> None:
        """Each port of a relay is tried, wherever one is closed."""
        relay = self.add(1, closed={"udp", "tcp"})
        self.give("turns:relay1.example:5349", "turns:relay1.example:443")
        self.wait(2)
        self.assertEqual((self.used(), len(relay.connections), self.leases()), ([("relay1", "tls")], 2, 1))

    def test_nearest(self) -> None:
        """Of many relays the two whose answers come first are used, and no trace is left on the others."""
        for number in range(1, 6):
            self.add(number)
        far = {"203.0.113.1": 0.1, "203.0.113.2": 0.05, "203.0.113.4": 0.2}
        for host, delay in far.items():
            self.slow(self.world.relays[host], delay)
        self.giveAll(1, 2, 3, 4, 5)
        self.wait(2)
        self.assertEqual(sorted(self.used()), [("relay3", "udp"), ("relay5", "udp")])
        self.assertEqual(self.leases(), 2)
        self.assertEqual(sum(len(relay.connections) for relay in self.world.relays.values()), 0)

    def slow(self, relay: MemoryRelay, delay: float) -> None:
        """Let a relay's answers take longer."""
        answer = relay.script.toClient
        relay.script.toClient = lambda data, client: self.clock.callLater(delay, answer, data, client)  # type: ignore[assignment]

    def test_fullRelays(self) -> None:
        """When the nearest relays are full the next ones are used, without another search."""
        for number in range(1, 5):
            self.add(number)
        for number in (1, 2):
            self.world.relays[f"203.0.113.{number}"].script.errors[ALLOCATE] = [508] * 50
        for number in (3, 4):
            self.slow(self.world.relays[f"203.0.113.{number}"], 0.03)
        self.giveAll(1, 2, 3, 4)
        self.wait(0.9)
        self.assertEqual(sorted(self.used()), [("relay3", "udp"), ("relay4", "udp")])

    def test_oneOfTwo(self) -> None:
        """While one of two relays is down the other one is used, and the one that is down is sought ever more seldom."""
        relay = self.add(2)
        self.add(1, down=True)
        self.giveAll(1, 2)
        self.wait(0.2)
        self.assertEqual(self.used(), [("relay2", "udp")])
        self.wait(3600)
        dead = self.world.relays["203.0.113.1"]
        self.assertTrue(5 <= dead.connections.count("tls") <= 25, dead.connections)
        self.assertEqual((relay.connections, self.relays.problem), ([], ""))
        dead.rise()
        self.wait(320)
        self.assertEqual(sorted(self.used()), [("relay1", "udp"), ("relay2", "udp")])

    def test_noRelay(self) -> None:
        """While no relay answers the search goes on at least once a minute and a bit, and the problem is told."""
        relay = self.add(1, down=True)
        self.giveAll(1)
        self.wait(1800)
        self.assertEqual(self.used(), [])
        self.assertIn("relay turn", self.relays.problem)
        self.assertIn("refused", self.relays.problem)
        relay.rise()
        self.wait(75)
        self.assertEqual((self.used(), self.relays.problem), ([("relay1", "udp")], ""))

    def test_problem(self) -> None:
        """The problem that is told is one that says more than that there was no answer."""
        relay = self.add(1, silent={"tcp", "tls"})
        relay.script.password = lambda username: "another"
        self.giveAll(1)
        self.wait(30)
        self.assertIn("do mediator and relay share the secret", self.relays.problem)

    def test_ipv6(self) -> None:
        """A relay that has addresses of both families is asked over both, and used over the one that answers."""
        self.add(1)
        self.world.names["relay1.example"] = ["198.51.100.200", "203.0.113.1"]
        self.world.names["relay2.example"] = ["2001:db8::1", "203.0.113.1"]
        self.give("turn:relay2.example?transport=udp")
        self.wait(1)
        self.assertEqual(self.used(), [("relay2", "udp")])
        asked = {address.host for _, address in self.port.sent}
        self.assertEqual(asked, {"2001:db8::1", "203.0.113.1"})

    def test_noName(self) -> None:
        """A relay whose name does not resolve is asked over TCP, where a proxy may know the name."""
        self.add(1)
        del self.world.names["relay1.example"]
        self.give("turn:relay1.example", "turn:203.0.113.1")
        self.wait(1)
        self.assertEqual(self.used(), [("203", "udp")])
        self.relays.clear()
        self.give("turn:relay1.example")
        self.wait(0.5)
        self.assertIn("resolve", self.relays.problem)

    def test_garbage(self) -> None:
        """URIs that are none are left out, and do not disturb the others."""
        self.add(1)
        self.give(
            "", "turn:", "http://x", "turns:relay1.example?transport=udp", "turn:a..b", "turn:relay1.example"
        )
        self.wait(1)
        self.assertEqual(self.used(), [("relay1", "udp")])

    def test_nowhere(self) -> None:
        """No relay inside the overlay, on this computer or in a group is asked, over whatever, not even through a name."""
        self.add(1)
        for uri in (
            "turn:127.0.0.1",
            "turns:[::1]",
            "turn:100.64.0.9",
            "turn:224.0.0.1",
            "turn:[::ffff:127.0.0.1]",
            "turns:[::ffff:100.64.0.9]",
            "turn:evil.example",
        ):
            self.world.names["evil.example"] = ["127.0.0.1", "100.64.0.9", "::ffff:127.0.0.1"]
            self.give(uri)
            self.wait(60)
            self.assertEqual((self.used(), self.port.sent), ([], []), uri)
            self.assertNotEqual(self.relays.problem, "")
        self.relays.clear()

    def test_nameLeadsHere(self) -> None:
        """A connection that turns out to lead to this computer is given up before anything is sent; one of a proxy is not."""
        for proxied in (False, True):
            relay = MemoryRelay(self.internet, "127.0.0.1") if not proxied else self.world.relays["127.0.0.1"]
            self.world.relays["127.0.0.1"] = relay
            self.world.names["evil.example"] = ["127.0.0.1"]
            self.relays = self.make(proxied)
            self.give("turn:evil.example?transport=tcp")
            self.wait(1)
            self.assertEqual(len(relay.script.requests) > 0, proxied)
            self.assertEqual(bool(self.used()), proxied)
            self.relays.clear()

    def test_limits(self) -> None:
        """However many relays a mediator names, 16 ways at most are tried."""
        self.give(*(f"turn:198.51.100.{n}?transport=udp" for n in range(1, 200)))
        self.wait(0.2)
        self.assertEqual(len({address for _, address in self.port.sent}), 16)
        self.assertLessEqual(len(list(self.relays._legs)), 24)


class DataTests(RelaysCase):
    def exchange(self, transport: str) -> None:
        """Send to a peer through the relay, and back."""
        relay = self.add(1, closed={"udp", "tcp", "tls"} - {transport})
        self.giveAll(1)
        self.wait(2)
        self.assertEqual(self.used(), [("relay1", transport)])
        [name] = self.told[-1]
        peer = self.internet.port("198.51.100.9", port=9)
        peer.open()
        got: list[tuple[bytes, Address]] = []
        peer.start(inPairs(got.extend))
        self.paths.send([(b"%d" % n, Address("198.51.100.9", 9, name)) for n in range(5)])
        self.wait(1)
        relayed = self.told[-1][name][0]
        self.assertEqual(got, [(b"%d" % n, relayed) for n in range(5)])
        peer.send([(b"back", relayed)])
        self.wait(1)
        self.assertEqual(self.heard[-1], (b"back", Address("198.51.100.9", 9, name)))
        self.exchangeTrains(name, got)
        self.assertEqual(relay.script.dropped, 0)

    def exchangeTrains(self, name: str, got: list[tuple[bytes, Address]]) -> None:
        """Trains, to a peer whose channel is there, and to one whose channel is not there yet."""
        relayed = self.told[-1][name][0]
        other = self.internet.port("198.51.100.10", port=9)
        other.open()
        other.start(inPairs(got.extend))
        for host in ("198.51.100.9", "198.51.100.10"):
            got.clear()
            to = Address(host, 9, name)
            self.paths.sendTrains([Train.of(b"aaabbbc", 3, to), Train.single(b"d", to)])
            self.wait(1)
            self.assertEqual(got, [(each, relayed) for each in (b"aaa", b"bbb", b"c", b"d")])

    def test_udp(self) -> None:
        """Data goes through an allocation over UDP, both ways."""
        self.exchange("udp")

    def test_tcp(self) -> None:
        """The same over TCP."""
        self.exchange("tcp")

    def test_tls(self) -> None:
        """The same over TLS."""
        self.exchange("tls")


class LegTests(SynchronousTestCase):
    """
    One way to one relay.
    """

    @given(st.integers(1, 9000), st.integers(1, 64), st.integers(0, 8999))
    def test_limits(self, segment: int, count: int, last: int) -> None:
        """A train that is longer with its headers is two where one would exceed what a packet or a call takes."""
        count = min(count, 65_000 // segment)
        data = random.Random(1).randbytes(segment * (count - 1)) + bytes(min(last + 1, segment))
        server, uri = Address("203.0.113.1", 3478), RelayUri("203.0.113.1", 3478, "udp")
        owner: Any = None
        leg = Leg("r1", uri, RelayCredentials("1:x", "secret"), Clock(), bytes, owner, lambda batch: None)
        leg.server = server
        trains = leg._wrapped(0x4000, Train.of(data, segment, server))
        self.assertLessEqual(len(trains), 2)
        for train in trains:
            self.assertLessEqual(train.datagramCount, 64)
            self.assertLessEqual(len(train.data), 65_000)
            self.assertEqual((train.address, train.start, train.end), (server, 0, train.stride))
        messages = [message for train in trains for message in train.datagrams()]
        cut = list(Train.of(data, segment, server).datagrams())
        self.assertEqual(messages, [encodeChannelData(0x4000, each) for each in cut])


class KeepTests(RelaysCase):
    def both(self) -> tuple[MemoryRelay, MemoryRelay]:
        """Two relays, both in use."""
        relays = self.add(1), self.add(2)
        self.giveAll(1, 2)
        self.wait(1)
        self.assertEqual(len(self.used()), 2)
        return relays

    def test_calm(self) -> None:
        """An hour passes without anything being told."""
        self.both()
        told = len(self.told)
        self.wait(3600)
        self.assertEqual((len(self.told), self.leases()), (told, 2))

    def test_dies(self) -> None:
        """When one relay dies it is noticed, at the next question; what is left goes on, and when it is back it is used again."""
        one, two = self.both()
        one.die()
        self.wait(80)
        self.assertEqual([each for each in self.used() if each[0] == "relay2"], [("relay2", "udp")])
        one.rise()
        self.wait(320)
        self.assertEqual(sorted(self.used()), [("relay1", "udp"), ("relay2", "udp")])
        self.assertEqual((len(one.script.allocations), len(two.script.allocations)), (1, 1))

    def test_third(self) -> None:
        """When one of the relays in use dies another one takes its place within seconds of a doubt, and the dead one goes."""
        self.both()
        self.add(3)
        self.giveAll(1, 2, 3)
        self.world.relays["203.0.113.1"].die()
        self.relays.check()
        self.wait(2.5)
        self.assertIn(("relay3", "udp"), self.used())
        self.wait(10)
        self.assertEqual(sorted(self.used()), [("relay2", "udp"), ("relay3", "udp")])
        self.assertEqual(len(self.told[-1]), 2)

    def test_restarted(self) -> None:
        """A relay that was started anew is asked for another allocation, as soon as there is a doubt."""
        one, _ = self.both()
        before = self.told[-1]
        one.script.forget()
        self.relays.check()
        self.wait(0.5)
        self.assertEqual(len(self.used()), 2)
        self.assertNotEqual(self.told[-1], before)

    def test_restartedWithMediator(self) -> None:
        """A relay that was started anew together with the mediator is asked again at the next login."""
        one, _ = self.both()
        self.wait(5)
        before = self.told[-1]
        one.script.forget()
        self.giveAll(1, 2)
        self.wait(0.5)
        self.assertEqual((len(self.used()), self.leases()), (2, 2))
        self.assertNotEqual(self.told[-1], before)

    def test_doubtIsCheap(self) -> None:
        """However often there is a doubt, a relay is asked every other second at most."""
        one, _ = self.both()
        before = one.script.count(REFRESH)
        for _ in range(100):
            self.relays.check()
            self.wait(0.1)
        self.assertLessEqual(one.script.count(REFRESH) - before, 6)

    def test_interrupted(self) -> None:
        """An interruption of some minutes costs no allocation: the addresses are the same afterwards."""
        self.both()
        before = self.told[-1]
        self.internet.passes = lambda source, target: False
        for relay in self.world.relays.values():
            relay.silent = {"tcp", "tls"}
        self.relays.check()
        self.wait(300)
        self.internet.passes = lambda source, target: True
        self.wait(30)
        self.assertEqual(self.told[-1], before)
        self.assertEqual(self.relays.problem, "")

    def test_fallsBack(self) -> None:
        """When UDP ceases to pass, the relays are reached over TCP within two seconds, and over UDP again when it does."""
        relays = self.both()
        for relay in relays:
            relay.closed = {"udp"}
        self.relays.check()
        self.wait(2.5)
        self.assertEqual(
            [each for each in self.used() if each[1] == "tcp"], [("relay1", "tcp"), ("relay2", "tcp")]
        )
        self.assertEqual(self.used()[0][1], "tcp")
        self.wait(10)
        self.assertEqual(len(self.used()), 2)
        for relay in relays:
            relay.closed = set()
        self.wait(70)
        self.assertEqual(sorted(self.used()), [("relay1", "udp"), ("relay2", "udp")])
        self.wait(700)
        self.assertEqual((self.leases(), sum(len(relay.pipes) for relay in relays)), (2, 0))

    def test_upgradeOverlaps(self) -> None:
        """Over to UDP there is a time in which both ways are there, so that peers lose nothing."""
        relay = self.add(1, closed={"udp"})
        self.giveAll(1)
        self.wait(1)
        relay.closed = set()
        self.wait(70)
        self.assertEqual([len(each) for each in self.told], [1, 2, 1])
        self.assertEqual(list(self.told[1])[1:], list(self.told[0]))

    def test_recoversMeanwhile(self) -> None:
        """UDP that answers again before the connection has taken its place stays in use, with the addresses that it had."""
        [relay, _] = self.both()
        before = self.told[-1]
        relay.closed = {"udp"}
        self.relays.check()
        self.wait(2.2)
        self.assertIn(("relay1", "tcp"), self.used())
        relay.closed = set()
        self.wait(20)
        self.assertEqual(self.told[-1], before)
        self.assertEqual(relay.pipes, {})

    def test_connectionBreaks(self) -> None:
        """A connection that breaks is made anew at once."""
        relay = self.add(1, closed={"udp"})
        self.giveAll(1)
        self.wait(1)
        next(iter(relay.pipes.values())).lose()
        self.wait(1)
        self.assertEqual((self.used(), len(relay.pipes)), ([("relay1", "tcp")], 1))

    def test_breaksAlways(self) -> None:
        """A relay that drops each allocation as soon as it is made is asked less and less often, and may recover."""
        for closed, transport in ((set(), "udp"), ({"udp"}, "tcp")):
            self.setUp()
            relay = self.add(1, closed=closed)
            self.giveAll(1)
            for _ in range(1200):
                self.wait(0.1)
                if self.used() and transport == "udp":
                    relay.script.errors[REFRESH] = [437]
                    next(iter(self.relays._legs)).check()
                for pipe in list(relay.pipes.values()) if self.used() else ():
                    pipe.lose()
            made = sum(bool(each) for each in self.told)
            self.assertTrue(5 <= made <= 10, made)
            self.wait(60)
            self.assertEqual(self.used(), [("relay1", transport)])

    def test_clingingConnection(self) -> None:
        """A relay that does not let a connection end has it dropped some seconds later."""
        relay = self.add(1, closed={"udp"}, clings=True)
        self.giveAll(1)
        self.wait(1)
        self.relays.clear()
        self.wait(4)
        self.assertEqual((self.leases(), len(relay.pipes)), (0, 1))
        self.wait(2)
        self.assertEqual((relay.pipes, self.clock.getDelayedCalls()), ({}, []))

    def test_connectionDies(self) -> None:
        """One that dies without a word is found to be dead by the question whether it is there."""
        relay = self.add(1, closed={"udp"})
        self.giveAll(1)
        self.wait(1)
        relay.pipes[next(iter(relay.pipes))].write = lambda data: None  # type: ignore[method-assign]
        self.relays.check()
        self.wait(20)
        self.assertEqual((self.used(), len(relay.pipes)), ([("relay1", "tcp")], 1))

    def test_linksChanged(self) -> None:
        """After a change of the network a connection from an address that is gone is made anew at once, and UDP is asked."""
        relay = self.add(1, closed={"udp"})
        self.giveAll(1)
        self.wait(1)
        self.port.hosts = ("192.0.2.99",)
        self.internet.unbind(self.port)
        self.internet.bind(self.port, 4000)
        relay.closed = set()
        self.relays.linksChanged()
        self.wait(0.2)
        self.assertEqual(self.used(), [("relay1", "udp")])
        self.port.hosts = (HOME,)
        self.internet.unbind(self.port)
        self.internet.bind(self.port, 4000)
        self.relays.linksChanged()
        self.wait(0.3)
        self.assertEqual((self.used(), list(relay.script.allocations)[-1].host), ([("relay1", "udp")], HOME))

    def test_mediatorLost(self) -> None:
        """Without the mediator the allocations are kept for days, though their credentials end meanwhile."""
        self.add(1)
        self.giveAll(1, life=3600)
        self.wait(1)
        before = self.told[-1]
        self.wait(2 * 86_400)
        self.assertEqual((self.told[-1], self.leases()), (before, 1))

    def test_credentialsEnd(self) -> None:
        """Where a relay takes ended credentials for none, the allocation is made anew with fresh ones, if there are some."""
        relay = self.add(1)
        wall = lambda: self.world.wallOffset + self.clock.seconds()  # noqa: E731
        relay.script.password = lambda name: "secret" if int(name.partition(":")[0]) > wall() else None
        self.giveAll(1, life=3600)
        self.wait(1)
        for _ in range(3):
            while not self.renewals:
                self.wait(10)
            self.renewals.clear()
            self.giveAll(1, life=3600)
        self.wait(1800)
        self.assertEqual(len(self.used()), 1)
        self.assertEqual(self.relays.problem, "")

    def test_renewal(self) -> None:
        """Fresh credentials are asked for when half of their life is over, and again each quarter of an hour without any."""
        self.add(1)
        self.giveAll(1, life=7200)
        self.wait(3700)
        self.assertEqual(self.renewals, [3600.0])
        self.wait(900)
        self.assertEqual(self.renewals, [3600.0, 4500.0])
        self.giveAll(1, life=86_400)
        self.wait(86_400 / 2 + 5)
        self.assertEqual(len(self.renewals), 3)

    def test_strangeExpiry(self) -> None:
        """Usernames that tell no time, or one that cannot be, do no harm."""
        self.add(1)
        for name in ("alice", "99999999999999999999:x", "0:x", "-5:x", "\u0661:x"):
            self.relays.setTickets([("turn:relay1.example", name, "secret")])
            self.wait(400)
            self.assertEqual(len(self.renewals), 0, name)
            self.assertEqual(self.used(), [("relay1", "udp")])

    def test_strangeCredentials(self) -> None:
        """Credentials that no request could hold are left out, with their relay; the others are used."""
        self.add(1)
        self.add(2)
        for name, credential in (
            ("x" * 509, "secret"),
            ("\x00", "secret"),
            ("alice", "a\nb"),
            ("\ud800", "x"),
        ):
            self.relays.clear()
            self.relays.setTickets(
                [("turn:relay1.example", name, credential), ("turn:relay2.example", "alice", "secret")]
            )
            self.wait(1)
            self.assertEqual(self.used(), [("relay2", "udp")], name)

    def test_sameTickets(self) -> None:
        """Another login with the same relays changes nothing."""
        self.both()
        told = len(self.told)
        for _ in range(5):
            self.giveAll(2, 1)
            self.wait(1)
        self.assertEqual((len(self.told), self.leases()), (told, 2))

    def test_otherRelays(self) -> None:
        """Relays that the mediator names no more are given up when others are there, or after some seconds."""
        self.both()
        self.add(3)
        self.giveAll(3)
        self.assertEqual(len(self.told[-1]), 2)
        self.wait(1)
        self.assertEqual(len(self.told[-1]), 3)
        self.wait(6)
        self.assertEqual((self.used(), self.leases()), ([("relay3", "udp")], 1))
        self.give()
        self.wait(6)
        self.assertEqual((self.used(), self.leases(), self.relays.problem), ([], 0, ""))

    def test_logout(self) -> None:
        """Who logs out gives all allocations back, at once, and leaves nothing behind."""
        self.both()
        self.relays.clear()
        self.assertEqual(self.told[-1], {})
        self.wait(0.1)
        self.assertEqual((self.leases(), self.used(), self.relays.problem), (0, [], ""))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_logoutWhileSearching(self) -> None:
        """The same in the middle of a search, over whatever."""
        for closed, silent in (
            (set(), set()),
            ({"udp"}, {"tcp"}),
            ({"udp", "tcp"}, set()),
            ({"udp"}, {"tcp", "tls"}),
        ):
            for after in (0.0, 0.03, 0.07, 0.31, 0.5, 0.7, 3.0):
                self.setUp()
                self.add(1, closed=set(closed), silent=set(silent))
                self.add(2, down=True)
                self.giveAll(1, 2)
                self.wait(after)
                self.relays.clear()
                self.wait(1)
                self.assertEqual((self.leases(), self.clock.getDelayedCalls()), (0, []), (closed, after))

    def test_anyWeather(self) -> None:
        """Whatever happens to relays and ways, in the end the best ones are used, and nothing else is kept."""
        for seed in range(12):
            self.setUp()
            source = random.Random(seed)
            relays = [self.add(n) for n in range(1, 5)]
            self.giveAll(1, 2, 3, 4)
            for _ in range(40):
                relay = source.choice(relays)
                match source.randrange(6):
                    case 0:
                        relay.die()
                    case 1:
                        relay.rise()
                    case 2:
                        relay.closed = set(source.sample(["udp", "tcp", "tls"], source.randrange(3)))
                    case 3:
                        self.relays.check()
                    case 4:
                        self.relays.linksChanged()
                    case 5:
                        self.giveAll(*source.sample([1, 2, 3, 4], source.randrange(1, 5)))
                self.wait(source.uniform(0, 30))
            for relay in relays:
                relay.rise()
                relay.closed = set()
            self.giveAll(1, 2, 3, 4)
            self.wait(800)
            self.assertEqual([each[1] for each in self.used()], ["udp", "udp"], seed)
            self.assertEqual(len(self.told[-1]), 2)
            self.assertEqual(sum(len(relay.pipes) for relay in relays), 0, seed)
            self.assertEqual(set(self.paths._legs), set(self.told[-1]))
            self.assertEqual(self.leases(), 2, seed)
