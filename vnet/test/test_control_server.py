"""
Tests for L{vnet.protocols.controlserver}: what a connection may cost, whoever is at its other end.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.bindings import crypto_core_ed25519_add, crypto_scalarmult_ed25519_base_noclamp
from nacl.signing import VerifyKey
from twisted.internet.defer import Deferred
from twisted.internet.testing import StringTransport
from twisted.protocols import amp
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols import control
from vnet.protocols.controlgate import unmapped
from vnet.protocols.machine.admission import Admission
from vnet.test.mediatorlab import EXPORTED, MEDIATOR, Lab, NodeClient, signingKey


def send(client: NodeClient, data: bytes) -> None:
    """
    Send bytes past the client's AMP.
    """
    if client.transport is not None:
        client.transport.write(data)


def string(data: bytes) -> bytes:
    """
    @return: a key or a value of a box.
    """
    return struct.pack("!H", len(data)) + data


class StrangerTests(SynchronousTestCase):
    """
    Before the login.
    """

    def setUp(self) -> None:
        self.lab = Lab()

    def test_handshakeDeadline(self) -> None:
        """A connection without TLS after 10 seconds is cut, and not before."""
        client = self.lab.connect("a", secure=False)
        self.lab.advance(9.5, 0.5)
        self.assertIsNone(client.lost)
        self.lab.advance(1, 0.5)
        self.assertIsNotNone(client.lost)
        self.assertEqual(1, self.lab.factory.counters["handshakeTimeout"])

    def test_loginDeadline(self) -> None:
        """A connection without a login 15 seconds after TLS is cut, whatever trickles in, and not before."""
        client = self.lab.connect("a")
        for _ in range(29):
            send(client, b"\0\1" if not self.lab.clock.seconds() else b"")
            self.lab.advance(0.5)
        self.assertIsNone(client.lost)
        self.lab.advance(1, 0.5)
        self.assertIsNotNone(client.lost)
        self.assertEqual(1, self.lab.factory.counters["loginTimeout"])

    def test_bytesBeforeLogin(self) -> None:
        """More than 1,024 bytes before the login cut the connection."""
        client = self.lab.connect("a")
        send(client, string(b"nick") + struct.pack("!H", 2000) + b"x" * 1016)
        self.lab.flush()
        self.assertIsNone(client.lost)
        send(client, b"x")
        self.lab.flush()
        self.assertIsNotNone(client.lost)
        self.assertEqual(1, self.lab.factory.counters["strangerBytes"])

    def test_longestLogin(self) -> None:
        """A login with the longest names fits into what a stranger may send."""
        client = self.lab.connect("a")
        arguments = client.credentials("\U0001f600" * 64)
        self.lab.call(client, control.Login, **{**arguments, "software": "s" * 64})

    def test_otherCommand(self) -> None:
        """Any other command before the login cuts the connection, without an answer."""
        for command, arguments in (
            (control.Ping, {}),
            (control.CreateNetwork, {"name": "n", "proof": b""}),
            (control.ForwardSignal, {"peer": b"k" * 32, "sealed": b""}),
        ):
            client = self.lab.connect("a")
            client.callRemote(command, **arguments).addErrback(lambda _: None)
            self.lab.flush()
            self.assertIsNotNone(client.lost)
        self.assertEqual(3, self.lab.factory.counters["beforeLogin"])

    def test_wrongSignature(self) -> None:
        """A signature by another key, over another connection or for another mediator is refused and the connection closed."""
        other = signingKey("other")
        right = control.loginTranscript(MEDIATOR, EXPORTED)
        client = self.lab.connect("a")
        for signature in (
            other.sign(right).signature,
            client.signingKey.sign(control.loginTranscript(MEDIATOR, b"F" * 32)).signature,
            client.signingKey.sign(control.loginTranscript(b"N" * 32, EXPORTED)).signature,
            b"",
            b"x" * 64,
        ):
            client = self.lab.connect("a")
            with self.assertRaises(control.LoginFailed):
                self.lab.call(client, control.Login, **{**client.credentials(), "signature": signature})
            self.assertIsNotNone(client.lost)
        self.assertEqual({}, self.lab.mediator.sessions)

    def test_wrongKey(self) -> None:
        """A key that is no key is refused."""
        for key in (b"", b"k" * 31, b"\xff" * 32, bytes(32)):
            client = self.lab.connect("a")
            with self.assertRaises(control.LoginFailed):
                self.lab.call(client, control.Login, **{**client.credentials(), "key": key})

    def test_keyWithoutOtherForm(self) -> None:
        """A key that signs but has no Curve25519 form, so that no peer could ever reach its node, is refused."""
        order = 2**252 + 27742317777372353535851937790883648493
        secret = int.from_bytes(hashlib.sha512(b"secret").digest(), "little") % order
        base = crypto_scalarmult_ed25519_base_noclamp
        torsion = bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")
        key = crypto_core_ed25519_add(base(secret.to_bytes(32, "little")), torsion)
        message = control.loginTranscript(MEDIATOR, EXPORTED)
        for attempt in range(1, 1000):
            point = base(attempt.to_bytes(32, "little"))
            challenge = int.from_bytes(hashlib.sha512(point + key + message).digest(), "little") % order
            if challenge % 8 == 0:
                break
        answer = (attempt + challenge * secret) % order
        signature = point + answer.to_bytes(32, "little")
        VerifyKey(key).verify(message, signature)
        client = self.lab.connect("a")
        with self.assertRaises(control.LoginFailed):
            self.lab.call(
                client, control.Login, **{**client.credentials(), "key": key, "signature": signature}
            )

    def test_otherVersion(self) -> None:
        """A node of another version of the protocol is told which one the mediator speaks."""
        client = self.lab.connect("a")
        with self.assertRaisesRegex(control.LoginFailed, "speaks version 1 .* node 2"):
            self.lab.call(client, control.Login, **{**client.credentials(), "version": 2})

    def test_perSource(self) -> None:
        """An address has at most 64 connections without a login; those with one do not count."""
        for number in range(70):
            self.lab.login(f"user{number}")
        strangers = [self.lab.connect("stranger") for _ in range(64)]
        with self.assertRaises(ConnectionRefusedError):
            self.lab.connect("one more")
        self.lab.connect("elsewhere", host="192.0.2.2")
        self.lab.cut(strangers[0])
        self.lab.connect("one more")

    def test_total(self) -> None:
        """All connections together are limited, those without a login to less."""
        lab = Lab(admission=Admission(perSource=10, strangers=3, total=5))
        for number in range(3):
            lab.login(f"user{number}")
        for _ in range(2):
            lab.connect("stranger")
        with self.assertRaises(ConnectionRefusedError):
            lab.connect("one more")

    @settings(max_examples=50)
    @given(st.binary(max_size=900))
    def test_anything(self, data: bytes) -> None:
        """Whatever bytes a stranger sends, nothing is raised, logged or let in."""
        lab = Lab()
        client = lab.connect("a")
        client.deaf = True
        send(client, data)
        lab.flush()
        self.assertEqual({}, lab.mediator.sessions)
        self.assertEqual([], self.flushLoggedErrors())

    @settings(max_examples=50)
    @given(
        st.dictionaries(
            st.sampled_from([b"version", b"key", b"signature", b"nick", b"software", b"_ask", b"x"]),
            st.binary(max_size=60),
        )
    )
    def test_anyLogin(self, box: dict[bytes, bytes]) -> None:
        """Whatever arguments a login has, nothing is raised, logged or let in."""
        lab = Lab()
        client = lab.connect("a")
        client.deaf = True
        send(client, amp.Box({**box, b"_command": b"Login"}).serialize())
        lab.flush()
        self.assertEqual({}, lab.mediator.sessions)
        self.assertEqual([], self.flushLoggedErrors())


class SessionTests(SynchronousTestCase):
    """
    After the login.
    """

    def setUp(self) -> None:
        self.lab = Lab()
        self.a = self.lab.login("a")

    def dropped(self, why: str) -> None:
        self.lab.flush()
        self.assertIsNotNone(self.a.lost)
        self.assertEqual(1, self.lab.factory.counters[why])
        self.assertEqual({}, self.lab.mediator.sessions)
        self.assertEqual([], self.flushLoggedErrors())

    def test_secondLogin(self) -> None:
        """A connection logs in once."""
        with self.assertRaises(control.LoginFailed):
            self.lab.call(self.a, control.Login, **self.a.credentials())

    def test_silence(self) -> None:
        """A node that sends no whole box for 30 seconds is dropped, though bytes trickle in."""
        for _ in range(31):
            send(self.a, b"\0" if self.lab.clock.seconds() == 0 else b"")
            self.lab.advance(1)
        self.dropped("idle")

    def test_pings(self) -> None:
        """A node that pings every 10 seconds stays, and learns the time."""
        for _ in range(20):
            self.lab.advance(10)
            answer = self.lab.call(self.a, control.Ping)
        self.assertEqual(200_000_000, answer["now"])
        self.assertIsNone(self.a.lost)

    def test_manyKeys(self) -> None:
        """A box of more than 64 keys drops the connection."""
        for number in range(65):
            send(self.a, string(b"k%d" % number) + string(b""))
        self.dropped("boxTooLarge")

    def test_largeBox(self) -> None:
        """A box of more than 128 KiB drops the connection."""
        for number in range(3):
            send(self.a, string(b"k%d" % number) + string(b"x" * 60_000))
        self.dropped("boxTooLarge")

    def test_longKey(self) -> None:
        """A key of more than 255 bytes closes the connection."""
        send(self.a, struct.pack("!H", 300))
        self.lab.flush()
        self.assertIsNotNone(self.a.lost)

    def test_badArguments(self) -> None:
        """A command whose arguments make no sense drops the connection."""
        send(self.a, amp.Box({b"_command": b"SetNick", b"_ask": b"1", b"nick": b"\xff"}).serialize())
        self.dropped("malformed")

    def test_unaskedAnswer(self) -> None:
        """An answer to nothing drops the connection."""
        send(self.a, amp.Box({b"_answer": b"99"}).serialize())
        self.dropped("malformed")

    def test_emptyBox(self) -> None:
        """A box without a purpose drops the connection."""
        send(self.a, amp.Box({b"x": b"y"}).serialize())
        self.dropped("malformed")

    def test_unknownCommand(self) -> None:
        """A command of a later version is answered as unknown, and the connection stays."""
        answer = self.a.callRemoteString(b"Later")
        with self.assertRaises(amp.UnhandledCommand):
            self.lab.result(answer)
        self.lab.call(self.a, control.Ping)

    def test_unansweredPushes(self) -> None:
        """A node that leaves 1,000 pushes unanswered is dropped."""
        server = self.lab.mediator.sessions[self.a.key]
        self.a.answering = False
        for _ in range(1000):
            server.push(control.Signal, peer=b"k" * 32, sealed=b"x")
        self.lab.flush()
        self.assertIsNone(self.a.lost)
        server.push(control.Signal, peer=b"k" * 32, sealed=b"x")
        self.dropped("unansweredPushes")

    def test_notDroppedForOthers(self) -> None:
        """Peers cannot make the mediator drop a node that is slow to answer: they are told to wait."""
        self.a.answering = False
        peers = [self.lab.login(f"peer{number}") for number in range(8)]
        self.lab.network("home", self.a, *peers)
        refused = set()
        for peer in peers:
            for _ in range(220):
                try:
                    self.lab.call(peer, control.ForwardSignal, peer=self.a.key, sealed=b"x" * 4096)
                except (control.Busy, control.TooMany) as error:
                    refused.add(type(error))
        self.assertEqual({control.Busy, control.TooMany}, refused)
        with self.assertRaises(control.Busy):
            self.lab.call(peers[-1], control.Connect, peer=self.a.key)
        self.assertIsNone(self.a.lost)
        self.a.answerAll()
        self.lab.flush()
        self.lab.call(peers[-1], control.Connect, peer=self.a.key)

    def test_fullBuffer(self) -> None:
        """While its send buffer is full nothing of a node is carried out, nothing is read, and it is crowded."""
        server = self.lab.mediator.sessions[self.a.key]
        transport = StringTransport()
        server.transport = transport
        server.pauseProducing()
        self.assertEqual(("paused", True), (transport.producerState, server.crowded))
        ping = amp.Box({b"_command": b"Ping", b"_ask": b"1"}).serialize()
        server.dataReceived(ping * 100)
        self.assertEqual(b"", transport.value())
        server.resumeProducing()
        self.assertEqual(("producing", False), (transport.producerState, server.crowded))
        self.assertEqual(100, transport.value().count(b"_answer"))

    def test_fullBufferMissesNothing(self) -> None:
        """A change that came while the send buffer was full follows when there is room."""
        peer = self.lab.login("peer")
        self.lab.network("home", self.a, peer)
        server = self.lab.mediator.sessions[self.a.key]
        server.pauseProducing()
        self.lab.call(peer, control.SetNick, nick="renamed")
        self.assertEqual([], self.a.pushed)
        server.resumeProducing()
        self.lab.flush()
        self.assertEqual(["MemberChanged"], self.a.names())

    def test_outstandingRequests(self) -> None:
        """Of requests beyond 32 at once each is answered with TooMany."""
        held: list[Deferred[Any]] = []

        def submit(work: Any) -> Deferred[Any]:
            held.append(Deferred())
            return held[-1]

        self.lab.store._submit = submit
        results: list[Any] = []
        for _ in range(40):
            self.a.callRemote(control.SetNick, nick="n").addBoth(results.append)
        self.lab.flush()
        self.assertEqual(32, len(held))
        self.assertEqual(8, len(results))
        for each in results:
            each.trap(control.TooMany)

    @settings(max_examples=50)
    @given(st.lists(st.binary(min_size=0, max_size=300), max_size=6))
    def test_anything(self, chunks: list[bytes]) -> None:
        """Whatever bytes a node sends, nothing is raised or logged."""
        lab = Lab()
        client = lab.login("a")
        client.deaf = True
        for chunk in chunks:
            send(client, chunk)
            lab.flush()
        self.assertEqual([], self.flushLoggedErrors())

    @settings(max_examples=50)
    @given(
        st.sampled_from(sorted(c for c in dir(control) if c[0].isupper() and c != "ACCEPTED_VERSION")),
        st.dictionaries(
            st.sampled_from(
                [b"name", b"network", b"proof", b"peer", b"sealed", b"epoch", b"held", b"cursor", b"nick"]
            ),
            st.binary(max_size=60),
        ),
    )
    def test_anyCommand(self, name: str, box: dict[bytes, bytes]) -> None:
        """Whatever arguments a command has, nothing is raised or logged."""
        lab = Lab()
        client = lab.login("a")
        client.deaf = True
        send(client, amp.Box({**box, b"_command": name.encode(), b"_ask": b"1"}).serialize())
        lab.flush()
        self.assertEqual([], self.flushLoggedErrors())


class UnmappedTests(SynchronousTestCase):
    """
    L{unmapped}.
    """

    def test_unmapped(self) -> None:
        """An IPv4-mapped address is its IPv4 address, and a zone is dropped."""
        self.assertEqual("192.0.2.1", unmapped("::ffff:192.0.2.1"))
        self.assertEqual("fe80::1", unmapped("fe80::1%eth0"))
        self.assertEqual("2001:db8::1", unmapped("2001:db8::1"))
