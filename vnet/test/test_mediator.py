"""
Tests for L{vnet.server.mediator}, through the control protocol.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.exc import OperationalError
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.trial.unittest import SynchronousTestCase

from vnet.errors import ConfigurationError
from vnet.protocols import control
from vnet.server.tickets import Tickets
from vnet.test.mediatorlab import Lab, NodeClient


class LoginTests(SynchronousTestCase):
    """
    Who is let in, and what it is given.
    """

    def test_answer(self) -> None:
        """A login gives the node its addresses, the mediator's blocks, clock, realm and STUN servers."""
        lab = Lab(tickets=Tickets(["turn:r.example:3478"], b"s" * 32, lambda: 1000.0))
        lab.clock.advance(12.5)
        client = lab.connect("a")
        answer = lab.call(client, control.Login, **client.credentials())
        self.assertTrue(answer["address"].startswith("100."))
        self.assertTrue(answer["address6"].startswith("fd01:203:405:"))
        self.assertEqual(("100.64.0.0/10", "fd01:203:405::/48"), (answer["pool"], answer["pool6"]))
        self.assertEqual((b"R" * 16, 12_500_000, [":3478"]), (answer["realm"], answer["now"], answer["stun"]))
        self.assertEqual(["turn:r.example:3478"], [relay["uri"] for relay in answer["relays"]])

    def test_relays(self) -> None:
        """A node that is logged in gets fresh credentials, not without end; others are not hindered by it."""
        now = [1000.0]
        lab = Lab(tickets=Tickets(["turn:r.example:3478"], b"s" * 32, lambda: now[0]))
        a, b = lab.login("a"), lab.login("b")
        first = lab.call(a, control.Relays)["relays"]
        now[0] += 7200
        later = lab.call(a, control.Relays)["relays"]
        self.assertEqual(["turn:r.example:3478"], [relay["uri"] for relay in later])
        expiries = [int(each[0]["username"].partition(":")[0]) for each in (first, later)]
        self.assertEqual(7200, expiries[1] - expiries[0])
        with self.assertRaises(control.TooMany):
            for _ in range(20):
                lab.call(a, control.Relays)
        self.assertEqual(1, len(lab.call(b, control.Relays)["relays"]))
        lab.clock.advance(21)
        self.assertEqual(1, len(lab.call(a, control.Relays)["relays"]))

    def test_sameAddress(self) -> None:
        """A node has the same addresses at each login, over restarts and when the pool grows."""
        lab = Lab(pool="100.64.0.0/24")
        client = lab.connect("a")
        first = lab.call(client, control.Login, **client.credentials())
        lab.pool = "100.64.0.0/16"
        lab.start()
        client = lab.connect("a")
        second = lab.call(client, control.Login, **client.credentials())
        self.assertEqual((first["address"], first["address6"]), (second["address"], second["address6"]))
        self.assertEqual("100.64.0.0/16", second["pool"])

    def test_movedPool(self) -> None:
        """A pool that does not hold the addresses that were given is refused at the start."""
        lab = Lab()
        lab.login("a")
        lab.pool = "203.0.113.0/24"
        with self.assertRaisesRegex(ConfigurationError, "grow, but not move"):
            lab.start()

    def test_badNick(self) -> None:
        """A nickname with control characters is refused, and the connection closed."""
        lab = Lab()
        client = lab.connect("a")
        with self.assertRaisesRegex(control.LoginFailed, "nickname"):
            lab.call(client, control.Login, **client.credentials("a\x1b[2J"))
        self.assertIsNotNone(client.lost)

    def test_poolFull(self) -> None:
        """A node that finds no address left is refused; those that have one still log in."""
        lab = Lab(pool="203.0.113.0/24")
        for number in range(253):
            lab.cut(lab.login(f"node{number}"))
        with self.assertRaisesRegex(control.LoginFailed, "larger --pool"):
            lab.login("late")
        lab.login("node0")

    def test_replaced(self) -> None:
        """A second login with a key ends the first: both are told, and the node's peers hear nothing."""
        lab = Lab()
        a, b = lab.login("a"), lab.login("b")
        lab.network("home", a, b)
        again = lab.login("a")
        self.assertIsNotNone(a.lost)
        self.assertEqual([("Replaced", {"byYou": False})], a.pushed)
        self.assertEqual([("Replaced", {"byYou": True})], again.pushed)
        self.assertEqual([], b.pushed)
        self.assertIsNone(again.lost)

    def test_replacedHearsNothing(self) -> None:
        """After a second login, changes go to the new session alone, once it is in step."""
        lab = Lab()
        a, b = lab.login("a"), lab.login("b")
        lab.network("home", a, b)
        again = lab.member("a")
        lab.call(b, control.SetNick, nick="bee")
        self.assertIn("MemberChanged", again.names())
        self.assertNotIn("MemberChanged", a.names())


