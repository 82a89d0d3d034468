# -*- test-case-name: vnet.test.test_client_peer -*-
"""
One peer: the path to it, and the tunnel on that path.
"""

from __future__ import annotations

import random

from attrs import define, evolve, field
from twisted.internet.interfaces import IDelayedCall

from vnet.client.peercontext import Attempt, PeerContext
from vnet.client.sync import Member
from vnet.errors import DecodeError, Refused
from vnet.protocols.codec import signal as signals
from vnet.protocols.machine.agentevents import Alive, ConsentLost, Dead, Failed, Selected, Suspect
from vnet.protocols.machine.pair import Path
from vnet.values import Address

__all__ = ["Peer"]

_FALLBACK = 1.0
_SEARCH = 15.0
_LONGER = 3.0
_FIRST_RETRY = 0.75
_LONGEST_RETRY = 60.0
_FIRST_ALONE, _LONGEST_ALONE = 6.25, 50.0
_WANTED_INTERVAL = 3.0
_ASK_INTERVAL = 0.5
_DOUBT = 1.0
_DOUBT_SOON, _DOUBT_AT_ONCE = 0.3, 0.1
_SUSPICION_PAUSE = 5.0
_REPEAT, _REPEATS = 0.5, 2
_FRESH = 1.0
_CONFIRMED = 0.6
_DOUBLED = 5.0
_LEEWAY, _LONGEST_RESENT = 0.05, 2.0
_UNUSED, _LATELY = 120.0, 15.0


