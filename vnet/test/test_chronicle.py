"""
Tests for L{vnet.client.chronicle}: what a watcher hears while nodes come, go and die.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from vnet.test.nodelab import URL, Overlay, TestNode


class ChronicleTests(SynchronousTestCase):
    """
    Tests of L{vnet.client.chronicle.Chronicle}, in a whole node.
    """

    def setUp(self) -> None:
        self.overlay = Overlay(self.mktemp)
        self.addCleanup(self.overlay.stopAll)
        self.ann = self.overlay.add("ann", "203.0.113.1", wallClock=lambda: 1_770_000_000.25)
        self.ann.do(self.ann.node.login(URL))
        self.ann.do(self.ann.node.create("home", "secret"))
        self.link = self.ann.do(self.ann.node.invite("home"))["link"]
        self.events: list[dict[str, Any]] = []

    def watch(self) -> Callable[[], None]:
        return self.ann.node.watch(self.events.append)

    def add(self, name: str, number: int) -> TestNode:
        node = self.overlay.add(name, f"203.0.113.{number}")
        node.do(node.node.joinInvite(self.link))
        self.overlay.advance(2)
        return node

    def told(self) -> list[tuple[Any, ...]]:
        """
        Take the events: kind, nickname or network, and what is.
        """
        events, self.events[:] = list(self.events), []
        return [
            (
                each["event"],
                each.get("nick", each.get("network")),
                each.get("state", each.get("path", each.get("before"))),
            )
            for each in events
        ]

    def test_start(self) -> None:
        """
        The first event says how things stand; nothing follows while nothing happens.
        """
        self.add("bea", 2)
        self.watch()
        self.overlay.advance(2)
        self.assertEqual(
            self.events,
            [
                {
                    "time": "2026-02-02T02:40:00.250Z",
                    "event": "watching",
                    "state": "online",
                    "networks": 1,
                    "members": 1,
                    "online": 1,
                }
            ],
        )

    def test_comeAndGo(self) -> None:
        """
        A member that joins, is reached, changes its name, logs out, comes back and leaves is told of at each step, in order.
        """
        self.watch()
        bea = self.add("bea", 2)
        self.assertEqual(
            self.told()[1:], [("memberJoined", "bea", "online"), ("memberPath", "bea", "direct")]
        )
        bea.do(bea.node.setNick("eve"))
        self.assertEqual(self.told(), [("memberNick", "eve", "bea")])
        bea.do(bea.node.logout())
        self.assertEqual(self.told(), [("memberState", "eve", "offline"), ("memberPath", "eve", "none")])
        bea.do(bea.node.login(URL))
        self.overlay.advance(2)
        self.assertEqual(self.told(), [("memberState", "eve", "online"), ("memberPath", "eve", "direct")])
        bea.do(bea.node.leave("home"))
        self.assertEqual(self.told(), [("memberLeft", "eve", None)])

    def test_details(self) -> None:
        """
        A path is told with all that a list has of it, and whose it is.
        """
        self.watch()
        bea = self.add("bea", 2)
        path = self.events[-1]
        self.assertEqual(
            {key: path[key] for key in ("nick", "address", "clientId", "networks", "before", "transport")},
            {
                "nick": "bea",
                "address": bea.address,
                "clientId": bea.core.parts.identity.clientId,
                "networks": ["home"],
                "before": "none",
                "transport": "udp",
            },
        )
        self.assertTrue(path["endpoint"].startswith("203.0.113.2:"))
        self.assertIsNone(path["relay"])
        self.assertGreater(path["latencyMs"], 0)

    def test_dies(self) -> None:
        """
        A member that dies without a word is lost, or without a path, and in the end offline.
        """
        bea = self.add("bea", 2)
        self.watch()
        self.overlay.kill(bea)
        self.overlay.advance(120)
        told = self.told()
        self.assertIn(("memberState", "bea", "offline"), told[-2:])
        self.assertIn(("memberPath", "bea", "none"), told)

    def test_mediator(self) -> None:
        """
        That the mediator is lost and back is told, and that the members stay is to be seen from their not being told of.
        """
        self.add("bea", 2)
        self.watch()
        self.overlay.cut.add("203.0.113.1")
        self.overlay.dropControl("203.0.113.1")
        self.overlay.advance(0.1)
        self.assertEqual(self.events[-1]["error"], self.ann.core.logins.error)
        self.assertEqual(self.told()[1:], [("mediator", None, "connecting")])
        self.overlay.cut.clear()
        self.overlay.advance(35)
        self.assertEqual(self.told(), [("mediator", None, "online")])

    def test_networks(self) -> None:
        """
        The members of a network that this node leaves, joins, or loses by its logout, are not told one by one, but counted.
        """
        bea, self.cal = self.add("bea", 2), self.add("cal", 3)
        bea.do(bea.node.create("work", None))
        self.watch()
        self.ann.do(self.ann.node.join("work", None))
        self.assertEqual(self.events[-1]["members"], 1)
        self.assertEqual(self.events[-1]["online"], 1)
        self.assertEqual(self.told()[1:], [("network", "work", "joined")])
        self.ann.do(self.ann.node.leave("work"))
        self.assertEqual(self.told(), [("network", "work", "left")])
        self.ann.do(self.ann.node.logout())
        self.assertEqual(self.told(), [("mediator", None, "offline"), ("network", "home", "offline")])
        self.ann.do(self.ann.node.login(URL))
        self.overlay.advance(3)
        told = self.told()
        self.assertEqual(told[0], ("mediator", None, "online"))
        self.assertEqual(told[1], ("network", "home", "online"))
        self.assertEqual(sorted(told[2:]), [("memberPath", "bea", "direct"), ("memberPath", "cal", "direct")])

    def test_oneNetworkOfTwo(self) -> None:
        """
        A member that joins another network of this node's, and leaves one, is told so, and with which it shares then.
        """
        bea = self.add("bea", 2)
        self.ann.do(self.ann.node.create("work", None))
        self.watch()
        bea.do(bea.node.join("work", None))
        self.overlay.advance(1)
        self.assertEqual(self.events[-1]["networks"], ["home", "work"])
        self.assertEqual(self.events[-1]["network"], "work")
        bea.do(bea.node.leave("home"))
        self.overlay.advance(1)
        self.assertEqual(self.events[-1]["network"], "home")
        self.assertEqual([each[0] for each in self.told()[1:]], ["memberJoined", "memberLeft"])

    def test_goOffline(self) -> None:
        """
        Who goes offline in a network hears it of the network, and of the peers that it cannot reach any more.
        """
        self.add("bea", 2)
        self.watch()
        self.ann.do(self.ann.node.goOffline("home"))
        self.overlay.advance(1)
        told = self.told()[1:]
        self.assertEqual(told[0], ("network", "home", "offline"))
        self.assertIn(("memberState", "bea", "offline"), told)

    def test_stops(self) -> None:
        """
        Who stops hears no more, and nothing is kept when nobody watches; another watcher is not disturbed.
        """
        stop = self.watch()
        others: list[dict[str, Any]] = []
        stopOther = self.ann.node.watch(others.append)
        stop()
        stop()
        bea = self.add("bea", 2)
        self.assertEqual(len(self.events), 1)
        self.assertEqual(len(others), 3)
        stopOther()
        self.assertEqual(self.ann.core.chronicle._members, {})
        bea.do(bea.node.logout())
        self.assertEqual(len(others), 3)

    def test_brokenWatcher(self) -> None:
        """
        A watcher that fails is logged, and keeps neither the node nor others from anything.
        """
        broken: list[dict[str, Any]] = []

        def fail(event: dict[str, Any]) -> None:
            broken.append(event)
            if len(broken) > 1:
                raise ZeroDivisionError

        self.ann.node.watch(fail)
        self.watch()
        self.add("bea", 2)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), len(broken) - 1)
        self.assertEqual(self.told()[1:][0], ("memberJoined", "bea", "online"))
