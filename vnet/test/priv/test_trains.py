"""
Tests for L{vnet.protocols.trains}, with real sockets in a namespace of each test's own.
"""

from __future__ import annotations

import os
import random
import select
import socket
import unittest.mock
from functools import partial

import pytest
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols import trains
from vnet.protocols.trainpoller import TrainPoller
from vnet.protocols.trains import BUFFER, MOST, TrainSocket, cut
from vnet.test.priv.ownspace import HandReactor, command, ownSpace
from vnet.values import Address

pytestmark = pytest.mark.privileged

LOCAL = ("127.0.0.1", "::1")


class SpaceCase(SynchronousTestCase):
    """
    A namespace with a loopback.
    """

    def setUp(self) -> None:
        space = ownSpace()
        space.__enter__()
        self.addCleanup(space.__exit__, None, None, None)
        self.buffer = bytearray(BUFFER)

    def bind(self, host: str = "127.0.0.1", port: int = 0, **options: bool) -> TrainSocket:
        opened = TrainSocket.bind(host, port, **options)
        self.addCleanup(opened.close)
        return opened

    def send(self, source: TrainSocket, data: bytes, segment: int, to: Address) -> bool:
        """
        Send a train.
        """
        count = -(-len(data) // segment) if segment else 1
        return source.send((data,), segment, count, source.socketAddress(to))

    def receive(self, target: TrainSocket) -> tuple[list[bytes], list[int], set[Address]]:
        """
        All that has come: the datagrams, how many came with each call, and from where.
        """
        datagrams: list[bytes] = []
        calls: list[int] = []
        sources: set[Address] = set()
        while (train := target.receive(self.buffer)) is not None:
            size, segment, source = train
            data = memoryview(self.buffer)[:size]
            pieces = [bytes(each) for each in cut(data, segment)] if size else [b""]
            datagrams += pieces
            calls.append(len(pieces))
            sources.add(target.canonical(source))
        return datagrams, calls, sources


class TrainTests(SpaceCase):
    """
    L{TrainSocket}.
    """

    def test_order(self) -> None:
        """Trains of all sizes arrive byte for byte and in order, whichever side knows trains, over IPv4 and IPv6."""
        choose = random.Random(1)
        for host in LOCAL:
            for sending, receiving in ((True, True), (True, False), (False, True), (False, False)):
                source, target = self.bind(host, segments=sending), self.bind(host, segments=receiving)
                expected = []
                for _ in range(40):
                    segment = choose.choice((1, 7, 100, 1400, 1472, 9000, 20_000))
                    count = choose.randrange(1, min(MOST, 60_000 // segment) + 1)
                    data = choose.randbytes(segment * count - choose.randrange(segment))
                    expected += [bytes(each) for each in cut(memoryview(data), segment)]
                    self.assertTrue(self.send(source, data, segment, target.address))
                datagrams, calls, sources = self.receive(target)
                self.assertEqual(b"".join(datagrams), b"".join(expected))
                self.assertEqual(datagrams, expected)
                self.assertEqual(sources, {source.address})
                self.assertEqual(max(calls) > 1, sending and receiving)
                self.assertEqual((source.counters, target.counters), ({}, {}))

    def test_train(self) -> None:
        """A train of 64 datagrams is one call here and one there."""
        source, target = self.bind(), self.bind()
        self.assertTrue(self.send(source, b"x" * 100 * MOST, 100, target.address))
        _, calls, _ = self.receive(target)
        self.assertEqual(calls, [MOST])

    def test_parts(self) -> None:
        """A train may be made of many parts, cut where they are not."""
        source, target = self.bind(), self.bind()
        parts = [bytes([n]) * 7 for n in range(40)]
        self.assertTrue(source.send(parts, 70, 4, source.socketAddress(target.address)))
        datagrams, _, _ = self.receive(target)
        self.assertEqual(
            (b"".join(datagrams), [len(each) for each in datagrams]), (b"".join(parts), [70] * 4)
        )

    def test_aboveMtu(self) -> None:
        """A train whose datagrams do not fit in a packet arrives all the same, each in fragments."""
        command("ip link set lo mtu 1400")
        for host in LOCAL:
            source, target = self.bind(host), self.bind(host)
            data = random.Random(2).randbytes(3000 * 9 + 5)
            self.assertTrue(self.send(source, data, 3000, target.address))
            datagrams, _, _ = self.receive(target)
            self.assertEqual(
                ([len(each) for each in datagrams], b"".join(datagrams)), ([3000] * 9 + [5], data)
            )
            self.assertEqual(source.counters, {})

    def test_longest(self) -> None:
        """The longest datagram arrives, and one that is longer is counted."""
        for host, longest in (("127.0.0.1", 65_507), ("::1", 65_507)):
            source, target = self.bind(host), self.bind(host)
            self.assertTrue(self.send(source, b"x" * longest, longest, target.address))
            self.assertFalse(self.send(source, b"x" * 65_528, 65_528, target.address))
            datagrams, _, _ = self.receive(target)
            self.assertEqual(
                ([len(each) for each in datagrams], source.counters), ([longest], {"EMSGSIZE": 1})
            )

    def test_empty(self) -> None:
        """An empty datagram arrives as one, also between others."""
        for host in LOCAL:
            source, target = self.bind(host), self.bind(host)
            for data in (b"", b"xy", b"", b""):
                self.assertTrue(self.send(source, data, len(data), target.address))
            self.assertEqual(self.receive(target)[0], [b"", b"xy", b"", b""])

    def test_nothing(self) -> None:
        """Where nothing has come there is nothing."""
        self.assertIsNone(self.bind().receive(self.buffer))

    def test_dual(self) -> None:
        """One socket for both families sees IPv4 sources as IPv4, and answers them."""
        both = self.bind("::", dual=True)
        for host in LOCAL:
            program = self.bind(host)
            self.assertTrue(self.send(program, b"?", 1, Address(host, both.address.port)))
            datagrams, _, sources = self.receive(both)
            self.assertEqual((datagrams, sources), ([b"?"], {program.address}))
            self.assertTrue(self.send(both, b"!!!", 1, program.address))
            self.assertEqual(self.receive(program)[0], [b"!"] * 3)

    def test_single(self) -> None:
        """Without that, each family has its own port of one number."""
        six = self.bind("::")
        four = self.bind("0.0.0.0", six.address.port)
        program = self.bind()
        self.send(program, b"?", 1, Address("127.0.0.1", six.address.port))
        self.assertEqual((self.receive(six)[0], self.receive(four)[0]), ([], [b"?"]))

    def test_taken(self) -> None:
        """A port that is taken is refused, and so is an address that is none of this host; nothing stays open."""
        taken = self.bind()
        before = len(os.listdir("/proc/self/fd"))
        for host, port in (("127.0.0.1", taken.address.port), ("192.0.2.1", 0), ("2001:db8::1", 0)):
            self.assertRaises(OSError, TrainSocket.bind, host, port)
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)

    def test_closed(self) -> None:
        """A socket that is closed receives and sends nothing, raises nothing, and may be closed again."""
        target, closed = self.bind(), self.bind()
        to = closed.socketAddress(target.address)
        closed.close()
        closed.close()
        self.assertEqual((closed.receive(self.buffer), closed.fileno()), (None, -1))
        for count in (1, 2):
            self.assertFalse(closed.send((b"xx",), 1, count, to))
        self.assertEqual(self.receive(target)[0], [])

    def test_counted(self) -> None:
        """What the kernel does not take is counted, each datagram."""
        source = self.bind()
        self.assertFalse(self.send(source, b"xxxx", 1, Address("192.0.2.1", 9)))
        self.assertFalse(self.send(source, b"x", 1, Address("192.0.2.1", 9)))
        self.assertFalse(self.send(source, b"xx", 1, Address("127.0.0.1", 0)))
        self.assertEqual(source.counters, {"ENETUNREACH": 5, "EINVAL": 2})

    def test_closedPort(self) -> None:
        """That nobody listens at the other end disturbs nothing."""
        source, target = self.bind(), self.bind()
        for _ in range(3):
            self.send(source, b"xxx", 1, Address("127.0.0.1", 9))
            self.assertIsNone(source.receive(self.buffer))
        self.send(source, b"y", 1, target.address)
        self.assertEqual((self.receive(target)[0], source.counters), ([b"y"], {}))

    def refusing(self, host: str = "127.0.0.1") -> TrainSocket:
        opened = TrainSocket.bind(host, 0, refusals=True)
        self.addCleanup(opened.close)
        return opened

    def test_refusal(self) -> None:
        """What ICMP says can be read: where the datagram was to go, and why it did not arrive."""
        for host, kind, code in (("127.0.0.1", 3, 3), ("::1", 1, 4)):
            source = self.refusing(host)
            closed = Address(host, 9)
            self.send(source, b"x", 1, closed)
            refusal = source.refusal()
            assert refusal is not None
            self.assertEqual(TrainSocket.canonical(refusal.to), closed)
            self.assertEqual((refusal.type, refusal.code, refusal.mtu), (kind, code, 0))
            self.assertIsNone(source.refusal())
            self.assertIsNone(source.receive(self.buffer))
            self.assertEqual(source.counters, {})

    def test_afterRefusal(self) -> None:
        """The error of one datagram costs no other: the next one arrives, alone, in a train, or whole."""
        source, target = self.refusing(), self.bind()
        to = source.socketAddress(target.address)
        for send in (
            lambda: source.send((b"x",), 1, 1, to),
            lambda: source.send((b"aab",), 2, 2, to),
            lambda: source.sendWhole(b"w", to),
        ):
            self.send(source, b"lost", 4, Address("127.0.0.1", 9))
            self.assertTrue(send())
        self.assertEqual((self.receive(target)[0], source.counters), ([b"x", b"aa", b"b", b"w"], {}))

    def test_notLocal(self) -> None:
        """That a datagram does not fit in the own link is no refusal of ICMP."""
        command("ip link set lo mtu 1400")
        source, target = self.refusing(), self.bind()
        self.assertFalse(source.sendWhole(b"w" * 1400, source.socketAddress(target.address)))
        self.assertIsNone(source.refusal())

    def test_whole(self) -> None:
        """What may not be fragmented and does not fit is not sent; the next datagram may be fragmented again."""
        command("ip link set lo mtu 1400")
        for host, fits in (("127.0.0.1", 1372), ("::1", 1352)):
            source, target = self.bind(host), self.bind(host)
            to = source.socketAddress(target.address)
            self.assertTrue(source.sendWhole(b"w" * fits, to))
            self.assertFalse(source.sendWhole(b"w" * (fits + 1), to))
            self.assertTrue(source.send((b"f" * 3000,), 3000, 1, to))
            datagrams, _, _ = self.receive(target)
            self.assertEqual(
                ([len(each) for each in datagrams], source.counters), ([fits, 3000], {"EMSGSIZE": 1})
            )

    def test_dontFragmentBit(self) -> None:
        """The bit is set in what is to stay whole, and in nothing else."""
        listener = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
        self.addCleanup(listener.close)
        listener.bind(("lo", 0x0800))
        listener.settimeout(2)
        source, target = self.bind(), self.bind()
        to = source.socketAddress(target.address)
        source.sendWhole(b"w", to)
        source.send((b"f",), 1, 1, to)
        flags = [listener.recv(2000)[20] & 0x40 for _ in range(2)]
        self.assertEqual(flags, [0x40, 0])

    def test_noSegments(self) -> None:
        """Where the kernel knows no trains, each datagram is sent for itself, in order."""
        source, target = self.bind(), self.bind()
        with unittest.mock.patch.object(trains, "_UDP_SEGMENT", 9999):
            self.assertTrue(self.send(source, b"aabbc", 2, target.address))
        self.assertEqual(self.receive(target)[0], [b"aa", b"bb", b"c"])

    def test_burst(self) -> None:
        """Large buffers hold a burst of ten thousand datagrams."""
        source, target = self.bind(), TrainSocket.bind("127.0.0.1", 0, buffer=7 << 20)
        self.addCleanup(target.close)
        for _ in range(200):
            self.send(source, b"x" * 100 * 50, 100, target.address)
        datagrams, _, _ = self.receive(target)
        self.assertEqual(len(datagrams), 10_000)

    def test_canonical(self) -> None:
        """Sources are written as addresses are everywhere here."""
        for source, host in (
            (("192.0.2.1", 5), "192.0.2.1"),
            (("::ffff:192.0.2.1", 5, 0, 0), "192.0.2.1"),
            (("2001:db8::1", 5, 0, 0), "2001:db8::1"),
            (("fe80::1%lo", 5, 0, 1), "fe80::1"),
            (("::1", 5, 0, 0), "::1"),
        ):
            self.assertEqual(TrainSocket.canonical(source), Address(host, 5))


class PollerTests(SpaceCase):
    """
    L{TrainPoller}.
    """

    def setUp(self) -> None:
        super().setUp()
        self.reactor = HandReactor()
        self.poller = TrainPoller(self.reactor)
        self.addCleanup(self.poller.stop)
        self.heard: list[object] = []

    def watch(self, name: object) -> TrainSocket:
        """
        A socket that notes what comes.
        """
        opened = self.bind()

        def ready() -> None:
            self.heard += [(name, data) for data in self.receive(opened)[0]]

        self.poller.add(opened.fileno(), ready)
        return opened

    def tell(self, target: TrainSocket) -> None:
        source = self.bind()
        self.send(source, b"x", 1, target.address)

    def test_ready(self) -> None:
        """Whoever has something to read is called, whether it came before the start or after, and nobody else."""
        early, idle = self.watch("early"), self.watch("idle")
        self.tell(early)
        self.poller.start()
        late = self.watch("late")
        self.tell(late)
        self.reactor.turn()
        self.assertEqual(sorted(self.heard, key=str), [("early", b"x"), ("late", b"x")])
        self.assertEqual(len(self.reactor.readers), 1)
        self.poller.remove(idle.fileno())
        self.poller.remove(idle.fileno())
        self.tell(idle)
        self.reactor.turn()
        self.assertEqual(len(self.heard), 2)

    def test_notRead(self) -> None:
        """Who does not read all is called again."""
        self.poller.start()
        opened = self.bind()
        self.poller.add(opened.fileno(), lambda: self.heard.append(opened.receive(self.buffer)))
        for _ in range(3):
            self.tell(opened)
        self.reactor.turn()
        self.assertEqual(len([each for each in self.heard if each]), 3)

    def test_failure(self) -> None:
        """That one fails is logged, and does not keep the others from being read."""

        def fail() -> None:
            failing.receive(self.buffer)
            raise ValueError("planted")

        self.poller.start()
        failing = self.bind()
        self.poller.add(failing.fileno(), fail)
        good = self.watch("good")
        for each in (failing, good):
            self.tell(each)
        self.reactor.turn()
        self.assertEqual(self.heard, [("good", b"x")])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_refused(self) -> None:
        """Who is refused something is told so before it is read, once for each time; who did not ask for that is not."""
        self.poller.start()
        asking, other = TrainSocket.bind("127.0.0.1", 0, refusals=True), self.bind()
        self.addCleanup(asking.close)

        def refused() -> None:
            while asking.refusal() is not None:
                self.heard.append("refused")

        self.poller.add(asking.fileno(), lambda: self.heard.append(asking.receive(self.buffer)), refused)
        self.poller.add(other.fileno(), lambda: self.heard.append("other"))
        for each in (asking, asking, other):
            self.send(each, b"x", 1, Address("127.0.0.1", 9))
        self.reactor.turn()
        self.assertEqual(self.heard, ["refused", "refused", None])
        self.tell(asking)
        self.reactor.turn()
        self.assertEqual(len(self.heard), 4)

    def test_closedByOther(self) -> None:
        """One that is closed while another is read is not called any more, also when a new one has its number."""
        self.poller.start()
        names = ("one", "two")
        sockets = {name: self.bind() for name in names}

        def ready(name: str) -> None:
            self.heard.append(name)
            other = sockets[names[1 - names.index(name)]]
            self.poller.remove(other.fileno())
            other.close()
            self.receive(sockets[name])
            self.watch("new")

        for name in names:
            self.poller.add(sockets[name].fileno(), partial(ready, name))
        for each in sockets.values():
            self.tell(each)
        self.reactor.turn()
        self.assertEqual(len(self.heard), 1)

    def test_stop(self) -> None:
        """After the end nobody is called, and its end comes once only."""
        opened = self.watch("x")
        self.poller.start()
        self.poller.stop()
        self.poller.stop()
        self.tell(opened)
        self.assertEqual((self.reactor.readers, self.poller.fileno()), ([], -1))
        self.poller.doRead()
        self.assertEqual(self.heard, [])

    def test_many(self) -> None:
        """Hundreds that are ready at once are all read."""
        self.poller.start()
        for each in [self.watch(n) for n in range(300)]:
            self.tell(each)
        self.reactor.turn()
        self.assertEqual(set(self.heard), {(number, b"x") for number in range(300)})

    def test_epoll(self) -> None:
        """The reactor can wait for it as for a socket."""
        self.poller.start()
        opened = self.watch("x")
        outer = select.epoll()
        self.addCleanup(outer.close)
        outer.register(self.poller.fileno(), select.EPOLLIN)
        self.assertEqual(outer.poll(0), [])
        self.tell(opened)
        self.assertEqual(outer.poll(1), [(self.poller.fileno(), select.EPOLLIN)])
        self.poller.doRead()
        self.assertEqual(outer.poll(0), [])
