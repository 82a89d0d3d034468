"""
How many bytes a second a flow may carry.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.machine.bandwidth import Bandwidth

HEADERS = 28
LOW = 32_000.0
LONGEST = 65_507

_RATES = st.sampled_from((1.0, 1000.0, LOW, 1e6, 1e9))
_TRAINS = st.tuples(st.one_of(st.just(0.0), st.floats(0.0, 3.0)), st.integers(0, LONGEST), st.integers(1, 64))


def burstOf(rate: float) -> float:
    """What a bucket that is full holds, bytes: half a second of its rate, and the longest datagram at least."""
    return max(0.5 * rate, 65_536)


class BandwidthTests(SynchronousTestCase):
    """
    L{Bandwidth}.
    """

    @given(_RATES, st.lists(_TRAINS, max_size=60))
    def test_never(self, rate: float, trains: list[tuple[float, int, int]]) -> None:
        """Between any two moments no more passes than the rate gives in that time, and the burst."""
        bucket, now = Bandwidth(rate), 100.0
        passed: list[tuple[float, int]] = []
        for pause, size, pieces in trains:
            now += pause
            taken = bucket.take(size, pieces, now)
            self.assertTrue(0 <= taken <= pieces)
            passed.append((now, taken * (size + HEADERS)))
        for first, (since, _) in enumerate(passed):
            total = 0
            for until, size in passed[first:]:
                total += size
                self.assertLessEqual(total, (rate * (until - since) + burstOf(rate)) * (1 + 1e-9) + 1e-3)

    @given(_RATES, st.lists(_TRAINS, max_size=60))
    def test_nothingWasted(self, rate: float, trains: list[tuple[float, int, int]]) -> None:
        """What is refused takes nothing: a datagram is refused only where the reference model has no room for it."""
        bucket, now, level = Bandwidth(rate), 100.0, burstOf(rate)
        for pause, size, pieces in trains:
            now += pause
            level = min(burstOf(rate), level + pause * rate)
            room = level / (size + HEADERS)
            taken = bucket.take(size, pieces, now)
            self.assertLessEqual(abs(taken - min(pieces, room)), 1 + 1e-6)
            level -= taken * (size + HEADERS)

    def test_sustained(self) -> None:
        """A flow that sends too fast for a minute gets its rate, headers included."""
        bucket = Bandwidth(LOW)
        passed = sum(bucket.take(1000, 10, step / 10) for step in range(600)) * (1000 + HEADERS)
        self.assertTrue(60 * LOW <= passed <= 60 * LOW + burstOf(LOW), passed)

    def test_empty(self) -> None:
        """Datagrams without a byte are not free."""
        bucket = Bandwidth(LOW)
        passed = sum(bucket.take(0, 64, step / 100) for step in range(1000))
        self.assertLessEqual(passed, (10 * LOW + burstOf(LOW)) / HEADERS)

    def test_longest(self) -> None:
        """However low the rate is, the longest datagram passes when nothing else has."""
        for rate in (1.0, LOW, 1e9):
            bucket = Bandwidth(rate)
            self.assertEqual([bucket.take(LONGEST, 1, 5.0) for _ in range(2)], [1, int(rate > 1e6)])

    def test_order(self) -> None:
        """Of a train that is too long the beginning passes."""
        bucket = Bandwidth(1000.0)
        self.assertEqual(bucket.take(996, 100, 0.0), 64)
        self.assertEqual((bucket.take(996, 1, 0.5), bucket.take(972, 1, 1.0)), (0, 1))

    def test_full(self) -> None:
        """It says when it is full again."""
        bucket = Bandwidth(1000.0)
        self.assertLessEqual(bucket.fullAt, 10.0)
        bucket.take(972, 3, 10.0)
        self.assertEqual(bucket.fullAt, 13.0)
