# -*- test-case-name: vnet.test.test_agent_relays -*-
"""
A path that is doubted: the tunnel sends, and hears nothing.  It is asked at once, and if it does not answer soon another one
takes over that does::

    0                     asked
    a round trip          asked again; so are the pairs that may take over
    two, or when those    the best of those that have answered takes over; if none has, all pairs are asked,
    may have answered     and the first that answers takes over
    3 s                   over: nothing answers, and the path stays what it is
"""

from __future__ import annotations

import attrs

__all__ = ["Doubt"]

_LEAST, _MARGIN = 0.15, 0.05
_LONGEST_STANDBY = 0.4
_LONGEST = 3.0


@attrs.define(eq=False, repr=False)
class Doubt:
    """
    The timers of one doubt.

    @ivar since: when it began.
    @ivar widensAt: when others are asked too; L{None} once they were.
    @ivar lateAt: when the pair is given up for any other that has answered; L{None} once it is.
    @ivar endsAt: when it is over.
    """

    since: float
    widensAt: float | None
    lateAt: float | None
    endsAt: float

    @classmethod
    def begun(cls, now: float, rtt: float, standbyRtt: float) -> Doubt:
        """
        The selected pair is asked now.

        @param rtt: seconds of its round trip; C{standbyRtt} of the pair that is likely to take over.
        """
        widens = max(_LEAST / 2, rtt + _MARGIN)
        late = max(_LEAST, 2 * widens, min(widens + standbyRtt + _MARGIN, _LONGEST_STANDBY))
        return cls(now, now + widens, now + late, now + max(_LONGEST, 2 * late))

    @property
    def isLate(self) -> bool:
        """
        Whether the pair has had its time to answer.
        """
        return self.lateAt is None

    @property
    def waits(self) -> tuple[float, ...]:
        """
        See L{vnet.protocols.machine.pair.Check}.
        """
        widens = (self.widensAt or self.endsAt) - self.since
        return (widens, widens, 1.0)

    def deadline(self) -> float:
        """
        When L{widensAt}, L{lateAt} or L{endsAt} is reached.
        """
        return min(time for time in (self.widensAt, self.lateAt, self.endsAt) if time is not None)
