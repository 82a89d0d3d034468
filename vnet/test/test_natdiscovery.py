"""
Tests for L{vnet.protocols.machine.natdiscovery} and what it is made of.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.codec.stun import BINDING, Class, Message, decode, encode
from vnet.protocols.codec.stunattributes import (
    CHANGE_REQUEST,
    ERROR_CODE,
    OTHER_ADDRESS,
    XOR_MAPPED_ADDRESS,
    ErrorCode,
)
from vnet.protocols.machine.candidates import checkable
from vnet.protocols.machine.natdiscovery import BUDGET, BehaviourDiscovery, SocketsFree, SocketsWanted
from vnet.test.discoverylab import HOME, ONE, PORTS, PUBLIC, TWO, DiscoveryLab, Site
from vnet.test.natsim import Block, RandomPorts, Sequential
from vnet.values import Address, NatReport

EI, AD, APD = "endpoint-independent", "address-dependent", "address-and-port-dependent"
SYMMETRIC: dict[str, Any] = {"mapping": APD}

KINDS: dict[str, tuple[dict[str, Callable[[], Any]], dict[str, Any]]] = {
    "port-restricted": ({}, {"mapping": EI, "filtering": APD, "allocation": "preserving", "hairpin": False}),
    "address-restricted": (
        {"filtering": lambda: AD},
        {"mapping": EI, "filtering": AD, "allocation": "preserving"},
    ),
    "full-cone": ({"filtering": lambda: EI}, {"mapping": EI, "filtering": EI, "hairpin": False}),
    "hairpin": ({"hairpin": lambda: True}, {"mapping": EI, "filtering": APD, "hairpin": True}),
    "address-dependent": (
        {"mapping": lambda: AD, "allocation": RandomPorts},
        {"mapping": AD, "filtering": APD, "allocation": "random"},
    ),
    "random": ({"mapping": lambda: APD, "allocation": RandomPorts}, {"mapping": APD, "allocation": "random"}),
    "block": (
        {"mapping": lambda: APD, "allocation": lambda: Block(512)},
        {"mapping": APD, "allocation": "block", "shared": True},
    ),
    "eim-block": ({"allocation": lambda: Block(512)}, {"mapping": EI, "allocation": "block", "shared": True}),
    "sequential": (
        {"mapping": lambda: APD, "allocation": lambda: Sequential(1)},
        {"mapping": APD, "allocation": "sequential", "step": 1, "noise": 0.0},
    ),
    "sequential-down": (
        {"mapping": lambda: APD, "allocation": lambda: Sequential(-1, 20.0)},
        {"mapping": APD, "allocation": "sequential", "step": -1},
    ),
    "sequential-256": (
        {"mapping": lambda: APD, "allocation": lambda: Sequential(256, 20.0)},
        {"mapping": APD, "allocation": "sequential", "step": 256},
    ),
    "sequential-noisy": (
        {"mapping": lambda: APD, "allocation": lambda: Sequential(2, 20.0)},
        {"mapping": APD, "allocation": "sequential", "step": 2},
    ),
}


class KindTests(SynchronousTestCase):
    """
    Each kind of NAT, on L{vnet.test.natsim}.
    """

    def discover(
        self, seed: int = 0, loss: float = 0.0, delay: float = 0.05, hosts: int = 2, **behaviour: Any
    ) -> tuple[NatReport, float, DiscoveryLab]:
        """
        @return: the report, how long it took, and where that was.
        """
        lab = DiscoveryLab(seed, loss=loss, delay=delay, **behaviour)
        site = Site(lab.internet, (ONE, TWO)[:hosts])
        lab.start(*site.addresses)
        seconds = lab.settle()
        return lab.discovery.report(), seconds, lab

    def test_kinds(self) -> None:
        """At 2 % loss and 50 to 150 ms each kind is told in 99 of 100 discoveries, within 1.5 s mostly and 3 s nearly always."""
        for name, (behaviour, expected) in KINDS.items():
            right, times = 0, []
            for seed in range(100):
                made = {key: make() for key, make in behaviour.items()}
                report, seconds, lab = self.discover(
                    seed, 0.02, random.Random(seed).uniform(0.025, 0.075), **made
                )
                right += all(getattr(report, key) == value for key, value in expected.items())
                times.append(seconds)
                self.assertEqual((report.udp, report.natted, len(lab.sockets)), (True, True, 0))
            times.sort()
            self.assertGreaterEqual(right, 99, name)
            self.assertLess((times[49], times[94]), (1.5, 3.0), name)

    def test_noise(self) -> None:
        """What others take is about what they take, in the mean of many discoveries."""
        found = [
            self.discover(seed, 0.02, mapping=APD, allocation=Sequential(1, 20.0))[0].noise
            for seed in range(50)
        ]
        mean = sum(each or 0.0 for each in found) / len(found)
        self.assertLess(abs(mean - 20.0), 4.0)

    def test_block(self) -> None:
        """The estimated block holds nearly all of the real one, and not much more."""
        for seed in range(20):
            block = Block(512)
            report = self.discover(seed, mapping=APD, allocation=block)[0]
            real = block._blocks[HOME]
            assert report.ports is not None
            low, high = report.ports
            self.assertGreater(min(high, real.high) - max(low, real.low), 512 * 0.5)
            self.assertLess(high - low, 512 * 1.5)

    def test_pooling(self) -> None:
        """All public hosts are named, and show that a carrier's NAT is there."""
        pool = ("198.51.100.2", "198.51.100.3")
        report = self.discover(mapping=APD, allocation=RandomPorts(), pool=pool, paired=False)[0]
        self.assertEqual(set(report.hosts), {PUBLIC, *pool})
        self.assertEqual((report.mapping, report.shared), (APD, True))

    def test_noNat(self) -> None:
        """A computer on the Internet itself has nothing of a NAT, and no sockets are opened to sample ports."""
        report, _, lab = self.discover(nat=None)
        self.assertEqual((report.natted, report.mapping, report.filtering), (False, EI, EI))
        self.assertEqual((report.allocation, report.hairpin, report.shared), (None, None, False))
        self.assertEqual(report.hosts, (PUBLIC,))
        self.assertEqual(lab.sockets._count, 1)

    def test_oneAddress(self) -> None:
        """One address and two ports: what depends on the port is told, and nothing else is claimed."""
        report = self.discover(hosts=1, mapping=APD, allocation=RandomPorts())[0]
        self.assertEqual((report.mapping, report.mappingVaries, report.filtering), (APD, True, APD))
        report = self.discover(hosts=1, mapping=AD, allocation=RandomPorts())[0]
        self.assertEqual((report.mapping, report.mappingVaries, report.allocation), (None, False, "random"))
        report = self.discover(hosts=1, filtering=EI)[0]
        self.assertEqual((report.mapping, report.filtering), (EI, AD))
        report = self.discover(hosts=1)[0]
        self.assertEqual((report.mapping, report.filtering, report.allocation), (EI, APD, "preserving"))

    def test_onePlace(self) -> None:
        """A server of one port says nothing of filtering; nor does one that answers from nowhere else."""
        lab = DiscoveryLab()
        lab.start(*Site(lab.internet, (ONE,), PORTS[:1]).addresses)
        lab.settle()
        report = lab.discovery.report()
        self.assertEqual((report.natted, report.filtering, report.allocation), (True, None, "preserving"))
        lab = DiscoveryLab()
        lab.start(*Site(lab.internet, changes=False).addresses)
        lab.settle()
        self.assertEqual((lab.discovery.report().mapping, lab.discovery.report().filtering), (EI, None))

    def test_otherFound(self) -> None:
        """The other address of a server is asked, though only its first was known."""
        lab = DiscoveryLab(mapping=AD, allocation=RandomPorts())
        lab.start(Site(lab.internet).addresses[0])
        lab.settle()
        self.assertEqual((lab.discovery.report().mapping, lab.discovery.report().filtering), (AD, APD))

    def test_silentOther(self) -> None:
        """Silence of a second address that nobody hears is no filter."""
        lab = DiscoveryLab(filtering=EI)
        site = Site(lab.internet)
        for place in site.addresses[2:]:
            site._ports[place].close()
        lab.start(*site.addresses)
        self.assertLess(lab.settle(), 3.0)
        self.assertEqual(lab.discovery.report().filtering, AD)

    def test_blocked(self) -> None:
        """No answer at all is known as blocked UDP in less than 3 s."""
        lab = DiscoveryLab()
        lab.internet.cut = True
        lab.start(Address(ONE, 3478), Address(TWO, 3478))
        self.assertLess(lab.settle(), 3.0)
        self.assertEqual(lab.discovery.report(), NatReport(udp=False))

    def test_slow(self) -> None:
        """A satellite is not taken for a wall, nor a lost answer for a filter."""
        report = self.discover(delay=0.35, filtering=EI)[0]
        self.assertEqual((report.udp, report.filtering, report.allocation), (True, EI, "preserving"))


