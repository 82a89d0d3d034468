# -*- test-case-name: vnet.test.test_ratelimit -*-
"""
Rates and quotas for each of many keys, in bounded memory.

A token bucket is kept as one number, the time at which it will be full again: the generic cell rate
algorithm, which decides the same.  Each table holds at most C{limit} keys; the key that was asked
for longest ago goes first, and comes back with nothing used.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from ipaddress import IPv6Address

__all__ = ["KeyedLimit", "KeyedQuota", "KeyedWindow", "sourceKey"]


def sourceKey(host: str) -> Hashable:
    """
    The key under which a source address is limited: an IPv4 address alone, an IPv6 address with
    its whole /64, which is what one subscriber has at least.

    @param host: an IP literal.
    """
    return IPv6Address(host).packed[:8] if ":" in host else host


class KeyedLimit:
    """
    At most C{rate} permits a second, and C{burst} at once, for each key.
    """

    __slots__ = ("_full", "_interval", "_limit", "_tolerance")

    def __init__(self, rate: float, burst: float, limit: int = 65536) -> None:
        """
        @param rate: permits a second for one key, above 0.
        @param burst: how many permits a key that was idle gets at once, at least 1.
        @param limit: how many keys are remembered, at least 1.
        @raise ValueError: one of them is too small.
        """
        if rate <= 0 or burst < 1 or limit < 1:
            raise ValueError("rate must be above 0, burst and limit at least 1")
        self._interval = 1.0 / rate
        self._tolerance = burst / rate
        self._limit = limit
        self._full: OrderedDict[Hashable, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full)

    def allow(self, key: Hashable, now: float, cost: float = 1.0) -> bool:
        """
        Take C{cost} permits of the key, if it has them.

        @param now: seconds on a clock that never goes back.
        @return: whether they were there.  A refusal takes nothing.
        """
        full = max(self._full.get(key, now), now)
        taken = full + cost * self._interval
        # The slack is far below one permit: sums of 1/rate are not exact.
        allowed = taken - now <= self._tolerance + self._interval * 1e-6
        self._full[key] = taken if allowed else full
        self._full.move_to_end(key)
        if len(self._full) > self._limit:
            self._full.popitem(last=False)
        return allowed


class KeyedQuota:
    """
    At most C{count} permits in each period, for each key.

    A period begins with the first permit after the last one ended, so who was idle gets
    C{count} at once and then nothing until the period is over.  (A L{KeyedLimit} with that burst
    would allow twice as many in the first period.)  Around the end of a period there may be twice
    C{count} in less than one; a L{KeyedWindow} never allows that, and remembers each permit for it.
    """

    __slots__ = ("_count", "_limit", "_period", "_used")

    def __init__(self, count: int, period: float, limit: int = 65536) -> None:
        """
        @param count: permits in one period, at least 1.
        @param period: its length in seconds, above 0.
        @param limit: how many keys are remembered, at least 1.  The one whose last request is
            longest ago is forgotten first.
        @raise ValueError: one of them is too small.
        """
        if count < 1 or period <= 0 or limit < 1:
            raise ValueError("count and limit must be at least 1, period above 0")
        self._count = count
        self._period = period
        self._limit = limit
        self._used: OrderedDict[Hashable, tuple[float, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._used)

    def allow(self, key: Hashable, now: float) -> bool:
        """
        Take a permit of the key, if there is one left.

        @param now: seconds on a clock that never goes back.
        @return: whether there was one.
        """
        since, used = self._used.get(key, (now, 0))
        if now - since >= self._period:
            since, used = now, 0
        allowed = used < self._count
        self._used[key] = (since, used + allowed)
        self._used.move_to_end(key)
        if len(self._used) > self._limit:
            self._used.popitem(last=False)
        return allowed


class KeyedWindow:
    """
    At most C{count} permits in any time of C{period}, for each key.
    """

    __slots__ = ("_count", "_limit", "_period", "_taken")

    def __init__(self, count: int, period: float, limit: int = 65536) -> None:
        """
        @param count: permits in one period, at least 1.
        @param period: its length in seconds, above 0.
        @param limit: how many keys are remembered, at least 1.  The one whose last request is
            longest ago is forgotten first, at the latest a period after it when others ask.
        @raise ValueError: one of them is too small.
        """
        if count < 1 or period <= 0 or limit < 1:
            raise ValueError("count and limit must be at least 1, period above 0")
        self._count = count
        self._period = period
        self._limit = limit
        self._taken: OrderedDict[Hashable, deque[float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._taken)

    def allow(self, key: Hashable, now: float) -> bool:
        """
        Take a permit of the key, if there is one left.

        @param now: seconds on a clock that never goes back.
        @return: whether there was one.
        """
        taken = self._taken.pop(key, None) or deque()
        while taken and now - taken[0] >= self._period:
            taken.popleft()
        allowed = len(taken) < self._count
        if allowed:
            taken.append(now)
        self._taken[key] = taken
        self._forget(now)
        return allowed

    def giveBack(self, key: Hashable) -> None:
        """
        Give the key's latest permit back.
        """
        taken = self._taken.get(key)
        if taken:
            taken.pop()
            if not taken:
                del self._taken[key]

    def _forget(self, now: float) -> None:
        # Two at most for each that came: the table shrinks, and no call is long.
        for _ in range(2):
            key, taken = next(iter(self._taken.items()))
            if len(self._taken) <= self._limit and taken and now - taken[-1] < self._period:
                return
            del self._taken[key]
            if not self._taken:
                return
