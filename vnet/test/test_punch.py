"""
Tests for L{vnet.protocols.punch}.
"""

from __future__ import annotations

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from vnet.errors import Refused
from vnet.protocols.codec import signal
from vnet.protocols.codec.natsignal import Traits
from vnet.protocols.codec.stun import BINDING, Class, Message, decode, encode, shortTermKey
from vnet.protocols.codec.stunattributes import ICE_CONTROLLED, PRIORITY, USERNAME, XOR_MAPPED_ADDRESS
from vnet.protocols.machine.agentevents import AgentEvent, ConsentLost, Selected
from vnet.protocols.machine.pathmtu import BASE
from vnet.protocols.machine.sealer import Sealer
from vnet.protocols.punch import MAXIMUM_ATTEMPTS, Attempt, Puncher
from vnet.test.icepeers import SERVER, home, run, seeded
from vnet.test.natsim import Host, Internet
from vnet.test.test_sealer import PUBLIC, SEEDS
from vnet.values import Address, Candidate

EIM, APDM = "endpoint-independent", "address-and-port-dependent"
APDF = "address-and-port-dependent"
START = 123456789


class StunServer:
    """
    A STUN server on the simulated Internet.
    """

    def __init__(self, internet: Internet) -> None:
        self.host = Host({SERVER.host: internet}, SERVER.port, self.received)

    def received(self, data: bytes, source: Address) -> None:
        answer = Message(BINDING, Class.SUCCESS, decode(data).transactionId, (XOR_MAPPED_ADDRESS(source),))
        self.host.send([(encode(answer), source)])


@attrs.define(eq=False)
class Node:
    """
    A puncher on a host, with a way to its peers' nodes through a mediator.
    """

    number: int
    clock: Clock
    host: Host
    events: list[AgentEvent] = attrs.field(factory=list)
    mapped: int = 0
    largest: int = 0
    sizes: int = 0
    puncher: Puncher = attrs.field(init=False)
    sealer: Sealer = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.sealer = Sealer(SEEDS[self.number], seeded(self.number))
        self.puncher = Puncher(
            self.clock,
            self.host.send,
            seeded(50 + self.number),
            onMapped=self.onMapped,
            sendWhole=self.sendWhole if self.largest else None,
            largest=1472,
        )
        self.host.received = self.puncher.datagramReceived
        self.puncher.setLocal(list(self.host.addresses), self.host.port)
        self.puncher.setServers([SERVER])

    def onMapped(self) -> None:
        self.mapped += 1

    def onSize(self) -> None:
        self.sizes += 1

    def sendWhole(self, data: bytes, addr: Address) -> bool:
        if len(data) <= self.largest:
            self.host.send([(data, addr)])
        return len(data) <= 1472

    def connect(self, other: Node) -> Attempt:
        startAt = self.clock.seconds() + 0.3
        return self.puncher.connect(
            PUBLIC[other.number],
            controlling=self.number < other.number,
            startAt=startAt,
            onEvent=self.events.append,
            onSize=self.onSize,
        )

    def tell(self, attempt: Attempt, other: Node, theirs: Attempt) -> None:
        sealed = self.sealer.seal(PUBLIC[other.number], signal.encode(attempt.signal(START)))
        theirs.remoteSignal(signal.decode(other.sealer.open(PUBLIC[self.number], sealed)))


