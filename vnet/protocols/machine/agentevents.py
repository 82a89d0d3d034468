# -*- test-case-name: vnet.test.test_agent -*-
"""
What an ICE agent tells its owner.
"""

from __future__ import annotations

from typing import TypeAlias

import attrs

from vnet.protocols.machine.pair import Path

__all__ = ["AgentEvent", "Alive", "ConsentLost", "Dead", "Failed", "Selected", "Suspect"]


@attrs.frozen
class Selected:
    """
    From now on this path is the best.

    @ivar reason: C{"found"}: there was none; C{"better"}: than the one before, which works too; C{"doubt"}: the one before
        does not answer; C{"lost"}: it is gone.
    @ivar provenAt: up to when what was sent on the one before has arrived, as far as its answers show.
    """

    path: Path
    reason: str = "found"
    provenAt: float = float("-inf")


@attrs.frozen
class Alive:
    """
    The peer has answered the check that was asked for.
    """


@attrs.frozen
class Dead:
    """
    The peer has not answered the check that was asked for, on any path.  L{ConsentLost} follows if there
    was a path.
    """


@attrs.frozen
class ConsentLost:
    """
    The selected path does not work any more, and none is selected.  The agent tries all pairs again:
    L{Selected} or L{Failed} follows.
    """


@attrs.frozen
class Suspect:
    """
    The selected path does not answer when it is doubted, nor does another that was known to work: all are asked.
    """

    path: Path


@attrs.frozen
class Failed:
    """
    No path was found.  A check of the peer, or a new candidate, starts the search again.

    @ivar reason: for a person.
    """

    reason: str


AgentEvent: TypeAlias = Selected | Alive | Dead | ConsentLost | Suspect | Failed
