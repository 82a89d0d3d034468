# -*- test-case-name: vnet.test.test_relays -*-
"""
Credentials for relays are renewed before they end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from vnet.client.calls import Calls
from vnet.client.relaylist import Relay, lifeOf

__all__ = ["RelayRenewal"]

_SHORTEST, _AGAIN = 60.0, 900.0


@define(eq=False, repr=False)
class RelayRenewal:
    """
    Asks for fresh credentials when half of their life is over, and again while none come.

    @ivar _wallClock: seconds since 1970.
    @ivar _renew: asks for them.
    """

    _clock: IReactorTime
    _wallClock: Callable[[], float]
    _renew: Callable[[], None]
    _calls: Calls = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._calls = Calls(self._clock)

    def schedule(self, relays: Iterable[Relay]) -> None:
        """
        These are fresh.
        """
        now = self._wallClock()
        found = (lifeOf(relay.credentials, now) for relay in relays)
        lives = [life for life in found if life is not None]
        self.cancel()
        if lives:
            self._calls.later("renewal", max(min(lives) / 2, _SHORTEST), self._renewNow)

    def cancel(self) -> None:
        """
        Ask no more.
        """
        self._calls.cancelAll()

    def _renewNow(self) -> None:
        self._calls.later("renewal", _AGAIN, self._renewNow)
        self._renew()
