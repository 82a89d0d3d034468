# -*- test-case-name: vnet.test.test_client_peer -*-
"""
The attempts at a path to one peer: the newest one, and the one before it for as long as its path is in use.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import define, field

from vnet.client.peercontext import Attempt
from vnet.protocols.machine.pair import Path

__all__ = ["Attempts"]


@define(eq=False, repr=False)
class Attempts:
    """
    At most two attempts.

    @ivar newest: the newest one; C{previous}: the one before it.
    @ivar previousAnswers: whether the path of the one before has answered since the newest began.
    """

    newest: Attempt | None = None
    previous: Attempt | None = None
    previousAnswers: bool = field(default=False, init=False)

    def __iter__(self) -> Iterator[Attempt]:
        return (attempt for attempt in (self.newest, self.previous) if attempt is not None)

    @property
    def used(self) -> Attempt | None:
        """
        The one whose path is in use: the newest that has one, but no relayed one while the direct one before answers.
        """
        new, old = (
            None if attempt is None or attempt.selected is None else attempt
            for attempt in (self.newest, self.previous)
        )
        if new is None or old is None or new.selected is None or old.selected is None:
            return new or old
        holds = self.previousAnswers and new.selected.relayed and not old.selected.relayed
        return old if holds else new

    @property
    def path(self) -> Path | None:
        """
        The path in use, if one is known to work.
        """
        used = self.used
        return None if used is None else used.selected

    def makeRoom(self) -> None:
        """
        Of the attempts so far, keep the one whose path is in use until the next has one as good.
        """
        used = self.used
        self.previousAnswers = False
        if used is not None and used is self.newest:
            self.dropPrevious()
            self.previous, self.newest = self.newest, None
        else:
            self.closeNewest()
            if self.path is None:
                self.dropPrevious()
        if self.previous is not None:
            # A peer that began anew does not know this path any more.
            self.previous.check()

    def goBack(self) -> bool:
        """
        The newest has failed: go on with the path of the one before.

        @return: whether it has one.
        """
        if self.previous is None or self.previous.selected is None:
            return False
        self.closeNewest()
        self.newest, self.previous = self.previous, None
        return True

    def closeNewest(self) -> None:
        """
        Give up the newest.
        """
        attempt, self.newest = self.newest, None
        if attempt is not None:
            attempt.close()

    def dropPrevious(self) -> None:
        """
        Give up the one before.
        """
        previous, self.previous = self.previous, None
        if previous is not None:
            previous.close()

    def close(self) -> None:
        """
        Give up both.
        """
        self.dropPrevious()
        self.closeNewest()
