# -*- test-case-name: vnet.test.test_rendezvous -*-
"""
The common start of two nodes that want a path to each other.
"""

from __future__ import annotations

from collections import OrderedDict

from attrs import define, field

__all__ = ["DELAY", "SAME", "Rendezvous"]

DELAY = 0.1
"""Seconds from the request to the start: both have heard of it by then."""

SAME = 0.25
"""Seconds after a start in which a request of the same pair, from either side, means that start."""

_LIMIT = 65_536


@define(eq=False)
class Rendezvous:
    """
    Remembers for a short while which pairs were given a start.
    """

    _starts: OrderedDict[tuple[bytes, bytes], float] = field(factory=OrderedDict, init=False)

    def ask(self, one: bytes, other: bytes, now: float) -> float | None:
        """
        One of two nodes asks for a start.

        @param now: seconds.
        @return: the start that both have to be told, or L{None}: they were told just now.
        """
        while self._starts:
            pair, start = next(iter(self._starts.items()))
            if now - start < SAME and len(self._starts) <= _LIMIT:
                break
            del self._starts[pair]
        pair = (one, other) if one < other else (other, one)
        if pair in self._starts:
            return None
        start = self._starts[pair] = now + DELAY
        return start
