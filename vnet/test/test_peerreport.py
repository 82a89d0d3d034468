"""
What C{vnet peer} says of the way to a peer.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from vnet.client.obstacles import OwnNat
from vnet.client.peer import Peer
from vnet.client.peerreport import describeFully, nameOf
from vnet.client.peerwording import natWords, wayLines
from vnet.client.render import Style, renderPeer
from vnet.protocols.codec.natsignal import Traits
from vnet.protocols.machine.agentevents import Failed
from vnet.protocols.traversal import Story
from vnet.test.test_client_peer import HIGH, OTHER, PATH, RELAYED, THERE, FakeAttempt, PeerCase, member
from vnet.test.test_obstacles import EASY, FORWARD, PEER_BLOCKED, PEER_EASY, PEER_RANDOM, RANDOM, UPNP
from vnet.values import Address, NatReport

EI, AD, APD = "endpoint-independent", "address-dependent", "address-and-port-dependent"
RELAY = Address("192.0.2.200", 49152)


class ReportCase(PeerCase):
    """
    A peer among fakes, in every state.
    """

    def relayed(self, story: Story, own: NatReport = EASY, **heard: Any) -> tuple[Peer, FakeAttempt]:
        """A peer with a relayed path."""
        self.around.ownNat = OwnNat(own)
        self.around.relays["r1"] = ("relay.example:3478", "udp")
        peer = self.peer()
        peer.rendezvous(5, 1.0)
        attempt = self.attempts[-1]
        attempt.story = story
        attempt.tried = (THERE, OTHER, THERE._replace(via="r1"), THERE._replace(via="#1"))
        attempt.heard = (THERE._replace(via="r1"),)
        attempt.select(RELAYED)
        peer.sessionEstablished()
        return peer, attempt

    def said(self, peer: Peer) -> tuple[str | None, list[str]]:
        """Why, and what would help."""
        found = describeFully(peer)
        return found["why"], found["help"]


class WayTests(ReportCase):
    """
    L{describeFully}.
    """

    def test_relayed(self) -> None:
        """A relayed pair is told of both NATs, what was tried and heard, why, and what would help."""
        story = Story(Traits(), PEER_RANDOM, "hopeless", 0, 0, 0, False)
        peer, _ = self.relayed(story, RANDOM)
        self.clock.advance(20)
        found = describeFully(peer, True)
        self.assertEqual((found["nat"]["own"]["natted"], found["nat"]["own"]["allocation"]), (True, "random"))
        self.assertEqual(
            found["nat"]["peer"],
            {
                "udp": True,
                "natted": True,
                "mapping": APD,
                "filtering": APD,
                "allocation": "random",
                "shared": False,
            },
        )
        self.assertEqual(
            found["tried"],
            {
                "addresses": [str(THERE), str(OTHER)],
                "relays": ["relay.example:3478"],
                "strategy": "hopeless",
                "rounds": 0,
                "probes": 0,
                "sockets": 0,
            },
        )
        self.assertEqual(found["heard"], [f"{THERE} through relay.example:3478"])
        self.assertTrue(found["why"].startswith("both NATs give each destination a random port"))
        self.assertEqual(found["help"][:2], [FORWARD, UPNP])
        self.assertTrue(found["answersPing"])

    def test_direct(self) -> None:
        """Of a direct pair there is no complaint, whatever the NATs are."""
        peer, attempt = self.relayed(Story(Traits(), PEER_RANDOM, "answer", 1, 99, 0, False), RANDOM)
        attempt.select(PATH)
        self.assertEqual(self.said(peer), (None, []))

    def test_underWay(self) -> None:
        """While a direct path may still be found, it is said what is done, and nothing has to be changed."""
        peer, attempt = self.relayed(Story(Traits(), PEER_RANDOM, "answer", 1, 64, 0, False))
        self.assertEqual(
            self.said(peer),
            ("a direct path is being looked for: 64 ports of nick's NAT were guessed so far", []),
        )
        attempt.isBusy = True
        self.clock.advance(20)
        self.assertIn("64 ports of nick's NAT", str(self.said(peer)[0]))
        attempt.isBusy = False
        self.assertIn("none was the right one", str(self.said(peer)[0]))

    def test_certain(self) -> None:
        """What is certain is said at once, while local addresses are still tried."""
        peer, _ = self.relayed(Story(Traits(), PEER_BLOCKED, "hopeless", 0, 0, 0, False))
        self.assertEqual(
            self.said(peer),
            (
                "a direct path is being looked for; but nick's network blocks UDP",
                ["nick's network blocks UDP: only its administrator can allow it"],
            ),
        )
        self.assertEqual(describeFully(peer)["nat"]["peer"]["udp"], False)

    def test_relayAlone(self) -> None:
        """What comes through a relay, this side's or the other's, is not heard directly."""
        peer, attempt = self.relayed(Story(Traits(), PEER_EASY, "repair", 3, 0, 3, False))
        self.clock.advance(20)
        self.assertIn("nothing was heard from nick directly", str(self.said(peer)[0]))
        attempt.select(type(PATH)(RELAY, 0.05, "srflx", "relay"))
        attempt.heard = attempt.theirRelays = (RELAY,)
        self.assertEqual(describeFully(peer)["heard"], [f"{RELAY}, a relay"])
        self.assertIn("nothing was heard from nick directly", str(self.said(peer)[0]))
        attempt.heard = (RELAY, THERE)
        self.assertIn("UDP comes from nick", str(self.said(peer)[0]))

    def test_none(self) -> None:
        """Without any path it is said what is under way, what went wrong, and why no relay helps."""
        self.around.ownNat = OwnNat(EASY)
        peer = self.peer()
        self.assertEqual(self.said(peer), ("looking for a path", []))
        peer.rendezvous(5, 1.0)
        attempt = self.attempts[-1]
        attempt.tried = (THERE, OTHER)
        self.assertEqual(
            self.said(peer),
            ("looking for a path: 2 addresses are checked, nothing is heard from the peer yet", []),
        )
        attempt.story = Story(Traits(), PEER_BLOCKED, "hopeless", 0, 0, 0, False)
        self.around.relayProblem = "relay turn:x: it is full"
        attempt.lose(Failed("heard nothing"))
        why, helps = self.said(peer)
        self.assertEqual(
            why, "heard nothing; nick's network blocks UDP; nor does a relay help: relay turn:x: it is full"
        )
        self.assertEqual(helps, ["nick's network blocks UDP: only its administrator can allow it"])

    def test_otherReasons(self) -> None:
        """A peer that is offline, refused, or whose handshake fails needs no other NAT."""
        offline = self.peer(state="offline")
        self.assertEqual(self.said(offline), ("the peer is offline", []))
        refused = self.peer()
        refused.refused = "it has another key"
        self.assertEqual(self.said(refused), ("it has another key", []))
        silent, _ = self.relayed(Story(Traits(), PEER_RANDOM, "hopeless", 0, 0, 0, False), RANDOM)
        silent.handshakeFailed()
        why, helps = self.said(silent)
        self.assertIn("handshake is not answered", str(why))
        self.assertEqual(helps, [])

    def test_firewall(self) -> None:
        """A tunnel that is up while the peer's system is silent: its firewall, and what to allow there."""
        peer, attempt = self.connected()
        attempt.select(PATH)
        found = describeFully(peer, False, "100.64.0.0/10")
        self.assertEqual((found["why"], found["answersPing"]), (None, False))
        [text] = found["help"]
        self.assertIn("the tunnel works, but nick's operating system does not answer pings", text)
        self.assertIn("vnet0", text)
        self.assertIn("100.64.0.0/10", text)

    def test_hostileName(self) -> None:
        """What a peer calls itself is made harmless, and one without a visible name is called by its address."""
        for nick, expected in (
            ("bob\x1b[31m\u202e\nevil", "bob\ufffd[31m\ufffd\ufffdevil"),
            ("", "100.64.0.9"),
            ("x" * 64, "x" * 31 + "\u2026"),
        ):
            peer = Peer(self.around.context, member(HIGH, nick=nick), HIGH)
            self.assertEqual(nameOf(peer), expected)


