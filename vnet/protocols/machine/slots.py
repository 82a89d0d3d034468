# -*- test-case-name: vnet.test.test_slots -*-
"""
Common times for what can wait a little.

A process that wakes up finds its caches cold, which costs more than what it woke up for.  So what is due for one of a thousand
idle peers waits for the next slot, and is done together with the rest.
"""

from __future__ import annotations

from math import ceil

import attrs

__all__ = ["WIDTH", "Slots"]

WIDTH = 0.25
"""Seconds from one slot to the next."""


@attrs.frozen
class Slots:
    """
    @ivar phase: when one of the slots is: another one for each node, so that nodes do not keep time with each other.
    """

    phase: float

    @classmethod
    def drawn(cls, random: bytes) -> Slots:
        """
        @param random: 2 bytes or more.
        """
        return cls(WIDTH * int.from_bytes(random[:2], "big") / 0x10000)

    def after(self, time: float) -> float:
        """
        The first slot that is not before a time.
        """
        slot = self.phase + ceil((time - self.phase) / WIDTH) * WIDTH
        return slot if slot >= time else slot + WIDTH
