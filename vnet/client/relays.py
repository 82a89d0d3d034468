# -*- test-case-name: vnet.test.test_relays -*-
"""
The relays of a node: which of those that the mediator names are used, over what, and for how long.

A search asks all of them at once for an allocation without saying who asks: the first answers, which are refusals, tell
which relay is nearest, and which ways are open.  The nearest two are asked in earnest; the others wait until those have
succeeded.  The second allocation is a standby: when one relay dies, peers know the other one already.

A way that does not answer any more is kept until another one is there in its place, since it may be the network that is
away.  A relay that is reached by a connection only is asked over UDP again now and then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from attrs import define, field, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from vnet.client.calls import Calls
from vnet.client.dataplane.paths import Paths
from vnet.client.reach import RelayReach
from vnet.client.relayleg import Leg, Unconnected
from vnet.client.relaylegs import Legs
from vnet.client.relaylist import Relay, readRelays
from vnet.client.relayrenewal import RelayRenewal
from vnet.client.relaysearch import RelaySearch
from vnet.errors import DecodeError
from vnet.interfaces import IDatagramPort
from vnet.protocols.codec.turnuri import RelayUri
from vnet.protocols.machine.allocation import (
    Allocated,
    AllocationLost,
    Answered,
    Challenged,
    Refused,
    Silent,
    Unanswered,
)
from vnet.values import Address, Train

__all__ = ["RelayStatus", "Relays"]

WANTED = 2
"""Relays with an allocation."""

_SILENT = "it does not answer"
_FIRST_PAUSE, _LONGEST_PAUSE, _LONGEST_CALM = 1.0, 60.0, 300.0
_UPGRADE = 60.0
_OVERLAP = 5.0
_CHECK_PAUSE = 2.0
_STEADY = 10.0


@frozen
class RelayStatus:
    """
    One allocation, for users.

    @ivar name: the C{via} of the addresses that are reached through it.
    @ivar relay: the relay, C{"HOST:PORT"}.
    @ivar transport: C{"udp"}, C{"tcp"} or C{"tls"}.
    @ivar relayed: where peers reach this node through it.
    @ivar rtt: seconds of a round trip to the relay.
    """

    name: str
    relay: str
    transport: str
    relayed: tuple[Address, ...]
    rtt: float


@define(eq=False, repr=False)
class Relays:
    """
    Keeps allocations on the nearest relays.

    @ivar _changed: told the relayed addresses of each allocation, the best first.
    @ivar _renew: asks for fresh credentials, which L{setTickets} gets.
    @ivar _accepts: whether a relay may be at this address.
    @ivar _short: how many allocations in a row were lost seconds after they were made.
    """

    _log = Logger()

    _clock: IReactorTime
    _random: Callable[[int], bytes]
    _paths: Paths
    _udp: IDatagramPort
    _reach: RelayReach
    _changed: Callable[[dict[str, tuple[Address, ...]]], None]
    _renew: Callable[[], None]
    _accepts: Callable[[Address], bool]
    _relays: dict[str, Relay] = field(factory=dict, init=False)
    _legs: Legs = field(init=False)
    _search: RelaySearch = field(init=False)
    _renewal: RelayRenewal = field(init=False)
    _calls: Calls = field(init=False)
    _reasons: dict[RelayUri, str] = field(factory=dict, init=False)
    _failures: int = field(default=0, init=False)
    _short: int = field(default=0, init=False)
    _checkedAt: float = field(default=float("-inf"), init=False)
    _told: dict[str, tuple[Address, ...]] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self._legs = Legs(self._clock, self._random, self._paths, self._udp, self._reach, self, self._accepts)
        self._calls = Calls(self._clock)
        self._renewal = RelayRenewal(self._clock, self._reach.wallClock, self._renew)
        self._search = RelaySearch(self._clock, self._isWanted, self._trying, self._legs.open, self._searched)

    # What the node says

    def setTickets(self, tickets: Iterable[tuple[str, str, str]]) -> None:
        """
        These are the relays from now on.  What is allocated stays: its credentials are good for as long as it is kept.

        @param tickets: URI, username and credential of each; URIs that are none are left out.
        """
        self._relays = readRelays(tickets, self._complain)
        self._reasons = {uri: reason for uri, reason in self._reasons.items() if uri.host in self._relays}
        for leg in self._legs:
            if leg.uri.host not in self._relays:
                self._retireSoon(leg)
            elif leg.name in self._calls:
                # It was named no more, and is again: or it is given up a little later.
                self._displaces(leg)
        self._settle()
        # A mediator that was started anew may have started its relay anew.
        self._checkAll()
        self._renewal.schedule(self._relays.values())
        self._seekAnew()

    def _complain(self, error: DecodeError) -> None:
        self._log.info("a relay of the mediator is left out: {error}", error=error)

    def linksChanged(self) -> None:
        """
        The network has changed: what was allocated may not be reached any more, and ways that were closed may be open.
        """
        hosts = self._udp.localAddresses()
        for leg in self._allocated():
            if leg.hasLeft(hosts):
                leg.isAiling = True
                self._lost(leg, "the network has changed")
            else:
                leg.check()
        self._upgradeNow()
        # What is lost now is not the relay's fault.
        self._short = 0
        self._seekAnew()

    def check(self) -> None:
        """
        There is doubt whether the relays are there.
        """
        now = self._clock.seconds()
        if now - self._checkedAt >= _CHECK_PAUSE:
            self._checkedAt = now
            self._checkAll()

    def _checkAll(self) -> None:
        for leg in self._allocated():
            leg.check()

    def clear(self) -> None:
        """
        The node is logged out: give all back.
        """
        self._relays = {}
        self._reasons.clear()
        self._short = 0
        self._search.cancel()
        self._renewal.cancel()
        self._calls.cancelAll()
        for leg in self._legs:
            self._drop(leg)
        self._tell()

    def dropped(self) -> Counter[str]:
        """
        What was dropped on the ways to relays, by reason.
        """
        return self._legs.dropped()

    def status(self) -> list[RelayStatus]:
        """
        The allocations, the best first.
        """
        return [
            RelayStatus(
                leg.name, str(Address(leg.uri.host, leg.uri.port)), leg.uri.transport, leg.relayed, leg.rtt
            )
            for leg in self._allocated()
        ]

    def servers(self) -> tuple[Address, ...]:
        """
        Where the relays are whose UDP ports this node uses: they answer as STUN servers, too.
        """
        return tuple(leg.server for leg in self._allocated() if leg.uri.transport == "udp")

    def hosts(self) -> tuple[str, ...]:
        """
        Where the relays are that this node uses.
        """
        return tuple(leg.server.host for leg in self._allocated())

    def via(self, name: str) -> RelayStatus | None:
        """
        The allocation of this name.
        """
        return next((each for each in self.status() if each.name == name), None)

    @property
    def problem(self) -> str:
        """
        Why there is no allocation that works, one line; empty when there is one, or no relay is known.
        """
        if not self._relays or any(not leg.isAiling for leg in self._allocated()):
            return ""
        reasons = sorted(self._reasons.items(), key=lambda each: each[1] == _SILENT)
        return next((f"relay {uri}: {reason}" for uri, reason in reasons), "")

    # The search

    def _seekAnew(self) -> None:
        self._failures = 0
        self._seek()

    def _seek(self) -> None:
        self._calls.cancel("again")
        self._search.cancel()
        if self._isWanting():
            self._search.begin(self._relays.values())
        self._tell()

    def _asked(self) -> list[Leg]:
        """
        The legs that have an allocation or are about to have one, and that there is no doubt about.
        """
        return [
            leg for leg in self._legs if leg.isAsked and not leg.isAiling and leg.uri.host in self._relays
        ]

    def _isWanting(self) -> bool:
        """
        Whether there are relays that could still be used.
        """
        return len({leg.uri.host for leg in self._asked()}) < min(WANTED, len(self._relays))

    def _isWanted(self, host: str) -> bool:
        return self._isWanting() and not any(leg.uri.host == host for leg in self._asked())

    def _trying(self, host: str) -> set[str]:
        return {leg.uri.transport for leg in self._legs.of(host) if not leg.isAllocated}

    def _searched(self) -> None:
        """
        A search is over.
        """
        for leg in [leg for leg in self._legs if not leg.isAsked]:
            self._drop(leg)
        if self._isWanting():
            longest = _LONGEST_CALM if self._asked() else _LONGEST_PAUSE
            pause = min(_FIRST_PAUSE * 2 ** (self._failures + self._short), longest)
            self._failures = min(self._failures + 1, 10)
            self._calls.later("again", pause, self._seek)

    # What legs say

    def legEvent(self, leg: Leg, event: object) -> None:
        """
        See L{vnet.client.relayleg.LegOwner}.
        """
        if isinstance(event, Challenged):
            self._challenged(leg)
        elif isinstance(event, Allocated):
            self._obtained(leg)
        elif isinstance(event, Answered):
            self._recovered(leg)
        elif isinstance(event, Unanswered):
            self._ailing(leg)
        elif isinstance(event, Refused | AllocationLost | Unconnected):
            self._lost(leg, event.reason)
        elif isinstance(event, Silent):
            self._lost(leg, _SILENT)

    def legReceived(self, trains: Sequence[Train]) -> None:
        """
        See L{vnet.client.relayleg.LegOwner}.
        """
        self._paths.deliver(trains)

    def _challenged(self, leg: Leg) -> None:
        leg.isHeld = True
        # It is the last now: the order is that of the answers.
        self._legs.moveToEnd(leg)
        self._promote()
        if leg.isHeld and not self._search.active:
            self._drop(leg)

    def _promote(self) -> None:
        """
        Ask those that have answered for allocations, in the order of their answers, as far as they are wanted.
        """
        for leg in [leg for leg in self._legs if leg.isHeld and self._deserves(leg)]:
            # The last one may have been enough.
            if self._deserves(leg):
                leg.ask()

    def _deserves(self, leg: Leg) -> bool:
        """
        Whether a leg is wanted, or better than one of the same relay that is.
        """
        rivals = [each for each in self._asked() if each.uri.host == leg.uri.host]
        return all(_rank(leg) < _rank(each) for each in rivals) if rivals else self._isWanting()

    def _displaces(self, leg: Leg) -> bool:
        """
        A leg works: it takes the place of the others of its relay, unless one of them is as good.
        """
        rivals = [each for each in self._legs.of(leg.uri.host) if each is not leg]
        if any(each.isAllocated and not each.isAiling and _rank(each) <= _rank(leg) for each in rivals):
            self._retireSoon(leg)
            return False
        self._calls.cancel(leg.name)
        for rival in rivals:
            self._retireSoon(rival)
        return True

    def _obtained(self, leg: Leg) -> None:
        if not self._displaces(leg):
            return
        self._failures = 0
        leg.obtainedAt = self._clock.seconds()
        for uri in [uri for uri in self._reasons if uri.host == leg.uri.host]:
            del self._reasons[uri]
        self._log.info(
            "relay {relay} over {transport}",
            relay=str(Address(leg.uri.host, leg.uri.port)),
            transport=leg.uri.transport,
        )
        if leg.uri.transport != "udp":
            self._calls.later("upgrade", _UPGRADE, self._upgrade)
        self._settle()
        self._tell()

    def _settle(self) -> None:
        """
        With enough allocations the other relays are forgotten.
        """
        if self._isWanting() or not all(leg.isAllocated for leg in self._asked()):
            return
        self._search.cancel()
        for leg in [leg for leg in self._legs if not leg.isAllocated]:
            self._drop(leg)
        for leg in self._allocated()[WANTED:]:
            self._retireSoon(leg)

    def _recovered(self, leg: Leg) -> None:
        if leg.isAiling:
            leg.isAiling = False
            self._displaces(leg)
            self._settle()
            self._tell()

    def _ailing(self, leg: Leg) -> None:
        if not leg.isAiling:
            leg.isAiling = True
            self._reasons[leg.uri] = _SILENT
            self._seekAnew()

    def _lost(self, leg: Leg, reason: str) -> None:
        if leg not in self._legs:
            return
        hadAllocation = leg.name in self._told
        self._reasons[leg.uri] = reason
        self._drop(leg)
        if hadAllocation:
            self._log.info("relay {relay} is lost: {reason}", relay=str(leg.uri), reason=reason)
            # One that breaks at once again and again fails: peers and the mediator hear of each allocation.
            isShort = self._clock.seconds() - leg.obtainedAt < _STEADY
            self._short = min(self._short + 1, 10) if isShort else 0
            if self._short < 2:
                self._seekAnew()
                return
            self._tell()
        self._promote()
        self._search.failed(leg.uri)
        if not self._search.active and "again" not in self._calls:
            self._searched()

    # Legs that go

    def _retireSoon(self, leg: Leg) -> None:
        """
        Give up a leg when peers had time to learn of another.
        """
        if not leg.isAllocated:
            self._drop(leg)
        elif leg.name not in self._calls:
            self._calls.later(leg.name, _OVERLAP, lambda: self._retire(leg))

    def _retire(self, leg: Leg) -> None:
        self._drop(leg)
        self._tell()
        if self._isWanting() and not self._search.active:
            self._seek()

    def _drop(self, leg: Leg) -> None:
        self._calls.cancel(leg.name)
        self._legs.drop(leg)

    def _allocated(self) -> list[Leg]:
        """
        The allocations, the best first.
        """
        legs = [leg for leg in self._legs if leg.isAllocated]
        return sorted(legs, key=lambda leg: (leg.isAiling, leg.name in self._calls, _rank(leg)))

    def _tell(self) -> None:
        told = {leg.name: leg.relayed for leg in self._allocated()}
        if list(told.items()) != list(self._told.items()):
            self._told = told
            self._changed(dict(told))

    # Time

    def _upgrade(self) -> None:
        self._upgradeNow()
        if any(leg.uri.transport != "udp" for leg in self._allocated()):
            self._calls.later("upgrade", _UPGRADE, self._upgrade)

    def _upgradeNow(self) -> None:
        """
        Try UDP to relays that are reached by a connection only.
        """
        reached = {leg.uri.host for leg in self._allocated()}
        direct = {leg.uri.host for leg in self._allocated() if leg.uri.transport == "udp"}
        for host in reached - direct:
            relay = self._relays.get(host)
            for uri in [] if relay is None else relay.ways:
                if relay is not None and uri.transport == "udp":
                    self._legs.open(relay, uri)


def _rank(leg: Leg) -> int:
    """
    A connection is worse than UDP, and one connection as good as another.
    """
    return 0 if leg.uri.transport == "udp" else 1