class SlowStoreTests(SynchronousTestCase):
    """
    A database that takes its time.
    """

    def setUp(self) -> None:
        self.work: list[tuple[Any, Deferred[Any]]] = []
        self.slow = False
        self.lab = Lab(submit=self.submit)

    def submit(self, work: Any) -> Deferred[Any]:
        if not self.slow:
            return maybeDeferred(work)
        self.work.append((work, Deferred()))
        return self.work[-1][1]

    def finish(self) -> None:
        """
        Do all that waits, in order.
        """
        waiting, self.work = self.work, []
        for work, deferred in waiting:
            maybeDeferred(work).chainDeferred(deferred)
        self.lab.flush()

    def test_goneMeanwhile(self) -> None:
        """A node whose connection breaks while its login is stored is not logged in."""
        self.slow = True
        client = self.lab.connect("a")
        client.callRemote(control.Login, **client.credentials()).addErrback(lambda _: None)
        self.lab.flush()
        self.lab.cut(client)
        self.finish()
        self.assertEqual({}, self.lab.mediator.sessions)
        self.lab.advance(30)
        self.assertEqual([], self.flushLoggedErrors())

    def test_signalAfterLogout(self) -> None:
        """A node that is logging out is nobody's peer any more, though its connection is there for a while."""
        a, b = self.lab.login("a"), self.lab.login("b")
        self.lab.network("home", a, b)
        self.slow = True
        a.callRemote(control.Logout).addErrback(lambda _: None)
        self.lab.flush()
        b.pushed.clear()
        for command, more in ((control.ForwardSignal, {"sealed": b"x"}), (control.Connect, {})):
            with self.assertRaises(control.NotPeers):
                self.lab.call(a, command, peer=b.key, **more)
        self.assertEqual([], b.pushed)

    def test_backBeforeLogoutIsStored(self) -> None:
        """A node that is back before its logout is stored counts as lost, not as offline, after a crash."""
        a = self.lab.login("a")
        self.slow = True
        a.callRemote(control.Logout).addErrback(lambda _: None)
        self.lab.flush()
        again = self.lab.connect("a")
        again.callRemote(control.Login, **again.credentials("a")).addErrback(lambda _: None)
        self.lab.flush()
        self.finish()
        self.slow = False
        self.lab.start()
        self.assertEqual("lost", self.lab.mediator.presence.nodes[a.key].state)

    def test_sameKeyTwiceAtOnce(self) -> None:
        """Of two logins of one new key at the same time one stays, with one address."""
        self.slow = True
        both = [self.lab.connect("a") for _ in range(2)]
        answers: list[Any] = []
        for client in both:
            client.callRemote(control.Login, **client.credentials()).addBoth(answers.append)
        self.lab.flush()
        self.finish()
        self.assertEqual(1, len({answer["address"] for answer in answers}))
        self.assertEqual(1, sum(client.lost is None for client in both))


