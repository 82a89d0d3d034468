"""
Whatever happens at the same time: whole nodes in memory, and a mediator whose messages take their time.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase

from vnet.errors import VnetError
from vnet.test.nodelab import URL, Overlay, TestNode

NAMES = ("ann", "bea", "cyn", "dot")
NETWORKS = ("home", "work")


@define(eq=False)
class SlowOverlay(Overlay):
    """
    An overlay in which the messages of each control connection wait for a random while.
    """

    slow: bool = True
    dice: random.Random = field(factory=lambda: random.Random(0))

    def _flush(self) -> None:
        if not self.slow:
            super()._flush()
            return
        for host, pump, _ in list(self._pipes):
            if self.reachable(host) and self.dice.random() < 0.4:
                pump.flush()


class RaceTests(SynchronousTestCase):
    """
    Nodes that do all sorts of things, and agree in the end.
    """

    def start(self, seed: int, names: tuple[str, ...] = NAMES) -> None:
        self.dice = random.Random(seed)
        random.seed(seed)
        self.overlay = SlowOverlay(self.mktemp, dice=self.dice)
        self.addCleanup(self.overlay.stopAll)
        self.lives = 0
        self.nodes: dict[str, TestNode] = {}
        for name in names:
            self.nodes[name] = self.overlay.add(name, self.host())
            self.nodes[name].do(self.nodes[name].node.login(URL))

    def host(self) -> str:
        self.lives += 1
        return f"203.0.113.{self.lives}"

    def restart(self, name: str, pause: float = 0.0) -> None:
        """
        Kill a node, and start it again on the same state.
        """
        state = self.nodes[name].state
        self.overlay.kill(self.nodes[name])
        self.overlay.advance(pause)
        self.nodes[name] = self.overlay.add(name, self.host(), state)

    def restartMediator(self) -> None:
        """
        Kill the mediator, and start it again on the same database.
        """
        self.overlay.dropControl()
        self.overlay.lab.start()

    def settle(self) -> None:
        """
        Let everybody reach everything for two minutes.
        """
        self.overlay.slow = False
        self.mend()
        self.overlay.internet.loss = 0.0
        self.overlay.advance(120)

    def mend(self) -> None:
        """
        Let everybody who lives reach the mediator.
        """
        self.overlay.cut = {host for host in self.overlay.cut if host not in self.hosts()}

    def hosts(self) -> set[str]:
        return {node.port.hosts[0] for node in self.nodes.values()}

    def check(self) -> None:
        """
        Each node shows the members that the mediator knows, and has a tunnel to exactly the peers who are there.
        """
        presence = self.overlay.lab.mediator.presence
        keys = {name: node.core.parts.identity.publicKey for name, node in self.nodes.items()}
        for name, node in self.nodes.items():
            expected = {}
            for network in presence.nodes[keys[name]].networks.values():
                for other, key in keys.items():
                    if other != name and key in network.members:
                        here = network.members[keys[name]] and network.members[key]
                        alive = here and presence.nodes[key].state == "online" and name in self.loggedIn()
                        expected[f"{network.name}/{other}"] = (
                            ("online", "direct") if alive else ("offline", "none")
                        )
            if name in self.loggedIn():
                self.assertEqual(node.members(), expected, name)
        for one in self.loggedIn():
            for other in self.loggedIn():
                if one != other:
                    peers = presence.peers(keys[one], keys[other])
                    reached = self.nodes[one].reaches(self.nodes[other])
                    self.assertEqual(reached, peers, (one, other))

    def loggedIn(self) -> list[str]:
        return [name for name, node in self.nodes.items() if node.core.logins.online]

    def pair(self, seed: int) -> tuple[TestNode, TestNode]:
        """
        Two members of a network.
        """
        self.start(seed, ("ann", "bea"))
        ann, bea = self.nodes["ann"], self.nodes["bea"]
        ann.do(ann.node.create("home", "secret"))
        bea.do(bea.node.joinInvite(ann.do(ann.node.invite("home"))["link"]))
        return ann, bea

    def test_anything(self) -> None:
        """
        Networks founded, joined and left, nodes and the mediator killed and started, connections cut, packets lost, in any
        order and at any pace: afterwards all agree with the mediator, and exactly the peers who are there have tunnels.
        """
        for seed in range(12):
            self.start(seed)
            self.everybodyIn("home")
            for _ in range(25):
                self.dice.choice(self.actions())()
                self.overlay.advance(self.dice.choice((0.0, 0.05, 0.2, 1.0, 6.0)))
            self.settle()
            try:
                self.check()
            except AssertionError as error:
                error.add_note(f"seed {seed}")
                raise
            self.overlay.stopAll()

    def everybodyIn(self, network: str) -> None:
        """
        A network of all nodes.
        """
        first, *others = self.nodes.values()
        first.do(first.node.create(network, "secret"))
        for other in others:
            other.do(other.node.join(network, "secret"))

    def actions(self) -> list[Callable[[], None]]:
        name, network = self.dice.choice(NAMES), self.dice.choice(NETWORKS)
        one = self.nodes[name]

        def tried(verb: Callable[..., object], *arguments: object) -> Callable[[], None]:
            def act() -> None:
                asked = verb(*arguments)
                asked.addErrback(lambda failure: failure.trap(VnetError))  # type: ignore[attr-defined]

            return act

        def cut() -> None:
            self.overlay.cut.add(one.port.hosts[0])
            self.overlay.dropControl(one.port.hosts[0])

        def lossy() -> None:
            self.overlay.internet.loss = self.dice.choice((0.0, 0.5))

        enter = [
            tried(one.node.create, network, "secret"),
            tried(one.node.join, network, "secret"),
            tried(one.node.join, network, "secret"),
            tried(one.node.join, network, "secret"),
        ]
        return [
            *enter,
            tried(one.node.leave, network),
            tried(one.node.goOffline, network),
            tried(one.node.goOnline, network),
            tried(one.node.logout),
            tried(one.node.login, URL),
            tried(one.node.login, URL),
            lambda: self.restart(name, self.dice.choice((0.0, 0.3, 7.0))),
            self.restartMediator,
            cut,
            self.mend,
            lossy,
            one.core.linksChanged,
        ]

    def test_recreated(self) -> None:
        """
        A network that ended and is founded again under its name, with another password, has the new members' tunnels only.
        """
        for seed in range(5):
            ann, bea = self.pair(seed)
            self.overlay.advance(0.3)
            ann.do(ann.node.leave("home"))
            leaving = bea.node.leave("home")
            bea.do(leaving)
            bea.do(bea.node.create("home", "other"))
            self.settle()
            self.assertEqual(ann.members(), {})
            self.assertFalse(bea.reaches(ann))
            ann.do(ann.node.join("home", "other"))
            self.settle()
            self.assertEqual(ann.members(), {"home/bea": ("online", "direct")})
            self.assertTrue(ann.reaches(bea) and bea.reaches(ann))

    def test_leftMeanwhile(self) -> None:
        """
        Who leaves while candidates are on their way has no tunnel afterwards.
        """
        for seed in range(10):
            ann, bea = self.pair(seed)
            self.overlay.advance(0.05 * seed)
            (ann if seed % 2 else bea).node.leave("home").addErrback(lambda _: None)
            self.settle()
            self.assertFalse(ann.reaches(bea) or bea.reaches(ann))
            self.check()

    def test_restartedAtOnce(self) -> None:
        """
        A peer that is killed and back within a second has its tunnel again within 10 s.
        """
        for seed in range(10):
            self.pair(seed)
            self.overlay.advance(seed * 0.2)
            for name in ("ann", "bea", "ann"):
                self.restart(name, 0.1 * seed)
            self.overlay.slow = False
            self.overlay.advance(10)
            self.check()

    def test_staleViews(self) -> None:
        """
        A mediator that starts again while a node is away, and a node that comes back under the old versions, agree.
        """
        for seed in range(5):
            ann, bea = self.pair(seed)
            self.overlay.advance(2)
            host = ann.port.hosts[0]
            self.overlay.cut.add(host)
            self.overlay.dropControl(host)
            bea.do(bea.node.goOffline("home"))
            bea.do(bea.node.goOnline("home"))
            self.restartMediator()
            self.overlay.advance(3)
            self.settle()
            self.check()
            self.assertEqual(ann.members(), {"home/bea": ("online", "direct")})
