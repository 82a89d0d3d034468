"""
Tests for L{vnet.client.localwatch}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from vnet.client.localwatch import MAXIMUM_KEPT, Watcher
from vnet.testing_node import FakeNode, event


class WatcherTests(SynchronousTestCase):
    """
    Tests of L{Watcher}.
    """

    def setUp(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.node = FakeNode()
        self.watcher = Watcher(self.sent.append)
        self.watcher.start(self.node)
        del self.sent[:]

    def tell(self, first: int, last: int) -> None:
        for number in range(first, last):
            self.node.watchers[0](event("mediator", number=number))

    def test_atOnce(self) -> None:
        """Who reads gets each event when it happens."""
        self.tell(0, 2)
        self.assertEqual([each["number"] for each in self.sent], [0, 1])

    def test_kept(self) -> None:
        """What happens while nothing is read comes afterwards, in order, and nothing is missing."""
        self.watcher.pause()
        self.tell(0, MAXIMUM_KEPT)
        self.assertEqual(self.sent, [])
        self.watcher.resume()
        self.tell(MAXIMUM_KEPT, MAXIMUM_KEPT + 1)
        self.assertEqual([each["number"] for each in self.sent], list(range(MAXIMUM_KEPT + 1)))

    def test_missed(self) -> None:
        """Of what is beyond the limit only the number comes, after what was kept and before what is new."""
        self.watcher.pause()
        self.tell(0, MAXIMUM_KEPT + 1000)
        self.watcher.resume()
        self.tell(7, 8)
        self.assertEqual([each["number"] for each in self.sent[:MAXIMUM_KEPT]], list(range(MAXIMUM_KEPT)))
        self.assertEqual(self.sent[MAXIMUM_KEPT:], [event("missed", count=1000), event("mediator", number=7)])

    def test_pausedAgain(self) -> None:
        """Who reads a little gets a little, and the gap is told in its place."""

        def send(each: dict[str, Any]) -> None:
            self.sent.append(each)
            if len(self.sent) % 100 == 0:
                self.watcher.pause()

        self.watcher = Watcher(send)
        self.watcher.start(self.node)
        del self.node.watchers[0], self.sent[:]
        self.watcher.pause()
        self.tell(0, MAXIMUM_KEPT + 5)
        self.watcher.resume()
        self.assertEqual(len(self.sent), 100)
        self.tell(0, 1)
        self.watcher.resume()
        self.watcher.resume()
        self.assertEqual(len(self.sent), MAXIMUM_KEPT + 1)
        self.assertEqual(self.sent[-1], event("missed", count=6))

    def test_stop(self) -> None:
        """Who stops is not told any more."""
        self.watcher.stop()
        self.watcher.stop()
        self.assertEqual(self.node.watchers, [])
