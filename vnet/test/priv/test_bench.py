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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from twisted.trial.unittest import SynchronousTestCase

from vnet.test.netlab._space import ROOT
from vnet.test.netlab._system import namespaces
from vnet.test.priv.daemons import waitUntil

pytestmark = pytest.mark.commands(
    "iperf3", "ethtool", "wg", "wireguard-go", "fastd", "tincd", "openvpn", "openssl"
)


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

    def check(self, ways: Sequence[str], *options: str) -> tuple[dict[str, Any], str]:
        """
        Run it with some ways in short, and check that it leaves nothing, and that the table has all of them.

        @return: what it wrote as JSON, and what it printed.
        """
        path = Path(self.mktemp())
        short = ("--quick", "--seconds=1", "--pings=10", "--steps=1", f"--json={path}")
        process = self.start(*short, f"--only={','.join(ways)}", *options)
        out, errors = process.communicate(timeout=100)
        self.assertEqual(process.returncode, 0, out + errors)
        self.assertEqual(self.leftovers(process), [])
        self.assertNotIn("\x1b", out)
        self.assertEqual(out.splitlines()[1].split()[2 : 2 + len(ways)], list(ways))
        found: dict[str, Any] = json.loads(path.read_text())
        return found, out

    def test_quick(self) -> None:
        """
        With C{--quick} it shows a table with a number for each thing measured, writes the same as JSON and into a
        document, says what of what is asked for is met, and leaves nothing.
        """
        document = Path(self.mktemp())
        document.write_text("# Figures\n<!-- tunnel: here -->\n<!-- end of tunnel -->\nThe end.\n")
        ways = ["vnet", "veth", "wireguard-go"]
        found, out = self.check(ways, "--links=wire", f"--document={document}")
        (link,) = found["links"].values()
        self.assertEqual(list(link["medians"]), ways)
        # One step need not find a rate without loss, and there may be no other programs.
        uncertain = {"packets", "largePackets", "cpuPerPacket", "others"}
        for way, without in (("vnet", set()), ("wireguard-go", {"mediator", "mediatorP99"})):
            for key in link["medians"][way].keys() - uncertain - without:
                with self.subTest(way=way, key=key):
                    self.assertGreater(link["medians"][way][key], 0)
        for key in ("tcp", "tcpBack", "ping", "loadedPingP99"):
            self.assertGreater(link["medians"]["veth"][key], 0)
        self.assertIn("MTU", link["settings"]["vnet"])
        for fact in ("kernel", "cores", "python", "wireguardGo", "iperf3"):
            self.assertIn(str(found["machine"][fact]), out)
        self.assertRegex(out, r"wire  TCP, one stream, A to B: vnet / wireguard-go  at least 1.25  [0-9.]+  ")
        written = document.read_text()
        self.assertTrue(written.endswith("<!-- end of tunnel -->\nThe end.\n"))
        self.assertIn(
            "| median (lowest-highest) | vnet | veth | wireguard-go | vnet / wireguard-go |", written
        )

    def test_packaged(self) -> None:
        """
        The other programs that Debian has, wireguard-go at the other end of our data plane, and our relay carry
        packets, too.
        """
        ways = ["vnet-relayed", "vnet-wireguard-go", "fastd", "tinc", "openvpn"]
        medians = self.check(ways, "--measure=idle")[0]["links"]["veth"]["medians"]
        for way in ways:
            for key in ("ping", "pingP99", "rss"):
                with self.subTest(way=way, key=key):
                    self.assertGreater(medians[way][key], 0)

    def test_interrupted(self) -> None:
        """
        Whenever SIGINT or SIGTERM comes, it ends by that signal within 15 s and leaves nothing.
        """
        for signum, delay in ((signal.SIGINT, 0.3), (signal.SIGTERM, 3.0)):
            with self.subTest(delay=delay):
                process = self.start("--quick", "--only=vnet,veth,wireguard-go")
                waitUntil(lambda: self.leftovers(process), 30, "it has begun")  # noqa: B023
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
        self.assertIn("no such way: pigeon; there are vnet, ", errors)
