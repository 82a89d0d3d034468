"""
Tests for L{vnet.server.presence}: no database, no connection.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.protocols.amp import AMP
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols import control
from vnet.server.accounts import Account
from vnet.server.networks import StoredNetwork
from vnet.server.presence import LOST_FOR, RING, Change, Network, Presence, Synchronisation

EPOCH = b"epoch..."
HOME, WORK = b"h" * 16, b"w" * 16


def key(name: str) -> bytes:
    """
    @return: the key of a node.
    """
    return name.encode().ljust(32, b".")


def account(name: str, present: bool = True) -> Account:
    """
    @return: a node as the database has it.
    """
    return Account(ord(name[0]), key(name), f"100.64.0.{ord(name[0])}", "fd00::1", name, present)


def pages(
    presence: Presence, name: str, held: dict[bytes, int] | None = None, epoch: bool = True
) -> list[dict[str, Any]]:
    """
    @return: what a node gets that synchronises.
    """
    return list(Synchronisation(presence, key(name), EPOCH, held or {}, epoch).pages())


class PresenceCase(SynchronousTestCase):
    """
    Has three nodes, of which two are in one network and two in another.
    """

    def setUp(self) -> None:
        self.presence = Presence()
        for name in "abc":
            list(self.presence.login(account(name)))
        self.home = self.network(HOME, "home", "a", "b")
        self.work = self.network(WORK, "work", "b", "c")

    def network(self, identifier: bytes, name: str, *members: str) -> Network:
        self.presence.create(identifier, name, key(members[0]), True)
        for member in members[1:]:
            list(self.presence.join(identifier, key(member)))
        for member in members:
            self.presence.listen(key(member), identifier)
        return self.presence.networks[identifier]

    def one(self, changes: Any) -> Change:
        (change,) = changes
        self.assertIsInstance(change, Change)
        found: Change = change
        return found


class PeersTests(PresenceCase):
    """
    L{Presence.peers}.
    """

    def assertPeers(self, *pairs: str) -> None:
        for one in "abc?":
            for other in "abc?":
                expected = one + other in pairs or other + one in pairs
                self.assertIs(expected, self.presence.peers(key(one), key(other)), one + other)

    def test_sharedNetwork(self) -> None:
        """Those who share a network are peers, nobody else, and nobody with itself."""
        self.assertPeers("ab", "bc")

    def test_left(self) -> None:
        """Who has left is nobody's peer in that network from then on."""
        list(self.presence.leave(HOME, key("b"), key("a")))
        self.assertPeers("bc")

    def test_ended(self) -> None:
        """Nobody is a peer in a network that has ended."""
        list(self.presence.leave(HOME, key("b"), key("a")))
        list(self.presence.leave(HOME, key("a"), None))
        self.assertPeers("bc")
        self.assertNotIn(HOME, self.presence.networks)

    def test_offlineThere(self) -> None:
        """Who is offline in the only network that they share is no peer, whichever of them it is."""
        list(self.presence.setOnline(HOME, key("a"), False))
        list(self.presence.setOnline(WORK, key("b"), False))
        self.assertPeers()
        list(self.presence.setOnline(HOME, key("a"), True))
        self.assertPeers("ab")

    def test_another(self) -> None:
        """A second network that both are online in is enough."""
        self.network(b"x" * 16, "x", "a", "b")
        list(self.presence.setOnline(HOME, key("a"), False))
        self.assertPeers("ab", "bc")