@define(eq=False, repr=False)
class Peer:
    """
    One peer.

    @ivar member: the latest word of the mediator.
    @ivar tunnelKey: its WireGuard static key, 32 bytes.
    @ivar refused: why this node will not talk to it; empty when it will.
    @ivar warm: whether a path is kept ready without traffic; see L{vnet.client.warmth}.
    @ivar usedAt: when the tunnel has last carried something, or would have, if there had been a path.
    @ivar addresses: its addresses in canonical form, once they are in the tables.
    @ivar failures: searches without result since there was a path.
    @ivar failure: what went wrong last; empty when all is well.
    @ivar answers: whether the tunnel's handshake was answered.
    @ivar aliveAt: when the path has last answered because it was asked.
    """

    context: PeerContext
    member: Member
    tunnelKey: bytes
    refused: str = ""
    warm: bool = True
    addresses: tuple[str, ...] = ()
    failures: int = field(default=0, init=False)
    failure: str = field(default="", init=False)
    answers: bool = field(default=False, init=False)
    aliveAt: float = field(default=float("-inf"), init=False)
    usedAt: float = field(default=float("-inf"), init=False)
    _attempt: Attempt | None = field(default=None, init=False)
    _previous: Attempt | None = field(default=None, init=False)
    _start: int = field(default=0, init=False)
    _timer: IDelayedCall | None = field(default=None, init=False)
    _asked: int = field(default=0, init=False)
    _alone: int = field(default=0, init=False)
    _lastAsked: float = field(default=float("-inf"), init=False)
    _initiated: bool = field(default=False, init=False)
    _confirmed: bool = field(default=False, init=False)
    _searchedAt: float = field(default=float("-inf"), init=False)
    _doubt: IDelayedCall | None = field(default=None, init=False)
    _doubtful: bool = field(default=False, init=False)
    _wantsDirect: bool = field(default=False, init=False)
    _repeats: int = field(default=0, init=False)
    _isRelayed: bool = field(default=True, init=False)
    _silentSince: float = field(default=0.0, init=False)
    _suspectedAt: float = field(default=float("-inf"), init=False)
    _previousAnswers: bool = field(default=False, init=False)
    _endpoint: Address | None = field(default=None, init=False)
    _doubledAt: float = field(default=float("-inf"), init=False)
    _isOurs: bool = field(default=False, init=False)

    @property
    def key(self) -> bytes:
        """The peer's Ed25519 key."""
        return self.member.key

    @property
    def controlling(self) -> bool:
        """Whether this node has the controlling role of ICE."""
        return self.context.ownKey < self.key

    @property
    def path(self) -> Path | None:
        """The path in use, if one is known to work."""
        attempt = self._used
        return None if attempt is None else attempt.selected

    @property
    def _used(self) -> Attempt | None:
        """
        The attempt whose path is in use: the newest that has one, but no relayed one while the direct one before answers.
        """
        new, old = (
            None if attempt is None or attempt.selected is None else attempt
            for attempt in (self._attempt, self._previous)
        )
        if new is None or old is None or new.selected is None or old.selected is None:
            return new or old
        holds = self._previousAnswers and new.selected.relayed and not old.selected.relayed
        return old if holds else new

    @property
    def active(self) -> bool:
        """Whether there is a path, or an attempt at one."""
        return self._attempt is not None

    @property
    def isWaiting(self) -> bool:
        """Whether there is traffic, and a path is sought for it that may well be found."""
        now = self.context.clock.seconds()
        mayBeFound = self.member.state == "online" and self.path is None and not self.failures
        return mayBeFound and now - self.usedAt < _WANTED_INTERVAL

    @property
    def attempt(self) -> Attempt | None:
        """The newest attempt at a path, whether it has one or not."""
        return self._attempt or self._previous

    @property
    def searching(self) -> bool:
        """Whether a rendezvous was so lately that better paths are likely to come."""
        return self.context.clock.seconds() - self._searchedAt < _SEARCH

    def begin(self) -> None:
        """
        The peer has just become known, or warm.
        """
        if self.member.state == "online" and not self.active:
            self._seek()

    def isIdle(self, since: float) -> bool:
        """
        Whether nothing has been carried since then on a path that this side asked for.  One that the peer asked for is the
        peer's to give up: it would only ask again.
        """
        return self.usedAt < since and (self._isOurs or not self.active)

    @property
    def _isUnneeded(self) -> bool:
        """
        Whether a path that does not answer has probably been given up by the peer, and is no loss here either.
        """
        unused = self.context.clock.seconds() - self.usedAt >= _UNUSED
        return unused and not self.warm and self.context.reachable()

    def rest(self) -> None:
        """
        There is no need of the path.
        """
        self._tearDown()
        self.context.changed(self.key)

    def update(self, member: Member) -> None:
        """
        The mediator describes the peer anew.
        """
        before, self.member = self.member.state, member
        if member.state == before:
            return
        if member.state == "offline":
            self._tearDown()
        elif self.path is not None:
            self.check()
        elif member.state == "online":
            self._seekAnew()
        self.context.changed(self.key)

    def check(self, patience: float = _DOUBT) -> None:
        """
        Is the path alive?  The answer comes as an event; while it is late, another path is sought, too.  Where there is none,
        search again.

        @param patience: seconds until it is late.
        """
        used = self._used
        if used is not None:
            used.check()
            self._doubtIn(patience)
        elif self._attempt is not None and self.member.state == "online":
            self._attempt.search()
            if not self.context.reachable():
                self._alone = 0
                self._schedule(_pause(_FIRST_ALONE, self._alone, _LONGEST_ALONE))

    def moved(self) -> None:
        """
        The network of this computer has changed.
        """
        used, self._wantsDirect = self._used, True
        if used is not None and used.selected is not None:
            used.doubt()
            self.check(_DOUBT_SOON + 2 * used.selected.rtt)
        else:
            self.check()

    def _suspected(self) -> None:
        """
        What is sent on the path gets no answer, and neither do the checks of it and of all others.
        """
        self.context.suspected()
        now, path = self.context.clock.seconds(), self.path
        if path is not None and now - self._suspectedAt >= _SUSPICION_PAUSE:
            self._suspectedAt = now
            # It had its time, and got a check already.
            self.check(_DOUBT_AT_ONCE + path.rtt)

    def _fell(self) -> None:
        """
        A relay has taken over from a direct path: one of both sides may have moved, and the other has to be told where to.
        """
        self.context.suspected()
        now, self._wantsDirect = self.context.clock.seconds(), True
        if now - self._suspectedAt >= _SUSPICION_PAUSE and self.context.reachable():
            self._suspectedAt = now
            self._askBeside()

    def _askBeside(self) -> None:
        """
        Seek another path while there is one.
        """
        online = self.member.state == "online" and not self._isUnneeded
        if online and self._previous is None and self.path is not None:
            self._ask()
            if self.context.reachable():
                # The mediator may have taken this for a repetition of what the peer has asked, of which this node, without a
                # connection then, has not heard.
                self._repeats = _REPEATS
                self._schedule(_REPEAT)

    def _doubtIn(self, patience: float) -> None:
        now, doubt = self.context.clock.seconds(), self._doubt
        if doubt is None or not doubt.active():
            if not self._doubtful:
                self._silentSince = now
            self._doubt = self.context.clock.callLater(patience, self._doubted)
        elif doubt.getTime() > now + patience:
            doubt.reset(patience)

    def _doubted(self) -> None:
        self._doubt, self._doubtful = None, True
        if self._isUnneeded:
            self.rest()
        else:
            self._askBeside()

    def _alive(self) -> None:
        """
        The path in use answers.  If it was silent, what was sent meanwhile is lost.
        """
        path, now = self.path, self.context.clock.seconds()
        self.aliveAt = now
        if self._doubtful and path is not None and path.address == self._endpoint:
            since = max(self._silentSince - _DOUBT_SOON, now - _LONGEST_RESENT)
            self.context.handover(path.address, path.address, since)
        self._trust()

    def _trust(self) -> None:
        doubt, self._doubt, self._doubtful = self._doubt, None, False
        if doubt is not None and doubt.active():
            doubt.cancel()

    def reconnected(self) -> None:
        """
        The mediator is back.
        """
        if self.member.state == "online":
            if self.path is None:
                self._seekAnew()
            elif self._doubtful:
                self._doubted()
            elif self._wantsDirect and self.path.relayed:
                self._askBeside()

    def _seekAnew(self) -> None:
        """
        Get a path without regard to former failures, unless a rendezvous was called just now.
        """
        self.failures = self._asked = 0
        if self.context.clock.seconds() - self._searchedAt >= _FRESH:
            self._seek()

    def wanted(self) -> None:
        """
        The operating system has traffic for the peer, and there is no path.
        """
        if self.member.state == "offline" or not self._open():
            return
        now = self.usedAt = self.context.clock.seconds()
        searching = self._attempt is not None and now - self._searchedAt < _SEARCH
        recently = now - self._lastAsked < _WANTED_INTERVAL
        if self.path is None and not searching and not recently and self.member.state == "online":
            self._ask()

    def _open(self) -> bool:
        """
        Let there be a tunnel.
        """
        if self.refused:
            return False
        try:
            self.context.tunnels.open(self.tunnelKey)
        except ValueError as error:
            self.refused = f"no tunnel to it is possible: {error}"
            self.context.changed(self.key)
        return not self.refused

    def _seek(self) -> None:
        """
        Get a path: one side asks at once, the other only if nothing comes of that.
        """
        if self.refused or not self.warm:
            return
        if self.controlling:
            self._ask()
        else:
            self._schedule(_FALLBACK)

    def _ask(self) -> None:
        now = self.context.clock.seconds()
        if self.refused:
            return
        if not self.context.reachable():
            self._searchAlone()
            return
        if now - self._lastAsked < _ASK_INTERVAL:
            self._schedule(_ASK_INTERVAL)
            return
        self._lastAsked = now
        self._asked += 1
        self.context.askRendezvous(self.key)
        self._schedule(_pause(_FIRST_RETRY, self._asked, _LONGEST_RETRY))

    def _searchAlone(self) -> None:
        """
        There is no mediator: search again with what is known of the peer from the last rendezvous.  The peer does the same,
        and the checks of either find the other.
        """
        if self._attempt is not None:
            self._attempt.search()
            self._schedule(_pause(_FIRST_ALONE, self._alone, _LONGEST_ALONE))
            self._alone += 1

    def _schedule(self, delay: float) -> None:
        self._cancel()
        self._timer = self.context.clock.callLater(delay, self._retry)

    def _cancel(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def _retry(self) -> None:
        self._timer = None
        if self.path is not None:
            if self._repeats and (self._doubtful or (self._wantsDirect and self.path.relayed)):
                self._repeats -= 1
                self._ask()
            elif not self._confirmed:
                self._setEndpoint(Selected(self.path), True)
        elif self._attempt is not None and self._attempt.isBusy:
            self._schedule(_LONGER)
        elif self.member.state == "online":
            self._ask()

    def rendezvous(self, start: int, startAt: float, host: str = "") -> None:
        """
        The mediator gave both sides a start time.

        @param start: as the mediator wrote it, for the signals; C{startAt} the same on this node's clock.
        @param host: where the mediator sees the peer.
        """
        if start == self._start or not self._open():
            return
        self._keepWorking()
        self._start = start
        self._wantsDirect, self._repeats = False, 0
        self._initiated = self._confirmed = False
        self._searchedAt = self.context.clock.seconds()
        self._isOurs = self._searchedAt - self._lastAsked < _SEARCH
        self._attempt = self._connect(startAt, host)
        self.sendSignal()
        self._schedule(_SEARCH)

    def _keepWorking(self) -> None:
        """
        Of the attempts so far, keep the one whose path is in use until the next has one as good.
        """
        used = self._used
        self._previousAnswers = False
        if used is not None and used is self._attempt:
            self._dropPrevious()
            self._previous, self._attempt = self._attempt, None
        else:
            self._closeAttempt()
            if self.path is None:
                self._dropPrevious()
        if self._previous is not None:
            # A peer that began anew does not know this path any more.
            self._previous.check()

    def _connect(self, startAt: float, host: str) -> Attempt | None:
        attempt: Attempt | None = None

        def happened(event: object) -> None:
            if attempt is not None:
                self._punchEvent(attempt, event)

        try:
            attempt = self.context.connect(
                self.key,
                controlling=self.controlling,
                startAt=startAt,
                onEvent=happened,
                observed=host,
                onSignal=self.sendSignal,
                onSize=self._resized,
            )
        except Refused as error:
            self.failure = str(error)
        return attempt

    def sendSignal(self) -> None:
        """
        Tell the peer this side's candidates: at a rendezvous, and when there are others.
        """
        if self._attempt is not None:
            signal = evolve(self._attempt.signal(self._start), partial=True)
            self.context.sendSignal(self.key, signals.encode(signal))

    def signal(self, plaintext: bytes) -> None:
        """
        An authentic signal of the peer came.

        @raise DecodeError: it is malformed.
        """
        signal = signals.decode(plaintext)
        if self._attempt is None or signal.start != self._start:
            raise DecodeError("a signal for another rendezvous")
        self.context.tunnels.setTakesPartial(self.tunnelKey, signal.partial)
        self._attempt.remoteSignal(signal)

    def _punchEvent(self, attempt: Attempt, event: object) -> None:
        """
        The puncher has news of one of the attempts.
        """
        if isinstance(event, Suspect):
            if event.path.allocation:
                self.context.doubtRelay(event.path.allocation)
            if attempt is self._used:
                self._suspected()
        elif attempt is self._previous:
            self._previousEvent(attempt, event)
        elif attempt is not self._attempt:
            return
        elif isinstance(event, Selected):
            self._selected(event)
        elif isinstance(event, Alive):
            self.failure = ""
            self._alive()
        elif isinstance(event, Dead | ConsentLost):
            self._pathLost()
        elif isinstance(event, Failed):
            self._searchFailed(event.reason)
        self._resized()
        self.context.changed(self.key)

    def _resized(self) -> None:
        """
        Another size of datagrams is right: that of another path, or another of this one.
        """
        used = self._used
        if used is None:
            self.context.tunnels.setSize(self.tunnelKey, None)
        else:
            self.context.tunnels.setSize(self.tunnelKey, used.size, used.sizeIsSettled)

    def _previousEvent(self, attempt: Attempt, event: object) -> None:
        reason = "lost"
        if isinstance(event, Alive):
            self._previousAnswers = True
            self._alive()
        elif isinstance(event, Selected):
            reason = event.reason
            if self._used is attempt:
                self._setEndpoint(event)
        elif isinstance(event, ConsentLost | Dead | Failed):
            self._dropPrevious()
        current = self._attempt
        if current is not None and current.selected is not None and self._used is current:
            self._selected(Selected(current.selected, reason))

    def _dropPrevious(self) -> None:
        previous, self._previous = self._previous, None
        if previous is not None:
            previous.close()

    def _selected(self, event: Selected) -> None:
        if self._used is not self._attempt:
            return
        if self._doubtful and event.reason == "found":
            event = evolve(event, reason="doubt")
        fell = event.reason in ("doubt", "lost") and event.path.relayed and not self._isRelayed
        self._isRelayed = event.path.relayed
        self._dropPrevious()
        self._cancel()
        self._trust()
        self.failures, self._asked, self._alone, self.failure = 0, 0, 0, ""
        initiate = self.controlling and not self._initiated
        self._initiated = True
        self._setEndpoint(event, initiate)
        if fell:
            self._fell()
        if not self.controlling and not self._confirmed:
            self._schedule(max(_CONFIRMED, 4 * event.path.rtt))

    def _setEndpoint(self, event: Selected, initiate: bool = False) -> None:
        old, self._endpoint = self._endpoint, event.path.address
        self.context.tunnels.setEndpoint(self.tunnelKey, event.path.address, initiate)
        silent = event.reason in ("doubt", "lost")
        if old is None or (old == event.path.address and not silent):
            return
        since = None
        if silent:
            # What was sent after the last check that the old path answered may be lost.  That the peer is heard shows
            # nothing: its packets may have come by another way already.
            since = max(event.provenAt - _LEEWAY, self.context.clock.seconds() - _LONGEST_RESENT)
            if old.allocation and old != event.path.address:
                self.context.doubtRelay(old.allocation)
        self.context.handover(old, event.path.address, since)

    def _noEndpoint(self) -> None:
        self._endpoint = None
        self.context.tunnels.setEndpoint(self.tunnelKey, None)

    def _pathLost(self) -> None:
        """
        The path does not answer.  The attempt searches on; an online peer may have begun anew, and needs another.
        """
        self._trust()
        self._searchedAt = float("-inf")
        if self._isUnneeded:
            self._tearDown()
            return
        self.failure = "the path did not answer any more"
        if self.member.state == "lost":
            self._tearDown()
        else:
            self._noEndpoint()
            self._seek()

    def _searchFailed(self, reason: str) -> None:
        """
        No path was found.  The attempt stays, since a late check of the peer may still revive it; but that of a peer to
        which no path is kept ready goes, as there may be many of them.
        """
        self.failure = reason
        self.failures += 1
        self._searchedAt = float("-inf")
        self._initiated = False
        if self._previous is not None and self._previous.selected is not None:
            self._closeAttempt()
            self._attempt, self._previous = self._previous, None
        elif self.member.state != "online":
            self._tearDown()
        elif not self.context.reachable():
            if self._timer is None:
                self._schedule(_pause(_FIRST_ALONE, self._alone, _LONGEST_ALONE))
        elif self.warm or self.context.clock.seconds() - self.usedAt < _LATELY:
            self._schedule(_pause(_FIRST_RETRY, self._asked, _LONGEST_RETRY))
        else:
            self._tearDown()

    def _closeAttempt(self) -> None:
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.close()

    def _tearDown(self) -> None:
        self.close()
        self.answers, self._endpoint = False, None
        self.context.tunnels.shut(self.tunnelKey)

    def close(self) -> None:
        """
        The peer is none any more.
        """
        self._cancel()
        self._trust()
        self._dropPrevious()
        self._closeAttempt()

    def sessionEstablished(self) -> None:
        """The tunnel is up."""
        self.answers = self._confirmed = True
        self.failure = ""
        if self.path is not None:
            self._cancel()
        self.context.changed(self.key)

    def handshakeFailed(self) -> None:
        """The tunnel's handshake got no answer for 90 seconds."""
        self.answers = self._confirmed = False
        self.failure = (
            "the tunnel's handshake is not answered: the other side may know another network password or key"
        )
        if self.path is not None:
            self._schedule(_LONGEST_RETRY)
        self.context.changed(self.key)

    def endpointMoved(self, address: Address) -> None:
        """The tunnel hears the peer from another address."""
        used = self._used or self._attempt
        if used is None:
            return
        now, path = self.context.clock.seconds(), self.path
        if path is not None and now - self._doubledAt >= _DOUBLED and used.isReady(address):
            # The peer has left the path, and may have had reason to.
            self._doubledAt = now
            self.context.double(path.address, address)
        used.addressHeard(address)

    def noteTraffic(self) -> None:
        """The tunnel carried traffic lately."""
        self.usedAt = self.context.clock.seconds()
        for attempt in (self._attempt, self._previous):
            if attempt is not None:
                attempt.noteTraffic()

    def doubt(self) -> None:
        """
        What the tunnel sends gets no answer: if the path does not work, another one that is ready takes over at once.
        """
        if self._used is not None:
            self._used.doubt()


def _pause(first: float, times: int, longest: float) -> float:
    pause: float = min(first * 2 ** min(times, 8), longest)
    return pause * random.uniform(0.8, 1.2)
