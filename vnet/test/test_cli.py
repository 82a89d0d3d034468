"""
Tests for L{vnet.client.cli} and L{vnet.client.localclient}: the command line asks a real control socket.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from click.testing import CliRunner, Result
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.cli import cli
from vnet.client.clierror import ClientFailure, Failure, UnreachableFailure
from vnet.client.cliinput import Passwords
from vnet.client.cliping import Pinger
from vnet.client.clisession import Session
from vnet.client.localclient import LocalClient, NotRunning, defaultSocket
from vnet.client.report import describeNat
from vnet.errors import Refused, Unreachable
from vnet.test.controlserver import ControlServer
from vnet.test.hostile import HARM, hostileTexts
from vnet.testing_node import ID, FakeNode, event, member
from vnet.values import NatReport


class CommandTestCase(SynchronousTestCase):
    """
    Runs commands against a control socket with a fake node.
    """

    server: ClassVar[ControlServer]

    @classmethod
    def setUpClass(cls) -> None:
        cls.server = ControlServer()

    @classmethod
    def tearDownClass(cls) -> None:
        cls.server.stop()

    def setUp(self) -> None:
        self.node = self.server.node
        fresh = FakeNode()
        self.node.answers, self.node.calls, self.node.members = fresh.answers, fresh.calls, fresh.members

    def run_(self, *arguments: str, typed: str | None = None, person: bool = False, code: int = 0) -> Result:
        session = Session(Passwords(lambda: person))
        result = CliRunner().invoke(cli, ["--socket", self.server.path, *arguments], input=typed, obj=session)
        self.assertEqual(result.exit_code, code, result.output)
        return result

    def asJson(self, *arguments: str) -> dict[str, object]:
        value = json.loads(self.run_("--json", *arguments).stdout)
        assert isinstance(value, dict)
        return value


class VerbTests(CommandTestCase):
    """
    Each command asks for the right thing.
    """

    def test_calls(self) -> None:
        """Each command calls its method of the node."""
        for arguments, calls in (
            (["login", "vnet://m"], [("login", "vnet://m")]),
            (["logout"], [("logout",)]),
            (["status"], [("status",)]),
            (["create", "n", "--no-password"], [("create", "n", None)]),
            (["join", "n", "--no-password"], [("join", "n", None)]),
            (["join", "vnet://m/n#secret=s"], [("joinInvite", "vnet://m/n#secret=s")]),
            (["join", "VNET://m/n"], [("joinInvite", "VNET://m/n")]),
            (["invite", "n"], [("invite", "n")]),
            (["leave", "n"], [("leave", "n")]),
            (["list"], [("networks", None, None, None, None, None), ("status",)]),
            (
                ["list", "n", "--search", "t", "--online", "--page", "2", "--per-page", "5"],
                [("networks", "n", "t", "online", 2, 5), ("status",)],
            ),
            (["peer", "bob"], [("peer", "bob")]),
            (["ping", "bob", "-c", "1"], [("peer", "bob"), ("ping", "bob")]),
            (["netcheck"], [("netcheck",)]),
            (["set-nick", "me"], [("setNick", "me")]),
            (["go-online", "n"], [("goOnline", "n")]),
            (["go-offline", "n"], [("goOffline", "n")]),
            (["firewall"], [("firewall", None, None)]),
            (["firewall", "n"], [("firewall", "n", None)]),
            (["firewall", "n", "tcp/22"], [("firewall", "n", "tcp/22")]),
            (["lan"], [("lan", None, None, None)]),
            (["lan", "home"], [("lan", "home", None, None)]),
            (["lan", "home", "--non-ip=off"], [("lan", "home", "off", None)]),
            (["lan", "home", "--non-ip=on", "--ether-types=ipx"], [("lan", "home", "on", "ipx")]),
            (["share-lan"], [("shareLan", None, None, False)]),
            (["share-lan", "--network=n"], [("shareLan", None, "n", False)]),
            (["share-lan", "10.0.0.0/8", "--stop"], [("shareLan", "10.0.0.0/8", None, True)]),
            (["accept-lan", "bob", "10.0.0.0/8"], [("acceptLan", "bob", "10.0.0.0/8", None, False)]),
            (["use-lan", "bob", "10.0.0.0/8", "--network=n"], [("useLan", "bob", "10.0.0.0/8", "n", False)]),
            (["use-lan", "--stop", "bob", "10.0.0.0/8"], [("useLan", "bob", "10.0.0.0/8", None, True)]),
        ):
            del self.node.calls[:]
            result = self.run_(*arguments)
            self.assertEqual(self.node.calls, calls, arguments)
            self.assertTrue(result.stdout.strip(), arguments)
            self.assertEqual(result.stderr, "", arguments)

    def test_linkFromInput(self) -> None:
        """C{vnet join -} reads the invitation from standard input, where other users cannot see it."""
        self.run_("join", "-", typed="vnet://m/n#secret=s\n")
        self.assertEqual(self.node.calls, [("joinInvite", "vnet://m/n#secret=s")])

    def test_linkAlone(self) -> None:
        """C{vnet invite} prints the link and nothing else."""
        self.assertEqual(self.run_("invite", "n").stdout, "vnet://mediator.example:7443/n\n")

    def test_usage(self) -> None:
        """A wrong use has exit code 2 and asks nothing of the client."""
        for arguments in (
            ["fly"],
            ["status", "now"],
            ["join"],
            ["ping", "bob", "-c", "0"],
            ["--fast", "status"],
            ["join", "vnet://m/n", "--no-password"],
            ["lan", "home", "--non-ip=perhaps"],
            ["lan", "--non-ip=on"],
            ["share-lan", "--stop"],
            ["use-lan", "bob"],
            ["join", "n", "--no-password", "--password-file", "-"],
            ["create", "n"],
            ["list", "--page", "0"],
            ["list", "--per-page", "x"],
            ["list", "n", "m"],
        ):
            self.run_(*arguments, code=2)
        self.assertEqual(self.node.calls, [])


class ExitCodeTests(CommandTestCase):
    """
    Exit codes and reasons.
    """

    def test_refused(self) -> None:
        """A refusal has exit code 1 and its reason on standard error, one harmless line, also with --json."""
        self.node.answers["leave"] = Refused("you are no member of \x1b]52;x\x07\n\u202en")
        for arguments in (["leave", "n"], ["leave", "--json", "n"]):
            result = self.run_(*arguments, code=1)
            self.assertEqual((result.stdout, result.stderr.count("\n")), ("", 1))
            self.assertTrue(result.stderr.startswith("vnet: you are no member of"))
            self.assertIsNone(HARM.search(result.stderr))

    def test_ping(self) -> None:
        """A peer that does not exist, or never answers, has exit code 1 and one line on standard error."""
        self.node.answers["ping"] = Unreachable("no answer within 5 s")
        for arguments in (["ping", "bob", "-c", "1"], ["ping", "--json", "bob", "-c", "1"]):
            self.assertEqual(self.run_(*arguments, code=1).stderr, "vnet: no answer from bob\n")
        self.node.answers["peer"] = Refused("no such peer")
        del self.node.calls[:]
        self.assertEqual(self.run_("ping", "bob", code=1).stderr, "vnet: no such peer\n")
        self.assertEqual(self.node.calls, [("peer", "bob")])

    def test_mediatorUnreachable(self) -> None:
        """A mediator that cannot be reached has exit code 3."""
        self.node.answers["login"] = Unreachable("the mediator m:7443 does not answer")
        result = self.run_("login", "vnet://m", code=3)
        self.assertEqual(result.stderr, "vnet: the mediator m:7443 does not answer\n")

    def test_notRunning(self) -> None:
        """Without a running client the exit code is 3, and the line says how to start it."""
        path = self.mktemp()
        stale = socket.socket(socket.AF_UNIX)
        stale.bind(path)
        stale.close()
        for missing in (path, "/nonexistent/control.sock", "/dev/null/control.sock"):
            result = CliRunner().invoke(cli, ["--socket", missing, "status"])
            self.assertEqual((result.exit_code, result.stderr.count("\n")), (3, 1))
            self.assertIn("twistd -n vnet-client", result.stderr)


class JsonTests(CommandTestCase):
    """
    C{--json}.
    """

    def test_status(self) -> None:
        """The status has the keys that programs rely on."""
        keys = {"state", "clientId", "nick", "address", "address6", "mediator", "udpPort", "nat"}
        self.assertLessEqual(keys, self.asJson("status").keys())

    def test_list(self) -> None:
        """The list is the client's, unchanged, and asks for nothing else."""
        self.assertEqual(self.asJson("list"), {"networks": self.node.members})
        self.assertEqual(self.node.calls, [("networks", None, None, None, None, None)])

    def test_place(self) -> None:
        """--json and --socket stand before or after the command."""
        for arguments in (["--json", "status"], ["status", "--json"]):
            self.assertEqual(json.loads(self.run_(*arguments).stdout)["clientId"], ID)
        result = CliRunner().invoke(cli, ["status", "--json", "--socket", self.server.path])
        self.assertEqual(json.loads(result.stdout)["clientId"], ID)

    def test_ping(self) -> None:
        """A ping gives each reply and the figures."""
        self.assertEqual(
            self.asJson("ping", "bob", "-c", "1"),
            {
                "name": "bob",
                "sent": 1,
                "received": 1,
                "minimumMs": 12.5,
                "averageMs": 12.5,
                "maximumMs": 12.5,
                "replies": [{"latencyMs": 12.5}],
            },
        )

    def test_netcheck(self) -> None:
        """A report has the fields of NatReport and a sentence; one that the client made is kept."""
        keys = describeNat(NatReport()).keys()
        self.assertEqual(self.asJson("netcheck").keys(), keys)
        self.node.answers["netcheck"] = {"udp": True, "summary": "Fine."}
        self.assertEqual(self.asJson("netcheck")["summary"], "Fine.")

    def test_hostile(self) -> None:
        """JSON is ASCII without control characters but newlines, and keeps the text."""
        nick = "\x1b]52;\x7f\x9b\u202e\ud800\n"
        self.node.members[0]["members"] = [member(2, nick)]
        text = self.run_("list", "--json").stdout
        self.assertTrue(text.isascii())
        self.assertIsNone(HARM.search(text))
        self.assertEqual(json.loads(text)["networks"][0]["members"][0]["nick"], nick)

    def test_large(self) -> None:
        """A list of thousands of members arrives whole."""
        self.node.members[0]["members"] = [member(number, "n" * 64) for number in range(5000)]
        self.assertEqual(self.asJson("list"), {"networks": self.node.members})


