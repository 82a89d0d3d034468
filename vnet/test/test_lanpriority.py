"""
Tests for L{vnet.client.lanpriority}, with processes that are none.
"""

from __future__ import annotations

from typing import Any

from attrs import define, field
from twisted.internet.error import ProcessDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.lanpriority import LanPriority, ruleset


@define(eq=False)
class Process:
    """
    A program that runs until its standard input ends.
    """

    protocol: Any
    argv: list[str]
    written: bytes = b""
    closed: bool = False

    def write(self, data: bytes) -> None:
        self.written += data

    def closeStdin(self) -> None:
        self.closed = True

    def end(self) -> None:
        self.protocol.processEnded(Failure(ProcessDone(0)))


@define(eq=False)
class Reactor(Clock):
    """
    Starts L{Process}es.
    """

    started: list[Process] = field(factory=list)

    def __attrs_pre_init__(self) -> None:
        super().__init__()

    def spawnProcess(self, protocol: Any, program: str, argv: list[str], environment: dict[str, str]) -> None:
        process = Process(protocol, [program, *argv[1:]])
        self.started.append(process)
        protocol.makeConnection(process)


class LanPriorityTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = Reactor()
        self.program: str | None = "/sbin/nft"
        self.priority = LanPriority(self.reactor, "vnet0", lambda: self.program)

    def test_held(self) -> None:
        """One process holds the rules as long as its input is open; the address again changes nothing."""
        self.priority.configured("100.64.0.7")
        self.priority.configured("100.64.0.7")
        (process,) = self.reactor.started
        self.assertEqual(process.argv, ["/sbin/nft", "-i"])
        self.assertEqual(process.written, ruleset("vnet0", "100.64.0.7"))
        process.protocol.outReceived(b"table ip vnet-lan-vnet0 {\n")
        self.assertEqual((process.closed, self.priority.problem), (False, ""))
        self.priority.stop()
        self.assertTrue(process.closed)
        process.end()
        self.assertEqual((len(self.reactor.started), self.reactor.getDelayedCalls()), (1, []))

    def test_otherAddress(self) -> None:
        """With another address a second process takes over when the first has ended."""
        self.priority.configured("100.64.0.7")
        self.priority.configured("100.64.0.8")
        first = self.reactor.started[0]
        self.assertEqual((first.closed, len(self.reactor.started)), (True, 1))
        first.end()
        self.assertEqual(self.reactor.started[1].written, ruleset("vnet0", "100.64.0.8"))

    def test_refused(self) -> None:
        """What nft refuses is said once, and tried again."""
        self.priority.configured("100.64.0.7")
        for _ in range(3):
            process = self.reactor.started[-1]
            process.protocol.errReceived(b"Error: Could not process rule: Operation not permitted\nmore\n")
            self.assertTrue(process.closed)
            process.end()
            self.assertEqual(self.priority.problem, "Error: Could not process rule: Operation not permitted")
            self.reactor.advance(10)
        self.assertEqual(len(self.reactor.started), 4)
        self.reactor.started[-1].protocol.outReceived(b"table")
        self.assertEqual(self.priority.problem, "")

    def test_ended(self) -> None:
        """A process that somebody ends is started again."""
        self.priority.configured("100.64.0.7")
        self.reactor.started[0].end()
        self.assertEqual(self.priority.problem, "nft has ended")
        self.reactor.advance(10)
        self.assertEqual(len(self.reactor.started), 2)

    def test_missing(self) -> None:
        """Without nft it says what is missing, and looks again."""
        self.program = None
        self.priority.configured("100.64.0.7")
        self.assertIn("install nftables", self.priority.problem)
        self.program = "/usr/sbin/nft"
        self.reactor.advance(10)
        self.assertEqual(len(self.reactor.started), 1)

    def test_script(self) -> None:
        """The table is one line, for an interactive nft, and only an address gets in."""
        first, second, rest = ruleset("vnet0", "100.64.0.7").split(b"\n")
        self.assertIn(b"flags owner", first)
        self.assertEqual((second, rest), (b"list table ip vnet-lan-vnet0", b""))
        self.assertRaises(ValueError, ruleset, "vnet0", "100.64.0.7; flush ruleset")
