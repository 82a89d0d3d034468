"""
Tests for L{vnet.protocols.machine.ratelimit}.
"""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.machine.ratelimit import KeyedLimit, KeyedQuota, KeyedWindow, sourceKey


class KeyedLimitTests(SynchronousTestCase):
    def test_burstThenRate(self) -> None:
        """A key gets its burst at once, and after that exactly its rate."""
        limit = KeyedLimit(rate=10, burst=5)
        self.assertEqual(sum(limit.allow("a", 0.0) for _ in range(20)), 5)
        self.assertEqual(sum(limit.allow("a", 1 + i / 100) for i in range(100)), 5 + 9)

    def test_hundredASecond(self) -> None:
        """A source that asks a thousand times a second is allowed a hundred a second."""
        limit = KeyedLimit(rate=100, burst=100)
        allowed = sum(limit.allow("a", i / 1000) for i in range(10_000))
        self.assertTrue(1090 <= allowed <= 1100, allowed)

    def test_keysAreIndependent(self) -> None:
        """What one key spends is not missing to another."""
        limit = KeyedLimit(rate=1, burst=1)
        self.assertTrue(limit.allow("a", 0.0))
        self.assertFalse(limit.allow("a", 0.0))
        self.assertTrue(limit.allow("b", 0.0))

    def test_refusalTakesNothing(self) -> None:
        """A key that keeps asking while it is refused still gets its next permit in time."""
        limit = KeyedLimit(rate=1, burst=1)
        self.assertTrue(limit.allow("a", 0.0))
        for i in range(99):
            self.assertFalse(limit.allow("a", i / 100))
        self.assertTrue(limit.allow("a", 1.0))

    def test_cost(self) -> None:
        """A permit may cost more than one, and a cost above the burst is never met."""
        limit = KeyedLimit(rate=10, burst=10)
        self.assertTrue(limit.allow("a", 0.0, cost=8))
        self.assertFalse(limit.allow("a", 0.0, cost=3))
        self.assertTrue(limit.allow("a", 0.0, cost=2))
        self.assertFalse(limit.allow("b", 0.0, cost=11))

    def test_tableIsBounded(self) -> None:
        """The table never holds more than its limit, and the key used longest ago goes first."""
        limit = KeyedLimit(rate=1, burst=1, limit=3)
        for key in "abc":
            limit.allow(key, 0.0)
        self.assertFalse(limit.allow("a", 0.0))
        limit.allow("d", 0.0)
        self.assertEqual(len(limit), 3)
        self.assertFalse(limit.allow("a", 0.0))
        self.assertTrue(limit.allow("b", 0.0))

    def test_hostileChurnCostsBoundedMemory(self) -> None:
        """A quarter of a million sources cost no more memory than the table's limit allows."""
        limit = KeyedLimit(rate=1, burst=1, limit=4096)
        tracemalloc.start()
        try:
            for i in range(250_000):
                limit.allow(i, 0.0)
            size, _peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        self.assertEqual(len(limit), 4096)
        self.assertTrue(size < 4096 * 512, size)

    def test_badArguments(self) -> None:
        """A limit that would allow nothing, or remember nobody, is refused when it is made."""
        for rate, burst, size in [(0, 1, 1), (-1, 1, 1), (1, 0.5, 1), (1, 1, 0)]:
            self.assertRaises(ValueError, KeyedLimit, rate, burst, size)

    @given(
        st.lists(st.floats(0, 0.5), max_size=200),
        st.integers(1, 50),
        st.integers(1, 20),
    )
    def test_sameAsTokenBucket(self, steps: list[float], rate: int, burst: int) -> None:
        """Over any sequence of times no more is allowed than burst + rate * time, and no wait of
        1/rate goes unrewarded."""
        limit = KeyedLimit(rate=rate, burst=burst)
        now, allowed, refusedSince = 0.0, 0, 0.0
        for step in steps:
            now += step
            if limit.allow("a", now):
                allowed += 1
                refusedSince = now
            else:
                self.assertTrue(now - refusedSince <= 1 / rate + 1e-6)
            self.assertTrue(allowed <= burst + rate * now + 1e-3)


