"""
The NAT.  As in the real world, what it does (RFC 4787) is mostly a choice of the keys under which it remembers: L{MAPPING}
for the external port that a packet gets, L{FILTERING} for the packets that come back in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import attrs

from vnet.test.natsim.ports import Allocation, Preserving, RandomPorts
from vnet.test.natsim.realm import HOPS, Realm
from vnet.values import Address

__all__ = ["FILTERING", "MAPPING", "Nat"]

MAPPING: dict[str, Callable[[Address], object]] = {
    "endpoint-independent": lambda remote: None,
    "address-dependent": lambda remote: remote.host,
    "address-and-port-dependent": lambda remote: remote,
}

FILTERING = MAPPING

_SWEEP = 0.25
_TRAP = 30.0
_MAX_TRAPS = 4096
_ANY, _PRESERVING = RandomPorts(), Preserving()


@attrs.define(eq=False)
class _Mapping:
    """
    One external address.

    @ivar permitted: when the permission of each filtering key ends; C{answered}: those keys from which something has come.
    """

    key: object
    internal: Address
    external: Address
    expires: float
    permitted: dict[object, float] = attrs.field(factory=dict)
    answered: set[object] = attrs.field(factory=set)


@attrs.define(eq=False)
class Nat:
    """
    A NAT between a LAN and another realm.  It takes the LAN's packets from the moment that it exists.

    @ivar external: its address outside; C{pool}: more of them.
    @ivar mapping: a key of L{MAPPING}.
    @ivar filtering: a key of L{FILTERING}.
    @ivar preserves: whether the external port is the internal one while that is free, if there is no C{allocation}.
    @ivar hairpin: whether an inside host reaches another by its external address; the source is then the external one.
    @ivar lifetime: seconds after the last outbound packet when a mapping ends, and the permission of a remote address.
    @ivar unreplied: the same before something has come back; L{None}: no other.
    @ivar refreshedInbound: whether packets that come in count, too.
    @ivar allocation: how ports are chosen.
    @ivar paired: whether a computer inside always gets the same address of the pool.
    @ivar limit: mappings of one computer inside at once; L{None}: any number.
    @ivar overflow: what a new one does at the limit: C{"refuse"}, or C{"oldest"}: that ends.
    @ivar counts: what a mapping is for the limit and the peak: C{"mappings"}, or C{"flows"}, as Linux counts: each remote address.
    @ivar trap: whether, as with Linux, a packet that comes in unasked takes the place of the mapping towards its sender for 30
        seconds: what is sent there then gets another port.
    @ivar passesUdp: whether it lets UDP out.
    @ivar peakMappings: the most mappings that each computer inside had at once.
    @ivar counters: how many mappings were C{made}, packets C{refused}, C{filtered} and C{trapped}.
    """

    inside: Realm
    outside: Realm
    external: str
    mapping: str = "endpoint-independent"
    filtering: str = "address-and-port-dependent"
    preserves: bool = True
    hairpin: bool = False
    lifetime: float = 120.0
    unreplied: float | None = None
    refreshedInbound: bool = False
    allocation: Allocation | None = None
    pool: tuple[str, ...] = ()
    paired: bool = True
    limit: int | None = None
    overflow: str = "refuse"
    counts: str = "mappings"
    trap: bool = False
    passesUdp: bool = True
    peakMappings: Counter[str] = attrs.field(factory=Counter, init=False)
    counters: Counter[str] = attrs.field(factory=Counter, init=False)
    _mappings: dict[object, _Mapping] = attrs.field(factory=dict, init=False)
    _byExternal: dict[Address, _Mapping] = attrs.field(factory=dict, init=False)
    _used: Counter[str] = attrs.field(factory=Counter, init=False)
    _pairs: dict[str, str] = attrs.field(factory=dict, init=False)
    _early: dict[tuple[Address, Address], float] = attrs.field(factory=dict, init=False)
    _sweptAt: float = attrs.field(default=float("-inf"), init=False)

    def __attrs_post_init__(self) -> None:
        self.inside.gateway = self._outbound
        for host in self.hosts:
            self.outside.members[host] = self._inbound
            self.outside.routers.add(host)

    @property
    def hosts(self) -> tuple[str, ...]:
        """All its addresses outside."""
        return (self.external, *self.pool)

    @property
    def peak(self) -> int:
        """The most mappings that one computer inside had at once."""
        return max(self.peakMappings.values(), default=0)

    def inUse(self, inside: str) -> int:
        """
        How many mappings a computer inside has now.
        """
        self._sweep(self._now(), always=True)
        return self._used[inside]

    def externalOf(self, internal: Address, remote: Address) -> Address | None:
        """
        Which external address packets between these two have now.
        """
        mapping = self._alive((internal, MAPPING[self.mapping](remote)), self._now())
        return None if mapping is None else mapping.external

    def forget(self) -> None:
        """
        Lose all state, as after a restart.
        """
        for table in (self._mappings, self._byExternal, self._used, self._pairs, self._early):
            table.clear()

    def _now(self) -> float:
        return self.inside.clock.seconds()

    # Outbound.

    def _outbound(self, data: bytes, source: Address, destination: Address, hops: int = HOPS) -> None:
        packets = self.inside.packets
        if hops <= 1:
            packets.note("expired", data, source, destination, self.external)
            return
        now = self._now()
        mapping = self._map(source, destination, now) if self.passesUdp else None
        if mapping is None or not self._permit(mapping, FILTERING[self.filtering](destination), now):
            self.counters["refused"] += 1
            packets.note("refused", data, source, destination, self.external)
        elif destination.host not in self.hosts:
            self.outside.send(data, mapping.external, destination, hops - 1)
        elif self.hairpin:
            self._inbound(data, mapping.external, destination, hops - 1)

    def _permit(self, mapping: _Mapping, key: object, now: float) -> bool:
        if self.counts == "flows" and mapping.permitted.get(key, 0.0) < now:
            if not self._spend(mapping.internal.host, now):
                return False
            if key in mapping.permitted:
                self._used[mapping.internal.host] -= 1
        self._refresh(mapping, key, now)
        return True

    def _refresh(self, mapping: _Mapping, key: object, now: float) -> None:
        short = self.unreplied is not None and key not in mapping.answered
        lifetime = self.unreplied if short and self.unreplied is not None else self.lifetime
        mapping.permitted[key] = expires = now + lifetime
        mapping.expires = max(mapping.expires, expires)

    def _map(self, source: Address, destination: Address, now: float) -> _Mapping | None:
        key: object = (source, MAPPING[self.mapping](destination))
        mapping = self._alive(key, now)
        wanted: int | None = source.port
        if self.trap and self._early:
            trapped = (source, destination, "trapped")
            other = self._alive(trapped, now)
            if other is not None:
                return other
            external = Address(self._host(source.host), source.port) if mapping is None else mapping.external
            isNew = mapping is None or mapping.permitted.get(destination, 0.0) < now
            if isNew and self._early.get((destination, external), 0.0) >= now:
                self.counters["trapped"] += 1
                mapping, key, wanted = None, trapped, None
        return self._make(key, source, wanted, now) if mapping is None else mapping

    def _alive(self, key: object, now: float) -> _Mapping | None:
        mapping = self._mappings.get(key)
        if mapping is not None and mapping.expires < now:
            self._remove(mapping)
            return None
        return mapping

    def _make(self, key: object, source: Address, wanted: int | None, now: float) -> _Mapping | None:
        if self.counts == "mappings" and not self._spend(source.host, now):
            return None
        host = self._host(source.host)
        port = self._allocation(wanted).choose(
            source.host,
            wanted or 0,
            lambda port: self._isFree(Address(host, port), now),
            self.outside.random,
            now,
        )
        if port is None:
            self._used[source.host] -= self.counts == "mappings"
            return None
        mapping = _Mapping(key, source, Address(host, port), expires=now)
        self._mappings[key] = self._byExternal[mapping.external] = mapping
        self.counters["made"] += 1
        return mapping

    def _allocation(self, wanted: int | None) -> Allocation:
        if wanted is None:
            return _ANY
        return self.allocation or (_PRESERVING if self.preserves else _ANY)

    def _host(self, inside: str) -> str:
        if not self.pool:
            return self.external
        if not self.paired:
            return self.outside.random.choice(self.hosts)
        if inside not in self._pairs:
            self._pairs[inside] = self.outside.random.choice(self.hosts)
        return self._pairs[inside]

    def _isFree(self, external: Address, now: float) -> bool:
        mapping = self._byExternal.get(external)
        if mapping is not None and mapping.expires < now:
            self._remove(mapping)
            return True
        return mapping is None

    # The budget of each computer inside.

    def _spend(self, inside: str, now: float) -> bool:
        if self._used[inside] >= min(self.peakMappings[inside], self.limit or 1 << 30):
            self._sweep(now)
            if self.limit is not None and self._used[inside] >= self.limit:
                if self.overflow == "refuse":
                    return False
                mine = [each for each in self._mappings.values() if each.internal.host == inside]
                self._remove(min(mine, key=lambda mapping: mapping.expires))
        self._used[inside] += 1
        self.peakMappings[inside] = max(self.peakMappings[inside], self._used[inside])
        return True

    def _sweep(self, now: float, always: bool = False) -> None:
        if now - self._sweptAt < _SWEEP and not always:
            return
        self._sweptAt = now
        for mapping in list(self._mappings.values()):
            if mapping.expires < now:
                self._remove(mapping)
            else:
                over = [key for key, expires in mapping.permitted.items() if expires < now]
                for key in over:
                    del mapping.permitted[key]
                    mapping.answered.discard(key)
                if self.counts == "flows":
                    self._used[mapping.internal.host] -= len(over)

    def _remove(self, mapping: _Mapping) -> None:
        self._used[mapping.internal.host] -= len(mapping.permitted) if self.counts == "flows" else 1
        self._mappings.pop(mapping.key, None)
        self._byExternal.pop(mapping.external, None)

    # Inbound.

    def _inbound(self, data: bytes, source: Address, destination: Address, hops: int = HOPS) -> None:
        now, mapping = self._now(), self._byExternal.get(destination)
        key = FILTERING[self.filtering](source)
        if mapping is None or mapping.permitted.get(key, float("-inf")) < now:
            self._unasked(data, source, destination, now)
        elif hops <= 1:
            self.inside.packets.note("expired", data, source, destination, self.external)
        else:
            if key not in mapping.answered:
                mapping.answered.add(key)
            if self.refreshedInbound:
                self._refresh(mapping, key, now)
            self.inside.send(data, source, mapping.internal, hops - 1)

    def _unasked(self, data: bytes, source: Address, destination: Address, now: float) -> None:
        self.counters["filtered"] += 1
        self.inside.packets.note("filtered", data, source, destination, self.external)
        if self.trap:
            if len(self._early) >= _MAX_TRAPS:
                self._early = {each: expires for each, expires in self._early.items() if expires >= now}
            if len(self._early) < _MAX_TRAPS:
                self._early[source, destination] = now + _TRAP
