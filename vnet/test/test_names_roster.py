"""
Tests for L{vnet.client.names.roster}: names in whole nodes, with a mediator, in memory.
"""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from vnet.client.names.nameservice import NameParts
from vnet.client.names.resolved import Resolved
from vnet.protocols.codec.ip import decodeIp
from vnet.test.nodelab import URL, Overlay, TestNode
from vnet.test.test_names_multicast import frame, question
from vnet.test.test_names_responder import Reactor


def partsIn(overlay: Overlay, directory: str) -> NameParts:
    """
    What names take, on the clock of an overlay and without sockets.
    """
    reactor: Any = Reactor()
    reactor.refuses = {}
    reactor.callLater, reactor.seconds = overlay.lab.clock.callLater, overlay.lab.clock.seconds
    return NameParts(reactor, Path(directory), Resolved(reactor, "/nowhere", {"PATH": ""}), "")


class RosterTests(SynchronousTestCase):
    """
    Tests of how names follow what happens to members.
    """

    def setUp(self) -> None:
        self.overlay = Overlay(self.mktemp)
        self.addCleanup(self.overlay.stopAll)

    def add(self, name: str, number: int) -> TestNode:
        names = partsIn(self.overlay, self.mktemp())
        node = self.overlay.add(name, f"203.0.113.{number}", names=names)
        node.do(node.node.login(URL))
        return node

    def names(self, node: TestNode) -> list[str | None]:
        """
        The names that C{vnet list} shows.
        """
        networks = node.do(node.node.networks())["networks"]
        return [member["name"] for network in networks for member in network["members"]]

    def test_firstKeepsName(self) -> None:
        """
        In whichever order a node learns of two members with one nickname, the longer member has the name; one that takes the
        nickname later has a number; when the first has left, the next newcomer has it.
        """
        ann = self.add("ann", 1)
        ann.do(ann.node.create("home", None))
        bob, eve, zed = self.add("bob", 2), self.add("eve", 3), self.add("zed", 4)
        for node in (bob, eve, zed):
            node.do(node.node.join("home", None))
        self.overlay.advance(2)
        eve.do(eve.node.setNick("Bob"))
        self.overlay.advance(2)
        self.assertEqual(self.names(ann), ["bob.home.vnet", "bob-2.home.vnet", "zed.home.vnet"])
        self.assertEqual(self.names(zed), ["ann.home.vnet", "bob.home.vnet", "bob-2.home.vnet"])
        self.assertEqual(self.names(eve), ["ann.home.vnet", "bob-2.home.vnet", "zed.home.vnet"])
        bob.do(bob.node.leave("home"))
        self.overlay.advance(2)
        zed.do(zed.node.setNick("bob"))
        self.overlay.advance(2)
        self.assertEqual(self.names(ann), ["bob-2.home.vnet", "bob.home.vnet"])

    def test_hostile(self) -> None:
        """
        A nickname that programs would take for something else, or of which nothing can be kept, gives no name; one that is
        made of dots, or looks like another, gives one of its own.
        """
        ann, eve, bob = self.add("ann", 1), self.add("eve", 2), self.add("bob", 3)
        ann.do(ann.node.create("home", None))
        for node in (bob, eve):
            node.do(node.node.join("home", None))
        for nick, name in (
            ("localhost", None),
            ("wpad", None),
            ("\N{VIDEO GAME}", None),
            ("bob.home.vnet", "bob-home-vnet.home.vnet"),
            ("*", None),
            ("b\N{CYRILLIC SMALL LETTER O}b", "xn--bb-fmc.home.vnet"),
            ("ann", "ann-2.home.vnet"),
            ("bob", "bob-2.home.vnet"),
        ):
            eve.do(eve.node.setNick(nick))
            self.overlay.advance(1)
            self.assertEqual(self.names(ann), ["bob.home.vnet", name])
        self.assertEqual(ann.core.names.addressesOf(["ann"])[0], ann.address)

    def test_withoutMediator(self) -> None:
        """
        While the mediator is away, and in a logout, nobody loses a name to another.
        """
        ann, bob = self.add("ann", 1), self.add("bob", 2)
        ann.do(ann.node.create("home", None))
        bob.do(bob.node.join("home", None))
        self.overlay.advance(2)
        service = ann.core.names
        self.assertEqual(service.addressesOf(["bob", "home"])[0], bob.address)
        ann.do(ann.node.logout())
        self.overlay.advance(2)
        self.assertEqual(service.addressesOf(["bob", "home"]), ())
        eve = self.add("eve", 3)
        eve.do(eve.node.setNick("bob"))
        eve.do(eve.node.join("home", None))
        ann.do(ann.node.login(URL))
        self.overlay.advance(2)
        self.assertEqual(service.addressesOf(["bob", "home"])[0], bob.address)
        self.assertEqual(service.addressesOf(["bob-2", "home"])[0], eve.address)
        self.assertEqual(service.nameAt(bob.address), "bob.vnet")

    def test_multicast(self) -> None:
        """
        The operating system that asks the group for a member is answered through the interface, in the member's place.
        """
        ann, bob = self.add("ann", 1), self.add("bob", 2)
        ann.do(ann.node.create("home", None))
        bob.do(bob.node.join("home", None))
        self.overlay.advance(2)
        self.assertEqual(ann.do(ann.node.status())["names"]["by"], "mdns")
        # The question goes on to Bob, whose operating system does not answer it.
        bob.answers = False
        source = ip_address(ann.address).packed
        ann.device.take()
        ann.device.deliver([frame(question("bob.local").to_wire(), source)])
        self.overlay.lab.clock.advance(0.2)
        (answer,) = ann.device.take()
        self.assertEqual(decodeIp(answer[14:]).source, ip_address(bob.address).packed)
