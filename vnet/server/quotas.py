# -*- test-case-name: vnet.test.test_quotas -*-
"""
How often a node may ask for what costs the mediator, or other nodes, something.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

from attrs import define, field

from vnet.protocols import control
from vnet.protocols.machine.ratelimit import KeyedLimit, sourceKey

__all__ = ["Quotas"]


@define(eq=False)
class Quotas:
    """
    Rates, each in bounded memory.

    @ivar _clock: seconds on a clock that never goes back.
    @ivar _registrations: for each source address: a new key costs an address and a row for ever, and many new
        users may share one address.
    @ivar _logins: for each key: each may be a push to thousands.
    """

    _clock: Callable[[], float]
    _registrations: KeyedLimit = field(factory=lambda: KeyedLimit(0.2, 1000), init=False)
    _logins: KeyedLimit = field(factory=lambda: KeyedLimit(0.2, 20), init=False)
    _changes: KeyedLimit = field(factory=lambda: KeyedLimit(5.0, 60), init=False)
    _synchronisations: KeyedLimit = field(factory=lambda: KeyedLimit(2.0, 40), init=False)
    _signals: KeyedLimit = field(factory=lambda: KeyedLimit(100.0, 2000), init=False)
    _signalsToOne: KeyedLimit = field(factory=lambda: KeyedLimit(20.0, 200), init=False)
    _relays: KeyedLimit = field(factory=lambda: KeyedLimit(0.05, 10), init=False)
    _connects: KeyedLimit = field(factory=lambda: KeyedLimit(20.0, 1000), init=False)
    _portTests: KeyedLimit = field(factory=lambda: KeyedLimit(0.1, 1), init=False)

    def register(self, host: str) -> None:
        """
        A node that is not known yet logs in.

        @raise control.LoginFailed: too many did from its address.
        """
        if not self._registrations.allow(sourceKey(host), self._clock()):
            raise control.LoginFailed("too many new nodes from this address: try again in some minutes")

    def login(self, key: bytes) -> None:
        """
        A node logs in.

        @raise control.LoginFailed: it does so too often.
        """
        if not self._logins.allow(key, self._clock()):
            raise control.LoginFailed("this node logs in too often: try again in a minute")

    def change(self, key: bytes) -> None:
        """
        A node changes what is stored.

        @raise control.TooMany: it does so too often.
        """
        self._take(self._changes, key)

    def synchronise(self, key: bytes) -> None:
        """
        A node begins to synchronise.

        @raise control.TooMany: it does so too often.
        """
        self._take(self._synchronisations, key)

    def signal(self, key: bytes, peer: bytes) -> None:
        """
        A node sends a signal to a peer of its.

        @raise control.TooMany: it does so too often, to all or to this one.
        """
        self._take(self._signals, key)
        self._take(self._signalsToOne, (key, peer))

    def relays(self, key: bytes) -> None:
        """
        A node asks for credentials for the relays.

        @raise control.TooMany: it does so too often.
        """
        self._take(self._relays, key)

    def connect(self, key: bytes) -> None:
        """
        A node asks for a common start.

        @raise control.TooMany: it does so too often.
        """
        self._take(self._connects, key)

    def testPort(self, key: bytes) -> None:
        """
        A node has its port tested.

        @raise control.TooMany: it does so too often.
        """
        self._take(self._portTests, key)

    def _take(self, limit: KeyedLimit, key: Hashable) -> None:
        if not limit.allow(key, self._clock()):
            raise control.TooMany("too many requests: try again in some seconds")
