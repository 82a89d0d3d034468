"""
Tests for C{bench/tunnel.py}.
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

pytestmark = pytest.mark.commands("iperf3", "wg", "wireguard-go")

WAYS = ["vnet", "wireguard-go", "veth"]


class TunnelTests(SynchronousTestCase):
    """
    What the benchmark shows and leaves.  How fast anything is, is not for a test.
    """

    def start(self, *options: str) -> subprocess.Popen[str]:
        """
        The benchmark, running.
        """
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "bench/tunnel.py"), *options],
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
        What it has left: namespaces, directories and wireguard-go's sockets carry its pid.
        """
        prefix = f"vnl-{process.pid}-"
        files = [path.name for path in Path(tempfile.gettempdir()).glob(prefix + "*")]
        files += [path.name for path in Path("/var/run/wireguard").glob(f"wgb{process.pid}*")]
        return files + [name for name in namespaces() if name.startswith(prefix)]

    def test_quick(self) -> None:
        """
        With C{--quick} it shows a table of three ways with a number for each thing measured, writes the same as
        JSON, and leaves nothing.
        """
        path = Path(self.mktemp())
        process = self.start("--quick", "--pings=10", "--steps=1", f"--json={path}")
        out, errors = process.communicate(timeout=100)
        self.assertEqual(process.returncode, 0, out + errors)
        self.assertEqual(self.leftovers(process), [])
        self.assertNotIn("\x1b", out)
        head, *lines = out.splitlines()
        self.assertEqual(head.split()[2:], [*WAYS, "vnet", "/", "wireguard-go"])
        found = json.loads(path.read_text())
        self.assertEqual(list(found["medians"]), WAYS)
        for index, key in enumerate(found["medians"]["vnet"]):
            if key in ("packets", "others"):
                # One step need not find a rate without loss, and there may be no other programs.
                continue
            with self.subTest(key=key):
                self.assertRegex(lines[index], r"\)  .*x [0-9]+\.[0-9]{2}$")
                for way in WAYS[:2]:
                    self.assertGreater(found["medians"][way][key], 0, errors)
        for key in ("tcp", "tcpBack", "pingAvg", "loadedP99"):
            self.assertGreater(found["medians"]["veth"][key], 0, errors)
        self.assertIn("MTU 1400", found["settings"]["vnet"])
        for fact in ("kernel", "cores", "python", "wireguardGo", "iperf3"):
            self.assertIn(str(found["machine"][fact]), out)

    def test_interrupted(self) -> None:
        """
        Whenever SIGINT or SIGTERM comes, it ends by that signal within 15 s and leaves nothing.
        """
        for signum, delay in ((signal.SIGINT, 1.0), (signal.SIGTERM, 3.0), (signal.SIGINT, 6.0)):
            with self.subTest(delay=delay):
                process = self.start("--quick")
                time.sleep(delay)
                process.send_signal(signum)
                out, errors = process.communicate(timeout=15)
                self.assertEqual(process.returncode, 128 + signum, out + errors)
                self.assertEqual(self.leftovers(process), [])

    def test_unknownWay(self) -> None:
        """
        A way that there is not is refused with the names of those there are.
        """
        process = self.start("--only=vnet,pigeon")
        errors = process.communicate(timeout=30)[1]
        self.assertEqual(process.returncode, 2)
        self.assertIn("no such way: pigeon; there are vnet, wireguard-go, veth", errors)
