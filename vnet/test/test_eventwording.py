"""
Tests for L{vnet.client.eventwording}.
"""

from __future__ import annotations

import os
import time

from twisted.trial.unittest import SynchronousTestCase

from vnet.client.eventwording import KINDS, eventLine
from vnet.test.hostile import HARM, hostileTexts
from vnet.testing_node import event, member


class LineTests(SynchronousTestCase):
    """
    Tests of L{eventLine}.
    """

    def setUp(self) -> None:
        zone = os.environ.get("TZ")

        def restore() -> None:
            os.environ.pop("TZ", None)
            if zone is not None:
                os.environ["TZ"] = zone
            time.tzset()

        self.addCleanup(restore)
        os.environ["TZ"] = "UTC-1"
        time.tzset()

    def test_lines(self) -> None:
        """Each kind of event is one line with the local time, who it is, and what happened."""
        bea = member(2, "bea")
        relayed = {"relay": "relay.example:443", "transport": "tls", "latencyMs": 48.0}
        lan = {"network": "home", "prefix": "192.168.7.0/24"}
        direct = {"endpoint": "198.51.100.4:40001", "relay": None, "transport": "udp", "latencyMs": 12.34}
        for told, line in (
            (
                event("watching", state="online", networks=1, members=5, online=2),
                "this computer is online, in 1 network: 2 of 5 others online",
            ),
            (event("mediator", state="online", error=None), "the mediator is connected"),
            (
                event("mediator", state="connecting", error="it ended"),
                "the mediator is not connected: it ended",
            ),
            (event("mediator", state="offline", error=None), "logged out"),
            (
                event("network", network="home", state="joined", members=2, online=1),
                "this computer has joined home: 1 of 2 others online",
            ),
            (
                event("network", network="home", state="offline", members=2, online=0),
                "this computer is offline in home: 0 of 2 others online",
            ),
            (event("network", network="home", state="left"), "this computer is no member of home any more"),
            (
                event("memberJoined", **{**bea, "network": "home", "state": "online"}),
                "bea (100.64.0.2) joined home",
            ),
            (
                event("memberJoined", **{**bea, "network": "home", "state": "offline"}),
                "bea (100.64.0.2) joined home, offline",
            ),
            (event("memberLeft", **{**bea, "network": "home"}), "bea (100.64.0.2) left home"),
            (event("memberState", **{**bea, "state": "lost"}), "bea (100.64.0.2) is lost"),
            (
                event("memberPath", **{**bea, **direct}),
                "bea (100.64.0.2) is reached: direct, 198.51.100.4:40001, 12.3 ms",
            ),
            (
                event("memberPath", **{**bea, **relayed, "path": "relayed"}),
                "bea (100.64.0.2) is reached: relayed, by relay.example:443 over TLS, 48.0 ms",
            ),
            (event("memberPath", **{**bea, "path": "none"}), "bea (100.64.0.2) has no path any more"),
            (
                event("memberLan", **{**bea, **lan, "state": "offered"}),
                "bea (100.64.0.2) offers the LAN 192.168.7.0/24 in home, not accepted",
            ),
            (
                event("memberLan", **{**bea, **lan, "state": "withdrawn"}),
                "bea (100.64.0.2) offers no more the LAN 192.168.7.0/24 in home",
            ),
            (
                event("ownLan", **lan, state="accepted"),
                "this computer offers the LAN 192.168.7.0/24 in home, accepted",
            ),
            (
                event("lanProblem", **lan, state="shared", why="a firewall drops it", help=["open it"]),
                "the LAN 192.168.7.0/24 in home does not work: a firewall drops it; to let it through: open it",
            ),
            (
                event("lanProblem", **lan, state="shared", why=None, help=[]),
                "the LAN 192.168.7.0/24 in home is shared",
            ),
            (event("memberNick", **bea, before="eve"), "bea (100.64.0.2) was called eve before"),
            (
                event("missed", count=7),
                "7 events are missing, since this was not read fast enough: see 'vnet list'",
            ),
            (event("later"), "later"),
        ):
            self.assertEqual(eventLine(told), f"13:00:00  {line}")

    def test_hostile(self) -> None:
        """Whatever is in an event, it is one harmless line."""
        for text in hostileTexts(300):
            for kind in (*KINDS, text):
                everything = dict.fromkeys(
                    (
                        *("nick", "address", "network", "prefix", "state", "before"),
                        *("path", "endpoint", "relay", "error", "why"),
                    ),
                    text,
                )
                line = eventLine(event(kind, **{**everything, "count": text}))
                self.assertEqual((line.count("\n"), HARM.search(line)), (0, None), (kind, text))
                self.assertLess(len(line), 4000)

    def test_noTime(self) -> None:
        """A time that is none is shown as such."""
        for bad in (None, "", "noon", "9999-12-31T23:59:59.999-23:59", 5):
            self.assertTrue(eventLine({**event("later"), "time": bad}).endswith("  later"), bad)
