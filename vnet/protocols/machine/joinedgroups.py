# -*- test-case-name: vnet.test.test_joinedgroups -*-
"""
The multicast groups of one version of IP that the programs of this computer have joined on the interface, from the reports of its
operating system.

That says what it joins and leaves, and all of it when it is asked, in rounds.  A group stays until it is said to be left, or was
not mentioned in several rounds that were answered: a report that is lost, or an operating system that hears no queries, makes
none forgotten that somebody listens to.  Where others report on the interface, too (containers with addresses of their own), one
that leaves a group may not be the last, and only the rounds tell.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import define, field

from vnet.protocols.codec.grouprecords import BLOCK, IS_INCLUDE, TO_INCLUDE, GroupRecord
from vnet.protocols.machine.membergroups import isForAll

__all__ = ["JoinedGroups"]

_ROUNDS = 3
_MOST = 1024


@define(eq=False, repr=False)
class JoinedGroups:
    """
    The groups, without those that all members get anyway (L{isForAll}).

    @ivar _most: how many are told; of more, one more, so that who is told knows that there are more than there may be.
    @ivar isKnown: whether the operating system has reported anything: one that never does may have joined any.
    @ivar _joined: in which round each was mentioned last.
    @ivar _overflow: the last round in which one was not kept.
    @ivar _isShared: whether others than our operating system have reported.
    """

    _most: int
    isKnown: bool = field(default=False, init=False)
    _joined: dict[bytes, int] = field(factory=dict, init=False)
    _round: int = field(default=0, init=False)
    _isAnswered: bool = field(default=False, init=False)
    _overflow: int = field(default=-_ROUNDS, init=False)
    _isShared: bool = field(default=False, init=False)

    def report(self, records: Iterable[GroupRecord], isOurs: bool = True) -> None:
        """
        The operating system has said this.

        @param isOurs: whether it speaks for itself: what others say shows neither what it has joined nor that it has answered.
        """
        if isOurs:
            self.isKnown = self._isAnswered = True
        for record in records:
            if record.kind == BLOCK or isForAll(record.group):
                # A source that is blocked may have been the last one, or not: the next rounds tell.
                continue
            self._isShared |= not isOurs
            if record.kind in (IS_INCLUDE, TO_INCLUDE) and not record.sources:
                self._leave(record.group)
            elif record.group in self._joined or len(self._joined) < _MOST:
                self._joined[record.group] = self._round
            else:
                self._overflow = self._round

    def _leave(self, group: bytes) -> None:
        # While not all are kept they stay too many.
        if not self._isShared and self._round - self._overflow >= _ROUNDS:
            self._joined.pop(group, None)

    def asked(self) -> None:
        """
        The operating system is asked for all groups: a round begins.
        """
        self._round += self._isAnswered
        self._isAnswered = False
        oldest = self._round - _ROUNDS
        for group in [group for group, mentioned in self._joined.items() if mentioned < oldest]:
            del self._joined[group]

    def told(self) -> tuple[bytes, ...]:
        """
        @return: the groups that members are told of, in order.
        """
        return tuple(sorted(self._joined)[: self._most + 1])
