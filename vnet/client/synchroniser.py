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
_REQUEST_INTERVAL = 1.0


@define(eq=False, repr=False)
class Synchroniser:
    """
    Runs one synchronisation at a time, and another when something changed meanwhile.

    @ivar _ask: asks the mediator.
    @ivar _inStep: called when the view is in step.
    @ivar stale: whether something has changed meanwhile.
    @ivar whole: whether the view holds all members of all networks: not while some may not have come yet.
    """

    _clock: IReactorTime
    _view: NetworkView
    _ask: Call
    _inStep: Callable[[], None]
    _log: Logger = field(factory=Logger)
    _running: bool = field(default=False, init=False)
    stale: bool = field(default=False, init=False)
    whole: bool = field(default=False, init=False)
    _awaiting: list[Deferred[None]] = field(factory=list, init=False)
    _again: IDelayedCall | None = field(default=None, init=False)
    _ranAt: float = field(default=float("-inf"), init=False)

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

    def request(self) -> None:
        """
        The mediator says that something changed: ask what, at most once a second, since all that it takes is one small box.
        """
        if self._again is not None and self._again.active():
            return
        wait = self._ranAt + _REQUEST_INTERVAL - self._clock.seconds()
        if self._running or wait > 0:
            self._again = self._clock.callLater(max(wait, _REQUEST_INTERVAL), self.run)
        else:
            self.run()

    async def _keepInStep(self) -> None:
        self.stale = True
        try:
            while self.stale:
                self.stale = False
                await self._once()
        finally:
            self._running, self._ranAt = False, self._clock.seconds()
            awaiting, self._awaiting = self._awaiting, []
            for each in awaiting:
                each.callback(None)

    async def _once(self) -> None:
        try:
            self.whole = False
            await synchronise(self._view, self._ask)
            self.whole = True
            self._inStep()
        except Unreachable as error:
            # The next login synchronises; if that was meanwhile, it has left its mark.
            self._log.info("not in step with the mediator: {error}", error=error)
        except VnetError as error:
            self._log.warn("not in step with the mediator: {error}", error=error)
            self.stop()
            self.stale = False
            self._again = self._clock.callLater(_RESYNC, self.run)

    def stop(self) -> None:
        """
        Do not try again by itself.
        """
        if self._again is not None and self._again.active():
            self._again.cancel()
