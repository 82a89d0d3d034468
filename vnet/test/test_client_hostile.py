"""
Whole nodes, and a mediator that lies, floods and sends what is not asked for.
"""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

from nacl.signing import SigningKey
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.session import Session
from vnet.client.state import StateFile
from vnet.protocols.codec.address6 import address6Of
from vnet.protocols.codec.url import parseMediatorUrl
from vnet.test.nodelab import URL, Overlay, TestNode

OTHER = URL.replace("mediator.example", "other.example")


class HostileMediatorTests(SynchronousTestCase):
    """
    What a mediator cannot do to a node.
    """

    def setUp(self) -> None:
        self.overlay = Overlay(self.mktemp)
        self.addCleanup(self.overlay.stopAll)
        self.ann = self.overlay.add("ann", "203.0.113.1")
        self.bea = self.overlay.add("bea", "203.0.113.2")
        self.ann.do(self.ann.node.login(URL))
        self.ann.do(self.ann.node.create("home", "secret"))
        self.bea.do(self.bea.node.joinInvite(self.ann.do(self.ann.node.invite("home"))["link"]))
        self.overlay.advance(2)
        (self.home,) = self.ann.core.view.networks

    def current(self) -> Session:
        session = self.ann.core.logins.session
        assert session is not None
        return session

    def gone(self, node: TestNode) -> dict[str, Any]:
        key = node.core.parts.identity.publicKey
        return {"key": key, "address": "", "address6": "", "nick": "", "state": "gone"}

    def test_notLoggedIn(self) -> None:
        """
        A mediator that this node only tries, or has left, has no say in its networks.
        """
        trying = self.ann.core._makeSession(parseMediatorUrl(OTHER))
        left = self.current()
        self.ann.do(self.ann.node.login(OTHER))
        for session in (trying, left):
            version = self.ann.core.view.networks[self.home].version
            session.memberChanged(self.home, version + 1, [self.gone(self.bea)])
            session.signal(self.bea.core.parts.identity.publicKey, b"x" * 100)
            session.rendezvous(self.bea.core.parts.identity.publicKey, 1, 1)
            session.networkGone(self.home)
        self.overlay.advance(2)
        self.assertEqual(self.ann.members(), {"home/bea": ("online", "direct")})
        self.assertIn(self.home.hex(), self.ann.state.remembered.networks)

    def test_manyMembers(self) -> None:
        """
        Members who come one by one cost no write of the state each; what is pinned is on disk soon, and when the node stops.
        """
        welcome, session = self.ann.core.welcome, self.current()
        assert welcome is not None
        self.overlay.advance(10)
        inode = self.ann.state._path.stat().st_ino
        version = self.ann.core.view.networks[self.home].version
        for number in range(50):
            key = bytes(SigningKey(bytes([number]) * 32).verify_key)
            prefix = ip_network(welcome.pool6).network_address.packed[:6]
            raw = {
                "key": key,
                "address": f"100.64.9.{number}",
                "address6": str(address6Of(prefix, key)),
                "nick": "crowd",
                "state": "offline",
            }
            session.memberChanged(self.home, version + 1 + number, [raw])
        self.assertEqual(self.ann.state._path.stat().st_ino, inode)
        self.assertEqual(len(self.ann.state.remembered.pins), 102)
        self.overlay.advance(6)
        again = StateFile(self.ann.state._path)
        again.load()
        self.assertEqual(again.remembered, self.ann.state.remembered)

    def test_flapping(self) -> None:
        """
        A mediator that ends each session as soon as it has begun is asked ever more seldom.
        """
        logins = 0
        for _ in range(1200):
            self.overlay.advance(0.1)
            if self.ann.core.logins.online:
                logins += 1
                self.overlay.dropControl("203.0.113.1")
        self.assertLess(logins, 15)