class ChangeTests(PresenceCase):
    """
    What changes, and who is told.
    """

    def test_states(self) -> None:
        """Each state of a node is one change in each of its networks, once, to the members who listen."""
        for change, state in (
            (self.presence.lose(key("b"), 1.0), "lost"),
            (self.presence.login(account("b")), "online"),
            (self.presence.logout(key("b")), "offline"),
        ):
            told = list(change)
            self.assertEqual([HOME, WORK], [each.network for each in told])
            self.assertEqual([state] * 2, [each.member["state"] for each in told])
            self.assertEqual([(key("a"),), (key("c"),)], [each.listeners for each in told])
        self.assertEqual([], list(self.presence.logout(key("b"))))

    def test_versions(self) -> None:
        """Versions grow by one with each change of that network, and of no other."""
        before = self.home.version, self.work.version
        change = self.one(self.presence.setOnline(HOME, key("a"), False))
        self.assertEqual(before[0] + 1, change.version)
        self.assertEqual((before[0] + 1, before[1]), (self.home.version, self.work.version))

    def test_nothingNew(self) -> None:
        """What changes nothing is no change."""
        for changes in (
            self.presence.setOnline(HOME, key("a"), True),
            self.presence.setNick(key("a"), "a"),
            self.presence.join(HOME, key("a")),
            self.presence.login(account("a")),
        ):
            self.assertEqual([], list(changes))

    def test_gone(self) -> None:
        """Of a member that left only the key is told, then and later, to those who remain."""
        change = self.one(self.presence.leave(HOME, key("b"), key("a")))
        gone = {"key": key("b"), "address": "", "address6": "", "nick": "", "state": "gone"}
        self.assertEqual((gone, (key("a"),)), (change.member, change.listeners))
        list(self.presence.setNick(key("b"), "after"))
        ((network,),) = [page["networks"] for page in pages(self.presence, "a", {HOME: change.version - 1})]
        self.assertEqual([gone], network["members"])

    def test_newOwner(self) -> None:
        """Another owner takes a version of its own."""
        before = self.home.version
        change = self.one(self.presence.leave(HOME, key("a"), key("b")))
        self.assertEqual((before + 2, key("b")), (change.version, self.home.owner))

    def test_lostForLong(self) -> None:
        """Who has been lost for a week is offline, one node at a time, and not before; who is offline stays so."""
        for name in "ab":
            list(self.presence.lose(key(name), 10.0))
        list(self.presence.logout(key("c")))
        self.assertEqual([], list(self.presence.expire(10.0 + LOST_FOR - 1)))
        batches = list(self.presence.expire(10.0 + LOST_FOR))
        self.assertEqual([[HOME], [HOME, WORK]], [[each.network for each in batch] for batch in batches])
        self.assertEqual({"offline"}, {each.member["state"] for batch in batches for each in batch})
        self.assertEqual([], list(self.presence.expire(10.0 + LOST_FOR)))

    def test_expiryInterrupted(self) -> None:
        """An expiry that is broken off goes on with the next node."""
        for name in "abc":
            list(self.presence.lose(key(name), 0.0))
        expired = []
        for _ in range(3):
            first = next(self.presence.expire(LOST_FOR))
            expired.append(first[0].member["key"])
        self.assertEqual([key("a"), key("b"), key("c")], expired)

    def test_load(self) -> None:
        """From the database, who had not logged out is lost, for a week from then on."""
        presence = Presence()
        stored = StoredNetwork(HOME, "home", key("a"), True, ((key("a"), True), (key("b"), False)))
        presence.load([account("a"), account("b"), account("c", False)], [stored], 100.0)
        self.assertEqual(["lost", "lost", "offline"], [node.state for node in presence.nodes.values()])
        self.assertEqual({key("a"): True, key("b"): False}, presence.networks[HOME].members)
        self.assertEqual([], list(presence.expire(99.0 + LOST_FOR)))


