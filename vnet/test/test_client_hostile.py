"""
Whole nodes, and a mediator that lies, floods and sends what is not asked for.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from vnet.client.session import Session
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
