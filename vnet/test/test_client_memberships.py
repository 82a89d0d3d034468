"""
The networks that a node has joined, and a mediator that lies about them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.memberships import Memberships
from vnet.client.state import StateFile
from vnet.client.sync import NetworkView
from vnet.errors import Refused, Unreachable
from vnet.protocols import control
from vnet.protocols.codec.url import parseInvite

REALM, OTHER = b"r" * 16, b"R" * 16
OWN, ANN = b"o" * 32, b"a" * 32
HOME, LOBBY = b"h" * 16, b"l" * 16


def named(identifier: bytes, name: str) -> dict[str, Any]:
    """
    A network as the control protocol gives it, of which ann is a member, too.
    """
    members = [
        {"key": key, "address": "100.64.0.1", "address6": "fd00::1", "nick": "", "state": "online"}
        for key in (OWN, ANN)
    ]
    return {
        "network": identifier,
        "name": name,
        "owner": ANN,
        "protected": False,
        "online": True,
        "version": 1,
        "whole": True,
        "members": members,
    }


class MembershipsTests(SynchronousTestCase):
    """
    Tests of L{Memberships}.
    """

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.state, self.view, self.realm = StateFile(self.path), NetworkView(), REALM
        self.state.update(mediator="vnet://mediator.example:7443")
        self.answers: dict[str, bytes] = {"home": HOME, "lobby": LOBBY}
        self.asked: list[Any] = []
        self.memberships = Memberships(self.state, self.view, self, self.derive, lambda: self.realm)

    async def derive(self, password: str, realm: bytes, name: str) -> bytes:
        return password.encode().ljust(32)

    async def ask(self, command: Any, **arguments: Any) -> dict[str, Any]:
        self.asked.append(command)
        return {"network": self.answers[arguments["name"]]} if "name" in arguments else {}

    def join(self, name: str, password: str | None = None, realm: bytes = REALM) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.memberships.join(name, password, realm)))

    def shown(self, *networks: dict[str, Any]) -> None:
        self.view.applyPage({"epoch": b"e", "networks": networks, "gone": [], "cursor": b""})

    def test_identifierOfAnother(self) -> None:
        """
        A mediator that answers the joining of one network with the identifier of another does not take away its secret.
        """
        self.join("home", "secret")
        self.shown(named(HOME, "home"))
        before = self.memberships.presharedKeys(OWN, ANN)
        self.answers["lobby"] = HOME
        joining = Deferred.fromCoroutine(self.memberships.join("lobby", None, REALM))
        self.failureResultOf(joining, Refused)
        self.assertEqual(self.memberships.presharedKeys(OWN, ANN), before)
        self.assertEqual(self.state.remembered.entering, {})
        joining = Deferred.fromCoroutine(self.memberships.join("home", None, REALM))
        self.failureResultOf(joining, Refused)
        self.assertEqual(self.memberships.presharedKeys(OWN, ANN), before)

    def test_joinedAgain(self) -> None:
        """
        To join once more with the same password changes nothing.
        """
        self.join("home", "secret")
        before = self.state.remembered
        self.join("home", "secret")
        self.assertEqual(self.state.remembered, before)

    def test_noIdentifier(self) -> None:
        """
        An identifier that is none is not remembered: a state that holds it could not be read any more.
        """
        for bad in (b"", b"short", b"x" * 60_000):
            self.answers["home"] = bad
            joining = Deferred.fromCoroutine(self.memberships.join("home", "secret", REALM))
            self.failureResultOf(joining, Refused)
            again = StateFile(self.path)
            again.load()
            self.assertEqual((again.remembered.networks, again.remembered.entering), ({}, {}))

    def test_namesSwapped(self) -> None:
        """
        A mediator that swaps the names of networks does not get the secret of one into an invitation to the other.
        """
        self.join("home", "secret")
        self.join("lobby")
        self.shown(named(HOME, "lobby"), named(LOBBY, "home"))
        self.assertIsNone(parseInvite(self.memberships.invite("lobby")).secret)
        self.assertEqual(parseInvite(self.memberships.invite("home")).secret, b"secret".ljust(32))
        self.assertEqual(self.memberships.find("home").network, HOME)

    def test_otherMediator(self) -> None:
        """
        What was joined at one mediator does not count at another, nor at one that says that it is another; it is not forgotten.
        """
        self.join("home", "secret")
        self.realm = OTHER
        self.shown(named(HOME, "home"))
        self.assertEqual(self.view.peers(OWN, self.memberships.joined), {})
        self.assertEqual(self.memberships.presharedKeys(OWN, ANN), ())
        self.assertRaises(Refused, self.memberships.invite, "home")
        self.memberships.forget(HOME)
        self.shown(named(HOME, "home"))
        self.realm = REALM
        self.assertEqual(set(self.view.peers(OWN, self.memberships.joined)), {ANN})

    def test_mediatorChanged(self) -> None:
        """
        A secret that was made for one mediator's network is not used at another, which the user turned to meanwhile.
        """
        self.realm = OTHER
        joining = Deferred.fromCoroutine(self.memberships.join("home", "secret", REALM))
        self.failureResultOf(joining, Unreachable)
        self.assertEqual(self.asked, [])

    def test_enteredElsewhere(self) -> None:
        """
        What was asked of one mediator, and got no answer, is not taken from another.
        """
        self.state.beginEntering("home", None, REALM)
        self.realm = OTHER
        self.shown(named(HOME, "home"))
        self.memberships.adoptEntered()
        self.assertEqual(self.state.remembered.networks, {})
        self.realm = REALM
        self.memberships.adoptEntered()
        self.assertIn(HOME.hex(), self.state.remembered.networks)

    def test_leave(self) -> None:
        """
        Who leaves a network forgets it.
        """
        self.join("home", "secret")
        self.shown(named(HOME, "home"))
        self.successResultOf(Deferred.fromCoroutine(self.memberships.leave("home")))
        self.assertEqual(self.asked[-1], control.LeaveNetwork)
        self.assertEqual((self.state.remembered.networks, self.view.networks), ({}, {}))