class WordsTests(SynchronousTestCase):
    """
    L{natWords} and L{wayLines}.
    """

    def test_nats(self) -> None:
        """Each NAT is put into words."""
        for nat, expected in (
            (None, "not known"),
            ({}, "not known"),
            ({"udp": None, "natted": None}, "not known"),
            ({"udp": False}, "UDP is blocked"),
            ({"udp": True, "natted": False, "mapping": EI, "filtering": EI}, "none"),
            ({"udp": True, "natted": False, "mapping": EI, "filtering": APD}, "none; lets in answers only"),
            (
                {"natted": True, "mapping": EI, "filtering": AD, "allocation": "preserving"},
                "keeps one port for all destinations, that of the computer; lets in the addresses that something was sent to",
            ),
            (
                {"natted": True, "mapping": APD, "filtering": APD, "allocation": "block", "shared": True},
                "gives each destination another port, at random out of few; lets in answers only; the provider's",
            ),
            ({"natted": True, "filtering": EI}, "lets anybody in"),
        ):
            self.assertEqual(natWords(nat), expected)

    def test_lines(self) -> None:
        """What was tried and heard is shown where the path is not direct; help has a line for each sentence."""
        nat = {"own": {"udp": False}, "peer": None}
        tried = {
            "addresses": ["192.0.2.1:5", "192.0.2.2:5"],
            "relays": ["relay.example:3478"],
            "strategy": "answer",
            "rounds": 1,
            "probes": 2048,
            "sockets": 0,
        }
        answer = {
            "nat": nat,
            "tried": tried,
            "heard": [],
            "why": "a",
            "help": ["b", "c"],
            "answersPing": False,
        }
        self.assertEqual(
            wayLines(answer),
            [
                ("NAT here", "UDP is blocked"),
                ("NAT there", "not known"),
                (
                    "tried",
                    "2 addresses: 192.0.2.1:5, 192.0.2.2:5; through the relay relay.example:3478; "
                    "ports of the peer's NAT (1 try, 2,048 guessed ports)",
                ),
                ("heard", "nothing"),
                ("pings", "are not answered"),
                ("why", "a"),
                ("help", "b"),
                ("", "c"),
            ],
        )
        self.assertEqual(
            [name for name, _ in wayLines({**answer, "why": None, "help": [], "answersPing": True})],
            ["NAT here", "NAT there", "pings"],
        )
        many = {**answer, "heard": [f"192.0.2.{n}:1" for n in range(1, 10)]}
        self.assertIn("192.0.2.6:1 and 3 more", dict(wayLines(many))["heard"])

    def test_anything(self) -> None:
        """Whatever JSON a client answers with is shown harmlessly."""
        strange: list[Any] = [
            None,
            True,
            7,
            "x\x1b[31m",
            [],
            ["\x1b", 1, {}],
            {},
            {"own": 1},
            {"rounds": "\x1b"},
        ]
        for key in ("nat", "tried", "heard", "answersPing", "why", "help"):
            for value in strange:
                text = renderPeer(
                    {"why": "w", "tried": {"strategy": "meet", "rounds": True}, key: value}, Style()
                )
                self.assertNotIn("\x1b", text)
