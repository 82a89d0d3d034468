# -*- test-case-name: vnet.test.test_admission -*-
"""
Who may open a connection: limits on those that have not logged in, counted for each source and for all.
"""

from __future__ import annotations

from collections.abc import Hashable
from ipaddress import IPv6Address

from attrs import define, field

from vnet.protocols.machine.ratelimit import sourceKey

__all__ = ["Admission"]


@define
class Admission:
    """
    Counts connections.  Those that have logged in count towards C{total} only: many users may share one
    address behind a carrier's NAT.

    @ivar perSource: connections from one source that have not logged in; eight times as many from one IPv6
        /48, which is what a site has, and which would be as many sources as there are places for strangers.
    @ivar strangers: connections from all sources that have not logged in.
    @ivar total: connections of every kind.
    @ivar refused: how many connections were turned away.
    """

    perSource: int = 64
    strangers: int = 4096
    total: int = 24_000
    refused: int = field(default=0, init=False)
    _bySource: dict[Hashable, int] = field(factory=dict, init=False)
    _strangers: int = field(default=0, init=False)
    _open: int = field(default=0, init=False)

    def enter(self, host: str) -> bool:
        """
        A connection comes in.

        @param host: an IP literal; an IPv6 source is its /64.
        @return: whether it may stay; if so, L{leave} follows, with L{logIn} before it or not.
        """
        limits = self._limits(host)
        full = any(self._bySource.get(key, 0) >= limit for key, limit in limits.items())
        if full or self._strangers >= self.strangers or self._open >= self.total:
            self.refused += 1
            return False
        for key in limits:
            self._bySource[key] = self._bySource.get(key, 0) + 1
        self._strangers += 1
        self._open += 1
        return True

    def logIn(self, host: str) -> None:
        """
        A connection is no stranger any more.
        """
        self._strangers -= 1
        for key in self._limits(host):
            self._bySource[key] -= 1
            if not self._bySource[key]:
                del self._bySource[key]

    def leave(self, host: str, loggedIn: bool) -> None:
        """
        A connection that had entered is closed.
        """
        if not loggedIn:
            self.logIn(host)
        self._open -= 1

    def _limits(self, host: str) -> dict[Hashable, int]:
        limits = {sourceKey(host): self.perSource}
        if ":" in host:
            limits[IPv6Address(host).packed[:6]] = 8 * self.perSource
        return limits