class StateTests(SynchronousTestCase):
    """
    What members hear of each other.
    """

    def setUp(self) -> None:
        self.lab = Lab()
        self.a, self.b, self.c = (self.lab.login(name) for name in "abc")
        self.home = self.lab.network("home", self.a, self.b)
        self.work = self.lab.network("work", self.b, self.c)
        for each in (self.a, self.b, self.c):
            each.pushed.clear()

    def test_logout(self) -> None:
        """A node that logs out is offline for its peers, for no one else, and its connection is closed."""
        self.lab.call(self.a, control.Logout)
        self.assertEqual([(self.a.key, "offline")], self.b.states())
        self.assertEqual([], self.c.states())
        self.assertIsNotNone(self.a.lost)

    def test_broken(self) -> None:
        """A node whose connection breaks is lost, and online when it is back."""
        self.lab.cut(self.a)
        self.assertEqual([(self.a.key, "lost")], self.b.states())
        self.lab.login("a")
        self.assertEqual([(self.a.key, "lost"), (self.a.key, "online")], self.b.states())

    def test_silent(self) -> None:
        """A node that says nothing is lost within 45 seconds."""
        waiting = 0
        while not self.b.states() and waiting < 60:
            self.lab.call(self.b, control.Ping)
            self.lab.advance(1)
            waiting += 1
        self.assertIn((self.a.key, "lost"), self.b.states())
        self.assertLessEqual(waiting, 45)

    def test_lostForAWeek(self) -> None:
        """A node that has been lost for a week is offline."""
        self.lab.cut(self.a)
        self.lab.cut(self.c)
        self.lab.cut(self.b)
        self.lab.clock.advance(7 * 86400)
        self.lab.mediator.expire()
        page = self.lab.synchronise(self.lab.login("b"))[0]
        states = {m["key"]: m["state"] for network in page["networks"] for m in network["members"]}
        self.assertEqual("offline", states[self.a.key])

    def test_lostAfterRestart(self) -> None:
        """After a restart, who had not logged out is lost, and who had is offline."""
        self.lab.call(self.c, control.Logout)
        self.lab.start()
        page = self.lab.synchronise(self.lab.login("b"))[0]
        states = {m["key"]: m["state"] for network in page["networks"] for m in network["members"]}
        self.assertEqual({self.a.key: "lost", self.b.key: "online", self.c.key: "offline"}, states)

    def test_manyLostForAWeek(self) -> None:
        """Thousands of pushes that are due at the same time are spread."""
        members = [self.lab.login(f"m{number}") for number in range(80)]
        crowd = self.lab.network("crowd", self.a, *members)
        for member in members[40:]:
            self.lab.cut(member)
        before = self.lab.mediator.presence.networks[crowd].version
        for node in self.lab.mediator.presence.nodes.values():
            node.lostAt = -8 * 86400.0
        self.lab.mediator.expire()
        once = self.lab.mediator.presence.networks[crowd].version - before
        self.assertTrue(0 < once < 40, once)
        for _ in range(5):
            self.lab.clock.advance(1)
        self.assertEqual(before + 40, self.lab.mediator.presence.networks[crowd].version)

    def test_stopping(self) -> None:
        """When the mediator itself goes down, nobody is told that nodes are lost."""
        self.lab.mediator.stop()
        self.lab.cut(self.a)
        self.assertEqual([], self.b.pushed)

    def test_offlineInOneNetwork(self) -> None:
        """A node offline in one network is offline there alone, and still after a restart."""
        self.lab.call(self.b, control.SetPresence, network=self.home, online=False)
        self.assertEqual([(self.b.key, "offline")], self.a.states())
        self.assertEqual([], self.c.states())
        self.lab.start()
        page = self.lab.synchronise(self.lab.login("b"))[0]
        self.assertEqual(
            {self.home: False, self.work: True}, {n["network"]: n["online"] for n in page["networks"]}
        )

    def test_nick(self) -> None:
        """A new nickname reaches the peers, and is kept."""
        self.lab.call(self.a, control.SetNick, nick="Ann")
        nicks = [m["nick"] for _, arguments in self.b.pushed for m in arguments["members"]]
        self.assertEqual(["Ann"], nicks)
        with self.assertRaises(control.Denied):
            self.lab.call(self.a, control.SetNick, nick="\u202eevil")

    def test_oneSmallPush(self) -> None:
        """One change is one push to each member that is connected, and of at most 512 bytes."""
        before = len(self.b.pushed)
        self.lab.call(self.a, control.SetNick, nick="x" * 64)
        self.assertEqual(before + 1, len(self.b.pushed))
        arguments = self.b.pushed[-1][1]
        size = len(control.MemberChanged.makeArguments(arguments, self.b).serialize())
        self.assertLessEqual(size, 512)


