"""
Who may use the control socket: real processes of other users, and a real terminal.
"""

from __future__ import annotations

import json
import os
import pty
import re
import resource
import select
import signal
import stat
import subprocess
import sys
import termios
import threading
import time
from functools import partial
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from vnet.client.localcontrol import LocalControl
from vnet.client.localrequest import VERBS
from vnet.test.controlserver import ControlServer
from vnet.test.hostile import HARM, SGR, hostileTexts
from vnet.testing_node import event, member

ROOT = Path(__file__).parents[3]
OTHER = 54321
GROUP = 54322
NOBODY = 65534
RUN = "from vnet.client.cli import main; main()"
COMMANDS = (
    ("login", "vnet://m"),
    ("logout",),
    ("status",),
    ("create", "n", "--no-password"),
    ("join", "n", "--no-password"),
    ("join", "vnet://m/n"),
    ("invite", "n"),
    ("leave", "n"),
    ("list",),
    ("peer", "bob"),
    ("ping", "bob", "-c", "1"),
    ("netcheck",),
    ("set-nick", "me"),
    ("go-online", "n"),
    ("go-offline", "n"),
    ("firewall",),
    ("lan",),
    ("share-lan",),
    ("accept-lan", "bob", "192.168.7.0/24"),
    ("use-lan", "bob", "192.168.7.0/24"),
)
WATCH = ("watch",)  # which never ends by itself
# The source tree and the interpreter may be closed to other users: all is imported before the user changes.
CHILD = """
import difflib, os, sys
from vnet.client import cli, render, wording, cliping
from click.testing import CliRunner
for arguments in (["join", "--help"], ["--socket", "/nonexistent", "list"], ["--socket", sys.argv[4], "status"]):
    CliRunner().invoke(cli.cli, arguments)
uid, groups = int(sys.argv[1]), [int(group) for group in sys.argv[2].split(",")]
os.setgroups(groups)
os.setresgid(groups[0], groups[0], groups[0])
os.setresuid(uid, uid, uid)
sys.argv[1:] = sys.argv[3:]
cli.main()
"""


def command(
    server: ControlServer, *arguments: str, uid: int = 0, groups: tuple[int, ...] = (0,)
) -> tuple[int, str]:
    """
    Run C{vnet} as another user.

    @return: the exit code, and standard error.
    """
    who = [str(uid), ",".join(map(str, groups))]
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *who, "--socket", server.path, *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=30,
        stdin=subprocess.DEVNULL,
    )
    return done.returncode, done.stderr


class UserTests(SynchronousTestCase):
    """
    Each command as each kind of user.
    """

    def setUp(self) -> None:
        self.server = ControlServer()
        self.addCleanup(self.server.stop)
        os.chmod(self.server.directory, 0o755)

    def test_commands(self) -> None:
        """The table of commands here has all of them."""
        named = {arguments[0] for arguments in (*COMMANDS, WATCH)}
        self.assertEqual(named | {"join-invite"}, set(VERBS))

    def test_root(self) -> None:
        """Root may use each command."""
        for arguments in COMMANDS:
            self.assertEqual(command(self.server, *arguments), (0, ""), arguments)

    def test_others(self) -> None:
        """Another user is refused each command in one line, and nothing reaches the node."""
        for arguments in (*COMMANDS, WATCH):
            code, reason = command(self.server, *arguments, uid=OTHER, groups=(OTHER,))
            self.assertEqual((code, reason.count("\n")), (1, 1), reason)
            self.assertIn("not permitted", reason)
        self.assertEqual(set(self.server.node.calls), {("status",)})  # root's, that imports everything

    def test_group(self) -> None:
        """A member of the socket's group may use it, be it the primary or a supplementary group."""
        os.chown(self.server.path, -1, GROUP)
        for groups in ((GROUP,), (OTHER, 7, GROUP)):
            self.assertEqual(command(self.server, "status", uid=OTHER, groups=groups), (0, ""))

    def test_openMode(self) -> None:
        """Who is no member is refused even where somebody opened the socket's mode to the world."""
        os.chmod(self.server.path, 0o666)
        for uid in (OTHER, NOBODY):
            code, reason = command(self.server, "logout", uid=uid, groups=(OTHER,))
            self.assertEqual((code, reason.count("\n")), (1, 1), reason)
        self.assertEqual(set(self.server.node.calls), {("status",)})  # root's, that imports everything


class ModeTests(SynchronousTestCase):
    """
    The mode of the socket.
    """

    def test_fromCreation(self) -> None:
        """The kernel makes the socket with mode 0660: there is no moment in which others may connect."""
        seen: list[int] = []

        class Watching(LocalControl):
            def startService(self) -> None:
                watching = True

                def audit(event: str, arguments: tuple[object, ...]) -> None:
                    # The first look at the file after bind, before anything else can change it.
                    if watching and event in ("os.chmod", "os.chown") and os.path.exists(self.path):
                        seen.append(stat.S_IMODE(os.stat(self.path).st_mode))

                sys.addaudithook(audit)
                super().startService()
                watching = False

        server = ControlServer(Watching)
        self.addCleanup(server.stop)
        self.assertEqual(set(seen), {0o660})


