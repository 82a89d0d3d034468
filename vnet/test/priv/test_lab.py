"""
Tests for L{vnet.test.lab}.
"""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from vnet.test import lab
from vnet.test.netlab._space import ROOT
from vnet.test.netlab._system import namespaces

COMMANDS = """
a vnet list
b ping -c 1 -W 3 $alice
gwa ip -brief address show wan
internet ip route show 198.51.100.10
ls $logs/mediator.log
exit 7
"""


class LabTests(SynchronousTestCase):
    """
    What C{make lab} shows, lets do and leaves.
    """

    def start(self, *kinds: str, terminal: int = subprocess.PIPE) -> subprocess.Popen[str]:
        """
        The laboratory, running.
        """
        process = subprocess.Popen(
            [sys.executable, "-m", "vnet.test.lab", *kinds],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            text=True,
            cwd=ROOT,
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

    def test_commands(self) -> None:
        """
        It says what path the pair found and what its NATs are, runs the commands of its standard input in either home, at the
        routers and in between, ends with their exit code, and leaves nothing.
        """
        process = self.start("full-cone", "port-restricted")
        out, errors = process.communicate(COMMANDS, timeout=60)
        self.assertEqual(process.returncode, 7, out + errors)
        for said in (
            "NAT full-cone, seen at 198.51.100.",
            "path: direct",
            "Behind a NAT",
            "bob  direct",
            "1 received, 0% packet loss",
            "wan@",
            "198.51.100.10 dev mediator",
            "mediator.log",
            "Everything is removed.",
        ):
            self.assertIn(said, out)
        self.assertNotIn("\x1b", out)
        self.assertEqual(self.leftovers(process), [])

    def test_terminal(self) -> None:
        """
        On a terminal it tells what can be done and gives a prompt; whatever the last command was, leaving is no error.
        """
        master, terminal = pty.openpty()
        self.addCleanup(os.close, master)
        process = self.start("public", "full-cone", terminal=terminal)
        os.close(terminal)
        self.assertIn("a vnet peer bob", self.readUntil(master, b"lab> "))
        os.write(master, b"b vnet status; false; exit\n")
        self.assertIn("Everything is removed.", self.readUntil(master, b"removed."))
        self.assertEqual(process.wait(10), 0)
        self.assertEqual(self.leftovers(process), [])

    def readUntil(self, master: int, wanted: bytes) -> str:
        """
        What is shown on a terminal until something is.
        """
        seen, deadline = b"", time.monotonic() + 40
        while wanted not in seen and select.select([master], [], [], deadline - time.monotonic())[0]:
            seen += os.read(master, 4096)
        self.assertIn(wanted, seen)
        return seen.decode()

    def test_kinds(self) -> None:
        """
        Without two kinds, or with one that there is not, it lists those that there are, in one line.
        """
        for kinds in ((), ("", ""), ("public",), ("public", "magic"), ("public", "public", "public")):
            with self.subTest(kinds=kinds):
                line = lab.refusal(kinds) or ""
                self.assertIn("make lab A=KIND B=KIND takes one of public, port-restricted,", line)
                self.assertEqual("no such kind: magic" in line, "magic" in kinds)
                self.assertNotIn("\n", line)
        process = self.start("magic", "public")
        out, errors = process.communicate(timeout=30)
        self.assertEqual((process.returncode, out), (2, ""))
        self.assertEqual(len(errors.splitlines()), 1, errors)

    def test_root(self) -> None:
        """
        Who is not root is told so.
        """
        self.patch(os, "geteuid", lambda: 1000)
        self.assertEqual(
            lab.refusal(("public", "public")), "the laboratory cannot run here: network namespaces need root"
        )
