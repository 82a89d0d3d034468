"""
Tests for L{vnet.client.names.registry}.
"""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from vnet.client.names.registry import Registry
from vnet.client.names.roster import Roster, RosterNetwork

REALM, OWN = b"r" * 16, b"o" * 32
ANN, BOB, EVE = b"a" * 32, b"b" * 32, b"e" * 32
HOME, WORK = b"h" * 16, b"w" * 16


def roster(*networks: RosterNetwork, whole: bool = True, realm: bytes = REALM, nick: str = "me") -> Roster:
    return Roster(realm, OWN, nick, networks, whole)


class RegistryTests(SynchronousTestCase):
    """
    Tests of L{Registry}.
    """

    def setUp(self) -> None:
        self.registry = Registry()

    def test_names(self) -> None:
        """
        A member has a name in each network and one over all; so has this node.
        """
        self.registry.settle(roster(RosterNetwork(HOME, "The Home", {BOB: "Bob", OWN: "old"})))
        self.assertEqual(self.registry.nameIn(HOME, BOB), "bob.the-home.vnet")
        self.assertEqual(self.registry.nameIn(HOME, OWN), "me.the-home.vnet")
        self.assertEqual(self.registry.nameOf(BOB), "bob.vnet")
        self.assertEqual(self.registry.find(["bob", "the-home"]), BOB)
        self.assertEqual(self.registry.find(["bob"]), BOB)
        self.assertEqual(self.registry.find(["me"]), OWN)
        self.assertTrue(self.registry.isNetwork("the-home"))
        for labels in ([], ["bob", "work"], ["x", "bob", "the-home"], ["the-home"], ["old"]):
            self.assertIsNone(self.registry.find(labels))

    def test_ambiguous(self) -> None:
        """
        C{bob.vnet} is the first Bob that this node knew; each is C{bob} in a network of his own.
        """
        self.registry.settle(roster(RosterNetwork(WORK, "work", {BOB: "bob"})))
        home = RosterNetwork(HOME, "home", {EVE: "bob"})
        self.registry.settle(roster(home, RosterNetwork(WORK, "work", {BOB: "bob"})))
        self.assertEqual(self.registry.find(["bob"]), BOB)
        self.assertEqual(self.registry.find(["bob-2"]), EVE)
        self.assertEqual(self.registry.find(["bob", "home"]), EVE)
        self.assertEqual(self.registry.find(["bob", "work"]), BOB)

    def test_networks(self) -> None:
        """
        Networks whose names make one label are told apart as members are.
        """
        self.registry.settle(roster(RosterNetwork(HOME, "a b", {ANN: "ann"})))
        both = [RosterNetwork(WORK, "a-b", {ANN: "ann"}), RosterNetwork(HOME, "a b", {ANN: "ann"})]
        self.registry.settle(roster(*both))
        self.assertEqual(self.registry.nameIn(HOME, ANN), "ann.a-b.vnet")
        self.assertEqual(self.registry.nameIn(WORK, ANN), "ann.a-b-2.vnet")

    def test_left(self) -> None:
        """
        A network that this node has left has no names, once that is sure.
        """
        self.registry.settle(roster(RosterNetwork(HOME, "home", {BOB: "bob"})))
        self.registry.settle(roster(whole=False))
        self.assertEqual(self.registry.find(["bob", "home"]), BOB)
        self.registry.settle(roster())
        self.assertIsNone(self.registry.find(["bob", "home"]))
        self.assertIsNone(self.registry.find(["bob"]))

    def test_restart(self) -> None:
        """
        Who was first is known after a restart; at another mediator it counts for nothing.
        """
        path = Path(self.mktemp())
        self.registry.settle(roster(RosterNetwork(HOME, "home", {BOB: "bob"})))
        self.registry.save(path)
        loaded = Registry.load(path)
        self.assertFalse(loaded.settle(roster(RosterNetwork(HOME, "home", {BOB: "bob"}))))
        loaded.settle(roster(RosterNetwork(HOME, "home", {EVE: "bob", BOB: "bob"})))
        self.assertEqual(loaded.nameIn(HOME, BOB), "bob.home.vnet")
        loaded.settle(roster(RosterNetwork(HOME, "home", {EVE: "bob", BOB: "bob"}), realm=b"s" * 16))
        self.assertEqual(loaded.nameIn(HOME, EVE), "bob.home.vnet")

    def test_damaged(self) -> None:
        """
        A file that is damaged is not read; where there is none, nobody has a name.
        """
        path = Path(self.mktemp())
        self.assertFalse(Registry.load(path).isNetwork("home"))
        self.registry.settle(roster(RosterNetwork(HOME, "home", {BOB: "bob"})))
        self.registry.save(path)
        good = path.read_bytes()
        for bad in (
            b"",
            b"[]",
            good[:-1],
            good.replace(b'"version":1', b'"version":2'),
            good.replace(b'"bob"', b'"bob."'),
            good.replace(BOB.hex().encode(), b"00"),
            good.replace(HOME.hex().encode(), b"xy"),
            b"[" * 100_000,
        ):
            path.write_bytes(bad)
            self.assertRaises(ValueError, Registry.load, path)
