"""
Tests for L{vnet.protocols.trainreader}, with real sockets in a namespace of each test's own.
"""

from __future__ import annotations

import random
import socket
import struct
from collections import Counter

import pytest
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.trainreader import SLOTS, TrainReader
from vnet.test.priv.ownspace import ownSpace
from vnet.values import Address

pytestmark = pytest.mark.privileged

_SOL_UDP, _UDP_SEGMENT, _UDP_GRO = 17, 103, 104
_SIZES = (0, 1, 2, 31, 32, 100, 100, 100, 1400, 1400, 1472, 9000, 65_000)
_LOOPBACKS = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}

Datagrams = list[tuple[Address, bytes]]


class TrainReaderTests(SynchronousTestCase):
    """
    L{TrainReader}: one for all sockets, as in a node.
    """

    reader = TrainReader()

    def setUp(self) -> None:
        space = ownSpace()
        space.__enter__()
        self.addCleanup(space.__exit__, None, None, None)
        self.choose = random.Random(7)
        self.senders: dict[socket.socket, Address] = {}

    def bind(self, family: int, host: str, joins: bool = True) -> socket.socket:
        """
        A socket to read from.
        """
        opened = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.addCleanup(opened.close)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        opened.setsockopt(socket.SOL_SOCKET, 33, 1 << 24)
        if joins:
            opened.setsockopt(_SOL_UDP, _UDP_GRO, 1)
        opened.bind((host, 0))
        return opened

    def sender(self, family: int, port: int) -> socket.socket:
        """
        A socket that sends to that port.
        """
        opened = socket.socket(family, socket.SOCK_DGRAM)
        self.addCleanup(opened.close)
        host = _LOOPBACKS[socket.AddressFamily(family)]
        opened.bind((host, 0))
        opened.connect((host, port))
        self.senders[opened] = Address(host, opened.getsockname()[1])
        return opened

    def send(self, source: socket.socket, size: int, count: int = 1, last: int = 0) -> Datagrams:
        """
        Send a datagram, or a train of them of which the last may be shorter.
        """
        data = self.choose.randbytes(size * count - last)
        if count == 1:
            source.send(data)
            return [(self.senders[source], data)]
        source.sendmsg([data], [(_SOL_UDP, _UDP_SEGMENT, struct.pack("H", size))])
        return [(self.senders[source], data[place : place + size]) for place in range(0, len(data), size)]

    def some(self, source: socket.socket) -> Datagrams:
        """
        Send something.
        """
        size = self.choose.choice(_SIZES)
        if 0 < size <= 9000 and self.choose.random() < 0.3:
            count = self.choose.randrange(2, min(64, 60_000 // size) + 1)
            return self.send(source, size, count, self.choose.choice((0, self.choose.randrange(size))))
        found: Datagrams = []
        for _ in range(self.choose.choice((1, 1, 2, 7, 40))):
            found += self.send(source, size)
            if len(found) * size > 200_000:
                break
        return found

    def read(self, target: socket.socket, most: int = SLOTS) -> tuple[Datagrams, list[int]]:
        """
        All that has come, in this order, and how many datagrams each train had.
        """
        found: Datagrams = []
        counts: list[int] = []
        while trains := self.reader.read(target.fileno(), most):
            for train in trains:
                self.assertTrue(train.stride > 0 and train.start == 0)
                datagrams = list(train.datagrams())
                self.assertEqual(len(datagrams), train.datagramCount)
                counts.append(len(datagrams))
                found += [(train.address, data) for data in datagrams]
            if not self.reader.isFull:
                self.assertEqual(self.reader.read(target.fileno()), [])
                break
        return found, counts

    def test_any(self) -> None:
        """
        Datagrams and trains of any sizes, from many sources, by IPv4 and IPv6, come out in the order in which they came.
        """
        families = [socket.AF_INET, socket.AF_INET6]
        for joins in (True, False):
            both = self.bind(socket.AF_INET6, "::", joins)
            four = self.bind(socket.AF_INET, "127.0.0.1", joins)
            targets = [(both, [self.sender(families[n % 2], both.getsockname()[1]) for n in range(5)])]
            targets.append((four, [self.sender(socket.AF_INET, four.getsockname()[1]) for _ in range(3)]))
            for _ in range(60):
                target, senders = self.choose.choice(targets)
                sent: Datagrams = []
                enough = self.choose.choice((1, 10, 100))
                # A queue does not hold more bytes than that.
                while len(sent) < enough and sum(len(data) for _, data in sent) < 2_000_000:
                    sent += self.some(self.choose.choice(senders))
                found, _ = self.read(target, self.choose.choice((1, 3, 8, SLOTS, SLOTS)))
                self.assertEqual(
                    [(addr, len(data)) for addr, data in found], [(addr, len(data)) for addr, data in sent]
                )
                self.assertTrue(found == sent)
        self.assertEqual(self.reader.counters, {})

    def test_joined(self) -> None:
        """
        What the kernel has joined is one train, and so are datagrams of one size in a row; a shorter one ends a train.
        """
        target = self.bind(socket.AF_INET, "127.0.0.1")
        first, second = (self.sender(socket.AF_INET, target.getsockname()[1]) for _ in range(2))
        for sends, wanted in (
            ([(first, 100, 64, 0)], [64]),
            ([(first, 100, 5, 99), (first, 1, 1, 0)], [5, 1]),
            ([(first, 100, 1, 0)] * 7, [7]),
            ([(first, 100, 1, 0), (first, 100, 1, 0), (first, 99, 1, 0), (first, 99, 1, 0)], [3, 1]),
            ([(first, 99, 1, 0), (first, 100, 1, 0)], [1, 1]),
            ([(first, 9, 1, 0), (second, 9, 1, 0), (first, 9, 1, 0)], [1, 1, 1]),
            ([(first, 0, 1, 0)] * 3, [1, 1, 1]),
            ([(first, 9, 1, 0), (first, 0, 1, 0), (first, 9, 1, 0)], [1, 1, 1]),
            ([(first, 9, 1, 0), (first, 9, 4, 0), (first, 9, 1, 0)], [1, 4, 1]),
        ):
            sent = [each for arguments in sends for each in self.send(*arguments)]
            self.assertEqual(self.read(target), (sent, wanted))

    def test_most(self) -> None:
        """
        As many as were asked for come, and whether there may be more is known.
        """
        target = self.bind(socket.AF_INET, "127.0.0.1")
        source = self.sender(socket.AF_INET, target.getsockname()[1])
        for _ in range(5):
            self.send(source, 10)
        for most, wanted, isFull in ((2, 2, True), (3, 3, True), (4, 0, False)):
            counts = [train.datagramCount for train in self.reader.read(target.fileno(), most)]
            self.assertEqual((sum(counts), self.reader.isFull), (wanted, isFull))

    def test_errors(self) -> None:
        """
        An error is counted, and what comes after it is read.
        """
        reader = TrainReader()
        target = self.bind(socket.AF_INET, "127.0.0.1")
        gone = self.bind(socket.AF_INET, "127.0.0.1")
        target.connect(gone.getsockname())
        there = gone.getsockname()
        gone.close()
        target.send(b"to nobody")
        self.assertEqual(reader.read(target.fileno()), [])
        self.assertEqual(reader.counters, Counter(ECONNREFUSED=1))
        again = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(again.close)
        again.bind(there)
        again.sendto(b"here", target.getsockname())
        (train,) = reader.read(target.fileno())
        self.assertEqual(list(train.datagrams()), [b"here"])
        self.assertEqual(reader.read(-1), [])
        self.assertEqual(reader.counters["EBADF"], 1)

    def test_manySources(self) -> None:
        """
        However many sources there have been, each is told right.
        """
        reader = TrainReader()
        target = self.bind(socket.AF_INET6, "::")
        for number in range(300):
            family = socket.AF_INET if number % 3 else socket.AF_INET6
            source = self.sender(family, target.getsockname()[1])
            for _ in range(2):
                source.send(b"x")
            (train,) = reader.read(target.fileno())
            self.assertEqual((train.address, train.datagramCount), (self.senders[source], 2))
            source.close()