class WatchTests(CommandTestCase):
    """
    C{vnet watch}.
    """

    def watch(self, *arguments: str, told: Sequence[dict[str, object]] = ()) -> Result:
        """
        Watch until the client breaks the connection.
        """

        def tell() -> None:
            if not self.node.watchers:
                self.server.later(0.01, tell)
                return
            for each in told:
                self.node.watchers[0](each)
            self.server.later(0.05, self.server.disconnect)

        self.server.later(0, tell)
        return self.run_("watch", *arguments, code=3)

    def test_person(self) -> None:
        """A person reads one harmless line for each event, whatever the nickname is."""
        nicks = hostileTexts(50)
        told = [event("memberState", nick=nick, address="100.64.0.2", state="lost") for nick in nicks]
        out = self.watch(told=told).stdout
        self.assertEqual((out.count("\n"), HARM.search(out)), (1 + len(nicks), None))
        self.assertIn("2 of 5 others online", out)

    def test_json(self) -> None:
        """JSON lines are the client's, in ASCII."""
        told = event("memberNick", nick="\x7f\u202e", before="\n")
        out = self.watch("--json", told=[told]).stdout
        self.assertTrue(out.isascii())
        self.assertIsNone(HARM.search(out))
        self.assertEqual([json.loads(line) for line in out.splitlines()][1], told)

    def test_ends(self) -> None:
        """A client that goes away is told on standard error, in one line."""
        self.assertIn("has ended", self.watch().stderr)


