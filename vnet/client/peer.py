# -*- test-case-name: vnet.test.test_client_peer -*-
"""
One peer: the path to it, and the tunnel on that path.
"""

from __future__ import annotations

from attrs import define, evolve, field

from vnet.client.attempts import Attempts
from vnet.client.doubts import Doubts
from vnet.client.endpoint import Endpoint
from vnet.client.peercontext import Attempt, PeerContext
from vnet.client.rendezvous import SEARCH, Rendezvous
from vnet.client.retries import LONGEST_RETRY, Retries
from vnet.client.sync import Member
from vnet.errors import Refused
from vnet.protocols.machine.agentevents import Alive, ConsentLost, Dead, Failed, Selected, Suspect
from vnet.protocols.machine.pair import Path
from vnet.values import Address

__all__ = ["Peer"]

_FALLBACK = 1.0
_LONGER = 3.0
_WANTED_INTERVAL = 3.0
_DOUBT = 1.0
_DOUBT_SOON, _DOUBT_AT_ONCE = 0.3, 0.1
_SUSPICION_PAUSE = 5.0
_REPEAT, _REPEATS = 0.5, 2
_FRESH = 1.0
_CONFIRMED = 0.6
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
    _attempts: Attempts = field(factory=Attempts, init=False)
    _retries: Retries = field(init=False)
    _doubts: Doubts = field(init=False)
    _endpoint: Endpoint = field(init=False)
    _rendezvous: Rendezvous = field(init=False)
    _initiated: bool = field(default=False, init=False)
    _confirmed: bool = field(default=False, init=False)
    _wantsDirect: bool = field(default=False, init=False)
    _repeats: int = field(default=0, init=False)
    _isRelayed: bool = field(default=True, init=False)
    _suspectedAt: float = field(default=float("-inf"), init=False)

    def __attrs_post_init__(self) -> None:
        self._retries = Retries(self.context.clock, self._retry)
        self._doubts = Doubts(self.context.clock, self._doubted)
        self._endpoint = Endpoint(self.context, self.tunnelKey)
        self._rendezvous = Rendezvous(
            self.context,
            self.key,
            self.tunnelKey,
            self._attempts,
            self._retries,
            self._punchEvent,
            self._resized,
        )

    @property
    def key(self) -> bytes:
        """The peer's Ed25519 key."""
        return self.member.key

    @property
    def controlling(self) -> bool:
        """Whether this node has the controlling role of ICE."""
        return self._rendezvous.controlling

    @property
    def path(self) -> Path | None:
        """The path in use, if one is known to work."""
        return self._attempts.path

    @property
    def active(self) -> bool:
        """Whether there is a path, or an attempt at one."""
        return self._attempts.newest is not None

    @property
    def isWaiting(self) -> bool:
        """Whether there is traffic, and a path is sought for it that may well be found."""
        now = self.context.clock.seconds()
        mayBeFound = self.member.state == "online" and self.path is None and not self.failures
        return mayBeFound and now - self.usedAt < _WANTED_INTERVAL

    @property
    def attempt(self) -> Attempt | None:
        """The newest attempt at a path, whether it has one or not."""
        return self._attempts.newest or self._attempts.previous

    @property
    def searching(self) -> bool:
        """Whether a rendezvous was so lately that better paths are likely to come."""
        return self._rendezvous.begunWithin(SEARCH)

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
        return self.usedAt < since and (self._rendezvous.isOurs or not self.active)

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
        used = self._attempts.used
        if used is not None:
            used.check()
            self._doubts.begin(patience)
        elif self._attempts.newest is not None and self.member.state == "online":
            self._attempts.newest.search()
            if not self.context.reachable():
                self._retries.alone = 0
                self._retries.scheduleAlone()

    def moved(self) -> None:
        """
        The network of this computer has changed.
        """
        used, self._wantsDirect = self._attempts.used, True
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
        if online and self._attempts.previous is None and self.path is not None:
            self._ask()
            if self.context.reachable():
                # The mediator may have taken this for a repetition of what the peer has asked, of which this node, without a
                # connection then, has not heard.
                self._repeats = _REPEATS
                self._retries.schedule(_REPEAT)

    def _doubted(self) -> None:
        if self._isUnneeded:
            self.rest()
        else:
            self._askBeside()

    def _alive(self) -> None:
        """
        The path in use answers.  If it was silent, what was sent meanwhile is lost.
        """
        self.aliveAt = self.context.clock.seconds()
        if self._doubts.isLate and self.path is not None:
            self._endpoint.sendAgain(self.path, self._doubts.silentSince - _DOUBT_SOON)
        self._doubts.end()

    def reconnected(self) -> None:
        """
        The mediator is back.
        """
        if self.member.state == "online":
            if self.path is None:
                self._seekAnew()
            elif self._doubts.isLate:
                self._doubted()
            elif self._wantsDirect and self.path.relayed:
                self._askBeside()

    def _seekAnew(self) -> None:
        """
        Get a path without regard to former failures, unless a rendezvous was called just now.
        """
        self.failures = self._retries.asked = 0
        if not self._rendezvous.begunWithin(_FRESH):
            self._seek()

    def wanted(self) -> None:
        """
        The operating system has traffic for the peer, and there is no path.
        """
        if self.member.state == "offline" or not self._open():
            return
        self.usedAt = self.context.clock.seconds()
        searching = self._attempts.newest is not None and self._rendezvous.begunWithin(SEARCH)
        recently = self._rendezvous.askedWithin(_WANTED_INTERVAL)
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
            self._retries.schedule(_FALLBACK)

    def _ask(self) -> None:
        if not self.refused:
            self._rendezvous.ask()

    def _retry(self) -> None:
        if self.path is not None:
            if self._repeats and (self._doubts.isLate or (self._wantsDirect and self.path.relayed)):
                self._repeats -= 1
                self._ask()
            elif not self._confirmed:
                self._endpoint.set(Selected(self.path), True)
        elif self._attempts.newest is not None and self._attempts.newest.isBusy:
            self._retries.schedule(_LONGER)
        elif self.member.state == "online":
            self._ask()

    def rendezvous(self, start: int, startAt: float, host: str = "") -> None:
        """
        The mediator gave both sides a start time.

        @param start: as the mediator wrote it, for the signals; C{startAt} the same on this node's clock.
        @param host: where the mediator sees the peer.
        """
        if self._rendezvous.isLatest(start) or not self._open():
            return
        self._attempts.makeRoom()
        self._wantsDirect, self._repeats = False, 0
        self._initiated = self._confirmed = False
        try:
            self._rendezvous.begin(start, startAt, host)
        except Refused as error:
            self.failure = str(error)
        self._retries.schedule(SEARCH)

    def sendSignal(self) -> None:
        """
        This side has other candidates.
        """
        self._rendezvous.sendSignal()

    def signal(self, plaintext: bytes) -> None:
        """
        An authentic signal of the peer came.

        @raise DecodeError: it is malformed.
        """
        self._rendezvous.signal(plaintext)

    def _punchEvent(self, attempt: Attempt, event: object) -> None:
        """
        The puncher has news of one of the attempts.
        """
        if isinstance(event, Suspect):
            if event.path.allocation:
                self.context.doubtRelay(event.path.allocation)
            if attempt is self._attempts.used:
                self._suspected()
        elif attempt is self._attempts.previous:
            self._previousEvent(attempt, event)
        elif attempt is not self._attempts.newest:
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
        used = self._attempts.used
        if used is None:
            self.context.tunnels.setSize(self.tunnelKey, None)
        else:
            self.context.tunnels.setSize(self.tunnelKey, used.size, used.sizeIsSettled)

    def _previousEvent(self, attempt: Attempt, event: object) -> None:
        reason = "lost"
        if isinstance(event, Alive):
            self._attempts.previousAnswers = True
            self._alive()
        elif isinstance(event, Selected):
            reason = event.reason
            if self._attempts.used is attempt:
                self._endpoint.set(event)
        elif isinstance(event, ConsentLost | Dead | Failed):
            self._attempts.dropPrevious()
        current = self._attempts.newest
        if current is not None and current.selected is not None and self._attempts.used is current:
            self._selected(Selected(current.selected, reason))

    def _selected(self, event: Selected) -> None:
        if self._attempts.used is not self._attempts.newest:
            return
        if self._doubts.isLate and event.reason == "found":
            event = evolve(event, reason="doubt")
        fell = event.reason in ("doubt", "lost") and event.path.relayed and not self._isRelayed
        self._isRelayed = event.path.relayed
        self._attempts.dropPrevious()
        self._retries.succeeded()
        self._doubts.end()
        self.failures, self.failure = 0, ""
        initiate = self.controlling and not self._initiated
        self._initiated = True
        self._endpoint.set(event, initiate)
        if fell:
            self._fell()
        if not self.controlling and not self._confirmed:
            self._retries.schedule(max(_CONFIRMED, 4 * event.path.rtt))

    def _pathLost(self) -> None:
        """
        The path does not answer.  The attempt searches on; an online peer may have begun anew, and needs another.
        """
        self._doubts.end()
        self._rendezvous.end()
        if self._isUnneeded:
            self._tearDown()
            return
        self.failure = "the path did not answer any more"
        if self.member.state == "lost":
            self._tearDown()
        else:
            self._endpoint.unset()
            self._seek()

    def _searchFailed(self, reason: str) -> None:
        """
        No path was found.  The attempt stays, since a late check of the peer may still revive it; but that of a peer to
        which no path is kept ready goes, as there may be many of them.
        """
        self.failure = reason
        self.failures += 1
        self._rendezvous.end()
        self._initiated = False
        if self._attempts.goBack():
            return
        if self.member.state != "online":
            self._tearDown()
        elif not self.context.reachable():
            if not self._retries.isArmed:
                self._retries.scheduleAlone()
        elif self.warm or self.context.clock.seconds() - self.usedAt < _LATELY:
            self._retries.scheduleAsking()
        else:
            self._tearDown()

    def _tearDown(self) -> None:
        self.close()
        self.answers = False
        self._endpoint.forget()
        self.context.tunnels.shut(self.tunnelKey)

    def close(self) -> None:
        """
        The peer is none any more.
        """
        self._retries.cancel()
        self._doubts.end()
        self._attempts.close()

    def sessionEstablished(self) -> None:
        """The tunnel is up."""
        self.answers = self._confirmed = True
        self.failure = ""
        if self.path is not None:
            self._retries.cancel()
        self.context.changed(self.key)

    def handshakeFailed(self) -> None:
        """The tunnel's handshake got no answer for 90 seconds."""
        self.answers = self._confirmed = False
        self.failure = (
            "the tunnel's handshake is not answered: the other side may know another network password or key"
        )
        if self.path is not None:
            self._retries.schedule(LONGEST_RETRY)
        self.context.changed(self.key)

    def endpointMoved(self, address: Address) -> None:
        """The tunnel hears the peer from another address."""
        used = self._attempts.used or self._attempts.newest
        if used is None:
            return
        if self.path is not None and used.isReady(address):
            self._endpoint.double(self.path, address)
        used.addressHeard(address)

    def noteTraffic(self) -> None:
        """The tunnel carried traffic lately."""
        self.usedAt = self.context.clock.seconds()
        for attempt in self._attempts:
            attempt.noteTraffic()

    def doubt(self) -> None:
        """
        What the tunnel sends gets no answer: if the path does not work, another one that is ready takes over at once.
        """
        if self._attempts.used is not None:
            self._attempts.used.doubt()
