# -*- test-case-name: vnet.test.test_portmapper -*-
"""
Which way to a mapping is taken: all are asked at once, and the first that works is kept.

A router that speaks several protocols has one table for all, in which two mappings of one port would get into each
other's way.  So only one mapping is made: by who is found first, unless a better one is found a moment later.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from vnet.client.portmapping.way import Grant, NoMapping, Silent, Way

__all__ = ["GRACE", "Race"]

GRACE = 0.3
"""Seconds that a better way may take longer."""

_NAMES = {"pcp": "PCP", "nat-pmp": "NAT-PMP", "upnp": "UPnP"}


@define(eq=False, repr=False)
class Race:
    """
    One search.

    @ivar _ways: the best first.
    @ivar _router: the router's address, for a person.
    @ivar _port: see L{Way.obtain}.
    """

    _clock: IReactorTime
    _ways: Sequence[Way]
    _router: str
    _port: int
    _won: Deferred[tuple[Way, Grant]] = field(factory=Deferred, init=False)
    _found: set[int] = field(factory=set, init=False)
    _failed: dict[int, NoMapping] = field(factory=dict, init=False)
    _grace: IDelayedCall | None = field(default=None, init=False)
    _graceOver: bool = field(default=False, init=False)
    _obtaining: bool = field(default=False, init=False)
    _over: bool = field(default=False, init=False)
    _log = Logger()

    def run(self) -> Deferred[tuple[Way, Grant]]:
        """
        Ask.

        @return: the way that works, with its mapping; the others are closed.  Fails with L{NoMapping}, whose text is one
            line.
        """
        for rank, way in enumerate(self._ways):
            found = Deferred.fromCoroutine(way.find())
            found.addCallbacks(self._isFound, self._hasFailed, callbackArgs=(rank,), errbackArgs=(rank,))
        return self._won

    def end(self) -> None:
        """
        Search no longer.
        """
        self._finish(None)

    @property
    def reason(self) -> str:
        """
        Why there is no mapping so far, one line.
        """
        told = [
            f"by {_NAMES[self._ways[rank].name]}: {error}"
            for rank, error in sorted(self._failed.items())
            if not isinstance(error, Silent)
        ]
        if told:
            return f"the router {self._router} gives no port {'; '.join(told)}"
        return f"the router {self._router} answers neither PCP nor NAT-PMP nor UPnP"

    def _isFound(self, _: None, rank: int) -> None:
        self._found.add(rank)
        if self._grace is None and not self._over:
            self._grace = self._clock.callLater(GRACE, self._graceEnds)
        self._consider()

    def _hasFailed(self, failure: Failure, rank: int) -> None:
        self._obtaining = self._obtaining and rank not in self._found
        self._found.discard(rank)
        error = failure.value
        if not isinstance(error, NoMapping):
            self._log.failure("while a port mapping was asked for", failure)
            error = Silent("it could not be asked")
        self._failed[rank] = error
        self._consider()

    def _graceEnds(self) -> None:
        self._graceOver = True
        self._consider()

    def _consider(self) -> None:
        if self._over or self._obtaining:
            return
        if len(self._failed) == len(self._ways):
            self._finish(None)
        for rank in range(len(self._ways)):
            if rank in self._found:
                self._obtain(rank)
                return
            if rank not in self._failed and not self._graceOver:
                return

    def _obtain(self, rank: int) -> None:
        self._obtaining = True
        way = self._ways[rank]
        obtained = Deferred.fromCoroutine(way.obtain(self._port))
        obtained.addCallbacks(self._finish, self._hasFailed, callbackArgs=(way,), errbackArgs=(rank,))

    def _finish(self, grant: Any, winner: Way | None = None) -> None:
        if self._over:
            return
        self._over = True
        if self._grace is not None and self._grace.active():
            self._grace.cancel()
        reason = self.reason
        for way in self._ways:
            if way is not winner:
                way.close()
        if winner is None:
            self._won.errback(NoMapping(reason))
        else:
            self._won.callback((winner, grant))
