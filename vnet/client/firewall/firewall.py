# -*- test-case-name: vnet.test.test_firewall -*-
"""
The firewall of the virtual interface: keeps the table of L{vnet.client.firewall.ruleset} in step with policies and members.

Where all networks are open, and no LAN is shared, there is no table, and C{nft} is not needed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Coroutine, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from vnet.client.firewall.nft import Nft, NftError
from vnet.client.firewall.policy import OPEN, Policy
from vnet.client.firewall.ruleset import OTHER, Ruled, change, install, remove
from vnet.errors import ConfigurationError
from vnet.protocols.codec.names import displayable

if TYPE_CHECKING:
    from vnet.client.firewall.forwarded import Forwarded

__all__ = ["Firewall", "Population"]

COALESCE = 0.02
"""Seconds from the first of a burst of changes to the transaction."""

AGAIN = 10.0
"""Seconds after which a transaction that failed is tried again."""


class Population(Protocol):
    """
    Which policy applies to whom: see L{vnet.client.firewall.filtered.Filtered}.
    """

    def policies(self) -> dict[bytes, Policy]: ...
    def nameOf(self, network: bytes) -> str: ...
    def members(self) -> Iterable[bytes]: ...
    def addressesOf(self, key: bytes) -> tuple[str, ...]: ...
    def networksOf(self, key: bytes) -> list[bytes]: ...


@frozen
class _Place:
    """
    Where a member is in the table.
    """

    addresses: tuple[str, ...] = ()
    numbers: frozenset[int] = frozenset()

    def addTo(self, sets: dict[int, set[str]]) -> None:
        for number in self.numbers:
            sets.setdefault(number, set()).update(self.addresses)


@define(eq=False, repr=False)
class _Table:
    """
    The table as it is in the kernel.

    @ivar policies: of the networks, in the order of their numbers; none where all are open.
    @ivar members: by key, those that are in any set.
    """

    policies: dict[bytes, Policy]
    forwarded: Forwarded | None = None
    members: dict[bytes, _Place] = field(factory=dict)
    _numbers: dict[bytes, int] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._numbers = {network: number for number, network in enumerate(self.policies)}

    def place(self, population: Population, key: bytes) -> _Place:
        """
        @return: where a member belongs.
        """
        addresses = population.addressesOf(key)
        if not addresses:
            return _Place()
        networks = (each for each in population.networksOf(key) if each in self._numbers)
        return _Place(addresses, frozenset(self._numbers[each] for each in networks))

    def put(self, places: Mapping[bytes, _Place]) -> None:
        """
        Members are somewhere else now.
        """
        self.members.update(places)
        for key, place in places.items():
            if not place.numbers:
                del self.members[key]


@define(eq=False, repr=False)
class Firewall:
    """
    Lets in from each member what its networks' policies say.

    What it does follows the state: the caller changes that and tells it.  A change that C{nft} does not take leaves the table as
    it was: members that are new stay outside.
    """

    _clock: IReactorTime
    _interface: str
    _population: Population
    _nft: Nft | None
    _log: Logger = field(factory=Logger)
    _table: _Table | None = field(default=None, init=False)
    _dirty: set[bytes] = field(factory=set, init=False)
    _anew: bool = field(default=False, init=False)
    _call: IDelayedCall | None = field(default=None, init=False)
    _lock: DeferredLock = field(factory=DeferredLock, init=False)
    _dropped: Counter[bytes] = field(factory=Counter, init=False)
    _touched: bool = field(default=False, init=False)
    _closed: bool = field(default=False, init=False)
    _forwarded: Forwarded | None = field(default=None, init=False)

    def prepare(self) -> None:
        """
        Put the table in the place of one that a client that died has left, before anything comes in.

        @raise ConfigurationError: that is not possible, and a policy needs it.
        """
        policies = self._population.policies()
        closed = [network for network, policy in policies.items() if policy != OPEN]
        try:
            if closed:
                self._touched = True
                self._required().runNow(install(self._interface, [Ruled(each) for each in policies.values()]))
                self._table = _Table(policies)
            elif self._nft is not None:
                self._nft.runNow(remove(self._interface))
        except NftError as error:
            if closed:
                name = displayable(self._population.nameOf(closed[0]))
                raise ConfigurationError(
                    f"the firewall of the network {name!r} cannot be set: {error}"
                ) from error
            self._log.debug("no firewall is set, and none is removed: {error}", error=error)

    def abandon(self) -> None:
        """
        The client does not start after all: remove the table at once.
        """
        if self._touched and self._nft is not None:
            with suppress(NftError):
                self._nft.runNow(remove(self._interface))

    def changed(self, keys: Iterable[bytes] | None = None) -> None:
        """
        Members came, went or moved between networks; L{None}: any of them, or the networks themselves.
        """
        if self._nft is None or (self._table is None and not self._isNeeded(self._enforced())):
            return
        if self._table is not None:
            self._dirty.update(self._everybody(self._table) if keys is None else keys)
        self._schedule(COALESCE)

    def _everybody(self, table: _Table) -> set[bytes]:
        return {*table.members, *self._population.members()}

    def check(self) -> None:
        """
        Somebody has removed a table: if it was this one, it is put back.
        """
        if self._table is not None and not self._closed:
            self._launch(self._check())

    async def _check(self) -> None:
        await self._lock.acquire()
        try:
            if self._table is None or self._nft is None or self._closed:
                return
            await self._nft.counters(self._interface)
        except NftError:
            self._log.warn("the table of the firewall is gone: it is put back")
            self._anew = True
        finally:
            self._lock.release()
        await self._settle()

    def _schedule(self, delay: float) -> None:
        if self._call is None and not self._closed:
            self._call = self._clock.callLater(delay, self._due)

    def _due(self) -> None:
        self._call = None
        self._launch(self._settle())

    def _launch(self, settling: Coroutine[Any, Any, None]) -> None:
        Deferred.fromCoroutine(settling).addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        failure.trap(NftError)
        self._log.error("the firewall is not up to date: {error}", error=failure.value)
        self._schedule(AGAIN)

    async def apply(self) -> None:
        """
        The policies have changed: fires when they hold.

        @raise NftError: they do not; those from before do.
        """
        if self._isNeeded(self._enforced()):
            self._required()
        await self._settle()

    async def forward(self, forwarded: Forwarded | None) -> None:
        """
        Have this forwarded to and from LANs, and nothing else; fires when that holds.

        @raise NftError: it does not; what was forwarded before is.
        """
        before, self._forwarded = self._forwarded, forwarded
        try:
            await self.apply()
        except NftError:
            self._forwarded = before
            self._schedule(AGAIN)
            raise

    def _required(self) -> Nft:
        if self._nft is None:
            raise NftError("this client has no firewall")
        return self._nft

    async def _settle(self) -> None:
        """
        Carry out what has to be done.
        """
        await self._lock.acquire()
        try:
            if not self._closed and self._nft is not None:
                await self._step(self._nft)
        except NftError:
            self._anew = True
            raise
        finally:
            self._lock.release()

    async def _step(self, nft: Nft) -> None:
        table, policies = self._table, self._enforced()
        if not self._isNeeded(policies):
            await self._removeTable(nft)
        elif (
            table is None
            or self._anew
            or table.forwarded != self._forwarded
            or list(policies.items()) != list(table.policies.items())
        ):
            await self._install(nft, policies)
        else:
            await self._change(nft, table)

    def _enforced(self) -> dict[bytes, Policy]:
        """
        The policies; none where all are open.
        """
        policies = self._population.policies()
        return policies if any(policy != OPEN for policy in policies.values()) else {}

    def _isNeeded(self, policies: Mapping[bytes, Policy]) -> bool:
        return bool(policies) or self._forwarded is not None

    async def _removeTable(self, nft: Nft) -> None:
        if self._touched:
            await self._keepCounts(nft)
            await nft.run(remove(self._interface))
        self._table, self._anew, self._touched = None, False, False
        self._dirty.clear()

    async def _install(self, nft: Nft, policies: dict[bytes, Policy]) -> None:
        await self._keepCounts(nft)
        table = _Table(policies, self._forwarded)
        # What changes from here on comes in the next transaction.
        self._dirty.clear()
        table.put({key: table.place(self._population, key) for key in self._population.members()})
        sets: dict[int, set[str]] = {}
        for place in table.members.values():
            place.addTo(sets)
        ruled = [Ruled(policy, sets.get(number, ())) for number, policy in enumerate(policies.values())]
        self._touched = True
        await nft.run(install(self._interface, ruled, table.forwarded))
        self._table, self._anew = table, False

    async def _change(self, nft: Nft, table: _Table) -> None:
        dirty, self._dirty = self._dirty, set()
        places = {key: table.place(self._population, key) for key in dirty}
        before: dict[int, set[str]] = {}
        after: dict[int, set[str]] = {}
        moved = {key: place for key, place in places.items() if place != table.members.get(key, _Place())}
        for key, place in moved.items():
            table.members.get(key, _Place()).addTo(before)
            place.addTo(after)
        # An address that went from one member to another stays.
        added = _without(after, before)
        removed = _without(before, after)
        if added or removed:
            try:
                await nft.run(change(self._interface, added, removed))
            except NftError:
                # Perhaps somebody else has changed the table.
                await self._install(nft, table.policies)
                return
        table.put(moved)

    async def _keepCounts(self, nft: Nft) -> None:
        """
        The table is about to go, and with it what it has counted.
        """
        self._dropped.update(await self._counted(nft))

    async def _counted(self, nft: Nft) -> Counter[bytes]:
        if self._table is None:
            return Counter()
        try:
            counters = await nft.counters(self._interface)
        except NftError:
            return Counter()
        names = {number: network for number, network in enumerate(self._table.policies)}
        names[OTHER] = b""
        return Counter({names[number]: count for number, count in counters.items() if number in names})

    async def dropped(self) -> Counter[bytes]:
        """
        @return: how many packets were dropped since the start, by the network of the sender; by C{b""} those of senders in no
            network.
        """
        await self._lock.acquire()
        try:
            current = Counter[bytes]() if self._nft is None else await self._counted(self._nft)
        finally:
            self._lock.release()
        return self._dropped + current

    async def close(self) -> None:
        """
        The interface is gone: remove the table.
        """
        if self._call is not None:
            self._call.cancel()
            self._call = None
        await self._lock.acquire()
        try:
            self._closed = True
            if self._touched and self._nft is not None:
                await self._nft.run(remove(self._interface))
                self._table, self._touched = None, False
        except NftError as error:
            self._log.error("the table of the firewall stays: {error}", error=error)
        finally:
            self._lock.release()


def _without(sets: Mapping[int, set[str]], others: Mapping[int, set[str]]) -> dict[int, set[str]]:
    found = {number: addresses - others.get(number, set()) for number, addresses in sets.items()}
    return {number: addresses for number, addresses in found.items() if addresses}
