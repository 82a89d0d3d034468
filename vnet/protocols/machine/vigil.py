# -*- test-case-name: vnet.test.test_agent_consent -*-
"""
How an ICE agent watches over the path that it has selected.
"""

from __future__ import annotations

import attrs

from vnet.protocols.machine.agentevents import Dead
from vnet.protocols.machine.lifecycle import Lifecycle
from vnet.protocols.machine.search import Search

__all__ = ["Vigil"]


@attrs.define(eq=False, repr=False)
class Vigil:
    """
    The judge of liveness, consent and doubt.
    """

    _core: Search
    _lifecycle: Lifecycle

    def timerFired(self, now: float) -> None:
        """
        See what time has brought.
        """
        self._judgeLiveness(now)
        self._judgeConsent(now)
        self.minDoubt(now)

    def _judgeLiveness(self, now: float) -> None:
        core, liveness = self._core, self._core.liveness
        if liveness is None:
            return
        if now >= liveness.endsAt:
            core.liveness = None
            core.events.append(Dead())
            self._lifecycle.lost(now)
        elif liveness.widensAt is not None and now >= liveness.widensAt:
            liveness.widensAt = None
            for pair in core.checklist:
                if pair is not core.election.selected and not core.checklist.isBusy(pair):
                    core.checklist.trigger(pair)

    def minDoubt(self, now: float) -> None:
        """
        See to the doubt there may be, and to the pairs that may take over.
        """
        core = self._core
        if core.election.selected is None:
            return
        if core.doubting is not None:
            standby = core.judgeDoubt(core.doubting, now)
            if standby is not None:
                self._lifecycle.validated(standby, now)
        if core.retryAt is not None and now >= core.retryAt:
            core.retry(now)
        if core.standbyAt is not None and now >= core.standbyAt:
            core.keepStandby(now)

    def _judgeConsent(self, now: float) -> None:
        core = self._core
        consent, selected = core.consent, core.election.selected
        if consent is None or selected is None:
            return
        if consent.expiresAt is not None and now >= consent.expiresAt:
            self._lifecycle.lost(now)
            return
        if consent.suspectAt is not None and now >= consent.suspectAt:
            consent.missed(now)
            fresher = core.election.freshest(core.checklist, now)
            if fresher is not None:
                core.why = "doubt"
                selected.demote(now)
                self._lifecycle.validated(fresher, now)
                return
            core.doubt(now)
        if now >= consent.dueAt:
            consent.checked(now)
            core.prober.begin(selected, consent.waits(core.rtt), now)