class PasswordTests(CommandTestCase):
    """
    Passwords come from a file or a person.
    """

    def file(self, data: bytes) -> str:
        path = Path(self.mktemp())
        path.write_bytes(data)
        return str(path)

    def test_file(self) -> None:
        """The password is the first line of the file, without its end."""
        for data in (b"pass word", b"pass word\n", b"pass word\r\nmore\n"):
            self.run_("join", "n", "--password-file", self.file(data))
            self.assertEqual(self.node.calls.pop(), ("join", "n", "pass word"))

    def test_standardInput(self) -> None:
        """The file "-" is standard input."""
        self.run_("create", "n", "--password-file", "-", typed="häst\n")
        self.assertEqual(self.node.calls, [("create", "n", "häst")])

    def test_badFile(self) -> None:
        """A file that is missing, empty, too long or no text is refused in one line that does not tell what is in it."""
        for path in (
            self.mktemp(),
            self.file(b""),
            self.file(b"\n"),
            self.file(b"p" * 1025),
            self.file(b"\xffpq"),
        ):
            result = self.run_("join", "n", "--password-file", path, code=1)
            self.assertEqual(result.stderr.count("\n"), 1)
            self.assertNotIn("p" * 10, result.stderr)
            self.assertNotIn("pq", result.stderr)
        self.assertEqual(self.node.calls, [])

    def test_prompt(self) -> None:
        """A person is asked, once to join and twice to create, and the password is not shown."""
        result = self.run_("join", "n", typed="hunter2\n", person=True)
        self.assertEqual(self.node.calls.pop(), ("join", "n", "hunter2"))
        self.assertNotIn("hunter2", result.output)
        self.run_("create", "n", typed="hunter2\nhunter3\nhunter2\nhunter2\n", person=True)
        self.assertEqual(self.node.calls.pop(), ("create", "n", "hunter2"))

    def test_emptyPrompt(self) -> None:
        """No answer means no password; who founds a network so is warned."""
        result = self.run_("create", "n", typed="\n\n", person=True)
        self.assertIn("everyone who knows the name can join", result.stderr)
        self.run_("join", "n", typed="\n", person=True)
        self.assertEqual(self.node.calls, [("create", "n", None), ("join", "n", None)])

    def test_notInArguments(self) -> None:
        """There is no way to give a password as an argument."""
        for name in ("create", "join"):
            self.run_(name, "n", "hunter2", code=2)
            self.run_(name, "n", "--password", "hunter2", code=2)
        self.assertEqual(self.node.calls, [])

    def test_surrogates(self) -> None:
        """An argument that is no text is refused."""
        self.assertIn("text", self.run_("leave", "\udcff", code=1).stderr)


