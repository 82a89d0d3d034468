# -*- test-case-name: vnet.test.test_crowd -*-
"""
Connections that have not shown yet who they are: few from one source, and when there are too many in all, the oldest gives
way.  Who knows a password shows it in a moment, so silent ones do not keep others out.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from ipaddress import IPv6Address

from attrs import define, field

from vnet.protocols.machine.ratelimit import sourceKey

__all__ = ["Crowd"]


@define(eq=False, repr=False)
class Crowd:
    """
    The strangers.

    @ivar perSource: from one source; eight times as many from one IPv6 /48, which is what a site has.
    @ivar total: from all.
    @ivar refused: how many were turned away; C{displaced}: how many had to give way.
    """

    perSource: int = 64
    total: int = 4096
    refused: int = field(default=0, init=False)
    displaced: int = field(default=0, init=False)
    _bySource: dict[Hashable, int] = field(factory=dict, init=False)
    _strangers: dict[Hashable, tuple[str, Callable[[], None]]] = field(factory=dict, init=False)

    def __len__(self) -> int:
        return len(self._strangers)

    def admits(self, host: str) -> bool:
        """
        Whether one more may come from a host; it is counted as refused if not.

        @param host: an IP literal.
        """
        full = any(self._bySource.get(key, 0) >= limit for key, limit in self._limits(host).items())
        self.refused += full
        return not full

    def enter(self, key: Hashable, host: str, drop: Callable[[], None]) -> None:
        """
        A connection has come.

        @param key: which one it is.
        @param drop: ends it.
        """
        if len(self._strangers) >= self.total:
            oldest = next(iter(self._strangers))
            self.displaced += 1
            self._strangers[oldest][1]()
            self.leave(oldest)
        for each in self._limits(host):
            self._bySource[each] = self._bySource.get(each, 0) + 1
        self._strangers[key] = host, drop

    def leave(self, key: Hashable) -> None:
        """
        A connection is gone, or no stranger any more.  May be called twice.
        """
        host, _ = self._strangers.pop(key, ("", None))
        for each in self._limits(host) if host else ():
            self._bySource[each] -= 1
            if not self._bySource[each]:
                del self._bySource[each]

    def _limits(self, host: str) -> dict[Hashable, int]:
        limits = {sourceKey(host): self.perSource}
        if ":" in host:
            limits[IPv6Address(host).packed[:6]] = 8 * self.perSource
        return limits
