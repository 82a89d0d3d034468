"""
Tests for L{vnet.server.networks}.
"""

from __future__ import annotations

import contextlib
from typing import Any

import sqlalchemy as sa
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols import control
from vnet.server import networks
from vnet.server.store import tables
from vnet.test.mediatorlab import Lab, NodeClient

PROOF, WRONG = b"P" * 32, b"W" * 32


class NetworkTests(SynchronousTestCase):
    """
    Networks, through the control protocol.
    """

    def setUp(self) -> None:
        self.lab = Lab()
        self.a, self.b, self.c = (self.lab.login(name) for name in "abc")

    def create(self, name: str = "home", proof: bytes = PROOF, by: NodeClient | None = None) -> bytes:
        identifier: bytes = self.lab.call(by or self.a, control.CreateNetwork, name=name, proof=proof)[
            "network"
        ]
        return identifier

    def join(self, name: str = "home", proof: bytes = PROOF, by: NodeClient | None = None) -> bytes:
        identifier: bytes = self.lab.call(by or self.b, control.JoinNetwork, name=name, proof=proof)[
            "network"
        ]
        return identifier

    def rows(self, table: sa.Table) -> list[Any]:
        found: list[Any] = self.lab.inStore(lambda connection: connection.execute(sa.select(table)).all())
        return found

    def test_join(self) -> None:
        """Who knows the password joins; joining again changes nothing."""
        identifier = self.create()
        self.assertEqual(identifier, self.join())
        self.assertEqual(identifier, self.join())
        self.assertEqual(2, len(self.rows(tables.members)))

    def test_refusals(self) -> None:
        """A wrong password, a missing one, one too many and an unknown network give the same text, and change nothing."""
        self.create()
        self.create("open", b"")
        texts = set()
        for name, proof in (
            ("home", WRONG),
            ("home", b""),
            ("open", WRONG),
            ("nowhere", PROOF),
            ("nowhere", b""),
        ):
            with self.assertRaises(control.Denied) as caught:
                self.join(name, proof)
            texts.add(str(caught.exception))
        self.assertEqual(1, len(texts))
        self.assertEqual(2, len(self.rows(tables.members)))

    def test_open(self) -> None:
        """A network without a password is joined without one."""
        self.assertEqual(self.create("open", b""), self.join("open", b""))

    def test_taken(self) -> None:
        """A name is taken whatever its case and normal form, but a join has to write it as its founder did."""
        self.create("Caf\u00e9")
        for name in ("Caf\u00e9", "CAFE\u0301", "caf\u00e9"):
            with self.assertRaisesRegex(control.Denied, "exists already"):
                self.create(name)
        with self.assertRaisesRegex(control.Denied, "no such network"):
            self.join("caf\u00e9")
        self.join("Cafe\u0301")

    def test_badNames(self) -> None:
        """A name that is empty, too long, or holds what cannot be seen is refused, for founders and for members."""
        for name in ("", "x" * 65, "a\nb", "a\u202eb", " a", "\u200b", "a\x00"):
            for command in (control.CreateNetwork, control.JoinNetwork):
                with self.assertRaisesRegex(control.Denied, "the network's name"):
                    self.lab.call(self.a, command, name=name, proof=PROOF)
        self.create("x" * 64)

    def test_badProof(self) -> None:
        """A proof of another length than 32 bytes is refused."""
        for proof in (b"x", b"x" * 31, b"x" * 33):
            with self.assertRaisesRegex(control.Denied, "32 bytes"):
                self.create("home", proof)

    def test_verifier(self) -> None:
        """The database holds a salted verifier, and nothing of the proof."""
        self.create("one")
        self.create("two")
        one, two = self.rows(tables.networks)
        self.assertNotEqual(one.salt, two.salt)
        self.assertNotEqual(one.verifier, two.verifier)
        self.assertNotIn(PROOF, (one.verifier, two.verifier))

    def test_guessesOfNode(self) -> None:
        """After ten wrong passwords in a minute a node is refused unheard, and heard again later; others are not."""
        self.create()
        for _ in range(10):
            with self.assertRaises(control.Denied):
                self.join(proof=WRONG)
        with self.assertRaises(control.TooMany):
            self.join(proof=WRONG)
        with self.assertRaises(control.TooMany):
            self.join(proof=PROOF)
        self.join(by=self.c)
        self.lab.advance(25)
        for each in (self.a, self.b, self.c):
            self.lab.call(each, control.Ping)
        with self.assertRaises(control.TooMany):
            self.join()
        self.lab.advance(25)
        for each in (self.a, self.b, self.c):
            self.lab.call(each, control.Ping)
        self.lab.advance(10)
        self.join()

    def test_tenInAnyMinute(self) -> None:
        """However a node spreads its wrong passwords, ten of them are looked at in a minute."""
        self.create()
        denied = 0
        for _ in range(115):
            with contextlib.suppress(control.TooMany):
                try:
                    self.join(proof=WRONG)
                except control.Denied:
                    denied += 1
            self.lab.advance(0.5)
            for each in (self.a, self.b):
                self.lab.call(each, control.Ping)
        self.assertEqual(10, denied)

    def test_guessesOfNetwork(self) -> None:
        """After sixty wrong passwords in a minute from any nodes a network is closed to guesses, another is not."""
        self.create()
        self.create("other")
        guessers = [self.lab.login(f"guesser{number}") for number in range(7)]
        refused = 0
        for number in range(70):
            try:
                self.join(proof=WRONG, by=guessers[number % 7])
            except control.TooMany:
                refused += 1
            except control.Denied:
                pass
        self.assertEqual(10, refused)
        with self.assertRaises(control.TooMany):
            self.join()
        self.join("other")

    def test_rightPasswordsAreFree(self) -> None:
        """Right passwords count for nothing."""
        self.create()
        joined = set()
        for _ in range(100):
            self.lab.clock.advance(0.25)
            self.lab.call(self.c, control.Ping)
            joined.add(self.join(by=self.b))
        self.assertEqual(1, len(joined))

    def test_maximum(self) -> None:
        """A node is in at most 256 networks, whether it founded or joined them."""
        for number in range(256):
            self.lab.clock.advance(0.2)
            self.create(f"n{number}")
            for each in (self.a, self.b):
                self.lab.call(each, control.Ping)
        with self.assertRaisesRegex(control.TooMany, "256"):
            self.create("one more")
        self.create("others", by=self.b)
        with self.assertRaisesRegex(control.TooMany, "256"):
            self.join("others", by=self.a)
        self.lab.call(self.a, control.LeaveNetwork, network=self.rows(tables.networks)[0].id)
        self.join("others", by=self.a)

    def test_leave(self) -> None:
        """Who leaves is gone for the others and gets nothing more; a stranger cannot leave."""
        home = self.lab.network("home", self.a, self.b)
        with self.assertRaisesRegex(control.Denied, "no member"):
            self.lab.call(self.c, control.LeaveNetwork, network=home)
        self.lab.call(self.b, control.LeaveNetwork, network=home)
        self.assertEqual([(self.b.key, "gone")], self.a.states())
        self.lab.call(self.a, control.SetNick, nick="alone")
        self.assertEqual([], self.b.pushed)
        with self.assertRaises(control.Denied):
            self.lab.call(self.b, control.LeaveNetwork, network=home)

    def test_lastLeaves(self) -> None:
        """With its last member a network ends, and its name is free."""
        home = self.create()
        self.lab.call(self.a, control.LeaveNetwork, network=home)
        self.assertEqual(([], []), (self.rows(tables.networks), self.rows(tables.members)))
        self.assertNotEqual(home, self.create(by=self.b))

    def test_ownerLeaves(self) -> None:
        """The longest member follows an owner who leaves, and still is the owner after a restart."""
        home = self.lab.network("home", self.a, self.c, self.b)
        self.lab.call(self.a, control.LeaveNetwork, network=home)
        self.lab.start()
        self.assertEqual(self.c.key, self.lab.mediator.presence.networks[home].owner)

    def test_restart(self) -> None:
        """Networks and members are there after a restart."""
        home = self.lab.network("home", self.a, self.b)
        self.lab.start()
        network = self.lab.mediator.presence.networks[home]
        self.assertEqual(([self.a.key, self.b.key], True), (list(network.members), network.protected))

    def test_sameWork(self) -> None:
        """A wrong password and an unknown network cost the same statements and one verifier each."""
        self.create()
        counts = []
        for name in ("home", "nowhere"):
            statements: list[str] = []

            def note(
                conn: Any, cursor: Any, statement: str, *rest: Any, seen: list[str] = statements
            ) -> None:
                seen.append(statement)

            sa.event.listen(self.lab.engine, "before_cursor_execute", note)
            with self.assertRaises(control.Denied):
                self.join(name, WRONG)
            sa.event.remove(self.lab.engine, "before_cursor_execute", note)
            counts.append(statements)
        self.assertEqual(counts[0], counts[1])

    def test_sameTime(self) -> None:
        """A wrong password and an unknown network are answered at the same time, though finding one takes longer."""
        self.create()
        took = 0.0

        def submit(work: Any) -> Deferred[Any]:
            answer: Deferred[Any] = maybeDeferred(work)
            return deferLater(self.lab.clock, took, lambda: answer)

        self.lab.store._submit = submit
        for work, expected in ((0.011, 0.1), (0.012, 0.1), (0.099, 0.1), (0.123, 0.2)):
            for name in ("home", "nowhere"):
                took, began, answers = work, self.lab.clock.seconds(), list[Any]()
                self.b.callRemote(control.JoinNetwork, name=name, proof=WRONG).addErrback(answers.append)
                self.lab.flush()
                while not answers:
                    self.lab.advance(0.001, 0.001)
                self.assertAlmostEqual(expected, self.lab.clock.seconds() - began, delta=0.0015)

    def test_folded(self) -> None:
        """Names that differ only in case fold to one."""
        self.assertEqual(networks.folded("STRASSE"), networks.folded("stra\u00dfe"))