class TerminalTests(SynchronousTestCase):
    """
    C{vnet} on a real terminal.
    """

    def onTerminal(
        self, server: ControlServer, *arguments: str, typed: bytes = b"", **environment: str
    ) -> bytes:
        """
        @return: all bytes that reach the terminal.
        """
        ours, theirs = pty.openpty()
        attributes = termios.tcgetattr(theirs)
        attributes[1] &= ~termios.OPOST  # what the program writes, not what the terminal makes of it
        termios.tcsetattr(theirs, termios.TCSANOW, attributes)
        variables = {**os.environ, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **environment}
        process = subprocess.Popen(
            [sys.executable, "-c", RUN, "--socket", server.path, *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=ROOT,
            env=variables,
            start_new_session=True,
        )
        os.close(theirs)
        received = bytearray()
        deadline = time.monotonic() + 60
        try:
            while time.monotonic() < deadline:
                if select.select([ours], [], [], 1)[0]:
                    try:
                        received += os.read(ours, 65536)
                    except OSError:
                        break  # the other end is closed
                if typed and received.endswith(b": "):
                    os.write(ours, typed)
                    typed = b""
            self.assertEqual(process.wait(10), 0, bytes(received))
        finally:
            process.kill()
            process.wait()
            os.close(ours)
        return bytes(received)

    def test_hostileNicknames(self) -> None:
        """5,000 hostile nicknames bring no control character to a terminal but newlines and colours."""
        server = ControlServer()
        self.addCleanup(server.stop)
        texts = hostileTexts(5000, seed=3)
        server.node.members = [
            {"name": text, "state": "online", "owner": text, "members": [member(number, text)]}
            for number, text in enumerate(texts)
        ]
        coloured = self.onTerminal(server, "list", NO_COLOR="").decode("utf-8")
        self.assertIn("\x1b[32m", coloured)
        self.assertEqual(coloured.count("\n"), 10000)
        self.assertIsNone(HARM.search(SGR.sub("", coloured)))
        plain = self.onTerminal(server, "list", NO_COLOR="1").decode("utf-8")
        self.assertEqual(plain.count("\n"), 10000)
        self.assertIsNone(HARM.search(plain))

    def test_pages(self) -> None:
        """On a terminal a list has pages, elsewhere it has not."""
        server = ControlServer()
        self.addCleanup(server.stop)
        self.onTerminal(server, "list")
        self.assertEqual(server.node.calls[0], ("networks", None, None, None, 1, None))
        del server.node.calls[:]
        self.assertEqual(command(server, "list"), (0, ""))
        self.assertEqual(server.node.calls[-2], ("networks", None, None, None, None, None))

    def test_password(self) -> None:
        """A password that is typed is not shown."""
        server = ControlServer()
        self.addCleanup(server.stop)
        shown = self.onTerminal(server, "join", "n", typed=b"hunter2\n")
        self.assertEqual(server.node.calls, [("join", "n", "hunter2")])
        self.assertIsNone(re.search(b"hunter", shown))


class WatchTests(SynchronousTestCase):
    """
    C{vnet watch} as a process.
    """

    def setUp(self) -> None:
        self.server = ControlServer()
        self.addCleanup(self.server.stop)
        self.watching = subprocess.Popen(
            [sys.executable, "-c", RUN, "--socket", self.server.path, "watch", "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self.addCleanup(self.watching.wait)
        self.addCleanup(self.watching.kill)

    def line(self) -> dict[str, object]:
        assert self.watching.stdout is not None
        value = json.loads(self.watching.stdout.readline())
        assert isinstance(value, dict)
        return value

    def test_lines(self) -> None:
        """Each event is a line as it happens, in order; an interrupt ends it in silence with exit code 0."""
        self.assertEqual(self.line()["event"], "watching")
        for number in range(3):
            told = event("memberState", nick="\u202e", number=number)
            self.server.later(0, partial(self.server.node.watchers[0], told))
            self.assertEqual(self.line(), told)
        self.watching.send_signal(signal.SIGINT)
        self.assertEqual(self.watching.communicate(timeout=10), ("", ""))
        self.assertEqual(self.watching.returncode, 0)

    def test_clientEnds(self) -> None:
        """When the client goes away it ends with exit code 3, and one line on standard error."""
        self.line()
        self.server.halt()
        out, reason = self.watching.communicate(timeout=10)
        self.assertEqual((out, reason.count("\n"), self.watching.returncode), ("", 1, 3), reason)

    def test_slow(self) -> None:
        """A watcher that is stopped costs the client no more than what is kept, and hears how much it has missed."""
        self.line()
        self.watching.send_signal(signal.SIGSTOP)
        told = event("memberState", nick="x" * 1000)
        done = threading.Event()

        def tell() -> None:
            for _ in range(5000):
                self.server.node.watchers[0](told)
            done.set()

        self.server.later(0, tell)
        self.assertTrue(done.wait(20))
        self.watching.send_signal(signal.SIGCONT)
        heard = 0
        while (latest := self.line())["event"] != "missed":
            heard += 1
        self.assertEqual(heard + int(str(latest["count"])), 5000)
        self.assertGreater(int(str(latest["count"])), 1000)


class StartTests(SynchronousTestCase):
    """
    How fast C{vnet} is.
    """

    def test_status(self) -> None:
        """C{vnet status} answers with 250 ms of the processor, the best of five, and waits for nothing else."""
        server = ControlServer()
        self.addCleanup(server.stop)
        times, used = [], []
        for _ in range(5):
            started, before = time.monotonic(), _usedByChildren()
            subprocess.run(
                [sys.executable, "-c", RUN, "--socket", server.path, "status"],
                cwd=ROOT,
                check=True,
                capture_output=True,
            )
            times.append(time.monotonic() - started)
            used.append(_usedByChildren() - before)
        self.assertLess(min(used), 0.25)
        self.assertLess(min(times), 2.0)


def _usedByChildren() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
