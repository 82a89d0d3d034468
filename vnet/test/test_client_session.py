"""
The node's session with its mediator, in whole nodes in memory.
"""

from __future__ import annotations

import contextlib
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectingCancelledError
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from vnet.client import session
from vnet.client.mediatorclock import MediatorClock
from vnet.client.session import _placeOf, retryDelay
from vnet.protocols import control
from vnet.protocols.proxied import FarEnd
from vnet.test.nodelab import URL, Overlay, TestNode

HOST = "203.0.113.1"


class PlaceTests(SynchronousTestCase):
    """
    Where a mediator is.
    """

    def test_places(self) -> None:
        """
        The peer of a direct connection is the mediator.  Through a proxy its address is what was asked for, and known only if
        that is one.
        """
        for peer, place in (
            (IPv4Address("TCP", "192.0.2.7", 7443), ("192.0.2.7", True)),
            (IPv6Address("TCP", "2001:db8::7", 7443), ("2001:db8::7", True)),
            (FarEnd("192.0.2.7", 7443), ("192.0.2.7", False)),
            (FarEnd("2001:db8::7", 7443), ("2001:db8::7", False)),
            (FarEnd("m.example", 7443), ("", False)),
        ):
            self.assertEqual(_placeOf(peer), place)


class RetryTests(SynchronousTestCase):
    """
    When a session tries again.
    """

    def test_delays(self) -> None:
        """
        The first retry follows within a second, later ones within 30 s, and none at a time that a crowd would share.
        """
        for failures in (1, 2, 10, 10_000):
            delays = [retryDelay(failures) for _ in range(200)]
            self.assertLessEqual(max(delays), min(0.8 * 1.6 ** min(failures - 1, 99), 30))
            self.assertGreater(min(delays), 0.39)
            self.assertGreater(max(delays) - min(delays), 0.3 * max(delays))

    def test_clock(self) -> None:
        """
        The exchange with the shortest round trip tells where the mediator's clock stands.
        """
        clock = MediatorClock()
        clock.observe(100.0, 101.0, 7_000_000)
        clock.observe(110.0, 110.2, 17_000_000)
        clock.observe(120.0, 125.0, 1)
        self.assertAlmostEqual(clock.local(20_000_000, 1000.0), 113.1)
        self.assertEqual(clock.local(20_000_000, 5.0), 5.0)


class SessionTests(SynchronousTestCase):
    """
    Tests of L{vnet.client.session.Session}.
    """

    def setUp(self) -> None:
        self.overlay = Overlay(self.mktemp)
        self.addCleanup(self.overlay.stopAll)
        self.ann = self.overlay.add("ann", HOST)
        self.ann.do(self.ann.node.login(URL))

    def state(self) -> Any:
        """What the node's status says now."""
        return self.ann.do(self.ann.node.status())["state"]

    def protocol(self) -> Any:
        """The node's side of the connection to the mediator."""
        return getattr(self.ann.core.logins.session, "_protocol", None)

    def test_silentMediator(self) -> None:
        """
        A mediator that is silent after the network has changed is given up within 2 s.
        """
        self.overlay.cut.add(HOST)
        self.overlay.advance(2)
        self.assertEqual(self.state(), "online")
        transport = self.protocol().transport
        self.ann.core.linksChanged()
        self.overlay.advance(0.9)
        self.assertFalse(transport.disconnecting)
        self.overlay.advance(1)
        self.assertTrue(transport.disconnecting)

    def test_otherAddress(self) -> None:
        """
        A connection from an address that this computer does not use any more is not asked, but made anew at once.
        """
        protocol = self.protocol()
        self.patch(session, "_isLost", lambda transport: True)
        self.ann.core.linksChanged()
        self.overlay.dropControl(HOST)
        self.overlay.advance(0.2)
        self.assertEqual(self.state(), "online")
        self.assertIsNot(self.protocol(), protocol)

    def test_answeringMediator(self) -> None:
        """
        A mediator that answers after the network has changed is kept.
        """
        protocol = self.protocol()
        for _ in range(10):
            self.ann.core.linksChanged()
            self.overlay.advance(0.5)
        self.overlay.advance(10)
        self.assertEqual(self.state(), "online")
        self.assertIs(self.protocol(), protocol)

    def test_cancelledWhileConnecting(self) -> None:
        """
        A connection that is given up while it is being made, as at the end of the program, is no fault.
        """
        current = self.ann.core.logins.session
        assert current is not None
        address = IPv4Address("TCP", "198.51.100.1", 7443)
        current._attemptFailed(Failure(ConnectingCancelledError(address)))
        self.assertEqual(self.flushLoggedErrors(), [])
        current._attemptFailed(Failure(ZeroDivisionError()))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_linkIsBack(self) -> None:
        """
        A node that waits for its next attempt makes it at once when the network changes.
        """
        self.overlay.cut.add(HOST)
        self.overlay.dropControl(HOST)
        self.overlay.advance(200)
        self.assertEqual(self.state(), "connecting")
        self.overlay.cut.clear()
        self.ann.core.linksChanged()
        self.overlay.advance(0.3)
        self.assertEqual(self.state(), "online")

    def exhaust(self, node: TestNode) -> None:
        """
        Leave a node no synchronisation that the mediator allows at once.
        """
        with contextlib.suppress(control.TooMany):
            while True:
                self.overlay.lab.mediator.quotas.synchronise(node.core.parts.identity.publicKey)

    def test_synchronisedLater(self) -> None:
        """
        A node that the mediator refuses to bring in step, because it asks too often say, asks again.
        """
        bea = self.overlay.add("bea", "203.0.113.2")
        self.ann.do(self.ann.node.create("home", "secret"))
        link = self.ann.do(self.ann.node.invite("home"))["link"]
        self.exhaust(bea)
        bea.do(bea.node.login(URL))
        self.exhaust(bea)
        bea.do(bea.node.joinInvite(link))
        self.overlay.advance(10)
        self.assertEqual(bea.members(), {"home/ann": ("online", "direct")})
