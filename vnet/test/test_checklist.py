"""
Tests for L{vnet.protocols.machine.checklist} and L{vnet.protocols.machine.pair}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.machine.candidates import priority
from vnet.protocols.machine.checklist import MAXIMUM_PAIRS, Checklist
from vnet.protocols.machine.pair import LIVENESS, PROBING, Check, Pair, State
from vnet.values import Address, Candidate


def candidate(number: int, kind: str = "host") -> Candidate:
    return Candidate(kind, Address("192.0.2.1", number), priority(kind, number), "f")


class ChecklistTests(SynchronousTestCase):
    """
    L{Checklist}.
    """

    def setUp(self) -> None:
        self.checklist = Checklist()

    def add(self, number: int, kind: str = "host") -> Pair:
        pair = self.checklist.add(candidate(number, kind))
        assert pair is not None
        return pair

    def out(self, pair: Pair, at: float = 0.0, transactionId: bytes = b"1") -> Check:
        check = Check(pair, PROBING)
        self.checklist.started(check)
        check.sent(transactionId, True, at)
        self.checklist.transmitted(check, transactionId)
        return check

    def test_order(self) -> None:
        """
        Pairs that wait are checked by priority.
        """
        low, reflexive, high = self.add(1), self.add(9, "srflx"), self.add(2)
        order = []
        while (pair := self.checklist.nextWaiting(0, True)) is not None:
            order.append(pair)
            self.out(pair)
        self.assertEqual(order, [high, low, reflexive])

    def test_floor(self) -> None:
        """
        Pairs that cannot be as good as the selected one are not checked.
        """
        reflexive, relayed = self.add(1, "srflx"), self.add(2, "relay")
        self.assertIs(self.checklist.nextWaiting(3, True), None)
        self.assertIs(self.checklist.nextWaiting(2, True), reflexive)
        self.out(relayed)
        self.checklist.cancelBelow(2)
        self.assertIs(relayed.state, State.WAITING)
        self.assertIs(self.checklist.nextDue(), None)

    def test_triggered(self) -> None:
        """
        Triggered pairs come out once each, in order, and keep that they work.
        """
        one, other = self.add(1), self.add(2)
        one.state, other.state = State.FAILED, State.SUCCEEDED
        for pair in (one, other, one):
            self.checklist.trigger(pair)
        self.assertEqual((one.state, other.state), (State.WAITING, State.SUCCEEDED))
        self.assertIs(self.checklist.nextTriggered(), one)
        self.assertIs(self.checklist.nextTriggered(), other)
        self.assertIs(self.checklist.nextTriggered(), None)
        self.assertFalse(self.checklist.hasTriggered)

    def test_signalledAfterRevealed(self) -> None:
        """
        What the peer says of an address replaces what a check has revealed, and not the other way round.
        """
        pair = self.add(1, "prflx")
        self.assertIs(self.checklist.add(candidate(1, "host")), pair)
        self.checklist.add(candidate(1, "prflx"))
        self.assertEqual(pair.remote.kind, "host")
        self.assertEqual(len(self.checklist), 1)

    def test_bounded(self) -> None:
        """
        A full list takes a new pair only in the place of one that has failed.
        """
        pairs = [self.add(number) for number in range(MAXIMUM_PAIRS)]
        self.assertIs(self.checklist.add(candidate(999)), None)
        pairs[5].state = State.FAILED
        self.add(999)
        self.assertEqual(len(self.checklist), MAXIMUM_PAIRS)
        self.assertIs(self.checklist.find(pairs[5].address), None)

    def test_makesRoom(self) -> None:
        """
        Where none has failed, the pair gives way that has answered longest ago; not the one in use, nor one that is being
        checked.
        """
        pairs = [self.add(number) for number in range(MAXIMUM_PAIRS)]
        for number, pair in enumerate(pairs):
            pair.answered("host", 0.1, float(number))
        self.out(pairs[1])
        self.checklist.trigger(pairs[2])
        self.assertIsNotNone(self.checklist.add(candidate(999), pairs[0]))
        self.assertEqual([pair for pair in pairs if self.checklist.find(pair.address) is None], [pairs[3]])

    def test_finish(self) -> None:
        """
        A check is known by each of its transactions, until it is finished.
        """
        check = self.out(self.add(1))
        check.sent(b"2", True, 0.1)
        self.checklist.transmitted(check, b"2")
        self.assertIs(self.checklist.check(b"1"), check)
        self.assertIs(self.checklist.check(b"2"), check)
        self.checklist.finish(check)
        self.checklist.finish(check)
        self.assertIs(self.checklist.check(b"1"), None)
        self.assertIs(self.checklist.check(b"2"), None)

    def test_restart(self) -> None:
        """
        After a restart all pairs wait, and no answer to an old check counts.
        """
        one, other = self.add(1), self.add(2)
        self.out(one)
        other.state = State.SUCCEEDED
        self.checklist.trigger(other)
        self.checklist.restart()
        self.assertEqual({pair.state for pair in self.checklist}, {State.WAITING})
        self.assertIs(self.checklist.check(b"1"), None)
        self.assertFalse(self.checklist.hasTriggered)


class CheckTests(SynchronousTestCase):
    """
    L{Check}.
    """

    def test_schedules(self) -> None:
        """
        A probe is sent for 10 seconds, 15 times, soon at first; a liveness check for 5.
        """
        for waits, first, count, total in [(PROBING, 0.1, 15, 10.0), (LIVENESS, 0.5, 10, 5.0)]:
            check, now, sends = Check(Pair(candidate(1)), waits), 0.0, 0
            while not check.isSpent:
                check.sent(bytes([sends]), True, now)
                sends += 1
                if sends == 1:
                    self.assertEqual(check.dueAt, first)
                now = check.dueAt
            self.assertEqual(sends, count)
            self.assertAlmostEqual(now, total)

    def test_rtt(self) -> None:
        """
        The round trip is smoothed over the answers.
        """
        pair = Pair(candidate(1))
        pair.answered("host", 0.1, 1.0)
        self.assertEqual(pair.path().rtt, 0.1)
        pair.answered("host", 0.5, 2.0)
        self.assertAlmostEqual(pair.path().rtt, 0.2)
