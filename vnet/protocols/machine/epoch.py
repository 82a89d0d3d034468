# -*- test-case-name: vnet.test.test_epoch -*-
"""
Whether a router has lost its mappings, from the epoch in each of its answers of NAT-PMP and PCP (RFC 6887 section 8.5,
RFC 6886 section 3.6): its seconds should pass as ours do.
"""

from __future__ import annotations

from attrs import define, field

__all__ = ["Epoch"]

# Seconds, and the part of the time between, by which the clocks may differ.
_SLACK = 2.0
_PART = 16


@define
class Epoch:
    """
    The epoch of one router, ready when new.
    """

    _server: int | None = field(default=None, init=False)
    _client: float = field(default=0.0, init=False)

    def goesOn(self, server: int, now: float) -> bool:
        """
        Take the epoch of an answer.

        @param server: seconds.
        @return: whether the router has kept its mappings since the last answer.
        """
        before, beforeClient = self._server, self._client
        self._server, self._client = server, now
        if before is None:
            return True
        if server + 1 < before:
            return False
        theirs, ours = server - before, now - beforeClient
        return ours + _SLACK >= theirs - theirs / _PART and theirs + _SLACK >= ours - ours / _PART
