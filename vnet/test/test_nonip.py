"""
Protocols beside IP, for each network: L{vnet.client.nonip}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from vnet.client.nonip.choice import DEFAULT, Choice, changed
from vnet.client.nonip.wording import lanLines
from vnet.client.render import Style, renderLan
from vnet.errors import DecodeError, Refused
from vnet.protocols.codec.ethernet import BROADCAST
from vnet.protocols.codec.llc import DEFAULT_TYPES
from vnet.test.hostile import HARM, hostileTexts
from vnet.test.nodelab import URL, Overlay, TestNode
from vnet.test.test_llc import IPX, ether2

DEFAULT_LIST = "ipx,appletalk,netbeui"
OTHER = 0x88B5


class ChoiceTests(SynchronousTestCase):
    def test_changed(self) -> None:
        """What is not said stays; what says the default is the default."""
        off = changed(DEFAULT, "off", None)
        self.assertEqual((off, off.types(DEFAULT_TYPES)), (Choice(isOn=False), frozenset()))
        listed = changed(off, None, "0x88B5,ipx")
        self.assertEqual(listed, Choice(False, "ipx,0x88b5"))
        self.assertEqual(
            changed(listed, "on", None).types(frozenset()), {0x8137, 0x8138, 0xE0, 0xFFFF, OTHER}
        )
        self.assertEqual(changed(listed, "on", "default"), DEFAULT)
        self.assertEqual(changed(DEFAULT, None, "none").types(DEFAULT_TYPES), frozenset())
        self.assertEqual(DEFAULT.types(DEFAULT_TYPES), DEFAULT_TYPES)

    def test_refused(self) -> None:
        """What is no choice is refused in one line."""
        for nonIp, types in (
            ("", None),
            ("On", None),
            (None, ""),
            (None, "ip"),
            (None, "0x0800"),
            ("on", "default,ipx"),
        ):
            error = self.assertRaises(DecodeError, changed, DEFAULT, nonIp, types)
            self.assertNotIn("\n", str(error))


class NodeTests(SynchronousTestCase):
    """
    Ann and Bea share two networks; Ann and Cea one of them.
    """

    def setUp(self) -> None:
        self.overlay = Overlay(self.mktemp)
        self.addCleanup(self.overlay.stopAll)
        self.ann, self.bea, self.cea = (
            self.overlay.add(name, f"203.0.113.{number}")
            for number, name in enumerate(("ann", "bea", "cea"), 1)
        )
        for node in (self.ann, self.bea, self.cea):
            node.do(node.node.login(URL))
        self.ann.do(self.ann.node.create("home", "secret"))
        self.ann.do(self.ann.node.create("work", "secret"))
        for node, name in ((self.bea, "home"), (self.bea, "work"), (self.cea, "work")):
            node.do(node.node.join(name, "secret"))
        self.overlay.advance(5)

    def lan(self, node: TestNode, *arguments: str | None) -> dict[str, Any]:
        answer = node.do(node.node.lan(*arguments))
        self.assertTrue(answer["carriesFrames"])
        [network] = answer["networks"]
        found: dict[str, Any] = network
        return found

    def reached(self, kind: int, sender: TestNode, *others: TestNode) -> list[bool]:
        """Which of others get a broadcast of this protocol."""
        counted = [node.core.forwarder.counters for node in others]
        before = [counters["etherReceived"] for counters in counted]
        sender.device.deliver([ether2(kind, IPX, sender.device.mac, BROADCAST)])
        self.overlay.advance(0.2)
        return [counters["etherReceived"] > old for counters, old in zip(counted, before, strict=True)]

    def test_shown(self) -> None:
        """At first the node's list holds in each network; what was chosen is shown, and in which network."""
        default = {"name": "home", "nonIp": True, "etherTypes": DEFAULT_LIST, "etherTypesDefault": True}
        self.assertEqual(self.lan(self.ann, "home", None, None), default)
        chosen = {**default, "nonIp": False, "etherTypes": "netbeui,0xbe,0x88b5", "etherTypesDefault": False}
        self.assertEqual(self.lan(self.ann, "home", "off", "0x88B5,0xBE,netbeui"), chosen)
        work = {**default, "name": "work"}
        self.assertEqual(
            self.ann.do(self.ann.node.lan(None, None, None)),
            {"networks": [chosen, work], "carriesFrames": True},
        )
        self.assertEqual(self.lan(self.ann, "home", "on", "default"), default)
        self.assertEqual(self.ann.state.remembered.nonIp, {})

    def test_sent(self) -> None:
        """A broadcast goes at once to the members of networks where it is on, and to no others."""
        self.assertEqual(self.reached(0x8137, self.ann, self.bea, self.cea), [True, True])
        self.lan(self.ann, "work", "off", None)
        self.assertEqual(self.reached(0x8137, self.ann, self.bea, self.cea), [True, False])
        self.lan(self.ann, "home", "off", None)
        self.assertEqual(self.reached(0x8137, self.ann, self.bea, self.cea), [False, False])
        self.assertEqual(self.ann.core.forwarder.counters["etherType"], 1)
        self.lan(self.ann, "work", "on", None)
        self.assertEqual(self.reached(0x8137, self.ann, self.bea, self.cea), [True, True])
        self.ann.do(self.ann.node.goOffline("work"))
        self.overlay.advance(1)
        self.assertEqual(self.reached(0x8137, self.ann, self.bea), [False])

    def test_received(self) -> None:
        """A frame comes in only if a network shared with its sender has its protocol on."""
        self.lan(self.ann, "work", "off", None)
        self.assertEqual(self.reached(0x8137, self.bea, self.ann), [True])
        self.assertEqual(self.reached(0x8137, self.cea, self.ann), [False])
        self.assertEqual(self.ann.core.forwarder.counters["etherType"], 1)
        self.assertEqual(self.reached(OTHER, self.cea, self.ann), [False])
        for node in (self.ann, self.cea):
            self.lan(node, "work", "on", "0x88b5")
        self.assertEqual(self.reached(OTHER, self.cea, self.ann, self.bea), [True, False])
        self.assertEqual(self.reached(0x8137, self.cea, self.ann), [False])

    def test_restart(self) -> None:
        """What was chosen is remembered until the network is left."""
        self.lan(self.ann, "home", "off", "ipx")
        self.overlay.kill(self.ann)
        again = self.overlay.add("ann", "203.0.113.4", self.ann.state)
        self.overlay.advance(10)
        network = self.lan(again, "home", None, None)
        self.assertEqual((network["nonIp"], network["etherTypes"]), (False, "ipx"))
        again.do(again.node.leave("home"))
        self.assertEqual(again.state.remembered.nonIp, {})

    def test_refused(self) -> None:
        """What cannot be set is refused, and changes nothing."""
        for arguments in (
            ("nothing", None, None),
            ("nothing", "on", None),
            (None, "on", None),
            ("home", "perhaps", None),
            ("home", "off", "0x0800"),
            ("home", "off", ",".join(["0x88b5"] * 65)),
        ):
            self.assertRaises(Refused, self.ann.do, self.ann.node.lan(*arguments))
        self.assertEqual(self.ann.state.remembered.nonIp, {})

    def test_ipOnly(self) -> None:
        """An interface that carries IP only carries nothing else, whatever is chosen."""
        dan = self.overlay.add("dan", "203.0.113.5", etherTypes=None)
        dan.do(dan.node.login(URL))
        dan.do(dan.node.join("work", "secret"))
        self.overlay.advance(5)
        dan.do(dan.node.lan("work", "on", None))
        error = self.assertRaises(Refused, dan.do, dan.node.lan("work", None, "ipx"))
        self.assertIn("--device=tap", str(error))
        self.assertEqual(self.reached(0x8137, self.ann, dan, self.cea), [False, True])
        answer = dan.do(dan.node.lan("work", None, None))
        self.assertFalse(answer["carriesFrames"])
        self.assertIn("IP only: the interface", lanLines(answer)[0][1])


class WordingTests(SynchronousTestCase):
    def network(self, **changes: object) -> dict[str, Any]:
        known = {"name": "home", "nonIp": True, "etherTypes": DEFAULT_LIST, "etherTypesDefault": True}
        return {"networks": [{**known, **changes}], "carriesFrames": True}

    def test_lines(self) -> None:
        """Each network has a line that says what passes."""
        for changes, line in (
            ({}, "IP and ipx, appletalk, netbeui (the default)"),
            ({"etherTypesDefault": False, "etherTypes": "0x88b5"}, "IP and 0x88b5"),
            ({"nonIp": False}, "IP only"),
            ({"etherTypes": "none"}, "IP only: the list of other protocols is empty"),
        ):
            self.assertEqual(lanLines(self.network(**changes)), [("home", line)])
        self.assertIn("in no network", renderLan({"networks": []}, Style()))

    def test_hostile(self) -> None:
        """Whatever names and lists hold, nothing harms a terminal."""
        for text in hostileTexts(20):
            shown = renderLan(self.network(name=text, etherTypes=text), Style())
            self.assertFalse(HARM.search(shown))
        for answer in ({}, {"networks": 1}, {"networks": [1, {}]}):
            renderLan(answer, Style())
