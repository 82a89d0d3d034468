# -*- test-case-name: vnet.test.test_relays -*-
"""
In which order the ways to relays are tried: those over UDP at once, TCP and TLS where nothing has come of that after a
moment, or as soon as a way has failed::

    0 s    UDP
    0.3 s  TCP to each relay that is wanted still
    0.6 s  TLS to each relay that is wanted still
    12 s   the search is over
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from vnet.client.relaylist import Relay
from vnet.protocols.codec.turnuri import RelayUri

__all__ = ["RelaySearch"]

_STAGES = (("udp", 0.0), ("tcp", 0.3), ("tls", 0.6))
_STAGE_OF = {transport: stage for stage, (transport, _) in enumerate(_STAGES)}
_LONGEST = 12.0


@define(eq=False, repr=False)
class RelaySearch:
    """
    One search after the other.

    @ivar _isWanted: whether a host is worth another way.
    @ivar _trying: over what a host is being tried.
    @ivar _open: tries a way.
    @ivar _ended: told when nothing is under way any more, or time is over.
    """

    _clock: IReactorTime
    _isWanted: Callable[[str], bool]
    _trying: Callable[[str], Collection[str]]
    _open: Callable[[Relay, RelayUri], None]
    _ended: Callable[[], None]
    _relays: dict[str, Relay] = field(factory=dict, init=False)
    _left: dict[str, list[RelayUri]] = field(factory=dict, init=False)
    _stage: int = field(default=0, init=False)
    _calls: list[IDelayedCall] = field(factory=list, init=False)

    @property
    def active(self) -> bool:
        """
        Whether a search is under way.
        """
        return bool(self._calls)

    def begin(self, relays: Iterable[Relay]) -> None:
        """
        Search.  A search that was under way begins anew.
        """
        self.cancel()
        self._relays = {relay.host: relay for relay in relays}
        self._left = {
            relay.host: sorted(relay.ways, key=lambda uri: _STAGE_OF[uri.transport])
            for relay in self._relays.values()
        }
        for stage, (_, delay) in enumerate(_STAGES):
            self._calls.append(self._clock.callLater(delay, self._begun, stage))
        self._calls.append(self._clock.callLater(_LONGEST, self._over))

    def cancel(self) -> None:
        """
        End the search without a word.
        """
        calls, self._calls = self._calls, []
        for call in calls:
            if call.active():
                call.cancel()

    def failed(self, uri: RelayUri) -> None:
        """
        A way to a relay has led to nothing: try the next ones now, unless some are tried already, and those to others that
        were not wanted so far.
        """
        if not self.active:
            return
        left, stage = self._left.get(uri.host), _STAGE_OF[uri.transport]
        if left and not any(_STAGE_OF[each] >= stage for each in self._trying(uri.host)):
            self._try(uri.host, _STAGE_OF[left[0].transport])
        self._begun(self._stage)

    def _begun(self, stage: int) -> None:
        self._stage = stage
        for host in self._relays:
            self._try(host, stage)
        if self.active and not any(self._left.values()) and not any(map(self._trying, self._relays)):
            self._over()

    def _try(self, host: str, stage: int) -> None:
        """
        Try the ways of a host that are not later than a stage.
        """
        left = self._left[host]
        while left and _STAGE_OF[left[0].transport] <= stage and self._isWanted(host):
            self._open(self._relays[host], left.pop(0))

    def _over(self) -> None:
        self.cancel()
        self._ended()
