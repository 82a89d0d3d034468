"""
Tests for L{vnet.run}, L{vnet.running} and L{vnet.children}, as far as they need no process.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from vnet import run
from vnet.children import Child, twistd
from vnet.errors import ConfigurationError
from vnet.running import Run, Settings, Watch
from vnet.testing_node import ID, member


class OptionTests(SynchronousTestCase):
    """
    What the options become.
    """

    def test_mediator(self) -> None:
        """The mediator gets the options that were chosen, and its defaults otherwise."""
        self.assertEqual(run._mediatorOptions("h", (), (), None, False), ["--host=h"])
        self.assertEqual(
            run._mediatorOptions("h", ("tcp:1",), ("192.0.2.1:2", ":3"), "100.65.0.0/16", True),
            [
                *("--host=h", "--pool=100.65.0.0/16", "--listen=tcp:1"),
                *("--stun=192.0.2.1:2", "--stun=:3", "--with-relay"),
            ],
        )

    def test_relay(self) -> None:
        """Without a network there is no address that relays, unless one is named: the mediator runs without a relay then."""
        self.patch(run, "outwardAddress", lambda: None)
        self.assertEqual(
            [run._canRelay(each) for each in ((), (":3",), ("127.0.0.1:3",))], [False, False, True]
        )
        self.patch(run, "outwardAddress", lambda: "192.0.2.1")
        self.assertTrue(run._canRelay(()))

    def test_node(self) -> None:
        """The node gets the options that were chosen, and its defaults otherwise."""
        self.assertEqual(run._nodeOptions(None, None, None), [])
        self.assertEqual(run._nodeOptions("v1", 5, None), ["--interface=v1", "--port=5"])
        self.assertEqual(run._nodeOptions(None, None, "25.0.0.0/8"), ["--accept-pool=25.0.0.0/8"])

    def test_hostNote(self) -> None:
        """An address that others cannot reach comes with a note, another one does not."""
        self.assertIn("router", run._hostNote("192.168.1.5") or "")
        self.assertIn("only this computer", run._hostNote("127.0.0.1") or "")
        self.assertEqual([run._hostNote("mediator.example"), run._hostNote("9.9.9.9")], [None, None])

    def test_usage(self) -> None:
        """A wrong option has exit code 2."""
        for arguments in (["--fast"], ["--port", "0"], ["now"]):
            self.assertEqual(CliRunner().invoke(run.cli, arguments).exit_code, 2)

    def test_lock(self) -> None:
        """A state directory serves one run at a time, and only its owner may look into it."""
        state = Path(self.mktemp())
        descriptor = run._lock(state)
        self.assertEqual(state.stat().st_mode & 0o777, 0o700)
        self.assertIn("already", str(self.assertRaises(ConfigurationError, run._lock, state)))
        os.close(descriptor)
        os.close(run._lock(state))

    def test_invitation(self) -> None:
        """The invitation has the one line that the other computer runs."""
        lines = run._invitation("vnet://m/n#secret=s", "/s").splitlines()
        self.assertIn("    sudo vnet join 'vnet://m/n#secret=s'", lines)


class WatchTests(SynchronousTestCase):
    """
    L{Watch} where there is no terminal.
    """

    def test_lines(self) -> None:
        """A line is printed when it is new or has changed, and a new latency is no change."""
        said: list[str] = []
        watch = Watch(Run(Settings(Path("s")), said.append), False)

        def show(*members: dict[str, object]) -> list[str]:
            del said[:]
            answer = {"networks": [{"name": "n", "state": "online", "owner": ID, "members": list(members)}]}
            watch._lines(answer, ID)
            return list(said)

        first = show(member(2, "bob", latencyMs=1))
        self.assertEqual(first, ["n  online  1/1 online  owner you", "*  100.64.0.2  bob  direct"])
        self.assertEqual(show(member(2, "bob", latencyMs=2)), [])
        self.assertEqual(show(member(2, "bob", path="relayed")), ["*  100.64.0.2  bob  relayed"])


class ChildTests(SynchronousTestCase):
    """
    L{Child} before it runs, and L{twistd}.
    """

    def test_notStarted(self) -> None:
        """A child that was not started does not run, and may be stopped and killed."""
        child = Child("x", ["/nonexistent"], Path(self.mktemp()))
        child.stop(1)
        child.kill()
        self.assertEqual((child.running, child.pid, child.lastLines(3)), (False, None, []))

    def test_lastLines(self) -> None:
        """The last lines are those of the log, without empty ones, whatever its bytes."""
        path = Path(self.mktemp())
        path.write_bytes(b"x" * 20000 + b"\none\n\n\xfftwo\n")
        self.assertEqual(Child("x", [], path).lastLines(2), ["one", "\ufffdtwo"])

    def test_twistd(self) -> None:
        """The service runs in the foreground, with this interpreter, and writes no pid file."""
        command = twistd("vnet-client", "--state=s")
        self.assertEqual(command[0], sys.executable)
        self.assertEqual(command[-4:], ["--nodaemon", "--pidfile=", "vnet-client", "--state=s"])
