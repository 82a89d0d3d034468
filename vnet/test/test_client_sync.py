"""
The node's view of its networks.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.sync import MAXIMUM_MEMBERS, MAXIMUM_NETWORKS, Lan, NetworkView, synchronise

OWN, ANN, BEA = b"o" * 32, b"a" * 32, b"b" * 32
HOME, WORK = b"h" * 16, b"w" * 16
JOINED = {HOME.hex(), WORK.hex()}


def member(key: bytes, state: str = "online", nick: str = "nick") -> dict[str, Any]:
    """
    A member as the control protocol gives it.
    """
    return {"key": key, "address": "100.64.0.1", "address6": "fd00::1", "nick": nick, "state": state}


def network(identifier: bytes, version: int, *members: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """
    A network as the control protocol gives it.
    """
    return {
        "network": identifier,
        "name": "home" if identifier == HOME else "work",
        "owner": ANN,
        "protected": True,
        "online": True,
        "version": version,
        "whole": True,
        "members": list(members),
        **changes,
    }


def page(*networks: dict[str, Any], gone: tuple[bytes, ...] = (), cursor: bytes = b"") -> dict[str, Any]:
    """
    One answer to a synchronisation.
    """
    return {"epoch": b"e" * 8, "networks": list(networks), "gone": list(gone), "cursor": cursor}


class NetworkViewTests(SynchronousTestCase):
    """
    Tests of L{NetworkView}.
    """

    def setUp(self) -> None:
        self.view = NetworkView()
        self.view.applyPage(page(network(HOME, 5, member(OWN), member(ANN))))

    def test_next(self) -> None:
        """
        The change that follows is taken.
        """
        self.assertTrue(self.view.applyChange(HOME, 6, [member(BEA)]))
        self.assertEqual(set(self.view.peers(OWN, JOINED)), {ANN, BEA})

    def test_gap(self) -> None:
        """
        A change after a gap, or of an unknown network, is not taken: it asks for a synchronisation.
        """
        self.assertFalse(self.view.applyChange(HOME, 7, [member(BEA)]))
        self.assertFalse(self.view.applyChange(WORK, 1, [member(BEA)]))
        self.assertEqual(set(self.view.peers(OWN, JOINED)), {ANN})

    def test_old(self) -> None:
        """
        A change that is already held does nothing.
        """
        self.assertTrue(self.view.applyChange(HOME, 5, [member(ANN, "gone")]))
        self.assertEqual(set(self.view.peers(OWN, JOINED)), {ANN})

    def test_delta(self) -> None:
        """
        A delta adds to what is held; a whole replaces it.
        """
        self.view.applyPage(page(network(HOME, 7, member(BEA), member(ANN, "gone"), whole=False)))
        self.assertEqual(set(self.view.peers(OWN, JOINED)), {BEA})
        self.view.applyPage(page(network(HOME, 9, member(ANN))))
        self.assertEqual(set(self.view.peers(OWN, JOINED)), {ANN})

    def test_gone(self) -> None:
        """
        A network that is gone takes its members along.
        """
        self.view.applyPage(page(gone=(HOME,)))
        self.assertEqual(self.view.peers(OWN, JOINED), {})

    def test_bestState(self) -> None:
        """
        A peer of two networks is online when it is so in one of them in which this node is online.
        """
        self.view.applyPage(page(network(WORK, 1, member(ANN, "offline"))))
        self.assertEqual(self.view.peers(OWN, JOINED)[ANN].state, "online")
        self.view.setOnline(HOME, False)
        self.assertEqual(self.view.peers(OWN, JOINED)[ANN].state, "offline")
        self.assertEqual(self.view.peer(ANN, JOINED), self.view.peers(OWN, JOINED)[ANN])

    def test_onlyJoined(self) -> None:
        """
        Members of a network that this node did not join itself are no peers, whatever the mediator says.
        """
        self.view.applyPage(page(network(WORK, 1, member(BEA))))
        self.assertEqual(set(self.view.peers(OWN, {HOME.hex()})), {ANN})
        self.assertIsNone(self.view.peer(BEA, {HOME.hex()}))
        self.assertEqual(self.view.sharedWith(BEA, {HOME.hex()}), [])

    def test_limit(self) -> None:
        """
        A mediator cannot fill this node's memory with networks.
        """
        for number in range(MAXIMUM_NETWORKS + 10):
            self.view.applyPage(page(network(number.to_bytes(16, "big"), 1)))
        self.assertEqual(len(self.view.networks), MAXIMUM_NETWORKS)

    def test_lans(self) -> None:
        """
        What members offer is known by network and member, changes with the member, and goes with it.
        """
        offered = [
            {"prefix": "192.168.7.0/24", "accepted": True},
            {"prefix": "FD00:7::/64", "accepted": False},
        ]
        self.view.applyChange(HOME, 6, [{**member(ANN), "lans": offered}])
        home = self.view.networks[HOME]
        self.assertEqual({ANN: (Lan("192.168.7.0/24", True), Lan("fd00:7::/64", False))}, home.lans)
        self.view.applyChange(HOME, 7, [{**member(ANN), "lans": None}])
        self.assertEqual({}, home.lans)
        self.view.applyChange(HOME, 8, [{**member(ANN), "lans": offered}])
        self.view.applyChange(HOME, 9, [member(ANN, "gone")])
        self.assertEqual({}, home.lans)

    def test_hostileLans(self) -> None:
        """
        Prefixes that nobody may share are not believed, nor more of them than there may be.
        """
        bad = [{"prefix": each, "accepted": True} for each in ("0.0.0.0/0", "x", "127.0.0.0/8", "fe80::/64")]
        many = [{"prefix": f"10.{number}.0.0/16", "accepted": True} for number in range(200)]
        self.view.applyChange(HOME, 6, [{**member(ANN), "lans": bad}, {**member(BEA), "lans": many}])
        home = self.view.networks[HOME]
        self.assertEqual({BEA: 8}, {key: len(lans) for key, lans in home.lans.items()})
        crowd = [{**member(b"%032d" % number), "lans": many} for number in range(20)]
        self.view.applyChange(HOME, 7, crowd)
        self.assertEqual(64, sum(map(len, home.lans.values())))

    def test_hostile(self) -> None:
        """
        Names and nicknames lose what a terminal would obey; members with strange states or keys are dropped.
        """
        self.view.applyPage(
            page(network(HOME, 6, member(ANN, nick="\x1b]52;c;x\x07\u202eevil"), name="\x1b[2Jhome"))
        )
        shown = self.view.networks[HOME].members[ANN].nick + self.view.networks[HOME].name
        self.assertTrue(shown.isprintable(), ascii(shown))
        self.view.applyPage(page(network(HOME, 7, member(b"short"), member(BEA, "superuser"))))
        self.assertEqual(self.view.networks[HOME].members, {})

    def test_crowd(self) -> None:
        """
        However many members a mediator names, in however many networks, and however long their addresses, there is an end.
        """
        for number in range(20):
            crowd = [
                {
                    **member((number * 5000 + each).to_bytes(32, "big")),
                    "address": "1" * 1000,
                    "address6": ":" * 1000,
                }
                for each in range(5000)
            ]
            self.view.applyPage(page(network(bytes([number]) * 16, 1, *crowd)))
        everyone = [each for known in self.view.networks.values() for each in known.members.values()]
        self.assertEqual(len(everyone), MAXIMUM_MEMBERS)
        self.assertLess(max(len(each.address) + len(each.address6) for each in everyone), 100)
        self.view.applyPage(page(network(HOME, 6)))
        self.assertTrue(self.view.applyChange(HOME, 7, [member(BEA)]))
        self.assertIn(BEA, self.view.networks[HOME].members)


class SynchroniseTests(SynchronousTestCase):
    """
    Tests of L{synchronise}.
    """

    def test_pages(self) -> None:
        """
        Pages are asked for until there is no cursor, each with what was held at the beginning.
        """
        view = NetworkView()
        answers = [
            page(network(HOME, 5, member(ANN)), cursor=b"1"),
            page(network(HOME, 5, member(BEA), whole=False)),
        ]
        asked: list[dict[str, Any]] = []

        async def call(command: object, **arguments: Any) -> dict[str, Any]:
            asked.append(arguments)
            return answers[len(asked) - 1]

        self.successResultOf(Deferred.fromCoroutine(synchronise(view, call)))
        self.assertEqual([each["cursor"] for each in asked], [b"", b"1"])
        self.assertEqual(asked[0]["held"], asked[1]["held"])
        self.assertEqual(set(view.peers(OWN, JOINED)), {ANN, BEA})
