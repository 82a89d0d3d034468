"""
L{vnet.run} as a process, with stand-ins for its services.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from shutil import rmtree

from twisted.trial.unittest import SynchronousTestCase

from vnet.test.hostile import HARM

ROOT = Path(__file__).parents[3]
PROGRAM = """
import sys, vnet.run, vnet.running
vnet.running.twistd = lambda *arguments: [sys.executable, "-m", "vnet.test.fakeservices", *arguments]
vnet.run.mayMakeInterfaces = lambda: {privileged}
vnet.running._GRACE = 1.0
vnet.run.main()
"""
TIMEOUT = 30.0


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class RunTests(SynchronousTestCase):
    """
    The whole run.
    """

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="vnetrun"))
        self.addCleanup(rmtree, self.directory)

    def begin(self, *options: str, privileged: bool = True, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM.format(privileged=privileged), "--state", "state", *options],
            cwd=self.directory,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    def readUntil(self, process: subprocess.Popen[str], text: str) -> str:
        assert process.stdout is not None
        read = ""
        while text not in read:
            line = process.stdout.readline()
            self.assertTrue(line, f"it ended after {read!r}")
            read += line
        return read

    def pids(self) -> list[int]:
        return [int(path.read_text()) for path in self.directory.glob("state/*/pid")]

    def wait(self, predicate: Callable[[], bool]) -> None:
        deadline = time.monotonic() + TIMEOUT
        while not predicate():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)

    def test_run(self) -> None:
        """A run prints the line for others and the list, and a signal ends it: exit code 0, and nothing is left."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            process = self.begin("--host", "mediator.example", "--network", "family")
            shown = self.readUntil(process, "family  online")
            self.assertIn("sudo vnet join 'vnet://mediator.example:7443/family'", shown)
            pids = self.pids()
            self.assertEqual([alive(pid) for pid in pids], [True, True])
            process.send_signal(number)
            self.assertEqual(process.communicate(timeout=TIMEOUT), ("stopped\n", ""))
            self.assertEqual(process.returncode, 0)
            self.assertEqual([alive(pid) for pid in pids], [False, False])
            self.assertTrue((self.directory / "state/node/loggedOut").exists())

    def test_small(self) -> None:
        """The node runs without docstrings, and all else as the run itself."""
        process = self.begin("--network", "family", PYTHONOPTIMIZE="")
        self.readUntil(process, "family  online")
        for name, value in (("node", b"2"), ("mediator", b"")):
            pid = (self.directory / "state" / name / "pid").read_text()
            variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            self.assertIn(b"PYTHONOPTIMIZE=" + value, variables)
        process.terminate()
        process.communicate(timeout=TIMEOUT)

    def test_passphrase(self) -> None:
        """The passphrase has 128 bits, and is shown nowhere."""
        process = self.begin("--network", "family")
        shown = self.readUntil(process, "family  online")
        name, password = (self.directory / "created").read_text().split()
        self.assertEqual((name, len(password)), ("family", 22))
        process.terminate()
        out, err = process.communicate(timeout=TIMEOUT)
        logs = "".join(path.read_text() for path in self.directory.glob("state/*.log"))
        self.assertNotIn(password, shown + out + err + logs)

    def test_childFails(self) -> None:
        """A service that does not start ends the run: its last lines, harmless, and exit code 1."""
        for service in ("vnet-mediator", "vnet-client"):
            process = self.begin(VNET_FAKE_FAILURE=service)
            out, err = process.communicate(timeout=TIMEOUT)
            self.assertEqual((process.returncode, out), (1, ""))
            self.assertIn(f"{service}: the port is", err)
            self.assertIsNone(HARM.search(err))
            self.assertFalse(any(alive(pid) for pid in self.pids()))

    def test_childDies(self) -> None:
        """A service that dies later ends the run, and the other one with it."""
        for index in (0, 1):
            process = self.begin("--network", "family")
            self.readUntil(process, "family  online")
            pids = self.pids()
            os.kill(pids[index], signal.SIGKILL)
            _out, err = process.communicate(timeout=TIMEOUT)
            self.assertEqual(process.returncode, 1)
            self.assertIn("ended", err)
            self.assertFalse(any(alive(pid) for pid in pids))

    def test_deaf(self) -> None:
        """A service that does not end when it is asked is killed."""
        process = self.begin("--network", "family", VNET_FAKE_DEAF="vnet-client")
        self.readUntil(process, "family  online")
        pids = self.pids()
        process.terminate()
        process.communicate(timeout=TIMEOUT)
        self.assertEqual((process.returncode, [alive(pid) for pid in pids]), (0, [False, False]))

    def test_killed(self) -> None:
        """Also when the run is killed, no service is left."""
        process = self.begin("--network", "family")
        self.readUntil(process, "family  online")
        pids = self.pids()
        process.kill()
        self.wait(lambda: not any(alive(pid) for pid in pids))

    def test_twice(self) -> None:
        """A second run on one state directory is refused in one line, and the first goes on."""
        first = self.begin("--network", "family")
        self.readUntil(first, "family  online")
        second = self.begin()
        out, err = second.communicate(timeout=TIMEOUT)
        self.assertEqual((second.returncode, out, err.count("\n")), (1, "", 1))
        self.assertIn("already", err)
        self.assertTrue(all(alive(pid) for pid in self.pids()))

    def test_privilege(self) -> None:
        """Without the privilege there is one line, and nothing is made."""
        process = self.begin(privileged=False)
        out, err = process.communicate(timeout=TIMEOUT)
        self.assertEqual((process.returncode, out, err.count("\n")), (1, "", 1))
        self.assertIn("needs root", err)
        self.assertEqual(list(self.directory.iterdir()), [])
