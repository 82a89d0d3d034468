"""
Tests for L{vnet.client.dataplane.overlay}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from vnet.client.dataplane.overlay import Overlay


class OverlayTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.overlay = Overlay()

    def test_none(self) -> None:
        """Before its blocks are known no address is in the overlay."""
        self.assertFalse(self.overlay.holds("100.64.0.2"))

    def test_blocks(self) -> None:
        """An address is in the overlay when a block of its version holds it; asked twice the answer is the same."""
        self.overlay.setBlocks("100.64.0.0/16", "fd00:1::/48")
        for host, inside in (
            ("100.64.255.255", True),
            ("100.65.0.0", False),
            ("fd00:1::5", True),
            ("fd00:2::5", False),
            ("fe80::1%eth0", False),
        ):
            for _ in range(2):
                self.assertIs(self.overlay.holds(host), inside, host)

    def test_change(self) -> None:
        """Other blocks count at once, for addresses that were asked for before too."""
        self.overlay.setBlocks("100.64.0.0/16")
        self.assertTrue(self.overlay.holds("100.64.0.2"))
        self.overlay.setBlocks("100.80.0.0/16")
        self.assertFalse(self.overlay.holds("100.64.0.2"))
        self.assertTrue(self.overlay.holds("100.80.0.2"))

    def test_bounded(self) -> None:
        """However many addresses are asked for, only some are remembered."""
        for number in range(10_000):
            self.overlay.holds(f"192.0.{number >> 8}.{number & 255}")
        self.assertLessEqual(len(self.overlay._known), 4096)