class PingTests(SynchronousTestCase):
    """
    L{Pinger}.
    """

    def ping(self, outcomes: Sequence[float | Failure | None]) -> tuple[Pinger, list[str], list[float]]:
        said: list[str] = []
        slept: list[float] = []
        left = iter(outcomes)

        def once() -> dict[str, float | None]:
            outcome = next(left)
            if isinstance(outcome, Failure):
                raise outcome
            return {"latencyMs": outcome}

        pinger = Pinger("bob", once, said.append, slept.append, lambda: 0.0)
        pinger.run(len(outcomes))
        return pinger, said, slept

    def test_lost(self) -> None:
        """An echo without an answer counts as lost, and the others go on, one a second."""
        pinger, said, slept = self.ping([10.0, UnreachableFailure("no answer"), None, 20.0])
        self.assertEqual(pinger.received, [10.0, 20.0])
        self.assertEqual(pinger.answer()["averageMs"], 15.0)
        self.assertEqual([reply["latencyMs"] for reply in pinger.replies], [10.0, None, None, 20.0])
        self.assertEqual((len(said), slept), (4, [1.0, 1.0, 1.0]))
        self.assertIn("4 sent, 2 answered", pinger.summary())

    def test_interrupted(self) -> None:
        """Ctrl-C ends it, with the figures so far; before the first echo it ends the command."""
        outcomes = iter([10.0, 20.0])

        def once() -> dict[str, float | None]:
            milliseconds = next(outcomes, None)
            if milliseconds is None:
                raise KeyboardInterrupt
            return {"latencyMs": milliseconds}

        pinger = Pinger("bob", once, lambda line: None, lambda seconds: None)
        pinger.run(100)
        self.assertIn("2 sent, 2 answered", pinger.summary())
        self.assertRaises(KeyboardInterrupt, Pinger("bob", once, lambda line: None).run, 1)

    def test_noAnswer(self) -> None:
        """A peer that never answers is said to be so."""
        pinger, _said, _slept = self.ping([UnreachableFailure("no answer")])
        self.assertEqual(pinger.summary(), "1 sent, 0 answered")
        self.assertIsNone(pinger.answer()["averageMs"])

    def test_noPathYet(self) -> None:
        """An echo that is refused because there is no path yet does not end it."""
        pinger, said, _slept = self.ping([Failure("no path yet"), 1.0])
        self.assertEqual((pinger.received, said[0]), ([1.0], "no path yet"))

    def test_clientLost(self) -> None:
        """The loss of the client ends it."""
        self.assertRaises(ClientFailure, self.ping, [1.0, ClientFailure("not running"), 1.0])