class KeyedQuotaTests(SynchronousTestCase):
    def test_exact(self) -> None:
        """A key that asks without end gets exactly its count in each period."""
        quota = KeyedQuota(100, 1.0)
        allowed = [quota.allow("a", i / 1024) for i in range(4096)]
        self.assertEqual([sum(allowed[s : s + 1024]) for s in range(0, 4096, 1024)], [100] * 4)

    def test_atOnce(self) -> None:
        """The count may be used at once, after any idle time, and no more than it."""
        quota = KeyedQuota(5, 60.0)
        for start in (0.0, 60.0, 1e6):
            self.assertEqual(sum(quota.allow("a", start) for _ in range(9)), 5)

    def test_bounded(self) -> None:
        """Keys are independent, and the one asked for longest ago is forgotten first."""
        quota = KeyedQuota(1, 60.0, limit=2)
        self.assertTrue(quota.allow("a", 0.0))
        self.assertTrue(quota.allow("b", 0.0))
        self.assertFalse(quota.allow("a", 1.0))
        self.assertTrue(quota.allow("c", 1.0))
        self.assertEqual(len(quota), 2)
        self.assertFalse(quota.allow("a", 2.0))
        self.assertTrue(quota.allow("b", 2.0))

    def test_badArguments(self) -> None:
        """A quota that would allow nothing, or remember nobody, is refused when it is made."""
        for count, period, size in [(0, 1, 1), (1, 0, 1), (1, 1, 0)]:
            self.assertRaises(ValueError, KeyedQuota, count, period, size)


class KeyedWindowTests(SynchronousTestCase):
    @given(st.lists(st.floats(0, 5), max_size=100), st.integers(1, 10))
    def test_anyWindow(self, steps: list[float], count: int) -> None:
        """No time of one period, wherever it begins, has more permits than the count, and none is withheld."""
        window = KeyedWindow(count, 10.0)
        now, allowed = 0.0, list[float]()
        for step in steps:
            now += step
            recent = sum(now - each < 10.0 for each in allowed)
            self.assertEqual(recent < count, window.allow("a", now))
            if recent < count:
                allowed.append(now)

    def test_giveBack(self) -> None:
        """What is given back can be taken again, and leaves nothing behind."""
        window = KeyedWindow(1, 60.0)
        for _ in range(3):
            self.assertTrue(window.allow("a", 0.0))
            self.assertFalse(window.allow("a", 1.0))
            window.giveBack("a")
        self.assertEqual(0, len(window))
        window.giveBack("a")

    def test_bounded(self) -> None:
        """Keys are independent, and the one asked for longest ago is forgotten first."""
        window = KeyedWindow(1, 60.0, limit=2)
        self.assertTrue(window.allow("a", 0.0))
        self.assertTrue(window.allow("b", 0.0))
        self.assertFalse(window.allow("a", 1.0))
        self.assertTrue(window.allow("c", 1.0))
        self.assertEqual(2, len(window))
        self.assertFalse(window.allow("a", 2.0))
        self.assertTrue(window.allow("b", 2.0))

    def test_forgets(self) -> None:
        """Keys whose permits are over are forgotten as others ask."""
        window = KeyedWindow(10, 60.0)
        for number in range(1000):
            window.allow(number, 0.0)
        for _ in range(1000):
            window.allow("a", 60.0)
        self.assertEqual(1, len(window))

    def test_badArguments(self) -> None:
        """A window that would allow nothing, or remember nobody, is refused when it is made."""
        for count, period, size in [(0, 1, 1), (1, 0, 1), (1, 1, 0)]:
            self.assertRaises(ValueError, KeyedWindow, count, period, size)


class SourceKeyTests(SynchronousTestCase):
    def test_v4(self) -> None:
        """Each IPv4 address is limited alone."""
        self.assertNotEqual(sourceKey("192.0.2.1"), sourceKey("192.0.2.2"))

    def test_v6(self) -> None:
        """IPv6 addresses of one /64 share a limit; those of two do not."""
        self.assertEqual(sourceKey("2001:db8::1"), sourceKey("2001:db8::ffff:0:0:2"))
        self.assertNotEqual(sourceKey("2001:db8::1"), sourceKey("2001:db8:0:1::1"))