class MachineTests(SynchronousTestCase):
    """
    L{BehaviourDiscovery} by itself.
    """

    SERVER, OTHER = Address(ONE, 3478), Address(TWO, 3479)

    def make(self, *servers: Address) -> BehaviourDiscovery:
        """
        A discovery that has just begun.
        """
        self.now = 0.0
        chosen = servers or (self.SERVER,)
        return BehaviourDiscovery(
            chosen, [HOME], random=random.Random(1).randbytes, accepts=checkable, now=0.0
        )

    def run1(self, machine: BehaviourDiscovery, until: float) -> list[tuple[bytes, Address]]:
        """
        Let time pass.

        @return: what was sent.
        """
        sent = machine.datagramsToSend(self.now)
        while (due := machine.deadline()) is not None and due <= until:
            self.now = max(self.now, due)
            machine.timerFired(self.now)
            after = machine.deadline()
            self.assertTrue(after is None or after > self.now)
            sent += machine.datagramsToSend(self.now)
        self.now = until
        return sent

    def answer(self, data: bytes, *attributes: Any, mapped: Address | None = None) -> bytes:
        """
        The success for a request.
        """
        public = XOR_MAPPED_ADDRESS(mapped or Address(PUBLIC, 40000))
        return encode(Message(BINDING, Class.SUCCESS, decode(data).transactionId, (public, *attributes)))

    def begin(self) -> tuple[BehaviourDiscovery, list[tuple[bytes, Address]]]:
        """
        A discovery up to its requests through a spare socket.

        @return: also those with CHANGE-REQUEST.
        """
        machine = self.make()
        ((data, _),) = machine.datagramsToSend(0.0)
        machine.receive(self.answer(data, OTHER_ADDRESS(self.OTHER)), self.SERVER, 0.05)
        sent = self.run1(machine, 0.11)
        for each, target in sent:
            if target.host == TWO:
                machine.receive(self.answer(each), target, 0.11)
        machine.useSockets([("#1", 50000)], 0.11)
        sent = self.run1(machine, 0.12)
        return machine, [each for each in sent if CHANGE_REQUEST in decode(each[0])]

    def filtering(self, machine: BehaviourDiscovery) -> str | None:
        """
        What it says in the end.
        """
        self.run1(machine, 10.0)
        self.assertTrue(machine.findings.complete)
        return machine.findings.filtering

    def test_budget(self) -> None:
        """Whatever is not answered, a discovery ends, and has sent no more than it may."""
        machine = self.make(
            *(Address(f"192.0.2.{n}", port) for n in range(1, 250) for port in range(1000, 1004))
        )
        sent = self.run1(machine, 10.0)
        self.assertTrue(machine.findings.complete)
        self.assertIsNone(machine.deadline())
        self.assertLessEqual(len(sent), BUDGET)
        self.assertEqual(len({target for _, target in sent}), 6)

    def test_budgetOfSockets(self) -> None:
        """The same when nothing but the first answer comes."""
        machine = self.make(*(Address(f"192.0.2.{n}", 3478) for n in range(1, 9)))
        sent = machine.datagramsToSend(0.0)
        machine.receive(self.answer(sent[0][0], OTHER_ADDRESS(self.OTHER)), sent[0][1], 0.05)
        sent += self.run1(machine, 0.2)
        machine.useSockets([(f"#{number}", 50000 + number) for number in range(8)], 0.2)
        sent += self.run1(machine, 20.0)
        self.assertTrue(machine.findings.complete)
        self.assertLessEqual(len(sent), BUDGET)

    def test_events(self) -> None:
        """Sockets are asked for once, and given back once, when no answer is waited for."""
        machine, _ = self.begin()
        self.run1(machine, 10.0)
        events = []
        while (event := machine.nextEvent()) is not None:
            events.append(event)
        self.assertEqual([each for each in events if isinstance(each, SocketsWanted)], [SocketsWanted(8)])
        self.assertEqual([each for each in events if isinstance(each, SocketsFree)], [SocketsFree(("#1",))])

    def test_changed(self) -> None:
        """An answer from the other address to the socket that asked is one that came through."""
        machine, changes = self.begin()
        for data, _ in changes:
            machine.receive(self.answer(data), self.OTHER._replace(via="#1"), 0.2)
        self.assertEqual(self.filtering(machine), EI)

    def test_wrongSource(self) -> None:
        """An answer from any other place or to any other socket counts for nothing, though its transaction is right."""
        machine, changes = self.begin()
        wrong = (
            Address("192.0.2.66", 3479, "#1"),
            Address(TWO, 3480, "#1"),
            Address(TWO, 3478, "#1"),
            Address(ONE, 3480, "#1"),
            self.OTHER,
            self.OTHER._replace(via="#2"),
            self.OTHER._replace(via="relay"),
        )
        for data, _ in changes:
            for source in wrong:
                self.assertFalse(machine.expects(decode(data).transactionId, source))
                machine.receive(self.answer(data), source, 0.2)
        self.assertEqual(self.filtering(machine), APD)

    def test_wrongTransaction(self) -> None:
        """An answer from the right place with another transaction counts for nothing."""
        machine, _ = self.begin()
        forged = encode(Message(BINDING, Class.SUCCESS, bytes(12), (XOR_MAPPED_ADDRESS(Address(PUBLIC, 1)),)))
        for source in (self.SERVER, self.OTHER._replace(via="#1"), self.SERVER._replace(via="#1")):
            machine.receive(forged, source, 0.2)
        self.assertEqual(self.filtering(machine), APD)

    def test_refused(self) -> None:
        """A server that refuses CHANGE-REQUEST, or ignores it, says nothing of filtering."""
        for klass in (Class.ERROR, Class.SUCCESS):
            machine, changes = self.begin()
            for data, target in changes:
                attribute: Any = (
                    ERROR_CODE(ErrorCode(420)) if klass is Class.ERROR else XOR_MAPPED_ADDRESS(self.OTHER)
                )
                answer = Message(BINDING, klass, decode(data).transactionId, (attribute,))
                machine.receive(encode(answer), target, 0.2)
            self.assertIsNone(self.filtering(machine))

    def test_garbage(self) -> None:
        """Garbage from the right place does nothing, cut answers and requests too."""
        source = random.Random(5)
        machine, changes = self.begin()
        good = self.answer(changes[0][0])
        where = self.OTHER._replace(via="#1")
        for size in range(len(good)):
            machine.receive(good[:size], where, 0.2)
        for _ in range(200):
            machine.receive(source.randbytes(source.randrange(100)), where, 0.2)
        machine.receive(changes[0][0], where, 0.2)
        self.assertEqual(self.filtering(machine), APD)

    def test_anything(self) -> None:
        """Answers with the right transaction and any content harm nobody."""
        source = random.Random(6)
        hosts = ("0.0.0.0", "127.0.0.1", "255.255.255.255", "224.0.0.1", "::1", "::", "10.0.0.1", PUBLIC)
        for _ in range(100):
            machine = self.make(self.SERVER, Address(ONE, 3479), self.OTHER)
            asked = machine.datagramsToSend(0.0)
            for step in range(30):
                for data, target in asked:
                    mapped = Address(source.choice(hosts), source.randrange(65536))
                    other = Address(source.choice(hosts), source.randrange(65536))
                    try:
                        answer = self.answer(data, OTHER_ADDRESS(other), mapped=mapped)
                    except ValueError:
                        continue
                    machine.receive(answer, target, self.now)
                machine.useSockets([("#1", 1), ("#2", 2), ("#3", 3), ("#4", 4)], self.now)
                asked = self.run1(machine, 0.1 * step)
                self.assertLessEqual({each.host for _, each in asked}, {ONE, TWO, PUBLIC})
            self.run1(machine, 10.0)
            machine.useSockets([], self.now)
            self.run1(machine, 20.0)
            self.assertTrue(machine.findings.complete)


