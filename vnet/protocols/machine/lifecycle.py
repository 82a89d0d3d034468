# -*- test-case-name: vnet.test.test_agent -*-
"""
The states of an ICE agent::

    waiting --begun, heard--> checking --validated--> connected
                               |    ^                     |
                       exhausted    +--heard, retried    lost------+ (back to checking)
                               v    |
                              failed

C{stateDiagram} below is the machine itself, so that a picture can be made of it (C{automat-visualize}).
"""

from __future__ import annotations

from typing import Protocol

from automat import TypeMachineBuilder

from vnet.protocols.machine.pair import Pair

__all__ = ["Actions", "Lifecycle", "lifecycle", "stateDiagram"]


class Lifecycle(Protocol):
    """
    What happens to an agent.
    """

    def begun(self, now: float) -> None:
        """The common start time has come."""

    def heard(self, now: float) -> None:
        """An authentic check of the peer came, or a new candidate: there is something to try."""

    def validated(self, pair: Pair, now: float) -> None:
        """A pair was found that is better than the selected one, if there is one."""

    def lost(self, now: float) -> None:
        """The selected pair does not answer any more."""

    def retried(self, now: float) -> None:
        """The owner wants another search after one that failed."""

    def exhausted(self, now: float) -> None:
        """The time to find a path is over."""


class Actions(Protocol):
    """
    What an agent does when its state changes.
    """

    def search(self, now: float) -> None:
        """Check all pairs, for a limited time."""

    def resume(self, now: float) -> None:
        """Check the pair that is new or was heard, after the others have failed."""

    def select(self, pair: Pair, now: float) -> None:
        """Use this pair."""

    def searchAgain(self, now: float) -> None:
        """Give up the selected pair, and check all pairs again."""

    def fail(self, now: float) -> None:
        """Stop checking, and say why there is no path."""


_builder = TypeMachineBuilder(Lifecycle, Actions)  # type: ignore[type-abstract]
_waiting = _builder.state("waiting")
_checking = _builder.state("checking")
_connected = _builder.state("connected")
_failed = _builder.state("failed")


@_waiting.upon(Lifecycle.begun).to(_checking)
@_waiting.upon(Lifecycle.heard).to(_checking)
@_failed.upon(Lifecycle.retried).to(_checking)
def _search(lifecycle: Lifecycle, actions: Actions, now: float) -> None:
    actions.search(now)


@_failed.upon(Lifecycle.heard).to(_checking)
def _resume(lifecycle: Lifecycle, actions: Actions, now: float) -> None:
    actions.resume(now)


@_waiting.upon(Lifecycle.validated).to(_connected)
@_checking.upon(Lifecycle.validated).to(_connected)
@_connected.upon(Lifecycle.validated).loop()
@_failed.upon(Lifecycle.validated).to(_connected)
def _select(lifecycle: Lifecycle, actions: Actions, pair: Pair, now: float) -> None:
    actions.select(pair, now)


@_connected.upon(Lifecycle.lost).to(_checking)
def _searchAgain(lifecycle: Lifecycle, actions: Actions, now: float) -> None:
    actions.searchAgain(now)


@_checking.upon(Lifecycle.exhausted).to(_failed)
def _fail(lifecycle: Lifecycle, actions: Actions, now: float) -> None:
    actions.fail(now)


for _state, _ignored in [
    (_waiting, [Lifecycle.retried, Lifecycle.lost, Lifecycle.exhausted]),
    (_checking, [Lifecycle.begun, Lifecycle.retried, Lifecycle.heard, Lifecycle.lost]),
    (_connected, [Lifecycle.begun, Lifecycle.retried, Lifecycle.heard, Lifecycle.exhausted]),
    (_failed, [Lifecycle.begun, Lifecycle.lost, Lifecycle.exhausted]),
]:
    for _input in _ignored:
        _state.upon(_input).loop().returns(None)

stateDiagram = _builder.build()


def lifecycle(actions: Actions) -> Lifecycle:
    """
    The lifecycle of one agent, in the state C{waiting}.
    """
    return stateDiagram(actions)
