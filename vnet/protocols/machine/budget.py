# -*- test-case-name: vnet.test.test_budget -*-
"""
How many checks go to hosts that have not answered any.

A peer names the addresses that its partner checks, so it could name those of somebody else.  Who answers an authentic check
wants the checks; to any other host an agent sends L{UNANSWERED} in all, whatever ports the peer names there.  An IPv6 /64 counts
as one host.  A check of the peer gives one more to where it came from, so that who comes late finds the way too.

Agents may share a pace for such hosts, so that many peers that name one host do not flood it.
"""

from __future__ import annotations

import enum
from collections.abc import Hashable

from vnet.protocols.machine.ratelimit import KeyedLimit, sourceKey
from vnet.values import Address

__all__ = ["UNANSWERED", "Budget", "Verdict"]

UNANSWERED = 20
"""Checks of one agent to a host that has not answered any."""

_LIMIT = 256


class Verdict(enum.Enum):
    """
    What is to become of a check.
    """

    SEND = "send"
    LATER = "later"
    NEVER = "never"


class Budget:
    """
    The budget of one agent.
    """

    def __init__(self, pace: KeyedLimit | None = None) -> None:
        """
        @param pace: what all agents together may send to a host that has not answered; keyed by
            L{vnet.protocols.machine.ratelimit.sourceKey}.
        """
        self._pace = pace
        self._sent: dict[Hashable, int] = {}
        self._answering: dict[Hashable, None] = {}
        self._granted: dict[Address, None] = {}

    def take(self, address: Address, now: float) -> Verdict:
        """
        A check is due.
        """
        host = _key(address)
        if host in self._answering:
            return Verdict.SEND
        if address in self._granted:
            del self._granted[address]
            return Verdict.SEND
        sent = self._sent.get(host, 0)
        if sent >= UNANSWERED:
            return Verdict.NEVER
        if self._pace is not None and not self._pace.allow(sourceKey(address.host), now):
            return Verdict.LATER
        self._sent[host] = sent + 1
        _trim(self._sent)
        return Verdict.SEND

    def renew(self) -> None:
        """
        Some time has passed: those that did not answer may be asked again.
        """
        self._sent.clear()

    def grant(self, address: Address) -> None:
        """
        An authentic check came from there: one may go back.
        """
        self._granted[address] = None
        _trim(self._granted)

    def answered(self, address: Address) -> None:
        """
        One of our checks was answered from there.
        """
        self._answering[_key(address)] = None
        _trim(self._answering)


def _key(address: Address) -> Hashable:
    """
    A host that does not answer directly may do so through a relay; from which socket it is asked makes no difference.
    """
    return address.allocation, sourceKey(address.host)


def _trim(table: dict[Hashable, int] | dict[Hashable, None] | dict[Address, None]) -> None:
    if len(table) > _LIMIT:
        del table[next(iter(table))]  # type: ignore[arg-type]
