"""
Tests for L{vnet.server.rendezvous}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from vnet.server.rendezvous import DELAY, SAME, Rendezvous


class RendezvousTests(SynchronousTestCase):
    """
    L{Rendezvous}.
    """

    def test_once(self) -> None:
        """A pair gets one start, whoever asks, until it is over; then it gets another."""
        rendezvous = Rendezvous()
        self.assertEqual(10 + DELAY, rendezvous.ask(b"a", b"b", 10))
        self.assertIsNone(rendezvous.ask(b"b", b"a", 10 + DELAY + SAME / 2))
        self.assertEqual(10 + DELAY, rendezvous.ask(b"a", b"c", 10))
        later = 10 + DELAY + SAME
        self.assertEqual(later + DELAY, rendezvous.ask(b"b", b"a", later))

    def test_bounded(self) -> None:
        """However many pairs ask at once, at most 65,536 and one are remembered."""
        rendezvous = Rendezvous()
        for number in range(70_000):
            rendezvous.ask(b"a", b"%d" % number, 0)
        self.assertLessEqual(len(rendezvous._starts), 65_537)
