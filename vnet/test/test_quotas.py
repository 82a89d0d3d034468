"""
Tests for L{vnet.server.quotas}, through the control protocol.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols import control
from vnet.test.mediatorlab import Lab


class QuotaTests(SynchronousTestCase):
    """
    What a node may not do without end.
    """

    def setUp(self) -> None:
        self.lab = Lab()

    def test_newKeys(self) -> None:
        """An address brings in 1,000 new keys, then one in five seconds; known ones, and other addresses, are let in."""
        for number in range(1000):
            self.lab.cut(self.lab.login(f"node{number}"))
        with self.assertRaisesRegex(control.LoginFailed, "new nodes"):
            self.lab.login("one more")
        self.lab.login("node0")
        elsewhere = self.lab.connect("elsewhere", host="192.0.2.2")
        self.lab.call(elsewhere, control.Login, **elsewhere.credentials())
        self.lab.clock.advance(5)
        self.lab.login("one more")
        with self.assertRaisesRegex(control.LoginFailed, "new nodes"):
            self.lab.login("and one more")

    def test_flapping(self) -> None:
        """A node that logs in and out without end is told to wait; another is not."""
        for _ in range(20):
            self.lab.cut(self.lab.login("a"))
        with self.assertRaisesRegex(control.LoginFailed, "too often"):
            self.lab.login("a")
        self.lab.login("b")
        self.lab.clock.advance(5)
        self.lab.login("a")

    def test_changes(self) -> None:
        """A node that changes things without end is told to wait."""
        a = self.lab.login("a")
        for number in range(60):
            self.lab.call(a, control.SetNick, nick=f"a{number}")
        for command, arguments in (
            (control.SetNick, {"nick": "a"}),
            (control.CreateNetwork, {"name": "n", "proof": b""}),
            (control.JoinNetwork, {"name": "n", "proof": b""}),
            (control.LeaveNetwork, {"network": b"n" * 16}),
            (control.SetPresence, {"network": b"n" * 16, "online": True}),
        ):
            with self.assertRaises(control.TooMany):
                self.lab.call(a, command, **arguments)
        self.lab.clock.advance(1)
        self.lab.call(a, control.SetNick, nick="a")

    def test_synchronisations(self) -> None:
        """A node that begins to synchronise without end is told to wait."""
        a = self.lab.login("a")
        for _ in range(40):
            self.lab.synchronise(a)
        with self.assertRaises(control.TooMany):
            self.lab.synchronise(a)

    def test_connects(self) -> None:
        """A node that asks for starts without end is told to wait."""
        a, b = self.lab.login("a"), self.lab.login("b")
        self.lab.network("home", a, b)
        for _ in range(1000):
            self.lab.call(a, control.Connect, peer=b.key)
        with self.assertRaises(control.TooMany):
            self.lab.call(a, control.Connect, peer=b.key)

    def test_signals(self) -> None:
        """A node that signals to one peer without end is told to wait; to another it may."""
        a, b, c = (self.lab.login(name) for name in "abc")
        self.lab.network("home", a, b, c)
        for _ in range(200):
            self.lab.call(a, control.ForwardSignal, peer=b.key, sealed=b"x")
        with self.assertRaises(control.TooMany):
            self.lab.call(a, control.ForwardSignal, peer=b.key, sealed=b"x")
        self.lab.call(a, control.ForwardSignal, peer=c.key, sealed=b"x")