class OtherAddressTests(SynchronousTestCase):
    """
    What a server may name as its other address.
    """

    def sentTo(self, other: Address) -> int:
        """
        @return: how many datagrams go to an address that a server of one address names.
        """
        lab = DiscoveryLab()
        site = Site(lab.internet, (ONE,), other=other)
        lab.start(*site.addresses)
        lab.settle()
        lab.run(30.0)
        self.assertTrue(lab.discovery.report().udp)
        return lab.sentTo(other.host)

    def test_never(self) -> None:
        """Nothing is sent to this computer, nowhere, a group, or into a home."""
        for host in (
            "127.0.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "10.0.0.1",
            "192.168.1.1",
            "100.64.0.9",
        ):
            self.assertEqual(self.sentTo(Address(host, 3479)), 0, host)
        self.assertEqual(self.sentTo(Address("192.0.2.99", 0)), 0)

    def test_third(self) -> None:
        """A third party is bothered by a few requests at two of its ports, once."""
        self.assertLessEqual(self.sentTo(Address("192.0.2.99", 53)), 8)

    def test_notAccepted(self) -> None:
        """What the node does not accept, such as an address of the overlay, is not asked."""
        lab = DiscoveryLab()
        lab.discovery._accepts = lambda address: False
        site = Site(lab.internet, (ONE,), other=Address("192.0.2.99", 3479))
        lab.start(*site.addresses)
        lab.settle()
        self.assertEqual(lab.sentTo("192.0.2.99"), 0)

    def test_mappedLie(self) -> None:
        """A server that names a wrong external address turns a few datagrams to it, and none to where no peer can be."""
        for host, most in (("192.0.2.99", 6), ("127.0.0.1", 0), ("224.0.0.1", 0), ("10.0.0.1", 0)):
            lab = DiscoveryLab()
            site = Site(lab.internet, answer=_naming(Address(host, 53)))
            lab.start(*site.addresses)
            lab.settle()
            lab.run(30.0)
            self.assertLessEqual(lab.sentTo(host), most, host)


def _naming(mapped: Address) -> Callable[[Message, Address, Address], Message]:
    def lie(answer: Message, source: Address, own: Address) -> Message:
        others = tuple(each for each in answer.attributes if each.kind is not XOR_MAPPED_ADDRESS)
        attributes = (XOR_MAPPED_ADDRESS(mapped), *others)
        return Message(answer.method, answer.klass, answer.transactionId, attributes)

    return lie
