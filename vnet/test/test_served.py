"""
An allocation as its server has it.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.machine.served import CHANNEL_LIFETIME, PERMISSION_LIFETIME, Served, Side
from vnet.values import Address

PEER, OTHER, PEER6 = Address("8.1.1.1", 5000), Address("8.1.1.1", 5001), Address("2600::1", 5000)
ONE, TWO = 0x4000, 0x4001


def newServed() -> Served:
    """
    An allocation of both families.
    """
    sides = {
        4: Side(Address("10.0.0.1", 50000), Address("9.9.9.9", 50000), 600.0),
        6: Side(Address("2600::9", 50001), Address("2600::9", 50001), 700.0),
    }
    return Served(Address("192.0.2.7", 1, "udp1"), "1:high-a", "high-a", "high", b"t" * 12, sides)


class ServedTests(SynchronousTestCase):
    """
    L{Served}.
    """

    def setUp(self) -> None:
        self.served = newServed()

    def test_lifetimes(self) -> None:
        """Permissions live for 300 s and channels for 600 s: these numbers are the RFC's, not ours."""
        self.assertEqual((PERMISSION_LIFETIME, CHANNEL_LIFETIME), (300.0, 600.0))

    def test_until(self) -> None:
        """It ends, or a side of it, when the first of its sides does."""
        self.assertEqual(self.served.until, 600.0)
        self.served.dropSide(4)
        self.assertEqual(self.served.until, 700.0)

    def test_relayed(self) -> None:
        """Peers of each family see their own address."""
        self.assertEqual(self.served.relayed(4), Address("9.9.9.9", 50000))
        self.served.dropSide(4)
        self.assertIsNone(self.served.relayed(4))

    def test_permission(self) -> None:
        """A permission is for a host, and ends 300 s after it was given last."""
        self.assertFalse(self.served.permits(PEER.host, 0.0))
        self.served.permit(PEER.host, 0.0)
        self.assertTrue(self.served.permits(PEER.host, 299.9))
        self.assertFalse(self.served.permits(PEER.host, 300.0))
        self.served.permit(PEER.host, 300.0)
        self.assertTrue(self.served.permits(PEER.host, 599.9))
        self.assertFalse(self.served.permits("8.1.1.2", 0.0))

    def test_bind(self) -> None:
        """A channel and a peer belong to each other for 600 s; binding them again puts that off, and permits the host."""
        served = self.served
        self.assertTrue(served.mayBind(ONE, PEER, 0.0))
        channel = served.bind(ONE, PEER, 0.0)
        self.assertTrue(served.permits(PEER.host, 299.0))
        for number, peer, may in (
            (ONE, PEER, True),
            (ONE, OTHER, False),
            (TWO, PEER, False),
            (TWO, OTHER, True),
        ):
            self.assertEqual(served.mayBind(number, peer, 599.9), may)
        self.assertIs(served.bind(ONE, PEER, 500.0), channel)
        self.assertEqual((channel.until, channel.permission.until), (1100.0, 800.0))
        self.assertIs(served.byPeer[PEER], channel)

    def test_bindAfterEnd(self) -> None:
        """A channel that has ended is free for another peer, and its peer for another channel."""
        served = self.served
        served.bind(ONE, PEER, 0.0)
        self.assertTrue(served.mayBind(TWO, PEER, 600.0))
        served.bind(TWO, PEER, 600.0)
        self.assertTrue(served.mayBind(ONE, OTHER, 600.0))
        served.bind(ONE, OTHER, 600.0)
        self.assertEqual({n: c.peer for n, c in served.channels.items()}, {ONE: OTHER, TWO: PEER})
        self.assertEqual({p: c.number for p, c in served.byPeer.items()}, {OTHER: ONE, PEER: TWO})

    def test_samePermission(self) -> None:
        """A channel always knows the permission of its peer's host, also when it had ended and was given again."""
        channel = self.served.bind(ONE, PEER, 0.0)
        self.assertFalse(self.served.hasRoomFor({"8.1.1.2"}, 1, 400.0))
        permission = self.served.permit(PEER.host, 400.0)
        self.assertIs(channel.permission, permission)

    def test_roomForPermissions(self) -> None:
        """Permissions are counted by host, and those that have ended make room."""
        served = self.served
        for n in range(3):
            served.permit(f"8.1.1.{n}", float(n))
        self.assertTrue(served.hasRoomFor({"8.1.1.0", "8.1.1.1"}, 3, 10.0))
        self.assertFalse(served.hasRoomFor({"8.1.1.0", "8.1.1.9"}, 3, 10.0))
        self.assertTrue(served.hasRoomFor({"8.1.1.8"}, 3, 300.0))
        self.assertFalse(served.hasRoomFor({"8.1.1.8", "8.1.1.9"}, 3, 300.0))
        self.assertTrue(served.hasRoomFor({"8.1.1.8", "8.1.1.9"}, 3, 301.0))

    def test_roomForChannels(self) -> None:
        """Channels are counted, and those that have ended make room."""
        for n in range(3):
            self.served.bind(ONE + n, PEER._replace(port=n), float(n))
        self.assertFalse(self.served.channelsLeft(3, 599.9))
        self.assertTrue(self.served.channelsLeft(3, 600.0))
        self.assertEqual((len(self.served.channels), len(self.served.byPeer)), (2, 2))

    def test_dropSide(self) -> None:
        """With one side its permissions and channels end, and those of the other stay."""
        served = self.served
        served.bind(ONE, PEER, 0.0)
        served.bind(TWO, PEER6, 0.0)
        side = served.dropSide(4)
        self.assertEqual(side.bound, Address("10.0.0.1", 50000))
        self.assertEqual(
            (list(served.channels), list(served.byPeer), list(served.permissions)),
            ([TWO], [PEER6], [PEER6.host]),
        )

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(("bind", "permit", "room", "left")),
                st.integers(0, 5),
                st.integers(0, 5),
                st.floats(0.0, 400.0),
            ),
            max_size=60,
        )
    )
    def test_consistent(self, steps: list[tuple[str, int, int, float]]) -> None:
        """Whatever is done, channels and peers name each other, and each channel has the permission of its peer's host."""
        served, now = newServed(), 0.0
        for what, a, b, pause in steps:
            now += pause
            peer = Address(f"8.1.1.{b // 2}", b % 2 + 1)
            if what == "bind" and served.mayBind(ONE + a, peer, now):
                served.bind(ONE + a, peer, now)
            elif what == "permit":
                served.permit(peer.host, now)
            elif what == "room":
                served.hasRoomFor({peer.host, f"8.2.1.{a}"}, 2, now)
            elif what == "left":
                served.channelsLeft(3, now)
            self.assertEqual(set(map(id, served.channels.values())), set(map(id, served.byPeer.values())))
            for number, channel in served.channels.items():
                self.assertEqual((channel.number, served.byPeer[channel.peer]), (number, channel))
                self.assertIs(served.permissions[channel.peer.host], channel.permission)
