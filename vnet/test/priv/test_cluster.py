"""
Tests for L{vnet.test.priv.cluster} itself.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from vnet.test.netlab import Lab, LabError, unavailable
from vnet.test.priv.cluster import Cluster, CommandFailed, listens, waitUntil
from vnet.test.priv.daemons import Mediator

pytestmark = pytest.mark.privileged


class WaitTests(SynchronousTestCase):
    """
    What C{waitUntil} does with answers.
    """

    def test_answer(self) -> None:
        """
        The first true answer is returned; a command that failed before it is no answer.
        """
        answers: Iterator[int | CommandFailed] = iter(
            [0, CommandFailed("vnet peer", 1, "no such peer"), 7, 8]
        )

        def ask() -> int:
            answer = next(answers)
            if isinstance(answer, CommandFailed):
                raise answer
            return answer

        self.assertEqual(waitUntil(ask, 5.0, "a number", every=0.0), 7)

    def test_late(self) -> None:
        """
        When the time is over, the error names what was waited for and the last answer.
        """
        error = self.assertRaises(LabError, waitUntil, lambda: [], 0.01, "the moon", 0.0)
        self.assertIn("the moon", str(error))
        self.assertIn("[]", str(error))


class DaemonTests(SynchronousTestCase):
    """
    How programs are watched.
    """

    def setUp(self) -> None:
        if reason := unavailable():
            raise SkipTest(reason)

    def test_doesNotStart(self) -> None:
        """
        A program that ends at once is an error with the last line of its log, and its log is noted to the error.
        """

        def broken() -> None:
            with Cluster("broken") as cluster:
                host = cluster.lab.addHost("one")
                daemon = Mediator("odd", host, cluster.lab.directory / "odd", "no-such-plugin")
                cluster.daemons.append(daemon)
                daemon.start()

        error = self.assertRaises(LabError, broken)
        self.assertIn("odd did not start: ", str(error))
        self.assertIn("no-such-plugin", str(error))
        self.assertIn("--- odd", "".join(error.__notes__))

    def test_listens(self) -> None:
        """
        Only the listeners of the process's own namespace count, and no connections.
        """
        code = "import socket, time; s = socket.create_server(('', 7443)); time.sleep(60)"
        with Lab("listen") as lab:
            server, other = (
                lab.addHost(name).popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
                for name, program in (("one", code), ("two", "import time; time.sleep(60)"))
            )
            waitUntil(lambda: listens(server, 7443), 10, "the server listens")
            self.assertFalse(listens(server, 7444))
            self.assertFalse(listens(other, 7443))
            server.kill()
            server.wait()
            self.assertFalse(listens(server, 7443))

    def test_directory(self) -> None:
        """
        A lab's directory is private, holds control sockets, and is gone afterwards.
        """
        with Lab("files") as lab:
            directory = lab.directory
            self.assertEqual(directory.stat().st_mode & 0o777, 0o700)
            path = directory / ("n" * 11) / "control.sock"
            path.parent.mkdir()
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(path))
        self.assertFalse(Path(directory).exists())
