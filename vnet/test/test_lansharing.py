"""
LANs that members share, of whole nodes: what is offered, accepted, chosen and remembered, and what follows for the routes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import partial
from ipaddress import ip_network
from typing import Any

from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.identity import tunnelKey
from vnet.client.lanroutes.plan import Connected, Gateway, Surroundings
from vnet.client.lansharing.choices import Choices, choicesFrom
from vnet.client.lansharing.wording import briefLans, hinderedLines, lanNews, sharedLines
from vnet.client.state import StateFile
from vnet.errors import Refused, Unreachable
from vnet.protocols import control, controlserver
from vnet.protocols.codec.prefix import parsePrefix
from vnet.test.nodelab import URL, Overlay, TestNode
from vnet.test.test_firewall import FakeNft
from vnet.test.test_lanroutes import FakeKernel
from vnet.values import Address

LAN, OTHER = "192.168.7.0/24", "192.168.8.0/24"


@define(eq=False)
class FakeRoutes:
    """
    Routes whatever is wanted, but what overlaps the networks of this computer.

    @ivar connected: these networks; C{failing}: prefixes that the system does not route, which is seen when it is tried.
    """

    connected: tuple[str, ...] = ()
    failing: set[str] = field(factory=set)
    offered: tuple[str, ...] = ()
    used: dict[Gateway, tuple[str, ...]] = field(factory=dict)
    asked: int = 0
    reached: list[str] = field(factory=list)
    inTheWay: dict[str, tuple[str, list[str]]] = field(factory=dict)

    def offer(self, prefixes: Iterable[str]) -> None:
        self.offered = tuple(prefixes)

    def use(self, used: Mapping[Gateway, Collection[str]]) -> None:
        self.used = {gateway: tuple(prefixes) for gateway, prefixes in used.items()}

    async def settle(self) -> None: ...

    async def whenSettled(self) -> None: ...

    async def reach(self, prefix: str) -> bool:
        self.reached.append(prefix)
        return True

    def membersChanged(self) -> None:
        self.asked += 1

    def offerRefusal(self, prefix: str) -> str:
        return "" if prefix in self.connected else f"this computer is not connected to {prefix}"

    def useRefusal(self, gateway: Gateway, prefix: str) -> str:
        found = [each for each in self.connected if ip_network(each).overlaps(ip_network(prefix))]
        return f"{prefix} overlaps {found[0]}, a network of this computer" if found else ""

    def offerProblems(self) -> Mapping[str, str]:
        return {each: self.offerRefusal(each) for each in self.offered if self.offerRefusal(each)}

    def useProblems(self) -> Mapping[tuple[bytes, str], str]:
        found = {}
        for gateway, prefixes in self.used.items():
            for prefix in prefixes:
                why = "no route" if prefix in self.failing else self.useRefusal(gateway, prefix)
                if why:
                    found[gateway.tunnelKey, prefix] = why
        return found

    def barriers(self) -> Mapping[str, tuple[str, list[str]]]:
        return self.inTheWay

    def hasRoute(self, prefix: str) -> bool:
        """
        Whether a prefix is used, without a problem.
        """
        return any(
            prefix in prefixes and (gateway.tunnelKey, prefix) not in self.useProblems()
            for gateway, prefixes in self.used.items()
        )


class NodeTests(SynchronousTestCase):
    """
    Ann owns the network; bea has a LAN.
    """

    def setUp(self) -> None:
        self.overlay = Overlay(self.mktemp)
        self.addCleanup(self.overlay.stopAll)
        self.routes: dict[TestNode, FakeRoutes] = {}
        self.ann = self.add("ann", "203.0.113.1")
        self.bea = self.add("bea", "203.0.113.2")
        for node in (self.ann, self.bea):
            node.do(node.node.login(URL))
        self.create("home")
        self.routes[self.bea].connected = (LAN, OTHER)

    def add(self, name: str, host: str, **parts: Any) -> TestNode:
        node = self.overlay.add(name, host, **parts)
        loaded = node.core.lans.load()
        self.routes[node] = loaded.sharing._routes = loaded.verbs._routes = FakeRoutes()
        return node

    def create(self, name: str) -> None:
        self.ann.do(self.ann.node.create(name, "secret"))
        self.bea.do(self.bea.node.join(name, "secret"))
        self.overlay.advance(2)

    def share(
        self, node: TestNode, prefix: str = LAN, stop: bool = False, network: str | None = None
    ) -> dict[str, Any]:
        answer = node.do(node.node.shareLan(prefix, network, stop))
        self.overlay.advance(0.5)
        return answer

    def accept(
        self, prefix: str = LAN, stop: bool = False, member: str = "bea", network: str | None = None
    ) -> dict[str, Any]:
        answer = self.ann.do(self.ann.node.acceptLan(member, prefix, network, stop))
        self.overlay.advance(0.5)
        return answer

    def use(self, prefix: str = LAN, stop: bool = False, **named: Any) -> dict[str, Any]:
        arguments = {"node": self.ann, "member": "bea", "network": None, **named}
        node: TestNode = arguments["node"]
        return node.do(node.node.useLan(arguments["member"], prefix, arguments["network"], stop))

    def states(self, node: TestNode) -> dict[str, tuple[str, str | None]]:
        lans = node.do(node.node.shareLan(None, None, False))["lans"]
        return {f"{each['network']}/{each['prefix']}": (each["state"], each["why"]) for each in lans}

    def stateOf(self, node: TestNode, prefix: str = LAN) -> str:
        return self.states(node)[f"home/{prefix}"][0]

    def gateway(self, node: TestNode) -> Gateway:
        status = node.do(node.node.status())
        key = tunnelKey(bytes.fromhex(status["clientId"]))
        return Gateway(key, status["address"], status["address6"])

    def refusal(self, what: Any, *arguments: Any, **named: Any) -> str:
        with self.assertRaises(Refused) as caught:
            what(*arguments, **named)
        return str(caught.exception)

    def test_way(self) -> None:
        """
        What is offered is shared once it is accepted, and used once it is chosen; each takes it back.
        """
        self.assertEqual("offered", self.share(self.bea)["state"])
        self.assertEqual(((), "offered"), (self.routes[self.bea].offered, self.stateOf(self.ann)))
        self.assertEqual("accepted", self.accept()["state"])
        self.assertEqual(((LAN,), "shared"), (self.routes[self.bea].offered, self.stateOf(self.bea)))
        self.assertEqual({}, self.routes[self.ann].used)
        self.assertEqual("used", self.use()["state"])
        self.assertEqual([LAN], self.routes[self.ann].reached)
        self.assertEqual({self.gateway(self.bea): (LAN,)}, self.routes[self.ann].used)
        self.assertEqual("accepted", self.use(stop=True)["state"])
        self.assertEqual({}, self.routes[self.ann].used)
        self.use()
        self.assertEqual("none", self.share(self.bea, stop=True)["state"])
        self.assertEqual(({}, ()), (self.routes[self.ann].used, self.routes[self.bea].offered))
        self.assertEqual({"home/" + LAN: ("absent", "it is not offered now")}, self.states(self.ann))

    def test_acceptanceTakenBack(self) -> None:
        """
        A LAN that is accepted no more is neither shared nor used, and both again when it is accepted again: the choice stays.
        """
        self.share(self.bea)
        self.accept()
        self.use()
        self.accept(stop=True)
        self.assertEqual(({}, ()), (self.routes[self.ann].used, self.routes[self.bea].offered))
        why = "the network's owner does not accept it any more"
        self.assertEqual({"home/" + LAN: ("absent", why)}, self.states(self.ann))
        self.accept()
        self.assertTrue(self.routes[self.ann].hasRoute(LAN))
        self.assertEqual("shared", self.stateOf(self.bea))

    def test_refusals(self) -> None:
        """
        What cannot be is refused with the reason, on this side already, and nothing is remembered of it.
        """
        self.assertIn("that is 192.168.7.0/24", self.refusal(self.share, self.bea, "192.168.7.1/24"))
        self.assertIn("members have their addresses", self.refusal(self.share, self.bea, "100.64.1.0/24"))
        self.assertIn("not connected to 10.0.0.0/8", self.refusal(self.share, self.bea, "10.0.0.0/8"))
        self.assertIn("does not share", self.refusal(self.share, self.bea, stop=True))
        self.assertIn("bea does not offer", self.refusal(self.accept))
        self.assertIn("it offers nothing", self.refusal(self.use))
        self.share(self.bea)
        self.assertIn("already", self.refusal(self.share, self.bea))
        self.assertIn("has not accepted", self.refusal(self.use))
        self.assertIn("no member of home", self.refusal(self.use, member="zoe"))
        self.assertIn("no network named 'x'", self.refusal(self.use, network="x"))
        self.assertIn("does not use", self.refusal(self.use, stop=True))
        accepting = self.bea.node.acceptLan("bea", LAN, None, False)
        self.assertIn("only the owner", self.refusal(self.bea.do, accepting))
        self.accept()
        self.assertIn("itself", self.refusal(self.use, node=self.bea))
        self.assertEqual({}, self.ann.state.remembered.lans)

    def test_refusedByMediator(self) -> None:
        """
        What the mediator refuses is not remembered: here, what overlaps a LAN accepted from another member.
        """
        self.share(self.bea)
        self.accept()
        self.routes[self.ann].connected = ("192.168.0.0/16",)
        self.assertIn(
            "overlaps 192.168.7.0/24, which is accepted", self.refusal(self.share, self.ann, "192.168.0.0/16")
        )
        self.assertEqual({}, self.ann.state.remembered.lans)

    def test_overlap(self) -> None:
        """
        What overlaps a network of this computer is not used, with the reason; when it overlaps later, it is used no more.
        """
        self.share(self.bea)
        self.accept()
        self.routes[self.ann].connected = ("192.168.0.0/16",)
        self.assertIn("overlaps 192.168.0.0/16", self.refusal(self.use))
        self.assertEqual({}, self.ann.state.remembered.lans)
        self.routes[self.ann].connected = ()
        self.use()
        self.routes[self.ann].connected = (LAN,)
        [(state, why)] = self.states(self.ann).values()
        self.assertEqual("blocked", state)
        self.assertIn("overlaps 192.168.7.0/24", str(why))

    def test_failing(self) -> None:
        """
        A route that the system does not take is a refusal, and what was chosen is as before.
        """
        self.share(self.bea)
        self.accept()
        self.routes[self.ann].failing.add(LAN)
        self.assertEqual("no route", self.refusal(self.use))
        self.assertEqual(({}, {}), (self.routes[self.ann].used, self.ann.state.remembered.lans))

    def test_atOnce(self) -> None:
        """
        What is chosen while the mediator is asked is not lost; and nothing is chosen in a network that is left by then.
        """
        asked = [self.bea.node.shareLan(prefix, None, False) for prefix in (LAN, OTHER)]
        for each in asked:
            self.bea.do(each)
        [chosen] = self.bea.state.remembered.lans.values()
        self.assertEqual((LAN, OTHER), chosen.offered)
        self.share(self.bea, stop=True)
        asking = self.bea.node.shareLan(LAN, None, False)
        self.bea.core.networkGone(next(iter(self.bea.core.view.networks)))
        self.assertIn("left", self.refusal(self.bea.do, asking))
        self.assertEqual({}, self.bea.state.remembered.lans)

    def test_failingAgain(self) -> None:
        """
        Who asks again for what he has chosen, and cannot have now, keeps his choice.
        """
        self.share(self.bea)
        self.accept()
        self.use()
        self.routes[self.ann].failing.add(LAN)
        self.assertEqual("no route", self.refusal(self.use))
        self.assertEqual("blocked", self.stateOf(self.ann))

    def test_owner(self) -> None:
        """
        What the owner offers is shared at once.
        """
        self.routes[self.ann].connected = (LAN,)
        self.assertEqual("shared", self.share(self.ann)["state"])
        self.routes[self.bea].connected = ()
        self.assertEqual("used", self.use(node=self.bea, member="ann")["state"])

    def test_lyingMediator(self) -> None:
        """
        A mediator that says that this node offers something, or that it uses something, moves nothing: only its user does.
        """
        presence = self.overlay.lab.mediator.presence
        network, bea = next(iter(presence.networks)), self.bea.core.parts.identity.publicKey
        self.overlay.lab.mediator._steps.tell(presence.setLan(network, bea, LAN, True))
        self.overlay.advance(1)
        self.assertEqual(((), "ignored"), (self.routes[self.bea].offered, self.stateOf(self.bea)))
        self.assertEqual(({}, "accepted"), (self.routes[self.ann].used, self.stateOf(self.ann)))
        self.assertIsNone(self.overlay.lab.mediator.presence.networks[network].lans.get(b""))
        self.assertEqual("shared", self.share(self.bea)["state"])

    def test_members(self) -> None:
        """
        Who may reach a LAN: the members of a network in which it is shared, online there, and nobody else.
        """
        self.create("work")
        self.share(self.bea, network="home")
        self.accept(network="home")
        cea = self.add("cea", "203.0.113.3")
        cea.do(cea.node.login(URL))
        cea.do(cea.node.join("work", "secret"))
        self.overlay.advance(1)
        admits = self.bea.core.lans.load().sharing.admits
        self.assertEqual(
            [True, False], [admits(self.gateway(each).tunnelKey, LAN) for each in (self.ann, cea)]
        )
        self.assertFalse(admits(self.gateway(self.ann).tunnelKey, OTHER))
        asked = self.routes[self.bea].asked
        self.ann.do(self.ann.node.goOffline("home"))
        self.overlay.advance(1)
        self.assertFalse(admits(self.gateway(self.ann).tunnelKey, LAN))
        self.assertGreater(self.routes[self.bea].asked, asked)

    def test_offlineHere(self) -> None:
        """
        A node that is offline in the network neither shares nor uses there, and does both again when it is back.
        """
        self.share(self.bea)
        self.accept()
        self.use()
        self.bea.do(self.bea.node.goOffline("home"))
        self.ann.do(self.ann.node.goOffline("home"))
        self.assertEqual(((), {}), (self.routes[self.bea].offered, self.routes[self.ann].used))
        self.assertEqual(
            ("blocked", "this computer is offline in home"), self.states(self.bea)["home/" + LAN]
        )
        self.bea.do(self.bea.node.goOnline("home"))
        self.ann.do(self.ann.node.goOnline("home"))
        self.assertEqual((LAN,), self.routes[self.bea].offered)
        self.assertTrue(self.routes[self.ann].hasRoute(LAN))

    def test_leave(self) -> None:
        """
        Who leaves takes its LAN along; with the network what was chosen there is forgotten.
        """
        self.share(self.bea)
        self.accept()
        self.use()
        self.bea.do(self.bea.node.leave("home"))
        self.overlay.advance(1)
        self.assertEqual(({}, ()), (self.routes[self.ann].used, self.routes[self.bea].offered))
        self.assertEqual({}, self.bea.state.remembered.lans)
        self.assertEqual("absent", self.stateOf(self.ann))
        clientId = self.bea.core.parts.identity.clientId
        [(_, line)] = sharedLines(self.ann.do(self.ann.node.shareLan(None, None, False)))
        self.assertIn(f"{clientId} in home", line)
        self.assertEqual("none", self.use(stop=True, member=clientId)["state"])
        self.assertEqual({}, self.ann.state.remembered.lans)

    def test_barrier(self) -> None:
        """
        What another firewall of this computer drops is told wherever one looks, and to watchers once, until it is let through.
        """
        told: list[dict[str, Any]] = []
        self.bea.node.watch(lambda event: told.append(event) if event["event"] == "lanProblem" else None)
        self.share(self.bea)
        self.accept()
        self.assertEqual([], told)
        routes, core = self.routes[self.bea], self.bea.core
        for inTheWay in ({LAN: ("Docker drops it", ["open it", "and that"])}, {}):
            routes.inTheWay = inTheWay
            for _ in range(2):
                core._changed()
                self.overlay.advance(0.1)
            why, commands = inTheWay.get(LAN, (None, []))
            [lan] = self.bea.do(self.bea.node.shareLan(None, None, False))["lans"]
            self.assertEqual(("shared", why, commands), (lan["state"], lan["why"], lan["help"]))
            status = self.bea.do(self.bea.node.status())
            self.assertEqual([lan] if inTheWay else [], status["lanProblems"])
            last = told.pop()
            self.assertEqual([], told)
            self.assertEqual(
                ("home", LAN, True, why, commands),
                (last["network"], last["prefix"], last["own"], last["why"], last["help"]),
            )
            lines = hinderedLines(status)
            self.assertEqual(["LAN", "", ""] if inTheWay else [], [name for name, _ in lines])
            self.assertEqual("shared" in str(lines), bool(inTheWay))
            self.assertEqual(3 if inTheWay else 1, lanNews(lan).count("\n") + 1)
            self.assertEqual("but dropped" in briefLans([lan]), bool(inTheWay))
        self.assertEqual("accepted", self.stateOf(self.ann))

    def test_watched(self) -> None:
        """
        Watchers hear of LANs that are offered, accepted and taken back, by others and by this node, once; those that come or go
        with their member or their network are not told one by one.
        """
        told: dict[TestNode, list[tuple[Any, ...]]] = {self.ann: [], self.bea: []}

        def hear(node: TestNode, event: dict[str, Any]) -> None:
            keys = ("event", "nick", "network", "prefix", "state", "before")
            if "Lan" in event["event"]:
                told[node].append(tuple(event[each] for each in keys if each in event))

        for node in told:
            node.node.watch(partial(hear, node))
        self.share(self.bea)
        self.accept()
        self.use()
        self.accept(stop=True)
        self.share(self.bea, stop=True)
        steps = [
            ("offered", None),
            ("accepted", "offered"),
            ("offered", "accepted"),
            ("withdrawn", "offered"),
        ]
        self.assertEqual([("memberLan", "bea", "home", LAN, *step) for step in steps], told[self.ann])
        self.assertEqual([("ownLan", "home", LAN, *step) for step in steps], told[self.bea])
        self.share(self.bea)
        for each in told.values():
            each.clear()
        self.ann.do(self.ann.node.logout())
        self.ann.do(self.ann.node.login(URL))
        self.overlay.advance(2)
        self.bea.do(self.bea.node.leave("home"))
        self.overlay.advance(1)
        self.assertEqual([[], []], list(told.values()))

    def test_logout(self) -> None:
        """
        Logged out there are no LANs; after the next login they are there again.
        """
        self.share(self.bea)
        self.accept()
        self.use()
        for node in (self.ann, self.bea):
            node.do(node.node.logout())
        self.assertEqual(((), {}), (self.routes[self.bea].offered, self.routes[self.ann].used))
        for node in (self.ann, self.bea):
            [(state, why)] = self.states(node).values()
            self.assertEqual("absent", state)
            self.assertIn("until this computer is connected", str(why))
        for node in (self.ann, self.bea):
            node.do(node.node.login(URL))
        self.overlay.advance(2)
        self.assertEqual((LAN,), self.routes[self.bea].offered)
        self.assertTrue(self.routes[self.ann].hasRoute(LAN))

    def test_restart(self) -> None:
        """
        What was chosen is remembered over a crash.
        """
        self.share(self.bea)
        self.accept()
        self.use()
        self.overlay.kill(self.ann)
        state = StateFile(self.ann.state._path)
        state.load()
        self.assertEqual(self.ann.state.remembered.lans, state.remembered.lans)
        self.ann = self.add("ann", "203.0.113.9", state=state)
        self.overlay.advance(4)
        self.assertTrue(self.routes[self.ann].hasRoute(LAN))

    def test_stopWithoutMediator(self) -> None:
        """
        Where the mediator is away nothing can be offered, but what was stays shared; and to stop it stops at once.
        """
        self.share(self.bea)
        self.accept()
        self.overlay.mediatorUp = False
        self.overlay.dropControl()
        self.overlay.advance(1)
        self.assertEqual("shared", self.stateOf(self.bea))
        self.assertRaises(Unreachable, self.share, self.bea, OTHER)
        self.assertRaises(Unreachable, self.share, self.bea, stop=True)
        self.assertEqual(((), {}), (self.routes[self.bea].offered, self.bea.state.remembered.lans))
        self.assertEqual("ignored", self.stateOf(self.bea))

    def test_severalNetworks(self) -> None:
        """
        In several networks one has to be named; the LAN of one is not that of the other, and a route that both want is one.
        """
        self.create("work")
        self.assertIn("--network", self.refusal(self.share, self.bea))
        for name in ("home", "work"):
            self.share(self.bea, network=name)
            self.accept(network=name)
            self.use(network=name)
        self.assertEqual((LAN,), self.routes[self.bea].offered)
        self.assertEqual({self.gateway(self.bea): (LAN,)}, self.routes[self.ann].used)
        self.share(self.bea, network="home", stop=True)
        self.assertTrue(self.routes[self.ann].hasRoute(LAN))
        self.assertEqual({"absent", "used"}, {state for state, _ in self.states(self.ann).values()})

    def test_shown(self) -> None:
        """
        The list and the report on a peer tell of LANs in brief.
        """
        self.share(self.bea)
        self.accept()
        self.use()
        [network] = self.ann.do(self.ann.node.networks())["networks"]
        brief = {"prefix": LAN, "state": "used", "why": None}
        self.assertEqual(([brief], []), (network["members"][0]["lans"], network["ownLans"]))
        peer = self.ann.do(self.ann.node.peer("bea"))
        self.assertEqual([{"network": "home", **brief}], peer["lans"])
        [network] = self.bea.do(self.bea.node.networks())["networks"]
        self.assertEqual([{"prefix": LAN, "state": "shared", "why": None}], network["ownLans"])

    def test_sameNick(self) -> None:
        """
        Where two members have one nickname, the address says which is meant.
        """
        other = self.add("bee", "203.0.113.3")
        other.do(other.node.login(URL))
        other.do(other.node.setNick("bea"))
        other.do(other.node.join("home", "secret"))
        self.share(self.bea)
        self.assertIn("2 members are named 'bea'", self.refusal(self.accept))
        self.assertEqual("accepted", self.accept(member=self.bea.address)["state"])

    def test_olderMediator(self) -> None:
        """
        A mediator that knows nothing of LANs is said to be too old, and nothing is remembered.
        """
        commands = {name: each for name, each in controlserver._COMMANDS.items() if name != b"OfferLan"}
        self.patch(controlserver, "_COMMANDS", commands)
        self.assertIn("the mediator is older", self.refusal(self.share, self.bea))
        self.assertEqual({}, self.bea.state.remembered.lans)


class RoutedTests(SynchronousTestCase):
    """
    The same with what routes, on a computer that is not there.
    """

    def setUp(self) -> None:
        self.overlay = Overlay(self.mktemp)
        self.addCleanup(self.overlay.stopAll)
        self.kernels = [FakeKernel([]), FakeKernel([])]
        self.kernels[0].around = Surroundings()
        self.ann, self.bea = (
            self.overlay.add(
                name,
                f"203.0.113.{number}",
                makeKernel=partial(self.kernels.__getitem__, number),
                nft=FakeNft(),
            )
            for number, name in enumerate(("ann", "bea"))
        )
        for node in (self.ann, self.bea):
            node.do(node.node.login(URL))
        self.ann.do(self.ann.node.create("home", "secret"))
        self.bea.do(self.bea.node.join("home", "secret"))
        self.overlay.advance(3)

    def share(self, prefix: str) -> None:
        around = Surroundings([Connected(parsePrefix(prefix), "eth0")])
        self.kernels[1].around = around
        self.bea.do(self.bea.node.shareLan(prefix, None, False))
        self.overlay.advance(1)
        self.ann.do(self.ann.node.acceptLan("bea", prefix, None, False))
        self.overlay.advance(1)

    def use(self, prefix: str) -> dict[str, Any]:
        return self.ann.do(self.ann.node.useLan("bea", prefix, None, False))

    def test_routed(self) -> None:
        """
        What is used has a route, whose end nobody is asked to send to by his peers; after a logout it has none.
        """
        self.share(LAN)
        self.assertEqual("used", self.use(LAN)["state"])
        self.assertEqual({LAN: self.bea.address}, self.kernels[0].routes)
        inside = [self.ann.core._outside(Address(host, 5)) for host in ("192.168.7.9", "192.168.8.9")]
        self.assertEqual([False, True], inside)
        self.ann.do(self.ann.node.logout())
        self.overlay.advance(1)
        self.assertEqual({}, self.kernels[0].routes)

    def test_loaded(self) -> None:
        """
        What shares and routes is loaded when a LAN is offered in a network of this node, or something was chosen before the start,
        and has this node's addresses then.
        """
        self.assertIsNone(self.ann.core.lans._loaded)
        self.ann.core.firewall.changed()
        self.overlay.advance(1)
        self.assertEqual([], self.ann.do(self.ann.node.status())["lanProblems"])
        self.assertIsNone(self.ann.core.lans._loaded)
        self.share(LAN)
        self.assertEqual("used", self.use(LAN)["state"])
        sources = self.ann.core.lans.load().routes._addresses
        self.assertIn(self.ann.address, sources)

    def test_needed(self) -> None:
        """
        What holds the mediator, the proxy, or the path to a peer, is not used: that would go into the tunnel.
        """
        self.ann.core.parts.proxyHosts = lambda: ("192.168.9.1",)
        for prefix, host in (
            ("198.51.100.0/24", "198.51.100.1"),
            ("203.0.113.0/24", "203.0.113.1"),
            ("192.168.9.0/24", "192.168.9.1"),
        ):
            self.share(prefix)
            refused = self.assertRaises(Refused, self.use, prefix)
            self.assertIn(f"holds {host}, which this node needs", str(refused))
        self.assertEqual({}, self.kernels[0].routes)

    def test_overlap(self) -> None:
        """
        The own network wins, and gives way again.
        """
        self.share(LAN)
        self.use(LAN)
        self.kernels[0].around = Surroundings([Connected(parsePrefix("192.168.0.0/16"), "wlan0")])
        self.ann.core.linksChanged()
        self.overlay.advance(1)
        [lan] = self.ann.do(self.ann.node.shareLan(None, None, False))["lans"]
        self.assertEqual(({}, "blocked"), (self.kernels[0].routes, lan["state"]))
        self.assertIn("192.168.0.0/16 on wlan0", lan["why"])
        self.kernels[0].around = Surroundings()
        self.ann.core.linksChanged()
        self.overlay.advance(1)
        self.assertEqual({LAN: self.bea.address}, self.kernels[0].routes)


class ChoicesTests(SynchronousTestCase):
    """
    L{Choices}.
    """

    def test_limits(self) -> None:
        """
        No more is chosen than there can be in a network.
        """
        offered = Choices(offered=tuple(f"10.{number}.0.0/16" for number in range(control.MAXIMUM_OFFERS)))
        self.assertRaises(Refused, offered.offering, LAN, True)
        used = tuple((f"{number:064x}", LAN) for number in range(control.MAXIMUM_NETWORK_OFFERS))
        self.assertRaises(Refused, Choices(used=used).using, b"k" * 32, LAN, True)
        self.assertEqual(7, len(offered.offering("10.0.0.0/16", False).offered))

    def test_damaged(self) -> None:
        """
        What is read from a damaged file is no choice.
        """
        damaged: tuple[dict[str, Any], ...] = (
            {"offered": ["x"], "used": []},
            {"offered": [], "used": [["00", LAN]]},
            {"offered": [], "used": [[1]]},
            {"offered": None, "used": []},
            {},
        )
        for raw in damaged:
            with self.assertRaises((ValueError, KeyError, TypeError)):
                choicesFrom(raw)


class WordingTests(SynchronousTestCase):
    """
    What a person reads.
    """

    def test_next(self) -> None:
        """
        The next command is told, and what strangers chose is harmless.
        """
        lan = {"network": "a b\x1b", "prefix": LAN, "nick": "\x1b[2J", "address": "100.64.0.2", "own": False}
        line = lanNews({**lan, "state": "accepted"})
        self.assertIn("can be used: vnet use-lan 100.64.0.2 192.168.7.0/24 --network 'a b", line)
        self.assertIn("vnet accept-lan 100.64.0.2", lanNews({**lan, "state": "offered"}))
        [(name, value)] = sharedLines({"lans": [{**lan, "state": "blocked", "why": "a\nb"}, None]})
        self.assertEqual(LAN, name)
        for text in (line, value, briefLans([lan])):
            self.assertTrue(text.isprintable(), text)

    def test_nonsense(self) -> None:
        """
        Other JSON is shown, too.
        """
        for answer in ({}, {"lans": None}, {"lans": [1, {}]}, {"lans": [{"help": 1}, {"help": [{}]}]}):
            sharedLines(answer)
            hinderedLines({"lanProblems": answer.get("lans")})
        self.assertEqual("", briefLans("x"))