class LocalClientTests(SynchronousTestCase):
    """
    L{LocalClient} and L{defaultSocket}.
    """

    def answering(self, data: bytes, close: bool = True) -> LocalClient:
        path = self.mktemp()
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(path)
        listening.listen()

        def serve() -> None:
            connection, _address = listening.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(data)
                if not close:
                    connection.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        client = LocalClient(path, timeout=0.2 if not close else 10)
        self.addCleanup(listening.close)
        self.addCleanup(thread.join)
        self.addCleanup(client.close)
        return client

    def test_progress(self) -> None:
        """Progress is passed on, and answers to others are left out."""
        told: list[str] = []
        client = self.answering(
            b'{"id":9,"result":{"a":9}}\n{"id":1,"progress":"soon"}\n{"id":1,"result":{"a":1}}\n'
        )
        self.assertEqual(client.call("login", told.append, url="u"), {"a": 1})
        self.assertEqual(told, ["soon"])

    def test_refusedConnection(self) -> None:
        """A connection that is not accepted says why."""
        client = self.answering(b'{"id":null,"error":{"code":1,"message":"not permitted"}}\n')
        self.assertEqual(str(self.assertRaises(Refused, client.call, "status")), "not permitted")

    def test_broken(self) -> None:
        """A client that dies, or talks nonsense, counts as not running."""
        for data in (b"", b'{"id":1', b"nonsense\n", b"[]\n", b'{"id":1}\n', b'{"id":1,"result":5}\n'):
            self.assertRaises(NotRunning, self.answering(data).call, "status")

    def test_silent(self) -> None:
        """A client that says nothing counts as not running."""
        error = self.assertRaises(NotRunning, self.answering(b"", close=False).call, "status")
        self.assertIn("does not answer", str(error))

    def test_defaultSocket(self) -> None:
        """The socket is the one that is asked for, the system's for root, otherwise the user's own."""
        self.assertEqual(defaultSocket({"VNET_SOCKET": "/x"}, 5), "/x")
        self.assertEqual(defaultSocket({"VNET_SOCKET": ""}, 0), "/var/lib/vnet/control.sock")
        home = Path(self.mktemp()).absolute()
        own = home / "vnet" / "control.sock"
        own.parent.mkdir(parents=True)
        own.touch()
        self.assertEqual(defaultSocket({"XDG_STATE_HOME": str(home)}, 5), str(own))

    def test_longPath(self) -> None:
        """A socket whose path is too long for a socket address is reached."""
        directory = Path(self.mktemp()) / ("d" * 150)
        directory.mkdir(parents=True)
        path = str(directory / "control.sock")
        error = self.assertRaises(NotRunning, LocalClient(path).call, "status")
        self.assertIn("not running", str(error))


class ProgressTests(CommandTestCase):
    """
    Verbs that wait.
    """

    def test_waits(self) -> None:
        """A command waits for the answer of a slow verb."""
        slow: Deferred[dict[str, object]] = Deferred()

        def login() -> Deferred[dict[str, object]]:
            self.server.later(0.2, lambda: slow.callback({"state": "online", "clientId": "c"}))
            return slow

        self.node.answers["login"] = login
        self.assertEqual(self.asJson("login", "vnet://m")["clientId"], "c")


class StartTests(SynchronousTestCase):
    """
    How fast the command is there.
    """

    def test_imports(self) -> None:
        """The command starts without Twisted, rich, or anything else that takes long to import."""
        import subprocess
        import sys

        code = "import sys, vnet.client.cli; print(*{name.partition('.')[0] for name in sys.modules})"
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
        )
        loaded = set(done.stdout.split())
        self.assertIn("click", loaded)
        self.assertEqual(loaded & {"twisted", "rich", "zope", "nacl", "cryptography", "asyncio"}, set())
