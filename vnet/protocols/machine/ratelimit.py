# -*- test-case-name: vnet.test.test_ratelimit -*-
"""
A token bucket for each of many keys, in bounded memory.

Each bucket is kept as one number, the time at which it will be full again: the generic cell rate
algorithm, which decides as a token bucket does.  The table holds at most C{limit} keys; the key
that was asked for longest ago goes first, and comes back with a full bucket.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from ipaddress import IPv6Address

__all__ = ["KeyedLimit", "sourceKey"]


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
