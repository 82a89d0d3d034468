"""
Whole nodes whose paths carry different sizes.
"""

from __future__ import annotations

from vnet.test.test_client_relayed import ANN, BEA, RelayedCase


class PathMtuTests(RelayedCase):
    """
    The interfaces take 1,400 bytes.
    """

    def mtus(self) -> tuple[object, object]:
        """What both say of the path."""
        return (
            self.ann.do(self.ann.node.peer("bea"))["mtu"],
            self.bea.do(self.bea.node.peer("ann"))["mtu"],
        )

    def test_direct(self) -> None:
        """A path that carries all that the interface takes needs one round trip, and no more."""
        self.pair()
        self.assertEqual(self.paths(), {"direct"})
        self.assertEqual(self.mtus(), (1400, 1400))
        self.overlay.advance(40)
        self.assertEqual(self.overlay.internet.counters["tooLong"], 0)

    def test_narrow(self) -> None:
        """What a direct path carries whole is found, and found again when it becomes less."""
        self.overlay.internet.largest = 1400
        self.pair(6.0)
        self.assertEqual(self.mtus(), (1360, 1360))
        self.overlay.internet.largest = 1330
        for node in (self.ann, self.bea):
            node.core.linksChanged()
        self.overlay.advance(8)
        self.assertEqual(self.mtus(), (1296, 1296))

    def test_relayed(self) -> None:
        """Through a relay that is reached over UDP 4 bytes less are carried."""
        self.overlay.internet.largest = 1396
        self.overlay.cutUdp((ANN, BEA))
        self.pair(8.0)
        self.assertEqual(self.paths(), {"relayed"})
        self.assertEqual(self.mtus(), (1360, 1360))
        self.overlay.internet.largest = 1395
        for node in (self.ann, self.bea):
            node.core.linksChanged()
        self.overlay.advance(8)
        self.assertLess(min(map(int, map(str, self.mtus()))), 1360)

    def test_stream(self) -> None:
        """A connection to a relay carries all."""
        self.overlay.internet.largest = 1000
        self.noUdp(ANN, BEA)
        self.pair(4.0)
        self.assertEqual(self.paths(), {"relayed"})
        self.assertEqual(self.mtus(), (1400, 1400))

    def test_lost(self) -> None:
        """Of a peer without a path nothing is said."""
        self.pair()
        self.bea.do(self.bea.node.logout())
        self.overlay.advance(1)
        self.assertIsNone(self.ann.do(self.ann.node.peer("bea"))["mtu"])
