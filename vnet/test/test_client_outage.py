"""
Tunnels that outlive their mediator: whole nodes in memory.
"""

from __future__ import annotations

import random

from twisted.trial.unittest import SynchronousTestCase

from vnet.test.nodelab import URL, Overlay


class OutageTests(SynchronousTestCase):
    """
    Ann and Bea share a network, with a tunnel between them, when the mediator goes.
    """

    def start(self, seed: int) -> None:
        random.seed(seed)
        self.overlay = Overlay(self.mktemp)
        self.addCleanup(self.overlay.stopAll)
        self.ann, self.bea = self.overlay.add("ann", "203.0.113.1"), self.overlay.add("bea", "203.0.113.2")
        self.ann.do(self.ann.node.login(URL))
        self.ann.do(self.ann.node.create("home", "secret"))
        self.bea.do(self.bea.node.joinInvite(self.ann.do(self.ann.node.invite("home"))["link"]))
        self.overlay.advance(2)
        self.assertTrue(self.ann.reaches(self.bea))
        self.address = self.bea.address

    def block(self, blocked: bool) -> None:
        self.overlay.internet.passes = lambda source, destination: not blocked

    def reached(self) -> bool:
        found: list[object] = []
        self.ann.node.ping(self.address).addBoth(found.append)
        self.overlay.advance(2.5, step=0.1)
        return bool(found) and isinstance(found[0], dict)

    def test_pathBack(self) -> None:
        """
        The mediator is down, and the path is blocked for 2 or 10 minutes: about a minute after it is open the tunnel is there
        again, without a mediator.
        """
        for seed, minutes in enumerate((2, 2, 2, 10)):
            self.start(seed)
            self.overlay.mediatorUp = False
            self.overlay.dropControl()
            self.overlay.advance(20, step=0.1)
            self.block(True)
            for _ in range(minutes * 6):
                self.reached()
                self.overlay.advance(7.5, step=0.1)
            self.assertFalse(self.reached())
            self.block(False)
            self.overlay.advance(60, step=0.1)
            self.assertTrue(self.reached(), (seed, minutes))
            self.assertFalse(self.ann.core.logins.online or self.bea.core.logins.online)
            self.overlay.stopAll()

    def test_linkChange(self) -> None:
        """
        When the computer's network comes back after a long time the tunnel is there in seconds.
        """
        self.start(0)
        self.overlay.mediatorUp = False
        self.overlay.dropControl()
        self.block(True)
        self.overlay.advance(600, step=0.2)
        self.assertFalse(self.reached())
        self.block(False)
        self.ann.core.linksChanged()
        self.overlay.advance(2)
        self.assertTrue(self.reached())
