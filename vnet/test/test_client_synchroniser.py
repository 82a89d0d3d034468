"""
When a node asks its mediator what changed.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.sync import NetworkView
from vnet.client.synchroniser import Synchroniser
from vnet.errors import Unreachable


class SynchroniserTests(SynchronousTestCase):
    """
    Tests of L{Synchroniser}.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.asked: list[Deferred[dict[str, Any]]] = []
        self.steps: list[float] = []
        self.synchroniser = Synchroniser(
            self.clock, NetworkView(), self.ask, lambda: self.steps.append(self.clock.seconds())
        )
        self.addCleanup(self.synchroniser.stop)

    async def ask(self, command: Any, **arguments: Any) -> dict[str, Any]:
        self.asked.append(Deferred())
        return await self.asked[-1]

    def answer(self, cursor: bytes = b"") -> None:
        self.asked.pop().callback({"epoch": b"e", "networks": [], "gone": [], "cursor": cursor})

    def test_turned(self) -> None:
        """
        A node that turns to another mediator while it synchronises is in step with the new one.
        """
        self.synchroniser.run()
        done = self.synchroniser.run()
        self.asked.pop().errback(Unreachable("the connection was lost"))
        self.assertEqual(len(self.asked), 1)
        self.answer()
        self.assertEqual(len(self.steps), 1)
        self.successResultOf(done)

    def test_unreachable(self) -> None:
        """
        A mediator that is not there is not asked again before the next login.
        """
        self.successResultOf(self.lost())
        self.clock.advance(60)
        self.assertEqual((self.asked, self.steps), ([], []))

    def lost(self) -> Deferred[None]:
        done = self.synchroniser.run()
        self.asked.pop().errback(Unreachable("the connection was lost"))
        return done

    def test_flood(self) -> None:
        """
        However fast a mediator says that something changed, it is asked at most once a second, at once the first time, and
        nothing piles up.
        """
        self.synchroniser.request()
        self.answer()
        self.assertEqual(self.steps, [0.0])
        for _ in range(1000):
            self.synchroniser.request()
            self.clock.advance(0.005)
            if self.asked:
                self.answer()
        self.assertLessEqual(len(self.steps), 7)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(1)
        self.answer()
        self.clock.advance(60)
        self.assertEqual((self.asked, self.clock.getDelayedCalls()), ([], []))

    def test_user(self) -> None:
        """
        Who waits for the view does not wait for others' changes.
        """
        self.synchroniser.request()
        self.answer()
        self.synchroniser.request()
        done = self.synchroniser.run()
        self.answer()
        self.successResultOf(done)

    def test_endless(self) -> None:
        """
        A mediator whose synchronisation has no end is left alone for a while.
        """
        done = self.synchroniser.run()
        pages = 0
        while self.asked:
            self.answer(cursor=b"more")
            pages += 1
            self.assertLess(pages, 5000)
        self.successResultOf(done)
        self.assertEqual(self.steps, [])
        self.clock.advance(10)
        self.assertEqual(len(self.asked), 1)
