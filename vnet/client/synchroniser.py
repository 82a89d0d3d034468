# -*- test-case-name: vnet.test.test_node -*-
"""
Keeping the view of the networks in step with the mediator.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from vnet.client.sync import Call, NetworkView, synchronise
from vnet.errors import Unreachable, VnetError

__all__ = ["Synchroniser"]

_RESYNC = 3.0


@define(eq=False, repr=False)
class Synchroniser:
    """
    Runs one synchronisation at a time, and another when something changed meanwhile.

    @ivar _ask: asks the mediator.
    @ivar _inStep: called when the view is in step.
    @ivar stale: whether something has changed meanwhile.
    """

    _clock: IReactorTime
    _view: NetworkView
    _ask: Call
    _inStep: Callable[[], None]
    _log: Logger = field(factory=Logger)
    _running: bool = field(default=False, init=False)
    stale: bool = field(default=False, init=False)
    _awaiting: list[Deferred[None]] = field(factory=list, init=False)
    _again: IDelayedCall | None = field(default=None, init=False)

    def run(self) -> Deferred[None]:
        """
        Ask for what changed; once more if something changes meanwhile.

        @return: fires when this node is in step, or the mediator cannot be reached.
        """
        done: Deferred[None] = Deferred()
        self._awaiting.append(done)
        if not self._running:
            self._running = True
            Deferred.fromCoroutine(self._keepInStep()).addErrback(
                lambda failure: self._log.failure("while synchronising", failure)
            )
        else:
            self.stale = True
        return done

    async def _keepInStep(self) -> None:
        self.stale = True
        try:
            while self.stale:
                self.stale = False
                await synchronise(self._view, self._ask)
                self._inStep()
        except Unreachable as error:
            # The next login synchronises.
            self._log.info("not in step with the mediator: {error}", error=error)
        except VnetError as error:
            self._log.warn("not in step with the mediator: {error}", error=error)
            self.stop()
            self._again = self._clock.callLater(_RESYNC, self.run)
        finally:
            self._running = False
            awaiting, self._awaiting = self._awaiting, []
            for each in awaiting:
                each.callback(None)

    def stop(self) -> None:
        """
        Do not try again by itself.
        """
        if self._again is not None and self._again.active():
            self._again.cancel()