class SynchronisationTests(SynchronousTestCase):
    """
    How a node gets in step.
    """

    def setUp(self) -> None:
        self.lab = Lab()
        self.a, self.b = self.lab.login("a"), self.lab.login("b")
        self.home = self.lab.network("home", self.a, self.b)

    def version(self, client: NodeClient) -> tuple[bytes, int]:
        page = self.lab.synchronise(client)[-1]
        return page["epoch"], page["networks"][0]["version"]

    def test_whole(self) -> None:
        """Who holds nothing gets all networks, with itself among the members."""
        (page,) = self.lab.synchronise(self.b)
        (network,) = page["networks"]
        self.assertEqual(
            ("home", self.a.key, True, True, True),
            (network["name"], network["owner"], network["protected"], network["online"], network["whole"]),
        )
        self.assertEqual([self.a.key, self.b.key], [m["key"] for m in network["members"]])

    def test_nothing(self) -> None:
        """Who holds the current version gets nothing."""
        epoch, version = self.version(self.b)
        (page,) = self.lab.synchronise(self.b, epoch, {self.home: version})
        self.assertEqual(([], []), (page["networks"], page["gone"]))

    def test_delta(self) -> None:
        """Who holds an older version of this epoch gets only what changed since."""
        epoch, version = self.version(self.b)
        self.lab.login("c")
        c = self.lab.login("c")
        self.lab.call(c, control.JoinNetwork, name="home", proof=b"P" * 32)
        self.lab.call(self.a, control.SetNick, nick="Ann")
        self.lab.call(self.a, control.SetNick, nick="Anna")
        (page,) = self.lab.synchronise(self.b, epoch, {self.home: version})
        (network,) = page["networks"]
        self.assertFalse(network["whole"])
        self.assertEqual(
            [(c.key, "c"), (self.a.key, "Anna")], [(m["key"], m["nick"]) for m in network["members"]]
        )
        self.assertEqual(version + 3, network["version"])

    def test_otherEpoch(self) -> None:
        """Versions of another epoch count for nothing."""
        _, version = self.version(self.b)
        (page,) = self.lab.synchronise(self.b, b"another ", {self.home: version})
        self.assertTrue(page["networks"][0]["whole"])

    def test_tooOld(self) -> None:
        """A version that the mediator does not remember gives the whole."""
        epoch, version = self.version(self.b)
        for number in range(300):
            self.lab.clock.advance(1)
            self.lab.call(self.a, control.SetNick, nick=f"a{number}")
            self.lab.call(self.b, control.Ping)
        (page,) = self.lab.synchronise(self.b, epoch, {self.home: version})
        self.assertTrue(page["networks"][0]["whole"])

    def test_futureVersion(self) -> None:
        """A version that has not been yet gives the whole."""
        epoch, version = self.version(self.b)
        (page,) = self.lab.synchronise(self.b, epoch, {self.home: version + 5})
        self.assertTrue(page["networks"][0]["whole"])

    def test_gone(self) -> None:
        """A network that the node held and is no member of is named."""
        epoch, _ = self.version(self.b)
        (page,) = self.lab.synchronise(self.b, epoch, {b"x" * 16: 4, self.home: 1})
        self.assertEqual([b"x" * 16], page["gone"])

    def test_subscribed(self) -> None:
        """Only after its last page a node gets changes, each of the next version."""
        c = self.lab.login("c")
        self.lab.call(c, control.JoinNetwork, name="home", proof=b"P" * 32)
        self.lab.call(self.a, control.SetNick, nick="one")
        self.assertEqual([], c.pushed)
        _, version = self.version(c)
        self.lab.call(self.a, control.SetNick, nick="two")
        self.assertEqual([version + 1], [arguments["version"] for _, arguments in c.pushed])

    def test_paged(self) -> None:
        """No page has more than 100 entries, and all of them together have each member once."""
        for number in range(248):
            node = self.lab.login(f"n{number}")
            self.lab.call(node, control.JoinNetwork, name="home", proof=b"P" * 32)
            self.lab.cut(node)
        self.lab.call(self.b, control.CreateNetwork, name="other", proof=b"")
        pages = self.lab.synchronise(self.b)
        entries = [len(p["networks"]) + sum(len(n["members"]) for n in p["networks"]) for p in pages]
        self.assertLessEqual(max(entries), control.PAGE)
        homes = [n for p in pages for n in p["networks"] if n["name"] == "home"]
        keys = [m["key"] for n in homes for m in n["members"]]
        self.assertEqual((250, 250), (len(keys), len(set(keys))))
        self.assertEqual([True] + [False] * (len(homes) - 1), [n["whole"] for n in homes])

    def test_changeBetweenPages(self) -> None:
        """What changes while a node reads its pages reaches it after the last."""
        for number in range(120):
            node = self.lab.login(f"n{number}")
            self.lab.call(node, control.JoinNetwork, name="home", proof=b"P" * 32)
            self.lab.cut(node)
        c = self.lab.login("c")
        self.lab.call(c, control.JoinNetwork, name="home", proof=b"P" * 32)
        first = self.lab.call(c, control.Synchronise, epoch=b"", held=[], cursor=b"")
        self.assertNotEqual(b"", first["cursor"])
        self.lab.call(self.a, control.SetNick, nick="changed")
        self.assertEqual([], c.pushed)
        last = self.lab.call(c, control.Synchronise, epoch=b"", held=[], cursor=first["cursor"])
        self.assertEqual(b"", last["cursor"])
        told = first["networks"][0]["version"]
        ((name, change),) = c.pushed
        self.assertEqual(
            (name, told + 1, "changed"), ("MemberChanged", change["version"], change["members"][0]["nick"])
        )

    def test_crowded(self) -> None:
        """A node that is slow to answer is not dropped for the changes of others, and is told all of them in the end."""
        self.b.answering = False
        for number in range(700):
            self.lab.clock.advance(0.2)
            self.lab.call(self.a, control.SetNick, nick=f"a{number}")
            if number % 50 == 0:
                self.lab.call(self.b, control.Ping)
        self.assertIsNone(self.b.lost)
        self.assertLess(len(self.b.pushed), 600)
        told = self.b.pushed[-1][1]["version"]
        self.b.answerAll()
        self.lab.flush()
        name, change = self.b.pushed[-1]
        self.assertEqual("MemberChanged", name)
        self.assertGreater(change["version"], told + 1)
        page = self.lab.synchronise(self.b)[0]
        self.assertEqual("a699", page["networks"][0]["members"][0]["nick"])

    def test_leavesBetweenPages(self) -> None:
        """Who leaves a network gets the page that was ready, and nothing else of that network."""
        for number in range(320):
            node = self.lab.login(f"n{number}")
            self.lab.call(node, control.JoinNetwork, name="home", proof=b"P" * 32)
            self.lab.cut(node)
        page = self.lab.call(self.b, control.Synchronise, epoch=b"", held=[], cursor=b"")
        self.lab.call(self.b, control.LeaveNetwork, network=self.home)
        entries = 0
        while page["cursor"]:
            page = self.lab.call(self.b, control.Synchronise, epoch=b"", held=[], cursor=page["cursor"])
            entries += len(page["networks"])
        self.assertEqual(1, entries)
        self.assertIn(("NetworkGone", {"network": self.home}), self.b.pushed)

    def test_wrongCursor(self) -> None:
        """A cursor that was not given is refused."""
        with self.assertRaises(control.Denied):
            self.lab.call(self.b, control.Synchronise, epoch=b"", held=[], cursor=b"7")

    def test_ownerLeaves(self) -> None:
        """When the owner leaves, the longest member owns the network, and a skipped version says so."""
        c = self.lab.login("c")
        self.lab.call(c, control.JoinNetwork, name="home", proof=b"P" * 32)
        epoch, version = self.version(self.b)
        self.b.pushed.clear()
        self.lab.call(self.a, control.LeaveNetwork, network=self.home)
        self.assertEqual([version + 2], [arguments["version"] for _, arguments in self.b.pushed])
        (page,) = self.lab.synchronise(self.b, epoch, {self.home: version})
        (network,) = page["networks"]
        self.assertEqual((self.b.key, False), (network["owner"], network["whole"]))
        self.assertIn((self.a.key, "gone"), [(m["key"], m["state"]) for m in network["members"]])


