"""
Tests for L{vnet.client.localcontrol}, L{vnet.client.localrequest} and L{vnet.client._localsocket}.
"""

from __future__ import annotations

import json
import os
import re
import socket
import stat
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from vnet.client import localcontrol
from vnet.client._localsocket import Credentials, SocketFile
from vnet.client.localcontrol import LocalControlFactory, LocalControlProtocol
from vnet.client.localrequest import VERBS, Request, RequestError, decodeRequest
from vnet.errors import ConfigurationError, Refused, Unreachable, VnetError
from vnet.interfaces import INode
from vnet.test.controlserver import ControlServer
from vnet.testing_node import FakeNode, event


def line(verb: str, identifier: object = 1, **arguments: object) -> bytes:
    return json.dumps({"id": identifier, "verb": verb, "arguments": arguments}).encode()


class DecodeRequestTests(SynchronousTestCase):
    """
    L{decodeRequest}.
    """

    def refused(self, data: bytes) -> RequestError:
        error = self.assertRaises(RequestError, decodeRequest, data)
        assert isinstance(error, RequestError)
        return error

    def test_arguments(self) -> None:
        """The arguments come in the order of the method's, and an optional one may be left out or null."""
        self.assertEqual(decodeRequest(line("join", password="p", network="n")).arguments, ("n", "p"))
        self.assertEqual(decodeRequest(line("join", network="n")).arguments, ("n", None))
        self.assertEqual(decodeRequest(line("join", network="n", password=None)).arguments, ("n", None))

    def test_numbers(self) -> None:
        """A number is a whole one from 1, and no text."""
        request = decodeRequest(line("list", page=2, perPage=50, search="x"))
        self.assertEqual(request.arguments, (None, "x", None, 2, 50))
        for bad in (0, -1, True, 1.0, "2", 2**31, [1]):
            self.assertIn("page", str(self.refused(line("list", page=bad))))

    def test_withoutArguments(self) -> None:
        """A request may leave out C{arguments}."""
        self.assertEqual(decodeRequest(b'{"id": "a", "verb": "status"}'), Request("a", "status", ()))

    def test_secret(self) -> None:
        """A password does not show when a request is printed."""
        self.assertNotIn("hunter2", repr(decodeRequest(line("join", network="n", password="hunter2"))))

    def test_badRequests(self) -> None:
        """What is no request is refused in one line, with the id if it has one."""
        for data, identifier in (
            (b"", None),
            (b"\xff", None),
            (b"[]", None),
            (b"[" * 60000, None),
            (b'{"id": ' + b"9" * 5000 + b"}", None),
            (b'{"id": NaN, "verb": "status"}', None),
            (b'{"id": true, "verb": "status"}', None),
            (b'{"id": 1.5, "verb": "status"}', None),
            (b'{"verb": "status"}', None),
            (line("status", "x" * 65), None),
            (line("status", "\ud800"), None),
            (line("reboot"), 1),
            (b'{"id": 1, "verb": ["status"]}', 1),
            (b'{"id": 1, "verb": "status", "arguments": []}', 1),
            (b'{"id": 1, "verb": "status", "more": 1}', 1),
            (line("status", network="n"), 1),
            (line("leave"), 1),
            (line("leave", network=None), 1),
            (line("leave", network=5), 1),
            (line("leave", network="\udc80"), 1),
        ):
            error = self.refused(data)
            self.assertEqual(error.id, identifier, data[:80])
            self.assertEqual(str(error).count("\n"), 0)

    @given(st.binary(max_size=200))
    def test_fuzz(self, data: bytes) -> None:
        """Bytes are a request or raise L{RequestError}, and nothing else."""
        try:
            decodeRequest(data)
        except RequestError:
            return

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(),
            lambda s: (
                st.lists(s)
                | st.dictionaries(
                    st.sampled_from(["id", "verb", "arguments", "network", "status", "join"]), s
                )
            ),
        )
    )
    def test_fuzzJson(self, value: object) -> None:
        """A JSON value is a request or raises L{RequestError}, and nothing else."""
        try:
            decodeRequest(json.dumps(value).encode())
        except RequestError:
            return


