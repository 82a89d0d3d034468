# -*- test-case-name: vnet.test.test_client_session -*-
"""
The mediator's clock, beside the node's.
"""

from __future__ import annotations

from attrs import define

__all__ = ["MediatorClock"]


@define
class MediatorClock:
    """
    Where the mediator's clock stands beside ours, from the exchange with the shortest round trip so far.
    """

    _offset: float | None = None
    _roundTrip: float = 3600.0

    def observe(self, sent: float, received: float, mediator: int) -> None:
        """
        An exchange took place.

        @param mediator: the mediator's clock in it, microseconds.
        """
        if received - sent <= self._roundTrip:
            self._roundTrip = received - sent
            self._offset = (sent + received) / 2 - mediator / 1e6

    @property
    def roundTrip(self) -> float:
        """Seconds of the shortest round trip, at most a second."""
        return min(self._roundTrip, 1.0)

    def local(self, mediator: int, latest: float) -> float:
        """
        A time of the mediator's clock, in ours; never later than C{latest}.
        """
        return latest if self._offset is None else min(mediator / 1e6 + self._offset, latest)
