"""
Tests for L{vnet.client.names.resolved}.
"""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.names.resolved import Resolved


class Processes(Clock):
    """
    A reactor whose processes end when told.
    """

    def __init__(self) -> None:
        super().__init__()
        self.started: list[tuple[Any, list[str]]] = []
        self.signals: list[str] = []

    def spawnProcess(self, protocol: Any, program: str, arguments: list[str], env: Any) -> None:
        self.started.append((protocol, [program, *arguments]))
        protocol.makeConnection(self)

    def signalProcess(self, name: str) -> None:
        self.signals.append(name)
        self.end(9)

    def end(self, code: int = 0, said: bytes = b"") -> None:
        protocol = self.started[-1][0]
        if said:
            protocol.errReceived(said)
        protocol.processEnded(Failure(ProcessTerminated(code) if code else ProcessDone(0)))


class ResolvedTests(SynchronousTestCase):
    """
    Tests of L{Resolved}.
    """

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.program = self.directory / "resolvectl"
        self.program.write_text("")
        self.program.chmod(0o755)
        self.reactor = Processes()
        self.resolved = Resolved(self.reactor, str(self.directory / "socket"), {"PATH": directory.name})

    def test_runs(self) -> None:
        """
        It runs when something listens, and can be told when its program is there.
        """
        self.assertFalse(self.resolved.runs())
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(self.directory / "socket"))
            self.assertFalse(self.resolved.runs())
            server.listen()
            self.assertTrue(self.resolved.runs())
            self.program.unlink()
            self.assertFalse(self.resolved.runs())
        self.assertTrue((self.directory / "socket").exists())

    def configure(self) -> Deferred[str]:
        return Deferred.fromCoroutine(
            self.resolved.configure("vnet0", ("100.64.0.1",), ("vnet", "64.100.in-addr.arpa"))
        )

    def test_configure(self) -> None:
        """
        The server comes last, when no other name can be asked from it.
        """
        done = self.configure()
        for _ in range(5):
            self.assertNoResult(done)
            self.reactor.end()
        self.assertEqual(self.successResultOf(done), "")
        self.assertEqual(
            [arguments[2:] for _, arguments in self.reactor.started],
            [
                ["default-route", "vnet0", "no"],
                ["dnssec", "vnet0", "no"],
                ["dnsovertls", "vnet0", "no"],
                ["domain", "vnet0", "~vnet", "~64.100.in-addr.arpa"],
                ["dns", "vnet0", "100.64.0.1"],
            ],
        )
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_fails(self) -> None:
        """
        What it refuses is said in one harmless line, and nothing else is asked.
        """
        done = self.configure()
        self.reactor.end(1, b"Failed: \x1b[31mno\nand more" + b"x" * 10_000)
        problem = self.successResultOf(done)
        self.assertTrue(problem.startswith("resolvectl default-route: Failed: "))
        self.assertTrue(problem.isprintable() and len(problem) < 250)
        self.assertEqual(len(self.reactor.started), 1)

    def test_hangs(self) -> None:
        """
        A program that does not end in 5 s is killed.
        """
        done = self.configure()
        self.reactor.advance(5)
        self.assertEqual(self.reactor.signals, ["KILL"])
        self.assertIn("failed", self.successResultOf(done))

    def test_gone(self) -> None:
        """
        A program that is not there any more is no traceback.
        """
        os.unlink(self.program)
        self.assertIn("not installed", self.successResultOf(self.configure()))
