# -*- test-case-name: vnet.test.test_election -*-
"""
Which of the pairs that work is used.

A pair without NAT and relay is better than one with a NAT, that better than a relay, and one relay better than two.
One that was given up for not answering has to rest before it is taken again.  Among equals
the controlling side takes a clearly faster one, and the controlled side the one that the other has
nominated.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

import attrs

from vnet.protocols.machine.pair import Pair, State

__all__ = ["Election"]

_FASTER_BY = 0.010
_FASTER_SHARE = 0.1
_FRESH = 15.0
_READY, _ANSWERING = 50.0, 1.0


@attrs.define(eq=False, repr=False)
class Election:
    """
    @ivar selected: the pair in use.
    """

    selected: Pair | None = None

    @property
    def preference(self) -> int:
        """
        What a pair has to reach to be worth a check.
        """
        return 0 if self.selected is None else self.selected.preference

    def nominate(self, pair: Pair, pairs: Iterable[Pair]) -> None:
        """
        The controlling peer has nominated this pair: the last one counts.
        """
        for each in pairs:
            each.nominated = each is pair

    def isBetter(self, pair: Pair, controlling: bool, suspect: bool, now: float) -> bool:
        """
        Whether this pair is to replace the selected one.

        @param suspect: whether the selected one fails to answer.
        """
        old = self.selected
        if pair.state is not State.SUCCEEDED or pair is old:
            return False
        if old is None:
            return True
        if suspect:
            return (pair.answeredAt or 0.0) > (old.answeredAt or 0.0)
        if now < pair.restsUntil:
            return False
        if pair.preference != old.preference:
            return pair.preference > old.preference
        if not controlling:
            return pair.nominated
        return _isFaster(pair, old)

    def standbys(self, pairs: Iterable[Pair], now: float, since: float = inf) -> list[Pair]:
        """
        The other pairs that answered when they were asked last, the best first.

        @param since: who has answered after that is better than all who have not.
        """
        ready = [
            pair
            for pair in pairs
            if pair is not self.selected
            and pair.state is State.SUCCEEDED
            and pair.answeredAt is not None
            and now - pair.answeredAt <= _READY
            and (pair.triedAt is None or pair.answeredAt >= pair.triedAt or now - pair.triedAt <= _ANSWERING)
        ]
        return sorted(
            ready, key=lambda pair: ((pair.answeredAt or 0.0) < since, -pair.preference, pair.rtt or 0.0)
        )

    def freshest(self, pairs: Iterable[Pair], now: float) -> Pair | None:
        """
        The best pair that has answered in the last seconds and since the selected one did.
        """
        since = now - _FRESH
        if self.selected is not None and self.selected.answeredAt is not None:
            since = max(since, self.selected.answeredAt)
        fresh = [p for p in pairs if p is not self.selected and (p.answeredAt or since) > since]
        return max(fresh, key=lambda pair: (pair.preference, pair.answeredAt or 0.0), default=None)


def _isFaster(pair: Pair, old: Pair) -> bool:
    if pair.rtt is None or old.rtt is None:
        return False
    return old.rtt - pair.rtt > max(_FASTER_BY, _FASTER_SHARE * old.rtt)
