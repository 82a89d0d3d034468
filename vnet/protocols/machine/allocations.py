# -*- test-case-name: vnet.test.test_relaying -*-
"""
The allocations of a relay: whose they are, where peers see them, and how long they live (RFC 8656 sections 7.2 and 8.2).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import islice

from attrs import define

from vnet.protocols.codec.stun import Authentic
from vnet.protocols.codec.stunattributes import LIFETIME
from vnet.protocols.machine.allocationrequest import AllocationRequest, Denial, readAllocationRequest
from vnet.protocols.machine.bandwidth import Bandwidth
from vnet.protocols.machine.peerpolicy import isTunnelled
from vnet.protocols.machine.relaycredentials import serviceOf, userOf
from vnet.protocols.machine.relayingevents import Allocated, Ended, RelayingEvent
from vnet.protocols.machine.relayports import RelayPorts
from vnet.protocols.machine.relaysettings import RelaySettings, Service
from vnet.protocols.machine.schedule import Schedule
from vnet.protocols.machine.served import Served, Side, familyOf
from vnet.protocols.machine.turnauth import Admitted
from vnet.values import Address

__all__ = ["Allocations"]

_REMEMBERED = 1024


@define(eq=False, repr=False)
class _User:
    """
    What one user has here.
    """

    up: tuple[Bandwidth, ...]
    down: tuple[Bandwidth, ...]
    allocations: int = 0

    def isFresh(self, now: float) -> bool:
        """
        Whether nothing is lost when it is forgotten.
        """
        return not self.allocations and all(bucket.fullAt <= now for bucket in (*self.up, *self.down))


class Allocations:
    """
    The table.

    @ivar byClient: the allocations, by client.
    @ivar byRelayed: the same, by each address that peers see.
    @ivar events: what has happened to them, oldest first.
    """

    def __init__(
        self,
        settings: RelaySettings,
        random: Callable[[int], bytes],
        open: Callable[[Address], bool],
        close: Callable[[Address], None],
    ) -> None:
        self._settings = settings
        self._ports = RelayPorts(settings.hosts, settings.ports, random, open, close)
        self._families = frozenset(settings.hosts)
        self._users: dict[str, _User] = {}
        self._idle: dict[str, None] = {}
        self._over: dict[tuple[Address, bytes], None] = {}
        self._schedule: Schedule[Address] = Schedule()
        self.byClient: dict[Address, Served] = {}
        self.byRelayed: dict[Address, Served] = {}
        self.events: deque[RelayingEvent] = deque()

    @property
    def users(self) -> int:
        """
        How many users have an allocation.
        """
        return len(self._users) - len(self._idle)

    def make(self, admitted: Admitted, client: Address, now: float) -> Served:
        """
        Give a client that has none an allocation.

        @raise Denial: the request makes no sense, or there is none to give.
        """
        if (client, admitted.request.transactionId) in self._over:
            raise Denial(437)
        wanted = readAllocationRequest(admitted.request, self._families)
        if isTunnelled(client.host):
            raise Denial(403)
        limits, user = self._settings.limits, userOf(admitted.username)
        if user in self._users and self._users[user].allocations >= limits.perUser:
            raise Denial(486)
        if len(self.byClient) >= limits.total:
            raise Denial(508)
        self._forgetIdle(now)
        found, token = self._take(wanted, now)
        until = now + self._lifetime(admitted.request)
        sides = {
            family: Side(bound, self._outside(bound), until)
            for family, bound in found.items()
            if bound is not None
        }
        if not sides:
            raise Denial(508)
        served = self._enter(admitted, client, sides)
        served.token = token
        missing = found.keys() - sides.keys()
        served.errors = {family: 508 if family in self._families else 440 for family in missing}
        return served

    def _take(self, wanted: AllocationRequest, now: float) -> tuple[dict[int, Address | None], bytes | None]:
        """
        @return: an address for each family, or L{None} in its place, and the token of a port that is reserved.
        """
        if wanted.token is not None:
            redeemed = self._ports.redeem(wanted.token)
            return ({} if redeemed is None else {familyOf(redeemed): redeemed}), None
        if wanted.reserve:
            pair = self._ports.takePair(wanted.families[0], now)
            return ({}, None) if pair is None else ({wanted.families[0]: pair[0]}, pair[1])
        return {family: self._ports.take(family, wanted.even) for family in wanted.families}, None

    def _outside(self, bound: Address) -> Address:
        return Address(self._settings.external.get(bound.host, bound.host), bound.port)

    def _enter(self, admitted: Admitted, client: Address, sides: dict[int, Side]) -> Served:
        name, service = userOf(admitted.username), serviceOf(admitted.username)
        rates = self._settings.services.get(service, Service())
        user = self._users.get(name)
        if user is None:
            user = self._users[name] = _User(_buckets(rates.user), _buckets(rates.user))
        self._idle.pop(name, None)
        user.allocations += 1
        served = Served(
            client,
            admitted.username,
            name,
            service,
            admitted.request.transactionId,
            sides,
            up=(*_buckets(rates.allocation), *user.up),
            down=(*_buckets(rates.allocation), *user.down),
        )
        self.byClient[client] = served
        for side in sides.values():
            self.byRelayed[side.relayed] = served
        self._schedule.update(client, served.until)
        self.events.append(Allocated(served))
        return served

    def _forgetIdle(self, now: float) -> None:
        # Who comes back at once has what he had left.  Two at most for each that is new: the table shrinks, and no call is long.
        for name in list(islice(self._idle, 2)):
            if self._users[name].isFresh(now):
                del self._users[name], self._idle[name]

    def _lifetime(self, request: Authentic) -> int:
        asked = request.get(LIFETIME) or 0
        return min(max(asked, self._settings.defaultLifetime), self._settings.maximumLifetime)

    def refresh(self, served: Served, families: tuple[int, ...], request: Authentic, now: float) -> int:
        """
        Keep an allocation, or one side of it, from now on for as long as a request asks, within limits.

        @return: for how many seconds.
        """
        lifetime = self._lifetime(request)
        for family in families:
            served.sides[family].until = now + lifetime
        self._schedule.update(served.client, served.until)
        return lifetime

    def end(self, served: Served, families: tuple[int, ...]) -> None:
        """
        End an allocation, or one side of it.
        """
        for family in families:
            side = served.dropSide(family)
            self.byRelayed.pop(side.relayed, None)
            self._ports.release(side.bound)
        if served.sides:
            return
        del self.byClient[served.client]
        self.settle(served.client, served.transactionId)
        self._schedule.update(served.client, None)
        user = self._users[served.user]
        user.allocations -= 1
        if not user.allocations:
            self._idle[served.user] = None
        self.events.append(Ended(served))

    def settle(self, client: Address, transactionId: bytes) -> None:
        """
        An Allocate request has had its answer.  A copy of it that is late makes nothing: the client would never hear of it.
        """
        self._over[client, transactionId] = None
        if len(self._over) > _REMEMBERED:
            del self._over[next(iter(self._over))]

    def endAll(self) -> None:
        """
        Give all ports back, reserved ones too.
        """
        for served in list(self.byClient.values()):
            self.end(served, tuple(served.sides))
        self._ports.expire(float("inf"))

    def deadline(self) -> float | None:
        """
        When L{expire} has something to do.
        """
        times = (self._schedule.deadline(), self._ports.deadline())
        return min((time for time in times if time is not None), default=None)

    def expire(self, now: float) -> int:
        """
        End what nobody has refreshed.

        @return: how many allocations or sides that were.
        """
        self._ports.expire(now)
        count = 0
        for client in self._schedule.due(now):
            served = self.byClient.get(client)
            if served is None:
                continue
            over = tuple(family for family, side in served.sides.items() if side.until <= now)
            if over:
                count += 1
                self.end(served, over)
            if served.sides:
                self._schedule.update(client, served.until)
        return count


def _buckets(rate: float | None) -> tuple[Bandwidth, ...]:
    return () if rate is None else (Bandwidth(rate),)