class SynchronisationTests(PresenceCase):
    """
    L{Synchronisation}.
    """

    def test_onlyOwnNetworks(self) -> None:
        """A node gets the networks that it is a member of, whatever it says that it holds."""
        for held in ({}, {WORK: 1}, {HOME: 0, WORK: 99}):
            (page,) = pages(self.presence, "a", held)
            self.assertEqual([HOME], [network["network"] for network in page["networks"]])
            self.assertEqual([WORK] if WORK in held else [], page["gone"])

    def test_ring(self) -> None:
        """The last 256 versions are given as a delta, an older one and one of the future as the whole."""
        for number in range(RING):
            list(self.presence.setNick(key("a"), f"a{number}"))
        now = self.home.version
        for held, whole in ((now - RING, False), (now - RING - 1, True), (now + 1, True), (-5, True)):
            ((network,),) = [page["networks"] for page in pages(self.presence, "b", {HOME: held, WORK: 2})]
            self.assertIs(whole, network["whole"], held)
        self.assertTrue(pages(self.presence, "b", {HOME: now}, epoch=False)[0]["networks"][0]["whole"])

    def test_leavesMeanwhile(self) -> None:
        """Who leaves while it reads its pages gets no member of that network any more."""
        for number in range(500):
            list(self.presence.login(Account(number, b"%032d" % number, "1.2.3.4", "fd00::2", "n", True)))
            list(self.presence.join(HOME, b"%032d" % number))
        synchronisation = Synchronisation(self.presence, key("b"), EPOCH, {}, False)
        reading = synchronisation.pages()
        self.assertEqual(control.PAGE - 1, len(next(reading)["networks"][0]["members"]))
        list(self.presence.leave(HOME, key("b"), key("a")))
        rest = [network["network"] for page in reading for network in page["networks"]]
        self.assertEqual([WORK], rest)
        self.assertIn(HOME, synchronisation.told)

    def test_leavesBeforeItsTurn(self) -> None:
        """Who leaves a network whose pages have not begun gets nothing of it, and will be told so."""
        for number in range(500):
            list(self.presence.login(Account(number, b"%032d" % number, "1.2.3.4", "fd00::2", "n", True)))
            list(self.presence.join(HOME, b"%032d" % number))
        synchronisation = Synchronisation(self.presence, key("b"), EPOCH, {}, False)
        reading = synchronisation.pages()
        next(reading)
        list(self.presence.leave(WORK, key("b"), key("c")))
        self.assertNotIn(WORK, [network["network"] for page in reading for network in page["networks"]])
        self.assertIn(WORK, synchronisation.told)

    def test_lansCount(self) -> None:
        """LANs count in the pages, so that the largest members fit in an answer; nothing is lost between them."""
        prefixes = [f"2001:db8:{number}:ffff:ffff:ffff:ffff:ffff/128" for number in range(8)]
        for number in range(200):
            node = b"%032d" % number
            list(
                self.presence.login(
                    Account(number, node, "100.100.100.100", "f" * 39, "\U0001f600" * 64, True)
                )
            )
            list(self.presence.join(HOME, node))
            if 90 <= number < 98:
                for prefix in prefixes:
                    list(self.presence.setLan(HOME, node, prefix, False))
        told: dict[bytes, int] = {}
        for page in pages(self.presence, "a"):
            members = [each for network in page["networks"] for each in network["members"]]
            lans = [len(each.get("lans") or ()) for each in members]
            self.assertLessEqual(len(page["networks"]) + len(members) + sum(lans), control.PAGE)
            box = control.Synchronise.makeResponse({**page, "cursor": b""}, AMP())
            self.assertLess(len(box[b"networks"]), 65536)
            told.update(zip([each["key"] for each in members], lans, strict=True))
        self.assertEqual((202, 64), (len(told), sum(told.values())))
        self.assertEqual(8, sum(count == 8 for count in told.values()))

    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("onfljqsk")), max_size=40),
        st.integers(0, 40),
    )
    def test_deltaIsWhole(self, steps: list[tuple[str, str]], held: int) -> None:
        """Whatever happens, who applies a delta to what it held has what the whole says."""
        presence = Presence()
        for name in "abcde":
            list(presence.login(account(name)))
        presence.create(HOME, "home", key("e"), True)
        view: dict[bytes, Any] = {}
        version = 0
        for number, (name, step) in enumerate(steps):
            if number == held:
                ((network,),) = [page["networks"] for page in pages(presence, "e")]
                view, version = {each["key"]: each for each in network["members"]}, network["version"]
            self.step(presence, key(name), step, number)
        (page,) = pages(presence, "e", {HOME: version})
        for network in page["networks"]:
            if network["whole"]:
                view = {}
            view.update({each["key"]: each for each in network["members"]})
        view = {each: member for each, member in view.items() if member["state"] != "gone"}
        ((network,),) = [page["networks"] for page in pages(presence, "e")]
        self.assertEqual({each["key"]: each for each in network["members"]}, view)

    def step(self, presence: Presence, node: bytes, step: str, number: int) -> None:
        if step == "j":
            list(presence.join(HOME, node))
        elif step == "l":
            list(presence.lose(node, 0.0))
        elif step == "n":
            list(presence.setNick(node, f"nick{number}"))
        elif node in presence.networks[HOME].members:
            if step in "sk":
                # Shares a LAN, which is accepted or not, or keeps it to itself.
                accepted = bool(number % 3) if step == "s" else None
                list(presence.setLan(HOME, node, "192.168.7.0/24", accepted))
            elif step == "q":
                list(presence.leave(HOME, node, key("e")))
            else:
                list(presence.setOnline(HOME, node, step == "o"))