class CoordinationTests(SynchronousTestCase):
    """
    Signals and common starts.
    """

    def setUp(self) -> None:
        self.lab = Lab()
        self.a, self.b, self.c = (self.lab.login(name) for name in "abc")
        self.home = self.lab.network("home", self.a, self.b)

    def test_signal(self) -> None:
        """A signal reaches the peer with its sender's key."""
        self.lab.call(self.a, control.ForwardSignal, peer=self.b.key, sealed=b"x" * 4096)
        self.assertEqual([("Signal", {"peer": self.a.key, "sealed": b"x" * 4096})], self.b.pushed)

    def test_signalTooLong(self) -> None:
        """A signal of more than 4,096 bytes is refused."""
        with self.assertRaises(control.Denied):
            self.lab.call(self.a, control.ForwardSignal, peer=self.b.key, sealed=b"x" * 4097)

    def test_strangers(self) -> None:
        """Nodes that share no network cannot signal or connect, whether the other exists or not."""
        for peer in (self.c.key, b"?" * 32, b"", self.a.key):
            with self.assertRaises(control.NotPeers):
                self.lab.call(self.a, control.ForwardSignal, peer=peer, sealed=b"x")
            with self.assertRaises(control.NotPeers):
                self.lab.call(self.a, control.Connect, peer=peer)
        self.assertEqual([], self.c.pushed)

    def test_offlineInTheNetwork(self) -> None:
        """Peers whose only network one of them is offline in are no peers."""
        self.lab.call(self.b, control.SetPresence, network=self.home, online=False)
        for one, other in ((self.a, self.b), (self.b, self.a)):
            with self.assertRaises(control.NotPeers):
                self.lab.call(one, control.ForwardSignal, peer=other.key, sealed=b"x")

    def test_absent(self) -> None:
        """A peer that is not connected is absent."""
        self.lab.cut(self.b)
        with self.assertRaises(control.PeerAbsent):
            self.lab.call(self.a, control.ForwardSignal, peer=self.b.key, sealed=b"x")
        with self.assertRaises(control.PeerAbsent):
            self.lab.call(self.a, control.Connect, peer=self.b.key)

    def test_sameStart(self) -> None:
        """Both get the same start, in the future, and once although both ask."""
        self.lab.call(self.a, control.Connect, peer=self.b.key)
        self.lab.call(self.b, control.Connect, peer=self.a.key)
        ((_, forA),) = self.a.pushed
        ((_, forB),) = self.b.pushed
        self.assertEqual((self.b.key, self.a.key), (forA["peer"], forB["peer"]))
        self.assertEqual(forA["start"], forB["start"])
        self.assertGreater(forA["start"], forA["now"])
        self.lab.advance(2)
        self.lab.call(self.b, control.Connect, peer=self.a.key)
        self.assertEqual(2, len(self.a.pushed))

    def test_rates(self) -> None:
        """A node that signals without end is told to slow down."""
        with self.assertRaises(control.TooMany):
            for _ in range(5000):
                self.lab.call(self.a, control.ForwardSignal, peer=self.b.key, sealed=b"x")


