"""
Tests for L{vnet.demo}.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from vnet.test.netlab import unavailable
from vnet.test.netlab._space import ROOT
from vnet.test.netlab._system import namespaces

pytestmark = pytest.mark.privileged


class DemoTests(SynchronousTestCase):
    """
    What C{python -m vnet.demo} shows and leaves.
    """

    def setUp(self) -> None:
        if reason := unavailable("ping", "iperf3"):
            raise SkipTest(reason)

    def start(self) -> subprocess.Popen[str]:
        """
        The demonstration, running.
        """
        process = subprocess.Popen(
            [sys.executable, "-m", "vnet.demo"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            start_new_session=True,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def leftovers(self, process: subprocess.Popen[str]) -> list[str]:
        """
        What it has left: namespaces and directories carry its pid.
        """
        prefix = f"vnl-{process.pid}-"
        files = [path.name for path in Path(tempfile.gettempdir()).glob(prefix + "*")]
        return files + [name for name in namespaces() if name.startswith(prefix)]

    def test_shows(self) -> None:
        """
        Within 30 s it shows a direct path, answered pings and a throughput, without escape sequences where
        there is no terminal, and leaves nothing.
        """
        start = time.monotonic()
        process = self.start()
        out, errors = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 0, out + errors)
        self.assertLess(time.monotonic() - start, 30)
        self.assertIn("path: direct", out)
        self.assertIn("4 packets transmitted, 4 received, 0% packet loss", out)
        self.assertRegex(out, r"[1-9][0-9,]* Mbit/s")
        self.assertNotIn("\x1b", out)
        self.assertEqual(self.leftovers(process), [])

    def test_interrupted(self) -> None:
        """
        Whenever SIGINT or SIGTERM comes, it ends by that signal within 12 s and leaves nothing.
        """
        for turn, delay in enumerate((0.0, 0.4, 0.7, 0.9, 1.2, 2.0, 3.5, 5.0)):
            signum = (signal.SIGINT, signal.SIGTERM)[turn % 2]
            process = self.start()
            if process.stdout is None:
                self.fail("no standard output")
            process.stdout.readline()
            time.sleep(delay)
            ended = process.poll() is not None
            process.send_signal(signum)
            out, errors = process.communicate(timeout=12)
            if not ended:
                self.assertEqual(process.returncode, 128 + signum, out + errors)
            self.assertEqual(self.leftovers(process), [])
