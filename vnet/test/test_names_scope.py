"""
Tests for L{vnet.client.names.scope}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from vnet.client.names.scope import Scope

BOB, EVE, OWN = b"b", b"e", b"o"


class ScopeTests(SynchronousTestCase):
    """
    Tests of L{Scope}.
    """

    def setUp(self) -> None:
        self.scope = Scope()

    def test_first(self) -> None:
        """
        Of two with one name the first has it, and the other a number.
        """
        self.assertTrue(self.scope.settle({BOB: "bob", EVE: "bob", OWN: None}))
        self.assertEqual(self.scope.holders, {"bob": BOB, "bob-2": EVE})
        self.assertFalse(self.scope.settle({EVE: "bob", BOB: "bob", OWN: None}))

    def test_renamed(self) -> None:
        """
        Who was there first does not get a name by taking it later.
        """
        self.scope.settle({EVE: "eve", BOB: "bob"})
        self.scope.settle({EVE: "bob", BOB: "bob"})
        self.assertEqual(self.scope.labels, {BOB: "bob", EVE: "bob-2"})
        self.scope.settle({EVE: "eve", BOB: "bob"})
        self.assertEqual(self.scope.labels, {BOB: "bob", EVE: "eve"})

    def test_numbered(self) -> None:
        """
        A name that looks like a number's is not shared either.
        """
        self.scope.settle({BOB: "bob-2", EVE: "bob"})
        self.scope.settle({BOB: "bob-2", EVE: "bob", b"c": "bob", b"d": "bob-2"})
        self.assertEqual(self.scope.labels, {BOB: "bob-2", EVE: "bob", b"c": "bob-3", b"d": "bob-2-2"})

    def test_gone(self) -> None:
        """
        The name of one that is gone for sure is free; of one that is only not seen it is not.
        """
        self.scope.settle({BOB: "bob"})
        self.scope.settle({EVE: "bob"}, release=False)
        self.assertEqual(self.scope.labels, {BOB: "bob", EVE: "bob-2"})
        self.scope.settle({EVE: "bob"})
        self.scope.settle({EVE: "bob", b"c": "bob"})
        self.assertEqual(self.scope.labels, {EVE: "bob-2", b"c": "bob"})

    def test_own(self) -> None:
        """
        This computer has its own name, whoever had it before.
        """
        self.scope.settle({BOB: "bob", OWN: "me"}, OWN)
        self.scope.settle({BOB: "bob", OWN: "bob"}, OWN)
        self.assertEqual(self.scope.labels, {OWN: "bob", BOB: "bob-2"})
        self.assertFalse(self.scope.settle({BOB: "bob", OWN: "bob"}, OWN))

    def test_many(self) -> None:
        """
        Thousands with one name have thousands of names.
        """
        self.scope.settle({b"%d" % number: "bob" for number in range(5000)})
        self.assertEqual(len(self.scope.holders), 5000)
        self.assertIn("bob-5000", self.scope.holders)

    def test_damaged(self) -> None:
        """
        Two labels of one holder, which a file may name, are one.
        """
        self.assertEqual(Scope({"a": BOB, "b": BOB}).holders, {"a": BOB})
