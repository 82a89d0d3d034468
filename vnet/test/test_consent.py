"""
Tests for L{vnet.protocols.machine.consent}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.machine.consent import Consent, jittered
from vnet.test.icepeers import seeded
from vnet.values import Address

HERE = Address("203.0.113.7", 1)


def middle(size: int) -> bytes:
    return b"\x80" * size


class JitterTests(SynchronousTestCase):
    """
    L{jittered}.
    """

    def test_range(self) -> None:
        """
        Intervals spread over 80 to 120 percent, ends included.
        """
        self.assertAlmostEqual(jittered(10.0, bytes), 8.0)
        self.assertAlmostEqual(jittered(10.0, lambda size: b"\xff" * size), 12.0)
        source = seeded(1)
        many = [jittered(10.0, source) for _ in range(1000)]
        self.assertTrue(min(many) < 8.2 and max(many) > 11.8)


class ConsentTests(SynchronousTestCase):
    """
    L{Consent}.
    """

    def setUp(self) -> None:
        self.consent = Consent(middle, 100.0, 100.0)

    def test_first(self) -> None:
        """
        A new path is checked after about 5 seconds, and nothing is suspect or expires before.
        """
        self.assertAlmostEqual(self.consent.dueAt, 105.0, 2)
        self.assertEqual(self.consent.deadline(), self.consent.dueAt)
        self.assertIs(self.consent.expiresAt, None)
        self.assertFalse(self.consent.isSuspect)

    def test_active(self) -> None:
        """
        With traffic the next check is 5 seconds later, without it 20 and a little.
        """
        self.consent.noteTraffic(104.0)
        self.consent.checked(105.0)
        self.assertAlmostEqual(self.consent.dueAt, 110.0, 2)
        self.consent.answered(105.1)
        self.consent.checked(130.0)
        self.consent.answered(130.1)
        self.consent.checked(150.0)
        # The one before was answered, so this one is as idle as the tunnel, and the peer has the first turn.
        self.assertAlmostEqual(self.consent.dueAt, 173.0, 1)

    def test_wakes(self) -> None:
        """
        Traffic after a pause brings the check forward, once.
        """
        self.consent.checked(130.0)
        self.consent.answered(130.1)
        self.assertAlmostEqual(self.consent.dueAt, 153.0, 1)
        self.assertTrue(self.consent.noteTraffic(131.0))
        self.assertEqual(self.consent.dueAt, 135.0)
        self.assertFalse(self.consent.noteTraffic(131.5))
        self.assertFalse(self.consent.noteTraffic(134.0))

    def test_suspect(self) -> None:
        """
        A path whose answer is two seconds late is suspect, until it answers.
        """
        self.consent.checked(105.0)
        self.assertEqual(self.consent.suspectAt, 107.0)
        self.assertFalse(self.consent.isSuspect)
        self.consent.missed(107.0)
        self.assertTrue(self.consent.isSuspect)
        self.assertIs(self.consent.suspectAt, None)
        self.assertEqual(self.consent.dueAt, 110.0)
        self.consent.answered(107.0)
        self.assertFalse(self.consent.isSuspect)

    def test_expires(self) -> None:
        """
        With traffic the consent ends 30 seconds after the last answer, without it not before four checks
        were lost.
        """
        self.consent.checked(105.0)
        self.consent.checked(110.0)
        self.assertEqual(self.consent.expiresAt, 130.0)
        self.consent.answered(111.0)
        self.assertIs(self.consent.expiresAt, None)
        self.consent.checked(135.0)
        self.assertEqual(self.consent.expiresAt, 155.0)

    def test_hasten(self) -> None:
        """
        A doubt brings the check forward, and the answer is soon late; but no check follows before the last one had time to
        be answered.
        """
        self.consent.hasten(102.0, 0.2)
        self.assertEqual(self.consent.dueAt, 102.0)
        self.consent.checked(102.0)
        self.assertEqual(self.consent.suspectAt, 102.5)
        self.consent.hasten(102.1, 0.2)
        self.assertEqual(self.consent.dueAt, 102.5)
        self.assertEqual(self.consent.suspectAt, 102.5)

    def test_hastenWhileWaiting(self) -> None:
        """
        A doubt does not wait for what an answer that is out may take without one; an answer ends the hurry.
        """
        self.consent.checked(102.0)
        self.consent.hasten(102.1, 5.0)
        self.assertAlmostEqual(self.consent.suspectAt or 0.0, 103.1)
        self.consent.hasten(102.2, 0.0)
        self.assertAlmostEqual(self.consent.suspectAt or 0.0, 102.3)
        self.consent.answered(102.3)
        self.consent.checked(103.0)
        self.assertEqual(self.consent.suspectAt, 105.0)


class TurnTests(SynchronousTestCase):
    """
    Both sides of an idle path check it by turns.
    """

    def setUp(self) -> None:
        self.consent = Consent(middle, 0.0, 0.0, lambda: 10.0)
        # Idle from here on.
        self.consent.checked(100.0)
        self.consent.answered(100.1)
        self.assertAlmostEqual(self.consent.dueAt, 111.5, 1)

    def test_heard(self) -> None:
        """
        A check of the peer puts off our own, to an interval later.
        """
        self.consent.heard(109.0)
        self.assertAlmostEqual(self.consent.dueAt, 118.75, 1)

    def test_notForEver(self) -> None:
        """
        However often the peer checks, our own check follows in 2.2 intervals.
        """
        for now in (106.0, 112.0, 118.0):
            self.consent.heard(now)
            self.assertTrue(self.consent.dueAt <= 122.0)
        self.assertEqual(self.consent.dueAt, 122.0)

    def test_range(self) -> None:
        """
        Who has checked waits for 11 to 12 seconds, so that the other, who waits for 9 to 10.5, comes first.
        """
        for random, ours, theirs in ((bytes, 111.0, 118.0), (lambda size: b"\xff" * size, 112.0, 119.5)):
            consent = Consent(random, 0.0, 0.0, lambda: 10.0)
            consent.checked(100.0)
            self.assertAlmostEqual(consent.dueAt, ours, 3)
            consent.answered(100.1)
            consent.heard(109.0)
            self.assertAlmostEqual(consent.dueAt, theirs, 3)

    def test_earlierIsNotTaken(self) -> None:
        """
        A check of the peer soon after ours does not make ours come sooner.
        """
        self.consent.heard(100.2)
        self.assertAlmostEqual(self.consent.dueAt, 111.5, 1)

    def test_repeated(self) -> None:
        """
        A peer that repeats its check may not get our answers: ours follows 5 seconds after the last, or at once.
        """
        self.consent.heard(101.0)
        self.consent.heard(101.3)
        self.assertEqual(self.consent.dueAt, 105.0)
        self.consent.checked(105.0)
        self.consent.answered(105.1)
        self.consent.heard(114.0)
        self.consent.heard(114.3)
        self.assertEqual(self.consent.dueAt, 114.3)

    def test_activeIsNotRepeated(self) -> None:
        """
        A peer whose tunnel still counts as busy does not repeat itself: an interval of 4 seconds puts ours off like any.
        """
        self.consent.heard(106.0)
        self.consent.heard(110.0)
        self.assertAlmostEqual(self.consent.dueAt, 119.75, 1)

    def test_unanswered(self) -> None:
        """
        While a check of ours is not answered, those of the peer put off nothing.
        """
        self.consent.checked(111.0)
        self.consent.missed(113.0)
        self.consent.heard(113.1)
        self.assertEqual(self.consent.dueAt, 116.0)

    def test_traffic(self) -> None:
        """
        Neither do they with traffic, and that brings a check forward that was put off.
        """
        self.consent.heard(109.0)
        self.assertTrue(self.consent.noteTraffic(110.0))
        self.assertEqual(self.consent.dueAt, 110.0)
        self.consent.heard(116.0)
        self.assertEqual(self.consent.dueAt, 110.0)

    def test_doubt(self) -> None:
        """
        Nor a check that is in a hurry.
        """
        self.consent.hasten(103.0, 0.1)
        self.consent.heard(103.1)
        self.assertEqual(self.consent.dueAt, 103.0)

    def test_calm(self) -> None:
        """
        A path is calm from an idle check on until there is traffic, doubt, or no answer.
        """
        self.assertTrue(self.consent.isCalm)
        self.consent.noteTraffic(110.0)
        self.assertFalse(self.consent.isCalm)
        for disturb in (lambda each: each.hasten(141.0, 0.1), lambda each: each.missed(142.0)):
            consent = Consent(middle, 0.0, 0.0, lambda: 10.0)
            self.assertFalse(consent.isCalm)
            consent.checked(140.0)
            self.assertTrue(consent.isCalm)
            disturb(consent)
            self.assertFalse(consent.isCalm)


class LapseTests(SynchronousTestCase):
    """
    Whether a silence was too long for a NAT.
    """

    def setUp(self) -> None:
        self.consent = Consent(middle, 0.0, 0.0, lambda: 30.0)
        self.now = 100.0
        # Idle from here on.
        self.consent.checked(self.now)
        self.consent.answered(self.now, self.now, HERE)

    def round(self, lost: bool, mapped: Address = HERE) -> bool:
        """
        A check after a silence, and its answer, or that of the next one.
        """
        self.now += 30.0
        self.consent.checked(self.now)
        sentAt = self.now
        if lost:
            self.consent.missed(self.now + 1.0)
            self.now += 5.0
            self.consent.checked(self.now)
            sentAt = self.now
        lapsed = self.consent.answered(self.now + 0.1, sentAt, mapped)
        if lost:
            # The next one follows soon, which is no silence.
            self.now += 5.0
            self.consent.checked(self.now)
            self.consent.answered(self.now, self.now, mapped)
        return lapsed

    def test_interval(self) -> None:
        """
        Without traffic the next check comes after the interval that the NAT allows.
        """
        self.assertAlmostEqual(self.consent.dueAt - self.now, 34.5, 1)

    def test_answered(self) -> None:
        """
        Checks that are answered, also late, and single losses mean nothing.
        """
        self.assertFalse(any(self.round(lost) for lost in [False, True, False, False, True] * 3))
        self.now += 30.0
        self.consent.checked(self.now)
        self.consent.missed(self.now + 1.0)
        self.assertFalse(self.consent.answered(self.now + 3.0, self.now, HERE))

    def test_otherPort(self) -> None:
        """
        A lost check after which the peer sees another port of ours shows that the mapping had died.
        """
        self.assertTrue(self.round(True, Address(HERE.host, 9)))

    def test_otherHost(self) -> None:
        """
        Another host means that this computer has moved, and another port without a loss is the peer's affair.
        """
        self.assertFalse(self.round(True, Address("198.51.100.9", 9)))
        self.assertFalse(self.round(False, Address("198.51.100.9", 10)))

    def test_again(self) -> None:
        """
        Three losses of the first check in four silences do so too.
        """
        self.assertEqual(
            [self.round(lost) for lost in (True, False, True, True)], [False, False, False, True]
        )