class StorageTests(SynchronousTestCase):
    """
    A database that cannot be written for a while.
    """

    def setUp(self) -> None:
        self.broken = False
        self.lab = Lab(submit=self.submit)
        self.a, self.b = self.lab.login("a"), self.lab.login("b")
        self.home = self.lab.network("home", self.a, self.b)
        self.lab.login("c")
        self.broken = True

    def submit(self, work: Any) -> Deferred[Any]:
        if self.broken:
            return maybeDeferred(self.fail13)
        return maybeDeferred(work)

    def fail13(self) -> None:
        raise OperationalError("INSERT", {}, Exception("database or disk is full"))

    def test_refused(self) -> None:
        """What has to be stored is refused with the reason, changes nothing, and works again later."""
        for command, arguments in (
            (control.CreateNetwork, {"name": "new", "proof": b""}),
            (control.JoinNetwork, {"name": "home", "proof": b"P" * 32}),
            (control.LeaveNetwork, {"network": self.home}),
            (control.SetNick, {"nick": "other"}),
            (control.SetPresence, {"network": self.home, "online": False}),
        ):
            with self.assertRaisesRegex(control.Storage, "disk is full"):
                self.lab.call(self.a, command, **arguments)
        self.assertEqual([], self.b.pushed)
        self.broken = False
        self.lab.call(self.a, control.SetNick, nick="other")
        self.assertEqual(1, len(self.b.pushed))

    def test_goesOn(self) -> None:
        """Presence, synchronisation, signals and logins of known nodes go on."""
        self.lab.cut(self.a)
        again = self.lab.login("a", nick="renamed")
        self.lab.synchronise(again)
        self.lab.call(again, control.ForwardSignal, peer=self.b.key, sealed=b"x")
        self.lab.call(again, control.Connect, peer=self.b.key)
        self.lab.call(again, control.Logout)
        self.assertEqual(
            [(self.a.key, "lost"), (self.a.key, "online"), (self.a.key, "offline")], self.b.states()
        )

    def test_unknownNode(self) -> None:
        """A node that would need a new address is refused."""
        with self.assertRaisesRegex(control.Storage, "disk is full"):
            self.lab.login("new")