class VerbTests(SynchronousTestCase):
    """
    The table of verbs.
    """

    def test_methods(self) -> None:
        """Each verb is a method of L{INode} that takes as many arguments, and each method has a verb."""
        self.assertEqual({verb.method for verb in VERBS.values()}, set(INode.names()))
        for verb in VERBS.values():
            taken = len(verb.arguments) + verb.streams
            self.assertEqual(taken, len(INode[verb.method].positional), verb.method)

    def test_documented(self) -> None:
        """The table in the documentation has each verb with its arguments."""
        text = localcontrol.__doc__ or ""
        for name, verb in VERBS.items():
            arguments = r",?\s+".join([re.escape(name), *verb.arguments])
            self.assertRegex(text, rf"\n    {arguments}")

    def test_fakeNode(self) -> None:
        """The fake node is an L{INode}."""
        verifyObject(INode, FakeNode())


class Transport(StringTransport):
    """
    A transport that can be aborted, as one of a stream can.
    """

    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True


class ProtocolTests(SynchronousTestCase):
    """
    L{LocalControlProtocol}.
    """

    def setUp(self) -> None:
        self.node = FakeNode()
        self.clock = Clock()
        self.permitted = True
        self.factory = LocalControlFactory(self.node, self.clock, lambda transport: self.permitted)

    def connect(self) -> tuple[LocalControlProtocol, Transport]:
        protocol, transport = self.factory.buildProtocol(None), Transport()
        protocol.makeConnection(transport)
        return protocol, transport

    def answers(self, transport: Transport) -> list[dict[str, Any]]:
        value = transport.value()
        transport.clear()
        return [json.loads(part) for part in value.splitlines()]

    def ask(self, *lines: bytes) -> list[dict[str, Any]]:
        protocol, transport = self.connect()
        protocol.dataReceived(b"".join(part + b"\n" for part in lines))
        return self.answers(transport)

    def test_result(self) -> None:
        """A request is carried out, and answered under its id."""
        answer = self.ask(line("invite", "x", network="home"))
        self.assertEqual(answer, [{"id": "x", "result": {"link": "vnet://mediator.example:7443/home"}}])
        self.assertEqual(self.node.calls, [("invite", "home")])

    def test_pieces(self) -> None:
        """A request may arrive in any number of pieces."""
        protocol, transport = self.connect()
        for octet in line("status") + b"\n":
            protocol.dataReceived(bytes([octet]))
        self.assertEqual(self.answers(transport)[0]["result"]["nick"], "me")

    def test_failures(self) -> None:
        """A refusal has code 1, an unreachable mediator 3, each with one line."""
        self.node.answers["logout"] = Refused("two\nlines\x85here")
        self.node.answers["status"] = Unreachable("no mediator")
        self.node.answers["leave"] = VnetError("")
        self.assertEqual(
            [
                answer["error"]
                for answer in self.ask(line("logout"), line("status"), line("leave", network="x"))
            ],
            [
                {"code": 1, "message": "two lines here"},
                {"code": 3, "message": "no mediator"},
                {"code": 1, "message": "no reason was given"},
            ],
        )

    def test_unexpected(self) -> None:
        """Any other failure is logged, and says no more than that."""
        self.node.answers["status"] = ZeroDivisionError("secret detail")
        self.node.answers["logout"] = {"a": object()}
        for request in (line("status"), line("logout")):
            answer = self.ask(request)
            self.assertEqual(answer[0]["error"], {"code": 1, "message": "internal error; see the log"})
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_raises(self) -> None:
        """A node that raises is answered as one that fails."""
        self.node.answers["status"] = lambda: 1 / 0
        self.assertEqual(self.ask(line("status"))[0]["error"]["code"], 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_badRequest(self) -> None:
        """What is no request is answered with code 1, and the connection goes on."""
        answers = self.ask(b"hello", line("fly"), line("status"))
        self.assertEqual([answer["id"] for answer in answers], [None, 1, 1])
        self.assertIn("result", answers[2])

    def test_hostileText(self) -> None:
        """An answer is plain ASCII, whatever text is in it."""
        self.node.answers["status"] = {"nick": "\x1b]52;\u202e\ud800\n"}
        protocol, transport = self.connect()
        protocol.dataReceived(line("status") + b"\n")
        self.assertTrue(transport.value().isascii())
        self.assertEqual(self.answers(transport)[0]["result"]["nick"], "\x1b]52;\u202e\ud800\n")

    def test_outOfOrder(self) -> None:
        """A slow verb does not hold up another one."""
        slow: Deferred[dict[str, Any]] = Deferred()
        self.node.answers["login"] = lambda: slow
        protocol, transport = self.connect()
        protocol.dataReceived(line("login", 1, url="u") + b"\n" + line("status", 2) + b"\n")
        self.assertEqual([answer["id"] for answer in self.answers(transport)], [2])
        slow.callback({})
        self.assertEqual(self.answers(transport), [{"id": 1, "result": {}}])

    def test_progress(self) -> None:
        """A slow verb tells of its progress until it is answered, and no longer."""
        slow: Deferred[dict[str, Any]] = Deferred()
        self.node.answers["login"] = lambda: slow
        protocol, transport = self.connect()
        protocol.dataReceived(line("login", url="u") + b"\n")
        self.clock.pump([1] * 4)
        self.assertEqual(
            self.answers(transport),
            [
                {"id": 1, "progress": "waiting for the mediator, 2 s"},
                {"id": 1, "progress": "waiting for the mediator, 4 s"},
            ],
        )
        slow.callback({})
        self.clock.pump([1] * 4)
        self.assertEqual(self.answers(transport), [{"id": 1, "result": {}}])

    def test_callTimeout(self) -> None:
        """A request that is not answered within two minutes is cancelled, with code 3."""
        cancelled: list[object] = []
        self.node.answers["ping"] = lambda: Deferred(cancelled.append)
        protocol, transport = self.connect()
        protocol.dataReceived(line("ping", name="x") + b"\n")
        self.clock.advance(119)
        self.assertEqual(self.answers(transport), [])
        self.clock.advance(1)
        self.assertEqual(len(cancelled), 1)
        self.assertEqual(
            self.answers(transport)[0]["error"], {"code": 3, "message": "no answer within 120 s"}
        )

    def test_outstanding(self) -> None:
        """A connection has at most 8 unanswered requests: the next is refused until there is an answer."""
        waiting: list[Deferred[dict[str, Any]]] = [Deferred() for _ in range(8)]
        self.node.answers["ping"] = iter(waiting).__next__
        protocol, transport = self.connect()
        protocol.dataReceived(b"".join(line("ping", i, name="x") + b"\n" for i in range(9)))
        self.assertEqual(len(self.node.calls), 8)
        self.assertEqual(
            [(answer["id"], "error" in answer) for answer in self.answers(transport)], [(8, True)]
        )
        waiting[3].callback({})
        self.assertEqual(self.answers(transport), [{"id": 3, "result": {}}])
        protocol.dataReceived(line("status") + b"\n")
        self.assertIn("result", self.answers(transport)[0])

    def test_outstandingOfAll(self) -> None:
        """Those who leave before the answer do not free a place for more: the total is limited too."""
        self.node.answers["ping"] = Deferred
        for _ in range(10):
            protocol, _transport = self.connect()
            protocol.dataReceived(b"".join(line("ping", i, name="x") + b"\n" for i in range(8)))
            protocol.connectionLost()
        self.assertEqual(len(self.node.calls), self.factory.maximumOutstanding)

    def test_clients(self) -> None:
        """The 33rd connection is told that there are too many, until one ends."""
        connections = [self.connect() for _ in range(33)]
        protocol, transport = connections.pop()
        self.assertIn("too many", self.answers(transport)[0]["error"]["message"])
        self.assertTrue(transport.disconnecting)
        protocol.dataReceived(line("status") + b"\n")
        self.assertEqual((self.answers(transport), self.node.calls), ([], []))
        protocol.connectionLost()
        connections.pop()[0].connectionLost()
        self.assertFalse(self.connect()[1].disconnecting)

    def test_notPermitted(self) -> None:
        """Who is not permitted is told so, and nothing is carried out."""
        self.permitted = False
        protocol, transport = self.connect()
        protocol.dataReceived(line("logout") + b"\n")
        self.assertEqual([answer["error"]["code"] for answer in self.answers(transport)], [1])
        self.assertTrue(transport.disconnecting)
        self.assertEqual(self.node.calls, [])

    def test_longLine(self) -> None:
        """A line of 64 KiB is read; a longer one is refused before its end, and ends the connection."""
        request = line("status")
        self.assertIn("result", self.ask(request + b" " * (65536 - len(request)))[0])
        protocol, transport = self.connect()
        protocol.dataReceived(b" " * 65537)
        self.assertIn("longer", self.answers(transport)[0]["error"]["message"])
        self.assertTrue(transport.disconnecting)
        protocol.dataReceived(b"\n" + line("logout") + b"\n")
        self.assertNotIn(("logout",), self.node.calls)

    def test_idle(self) -> None:
        """A connection without a request for a minute is closed, also one that sends pieces of a line."""
        protocol, transport = self.connect()
        self.clock.advance(59)
        protocol.dataReceived(line("status") + b"\n")
        for _ in range(59):
            self.clock.advance(1)
            protocol.dataReceived(b"x")
        self.assertFalse(transport.aborted)
        self.clock.advance(1)
        self.assertTrue(transport.aborted)

    def test_busyIsNotIdle(self) -> None:
        """A connection that waits for an answer is not idle."""
        waiting: Deferred[dict[str, Any]] = Deferred()
        self.node.answers["ping"] = lambda: waiting
        protocol, transport = self.connect()
        protocol.dataReceived(line("ping", name="x") + b"\n")
        self.clock.advance(100)
        self.assertFalse(transport.aborted)
        waiting.callback({})
        self.clock.advance(60)
        self.assertTrue(transport.aborted)

    def test_slowReader(self) -> None:
        """Who does not read the answers is not read from until it does."""
        protocol, transport = self.connect()
        self.assertIs(transport.producer, protocol)
        protocol.pauseProducing()
        protocol.dataReceived(line("status") + b"\n")
        self.assertEqual((transport.producerState, self.node.calls), ("paused", []))
        protocol.resumeProducing()
        self.assertEqual((transport.producerState, self.node.calls), ("producing", [("status",)]))

    def test_watch(self) -> None:
        """Who watches gets each event under the id of its request, and may ask for other things meanwhile."""
        protocol, transport = self.connect()
        protocol.dataReceived(line("watch", "w") + b"\n")
        self.assertEqual([each["event"]["event"] for each in self.answers(transport)], ["watching"])
        protocol.dataReceived(line("logout", 2) + b"\n")
        self.assertEqual([each["id"] for each in self.answers(transport)], [2])
        told = event("memberState", state="offline")
        self.node.watchers[0](told)
        self.assertEqual(self.answers(transport), [{"id": "w", "event": told}])

    def test_watchIsNotIdle(self) -> None:
        """A connection that watches is not closed, and not told any more when it ends."""
        protocol, transport = self.connect()
        protocol.dataReceived(line("watch") + b"\n" + line("logout", 2) + b"\n")
        self.clock.advance(3600)
        self.assertFalse(transport.aborted)
        protocol.connectionLost()
        self.assertEqual((self.node.watchers, self.clock.getDelayedCalls()), ([], []))

    def test_watchers(self) -> None:
        """A connection watches once, and eight connections at most, until one ends."""
        protocol, transport = self.connect()
        protocol.dataReceived(line("watch") + b"\n" + line("watch", 2) + b"\n")
        self.assertIn("already", self.answers(transport)[1]["error"]["message"])
        for _ in range(7):
            self.ask(line("watch"))
        self.assertIn("limit is 8", self.ask(line("watch"))[0]["error"]["message"])
        protocol.connectionLost()
        self.assertIn("event", self.ask(line("watch"))[0])

    def test_slowWatcher(self) -> None:
        """For who does not read so much is kept, and then it is told how much is missing."""
        protocol, transport = self.connect()
        protocol.dataReceived(line("watch") + b"\n")
        self.answers(transport)
        protocol.pauseProducing()
        for _ in range(1000):
            self.node.watchers[0](event("memberState"))
        self.assertEqual(self.answers(transport), [])
        protocol.resumeProducing()
        told = [each["event"] for each in self.answers(transport)]
        self.assertEqual((len(told), told[-1]), (257, event("missed", count=744)))

    def test_lost(self) -> None:
        """The answer to one who is gone goes nowhere, and no timer is left."""
        waiting: Deferred[dict[str, Any]] = Deferred()
        self.node.answers["login"] = lambda: waiting
        protocol, transport = self.connect()
        protocol.dataReceived(line("login", url="u") + b"\n")
        protocol.connectionLost()
        self.clock.advance(10)
        waiting.callback({})
        self.assertEqual((self.answers(transport), self.clock.getDelayedCalls()), ([], []))
        self.assertEqual((self.factory.clients, self.factory.outstanding), (set(), 0))


class CredentialsTests(SynchronousTestCase):
    """
    L{Credentials}.
    """

    def test_mayUse(self) -> None:
        """Root, the owner and the members of the socket's group may use it, and nobody else."""
        for uid, groups, allowed in (
            (0, {0}, True),
            (7, {7}, True),
            (8, {8, 50}, True),
            (8, {8}, False),
            (8, {0}, False),
        ):
            self.assertIs(Credentials(1, uid, frozenset(groups)).mayUse(7, 50), allowed, (uid, groups))


class SocketFileTests(SynchronousTestCase):
    """
    L{SocketFile}.
    """

    def setUp(self) -> None:
        self.path = str(Path(self.mktemp()) / "control.sock")
        self.files: list[SocketFile] = []

    def tearDown(self) -> None:
        for file in self.files:
            file.release()

    def file(self, path: str | None = None) -> SocketFile:
        made = SocketFile(path or self.path)
        self.files.append(made)
        return made

    def bind(self, file: SocketFile) -> socket.socket:
        bound = socket.socket(socket.AF_UNIX)
        self.addCleanup(bound.close)
        with file.creating():
            bound.bind(file.bindable)
            self.modeWhileCreating = stat.S_IMODE(os.lstat(file.path).st_mode)
        return bound

    def test_mode(self) -> None:
        """The socket has mode 0660 from its first moment, whatever the umask, which stays as it was."""
        for number, mask in enumerate((0o000, 0o022, 0o077)):
            before = os.umask(mask)
            try:
                file = self.file(f"{self.path}{number}")
                file.claim()
                self.bind(file)
                self.assertEqual(self.modeWhileCreating, 0o660)
                self.assertEqual(os.umask(mask), mask)
            finally:
                os.umask(before)

    def test_stale(self) -> None:
        """A socket that a dead process left behind is removed."""
        file = self.file()
        file.claim()
        self.bind(file).close()
        file.release()
        self.assertTrue(os.path.exists(self.path))
        self.file().claim()
        self.assertFalse(os.path.exists(self.path))

    def test_held(self) -> None:
        """A socket that another holds is refused in one line, and left alone."""
        first = self.file()
        first.claim()
        self.bind(first)
        error = self.assertRaises(ConfigurationError, self.file().claim)
        self.assertIn("another vnet client", str(error))
        self.assertTrue(os.path.exists(self.path))

    def test_heldWithoutLock(self) -> None:
        """A socket that answers is refused, even if its lock was removed."""
        first = self.file()
        first.claim()
        self.bind(first).listen()
        os.unlink(self.path + ".lock")
        self.assertRaises(ConfigurationError, self.file().claim)
        self.assertTrue(os.path.exists(self.path))

    def test_inTheWay(self) -> None:
        """A file that is no socket is never removed."""
        os.makedirs(os.path.dirname(self.path))
        Path(self.path).write_text("precious")
        self.assertRaises(ConfigurationError, self.file().claim)
        self.assertEqual(Path(self.path).read_text(), "precious")

    def test_noDirectory(self) -> None:
        """A directory that cannot be made is one line."""
        Path(os.path.dirname(self.path)).write_text("a file")
        self.assertRaises(ConfigurationError, self.file().claim)

    def test_longPath(self) -> None:
        """A path that is too long for a socket address works all the same."""
        file = self.file(str(Path(self.mktemp()) / ("d" * 120) / "control.sock"))
        file.claim()
        self.bind(file)
        self.assertTrue(stat.S_ISSOCK(os.lstat(file.path).st_mode))


class ServiceTests(SynchronousTestCase):
    """
    L{vnet.client.localcontrol.LocalControl} on a real socket.
    """

    def test_serves(self) -> None:
        """The service answers on a socket of mode 0660, and removes it when it stops."""
        server = ControlServer()
        try:
            self.assertEqual(stat.S_IMODE(os.stat(server.path).st_mode), 0o660)
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(10)
                client.connect(server.path)
                client.sendall(line("status") + b"\n")
                self.assertEqual(json.loads(client.makefile().readline())["result"]["nick"], "me")
            server.halt()
            self.assertFalse(os.path.exists(server.path))
        finally:
            server.stop()

    def test_removed(self) -> None:
        """The service stops also if somebody removed its socket."""
        server = ControlServer()
        os.unlink(server.path)
        server.stop()
        self.assertTrue(server.halted)
