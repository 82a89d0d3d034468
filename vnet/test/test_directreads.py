"""
Tests for L{vnet.directreads}, on a real reactor of Twisted's that the test turns by hand, and a socket pair.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial

from attrs import define, field
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.selectreactor import SelectReactor
from twisted.python import context
from twisted.python.failure import Failure
from twisted.python.log import ILogContext
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from vnet.directreads import PASSES, IDirectReader, installDirectReads


@implementer(IReadDescriptor)
@define(eq=False)
class Reader:
    """
    Reads one end of a socket pair.
    """

    socket: socket.socket
    contexts: list[object] = field(factory=list)
    got: list[bytes] = field(factory=list)
    why: Failure | None = None
    isFull: bool = False
    lost: list[Failure] = field(factory=list)

    def fileno(self) -> int:
        return self.socket.fileno()

    def logPrefix(self) -> str:
        return "reader"

    def doRead(self) -> Failure | None:
        self.got.append(self.socket.recv(100))
        self.contexts.append(context.get(ILogContext)["system"])
        return self.why

    def connectionLost(self, reason: Failure) -> None:
        self.lost.append(reason)


@implementer(IDirectReader)
class DirectReader(Reader):
    """
    The same, called directly.
    """


class DirectTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = EPollReactor()
        self.addCleanup(self.reactor._poller.close)
        for each in self.reactor._internalReaders:
            self.addCleanup(each.connectionLost, None)
        self.installed = installDirectReads(self.reactor)
        self.sockets = [socket.socketpair() for _ in range(2)]
        for pair in self.sockets:
            for each in pair:
                self.addCleanup(each.close)
        self.direct = DirectReader(self.sockets[0][0])
        self.other = Reader(self.sockets[1][0])
        for reader in (self.direct, self.other):
            self.reactor.addReader(reader)

    def test_both(self) -> None:
        """Both kinds are read; only the ordinary one gets a logging context."""
        self.assertTrue(self.installed)
        for _, far in self.sockets:
            far.send(b"x")
        self.reactor.doIteration(1)
        self.assertEqual((self.direct.got, self.other.got), ([b"x"], [b"x"]))
        self.assertEqual((self.direct.contexts[0] == "reader", self.other.contexts[0]), (False, "reader"))

    def test_setOff(self) -> None:
        """What a packet sets off is read before the reactor turns to anything else, but not for ever."""
        _, far = self.sockets[0]
        far.send(b"x")
        read = self.direct.doRead

        def another() -> Failure | None:
            why = read()
            far.send(b"x")
            return why

        self.direct.doRead = another  # type: ignore[method-assign]
        self.reactor.doIteration(1)
        self.assertEqual(len(self.direct.got), PASSES)

    def test_full(self) -> None:
        """Who has read all that it may is read after the others the next time."""
        order: list[str] = []
        second = DirectReader(self.sockets[1][0])
        self.reactor.removeReader(self.other)
        self.reactor.addReader(second)
        for name, reader in (("first", self.direct), ("second", second)):
            reader.doRead = partial(self.noted, order, name, reader.doRead)  # type: ignore[method-assign]
        for full in (self.direct, second):
            self.direct.isFull, second.isFull = full is self.direct, full is second
            for _ in range(2):
                for _, far in self.sockets:
                    far.send(b"x")
                order.clear()
                self.reactor.doIteration(1)
            self.assertEqual(order, ["second", "first"] if full is self.direct else ["first", "second"])

    def noted(self, order: list[str], name: str, read: Callable[[], Failure | None]) -> Failure | None:
        """Read, and say who."""
        order.append(name)
        return read()

    def test_nothing(self) -> None:
        """Where there is nothing to read the time passes."""
        self.reactor.doIteration(0.001)
        self.reactor.doIteration(0)
        self.assertEqual((self.direct.got, self.other.got), ([], []))

    def test_lost(self) -> None:
        """A reader that says why there is nothing more is removed, and told so."""
        self.direct.why = Failure(ValueError("no more"))
        self.sockets[0][1].send(b"x")
        self.reactor.doIteration(1)
        self.assertIsInstance(self.direct.lost[0].value, ValueError)
        self.assertNotIn(self.direct, self.reactor.getReaders())

    def test_hangup(self) -> None:
        """The end of the other side takes the ordinary way."""
        self.sockets[0][1].close()
        self.reactor.doIteration(1)
        self.reactor.doIteration(0)
        self.assertTrue(self.direct.got or self.direct.lost)

    def test_removed(self) -> None:
        """One that the reader before it has removed is not read."""
        for _, far in self.sockets:
            far.send(b"x")
        read = self.direct.doRead
        self.direct.doRead = lambda: self.reactor.removeReader(self.other) or read()  # type: ignore[method-assign]
        for _ in range(3):
            self.reactor.doIteration(0)
        self.assertEqual(self.direct.got, [b"x"])

    def test_others(self) -> None:
        """Other reactors stay as they are."""
        reactor = SelectReactor()
        for each in reactor._internalReaders:
            self.addCleanup(each.connectionLost, None)
        before = reactor.doIteration
        self.assertFalse(installDirectReads(reactor))
        self.assertEqual(reactor.doIteration, before)
