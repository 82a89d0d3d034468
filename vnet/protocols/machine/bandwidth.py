# -*- test-case-name: vnet.test.test_bandwidth -*-
"""
How many bytes a second one flow may carry: a token bucket that is kept as one number, the time at which it is full again.

A datagram costs what IP and UDP add to it too: empty ones are not free.
"""

from __future__ import annotations

from attrs import define, field

__all__ = ["Bandwidth"]

_BURST = 0.5
#: What is as long as a datagram can be passes a bucket that is full.
_LEAST_BURST = 65_536
_OVERHEAD = 28


@define(eq=False, repr=False)
class Bandwidth:
    """
    A bucket.

    @ivar rate: bytes a second, above 0.
    @ivar fullAt: when it is full again, if nothing is taken before.
    """

    rate: float
    fullAt: float = field(default=0.0, init=False)
    _tolerance: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._tolerance = max(_BURST, _LEAST_BURST / self.rate)

    def take(self, size: int, pieces: int, now: float) -> int:
        """
        Take what there is for a train of equal pieces, in order.

        @param size: bytes of one piece.
        @return: for how many pieces there is enough.
        """
        cost = size + _OVERHEAD
        start = max(self.fullAt, now)
        room = (now + self._tolerance - start) * self.rate
        taken = max(0, min(pieces, int(room // cost)))
        self.fullAt = start + taken * cost / self.rate
        return taken