class PuncherTests(SynchronousTestCase):
    """
    L{Puncher}.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.internet = Internet(self.clock)
        self.server = StunServer(self.internet)

    def node(self, number: int, mapping: str = EIM, largest: int = 0) -> Node:
        return Node(number, self.clock, home(self.internet, number + 1, mapping, APDF), largest=largest)

    def punch(self, one: Node, other: Node) -> tuple[Attempt, Attempt]:
        here, there = one.connect(other), other.connect(one)
        one.tell(here, other, there)
        other.tell(there, one, here)
        return here, there

    def test_size(self) -> None:
        """
        How long datagrams may be is found out for the path of each attempt, on either side for its own direction; checks go
        on beside it.
        """
        one, other = self.node(0, largest=1400), self.node(1, largest=1472)
        run(self.clock, 1.0)
        here, there = self.punch(one, other)
        self.assertEqual((here.size, there.size), (BASE, BASE))
        run(self.clock, 10.0)
        self.assertEqual((here.size, there.size), (1392, 1472))
        self.assertTrue(one.sizes and other.sizes)
        self.assertEqual(len([event for event in one.events if isinstance(event, Selected)]), 1)
        one.largest = 1380
        one.puncher.setLocal(list(one.host.addresses), one.host.port)
        run(self.clock, 10.0)
        self.assertEqual(here.size, 1376)

    def test_discovery(self) -> None:
        """
        What a STUN server sees becomes a candidate, and the owner is told once.
        """
        node = self.node(0)
        run(self.clock, 1.0)
        self.assertEqual(node.puncher.reflexive, (Address("198.51.100.1", 5000),))
        self.assertEqual([each.kind for each in node.puncher.candidates], ["host", "srflx"])
        self.assertEqual(node.mapped, 2)
        run(self.clock, 120.0)
        self.assertEqual(node.mapped, 2)

    def test_mapped(self) -> None:
        """
        Where a router takes datagrams because it was asked is the first reflexive candidate, unless STUN servers see another
        host than the router names.
        """
        node = self.node(0)
        node.puncher.setMapped([Address("203.0.113.66", 7000)])
        kinds = [(each.kind, each.address) for each in node.puncher.candidates]
        self.assertEqual(kinds[1:], [("srflx", Address("203.0.113.66", 7000))])
        run(self.clock, 1.0)
        seen = Address("198.51.100.1", 5000)
        self.assertEqual([each.address for each in node.puncher.candidates][1:], [seen])
        node.puncher.setMapped([Address("198.51.100.1", 7000)])
        addresses = [each.address for each in node.puncher.candidates]
        self.assertEqual(addresses[1:], [Address("198.51.100.1", 7000), seen])
        node.puncher.setMapped([])
        self.assertEqual([each.address for each in node.puncher.candidates][1:], [seen])

    def test_pooled(self) -> None:
        """
        A NAT that uses any of several addresses may show a peer one that no server has seen: all are candidates.
        """
        node = self.node(0)
        self.clock.pump([0.1] * 10)
        (seen,) = node.puncher.reflexive
        node.puncher.setTraits(Traits(host=seen.host), hosts=[seen.host, "203.0.113.77"])
        reflexive = [each.address for each in node.puncher.candidates if each.kind == "srflx"]
        self.assertEqual(reflexive[:2], [seen, Address("203.0.113.77", seen.port)])

    def test_punched(self) -> None:
        """
        Two nodes behind port-restricted NATs find a path, on which data passes through the same sockets.
        """
        one, other = self.node(0), self.node(1)
        run(self.clock, 1.0)
        here, there = self.punch(one, other)
        run(self.clock, 1.0)
        got: list[tuple[bytes, Address]] = []
        other.host.received = lambda data, source: got.append((data, source))
        assert here.selected is not None and there.selected is not None
        one.host.send([(b"through the hole", here.selected.address)])
        run(self.clock, 0.1)
        self.assertEqual(got, [(b"through the hole", there.selected.address)])
        self.assertEqual([type(event) for event in one.events], [Selected])
        self.assertEqual(here.peer, PUBLIC[1])
        self.assertIn(here.selected.address, here.tried)
        self.assertIn(here.selected.address, here.heard)
        self.assertEqual(here.theirRelays, ())

    def test_theirRelays(self) -> None:
        """
        What a peer tells of its allocations is known, in bounds.
        """
        one, other = self.node(0), self.node(1)
        here, _ = self.punch(one, other)
        relays = [Candidate("relay", Address("198.51.100.99", port), 1, "r") for port in range(1, 201)]
        for start in range(0, 200, 20):
            here.remoteSignal(signal.Signal(1, here.credentials, tuple(relays[start : start + 20])))
        self.assertEqual(here.theirRelays, tuple(each.address for each in relays[:128]))

    def test_failedGoes(self) -> None:
        """
        When there are too many attempts the one that has failed longest ago makes room; one that has a path stays.
        """
        one, other = self.node(0), self.node(1)
        run(self.clock, 1.0)
        here, _ = self.punch(one, other)
        run(self.clock, 1.0)
        started = [one.connect(other)]
        run(self.clock, 1.0)
        started += [one.connect(other) for _ in range(MAXIMUM_ATTEMPTS - 2)]
        self.assertRaises(Refused, one.connect, other)
        run(self.clock, 12.0)
        self.assertNotIn(None, [each.failedAt for each in started])
        self.assertIsNone(here.failedAt)
        for _ in range(MAXIMUM_ATTEMPTS - 1):
            one.connect(other)
        self.assertEqual(len(one.puncher), MAXIMUM_ATTEMPTS)
        self.assertIsNotNone(here.selected)
        self.assertRaises(Refused, one.connect, other)
        one.puncher.close()

    def test_trickled(self) -> None:
        """
        A reflexive candidate that is found after the start is told again, and makes the path.
        """
        one, other = self.node(0), self.node(1)
        here, there = self.punch(one, other)
        run(self.clock, 0.02)
        self.assertEqual(one.puncher.reflexive, ())
        run(self.clock, 1.0)
        self.assertIs(here.selected, None)
        one.tell(here, other, there)
        other.tell(there, one, here)
        run(self.clock, 2.0)
        self.assertIsNot(here.selected, None)
        self.assertIsNot(there.selected, None)

    def test_manyPeers(self) -> None:
        """
        The checks of several peers on one socket do not get mixed up.
        """
        hub, one, other = self.node(0), self.node(1), self.node(2)
        run(self.clock, 1.0)
        first, _ = self.punch(hub, one)
        second, _ = self.punch(hub, other)
        run(self.clock, 2.0)
        assert first.selected is not None and second.selected is not None
        self.assertEqual(first.selected.address.host, "198.51.100.2")
        self.assertEqual(second.selected.address.host, "198.51.100.3")
        self.assertNotEqual(first.credentials.ufrag, second.credentials.ufrag)

    def test_close(self) -> None:
        """
        A closed attempt sends, answers and tells nothing any more, and its peer notices.
        """
        one, other = self.node(0), self.node(1)
        run(self.clock, 1.0)
        here, there = self.punch(one, other)
        run(self.clock, 2.0)
        here.close()
        here.close()
        self.assertEqual(len(one.puncher), 0)
        events = len(one.events)
        run(self.clock, 0.1)  # what was under way
        sent = len(self.internet.log)
        there.check()
        run(self.clock, 6.0)
        self.assertEqual(len(one.events), events)
        self.assertTrue(any(isinstance(event, ConsentLost) for event in other.events))
        sources = [source for source, destination, _ in self.internet.log[sent:] if destination != SERVER]
        self.assertNotIn("198.51.100.1", [source.host for source in sources])
        one.puncher.close()
        other.puncher.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_limit(self) -> None:
        """
        There is a limit to the attempts; one that is closed makes room.
        """
        node = self.node(0)
        attempts = [
            node.puncher.connect(b"peer", controlling=True, startAt=99.0, onEvent=node.events.append)
            for _ in range(MAXIMUM_ATTEMPTS)
        ]
        self.assertEqual(len({each.credentials.ufrag for each in attempts}), MAXIMUM_ATTEMPTS)
        self.assertRaises(
            Refused, node.puncher.connect, b"peer", controlling=True, startAt=99.0, onEvent=node.events.append
        )
        attempts[7].close()
        node.puncher.connect(b"peer", controlling=True, startAt=99.0, onEvent=node.events.append)

    def test_unwantedAddresses(self) -> None:
        """
        A peer cannot make a node send to itself or where the owner does not want it.
        """
        node = self.node(0)
        node.puncher.accepts = lambda address: not address.host.startswith("100.64.")
        attempt = node.connect(self.node(1))
        told = tuple(
            attrs.evolve(c, address=Address(host, 9))
            for c in self.node(2).puncher.candidates
            for host in ["100.64.0.7", "192.0.2.1"]
        )
        attempt.remoteSignal(signal.Signal(START, signal.Credentials("abcd", "p" * 22), told))
        run(self.clock, 3.0)
        self.assertEqual(attempt.tried, (Address("192.0.2.1", 9),))

    def test_silence(self) -> None:
        """
        Strangers get no byte back: not for a plain request, not for one with an agent's name and a wrong key.
        """
        node = self.node(0, "public")
        run(self.clock, 1.0)
        attempt = node.connect(self.node(1))
        sent: list[object] = []
        node.puncher._send = sent.append
        plain = Message(BINDING, Class.REQUEST, b"t" * 12)
        name = f"{attempt.credentials.ufrag}:abcd"
        named = attrs.evolve(plain, attributes=(USERNAME(name), PRIORITY(1), ICE_CONTROLLED(1)))
        for data in [
            encode(plain),
            encode(plain, fingerprint=True),
            encode(named, fingerprint=True),
            encode(named, key=shortTermKey("wrong password here!!"), fingerprint=True),
            encode(attrs.evolve(plain, klass=Class.SUCCESS, attributes=(XOR_MAPPED_ADDRESS(SERVER),))),
            b"garbage",
        ]:
            node.puncher.datagramReceived(data, Address("192.0.2.66", 6))
        run(self.clock, 0.1)
        self.assertEqual(sent, [])
        self.assertEqual(node.puncher.reflexive, (Address("198.51.100.1", 5000),))

    def test_askers(self) -> None:
        """Who expects a message by its id, from an address, gets it, a request or an indication too; nobody else does."""
        got: list[tuple[bytes, Address]] = []

        class Asker:
            def expects(self, transactionId: bytes, addr: Address) -> bool:
                return transactionId == bytes(12) and addr == SERVER

            def datagramReceived(self, data: bytes, addr: Address) -> None:
                got.append((data, addr))

        puncher = self.node(0).puncher
        puncher.askers.append(Asker())
        kinds = [encode(Message(BINDING, kind, bytes(12))) for kind in Class]
        for data in kinds:
            puncher.datagramReceived(data, SERVER)
        self.assertEqual((got, puncher.ignored), ([(data, SERVER) for data in kinds], 0))
        puncher.datagramReceived(encode(Message(BINDING, Class.REQUEST, b"another ID  ")), SERVER)
        puncher.datagramReceived(kinds[0], Address("192.0.2.1", 1))
        self.assertEqual((len(got), puncher.ignored), (len(kinds), 2))

    def test_requestsForgotten(self) -> None:
        """
        Of the checks that were sent only the last are remembered, whatever becomes of them.
        """
        puncher = Puncher(Clock(), lambda batch: None, seeded(1))
        for number in range(20_000):
            puncher._sendFor("ufrag", [(b"\0\1" + bytes(6) + number.to_bytes(12, "big"), SERVER)])
        self.assertEqual(len(puncher._transactions), 16384)
        self.assertIn((19_999).to_bytes(12, "big"), puncher._transactions)

    @given(st.binary(max_size=100))
    def test_anything(self, data: bytes) -> None:
        """
        Any datagram is taken without an exception.
        """
        puncher = Puncher(Clock(), lambda batch: None, seeded(1))
        puncher.datagramReceived(data, SERVER)
        framed = data[: len(data) // 4 * 4]
        head = b"\x00\x01" + len(framed).to_bytes(2, "big") + b"\x21\x12\xa4\x42" + b"t" * 12
        puncher.datagramReceived(head + framed, SERVER)
        self.assertEqual(puncher.ignored, 2)
