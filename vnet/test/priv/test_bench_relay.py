"""
Tests for C{bench/relay.py}.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from twisted.trial.unittest import SynchronousTestCase

from vnet.test.netlab._space import ROOT
from vnet.test.netlab._system import namespaces
from vnet.test.priv.daemons import waitUntil

pytestmark = pytest.mark.commands("turnserver", "ethtool")

SERVERS = ["vnet-relay", "coturn"]
MAY_BE_ANYTHING = ("latencyP99", "memory", "boundMemory")


class RelayTests(SynchronousTestCase):
    """
    What the benchmark shows and leaves.  How fast anything is, is not for a test.
    """

    def start(self, *options: str) -> subprocess.Popen[str]:
        """
        The benchmark, running.
        """
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "bench/relay.py"), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    def leftovers(self, process: subprocess.Popen[str]) -> list[str]:
        """
        What it has left: namespaces and directories carry its pid.
        """
        prefix = f"vnl-{process.pid}-"
        files = [path.name for path in Path(tempfile.gettempdir()).glob(prefix + "*")]
        return files + [name for name in namespaces() if name.startswith(prefix)]

    def test_quick(self) -> None:
        """
        With C{--quick} it shows a table of two servers with a number for each thing measured, writes the same as JSON, and
        leaves nothing.
        """
        path = Path(self.mktemp())
        process = self.start(
            "--quick", "--seconds=0.2", "--pings=10", "--allocations=200", "--links=nic", f"--json={path}"
        )
        out, errors = process.communicate(timeout=100)
        self.assertEqual(process.returncode, 0, out + errors)
        self.assertEqual(self.leftovers(process), [])
        self.assertNotIn("\x1b", out)
        self.assertEqual(out.splitlines()[0].split()[2:], [*SERVERS, "vnet-relay", "/", "coturn"])
        self.assertIn("\nlink: nic", out)
        self.assertIn("\n200 allocations", out)
        found = json.loads(path.read_text())
        for part in ("nic", "allocations"):
            self.assertEqual(list(found["medians"][part]), SERVERS)
            for server, medians in found["medians"][part].items():
                for key, value in medians.items():
                    with self.subTest(server=server, key=key):
                        self.assertTrue(value > 0 or key in MAY_BE_ANYTHING or key.endswith("Cpu"), value)
        for fact in ("kernel", "cores", "python", "coturn"):
            self.assertIn(str(found["machine"][fact]), out)

    def test_interrupted(self) -> None:
        """
        Whenever SIGINT or SIGTERM comes, it ends by that signal within 15 s and leaves nothing.
        """
        for signum, delay in ((signal.SIGINT, 0.3), (signal.SIGTERM, 3.0)):
            with self.subTest(delay=delay):
                process = self.start("--quick")
                waitUntil(lambda: self.leftovers(process), 30, "it has begun")  # noqa: B023
                time.sleep(delay)
                process.send_signal(signum)
                out, errors = process.communicate(timeout=15)
                self.assertEqual(process.returncode, 128 + signum, out + errors)
                self.assertEqual(self.leftovers(process), [])

    def test_unknownLink(self) -> None:
        """
        A link that there is not is refused with the names of those there are.
        """
        process = self.start("--links=veth,pigeon")
        errors = process.communicate(timeout=30)[1]
        self.assertEqual(process.returncode, 2)
        self.assertIn("--links: no such thing: pigeon; there are veth, nic, wire", errors)
