"""
A small Internet in memory, on a L{Clock}: hosts, LANs, NATs of each behaviour, loss and delay.

As in the real world, what a NAT does (RFC 4787) is only a choice of the keys under which it remembers:
L{MAPPING} for the external port that a packet gets, L{FILTERING} for the packets that come back in.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TypeAlias

import attrs
from twisted.internet.task import Clock

from vnet.values import Address

__all__ = ["FILTERING", "MAPPING", "Host", "Internet", "Nat", "Realm"]

Receiver: TypeAlias = Callable[[bytes, Address, Address], None]
"""Gets data, source and destination."""

MAPPING: dict[str, Callable[[Address], object]] = {
    "endpoint-independent": lambda remote: None,
    "address-dependent": lambda remote: remote.host,
    "address-and-port-dependent": lambda remote: remote,
}

FILTERING = MAPPING


@attrs.define(eq=False)
class Realm:
    """
    A network in which addresses mean something: the Internet or a LAN.

    @ivar delay: seconds that a packet needs across it.
    @ivar loss: the share of packets that it loses.
    @ivar gateway: who takes the packets to addresses that nobody here has.
    @ivar cut: whether everything is lost.
    @ivar log: source, destination and data of each packet that was sent here.
    """

    clock: Clock
    random: random.Random
    delay: float = 0.0
    loss: float = 0.0
    gateway: Receiver | None = None
    cut: bool = False
    members: dict[str, Receiver] = attrs.field(factory=dict)
    log: list[tuple[Address, Address, bytes]] = attrs.field(factory=list)

    def send(self, data: bytes, source: Address, destination: Address) -> None:
        """
        Carry a packet to whom has the destination's address.
        """
        self.log.append((source, destination, data))
        if self.cut or self.random.random() < self.loss:
            return
        receiver = self.members.get(destination.host, self.gateway)
        if receiver is not None:
            self.clock.callLater(self.delay, receiver, data, source, destination)


class Internet(Realm):
    """
    The realm of public addresses, which has no gateway.
    """

    def __init__(self, clock: Clock, seed: int = 0, delay: float = 0.03, loss: float = 0.0) -> None:
        super().__init__(clock, random.Random(seed), delay, loss)

    def lan(self, delay: float = 0.0005) -> Realm:
        """
        Make a LAN, which no one has connected yet.
        """
        return Realm(self.clock, self.random, delay)


@attrs.define(eq=False)
class Nat:
    """
    A NAT between a LAN and another realm.  It takes the LAN's packets from the moment that it exists.

    @ivar mapping: a key of L{MAPPING}.
    @ivar filtering: a key of L{FILTERING}.
    @ivar preserves: whether the external port is the internal one while that is free.
    @ivar hairpin: whether an inside host reaches another by its external address.
    @ivar lifetime: seconds after the last outbound packet when a mapping ends.
    """

    inside: Realm
    outside: Realm
    external: str
    mapping: str = "endpoint-independent"
    filtering: str = "address-and-port-dependent"
    preserves: bool = True
    hairpin: bool = False
    lifetime: float = 120.0
    _mappings: dict[object, Address] = attrs.field(factory=dict, init=False)
    _bindings: dict[int, _Binding] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self.inside.gateway = self._outbound
        self.outside.members[self.external] = self._inbound

    def forget(self) -> None:
        """
        Lose all state, as after a restart.
        """
        self._mappings.clear()
        self._bindings.clear()

    def _outbound(self, data: bytes, source: Address, destination: Address) -> None:
        external = self._map(source, destination)
        binding = self._bindings[external.port]
        binding.usedAt = self.inside.clock.seconds()
        binding.permitted.add(FILTERING[self.filtering](destination))
        if destination.host != self.external:
            self.outside.send(data, external, destination)
        elif self.hairpin:
            self._inbound(data, external, destination)

    def _inbound(self, data: bytes, source: Address, destination: Address) -> None:
        binding = self._bindings.get(destination.port)
        if binding is None or self._isOver(binding):
            return
        if FILTERING[self.filtering](source) in binding.permitted:
            self.inside.send(data, source, binding.internal)

    def _map(self, source: Address, destination: Address) -> Address:
        key = (source, MAPPING[self.mapping](destination))
        external = self._mappings.get(key)
        if external is not None and not self._isOver(self._bindings[external.port]):
            return external
        external = self._mappings[key] = Address(self.external, self._freePort(source.port))
        self._bindings[external.port] = _Binding(source)
        return external

    def _freePort(self, wanted: int) -> int:
        if self.preserves and self._isFree(wanted):
            return wanted
        while True:
            port = self.outside.random.randrange(1024, 65536)
            if self._isFree(port):
                return port

    def _isFree(self, port: int) -> bool:
        binding = self._bindings.get(port)
        return binding is None or self._isOver(binding)

    def _isOver(self, binding: _Binding) -> bool:
        return self.inside.clock.seconds() - binding.usedAt > self.lifetime


@attrs.define(eq=False)
class _Binding:
    internal: Address
    usedAt: float = float("inf")
    permitted: set[object] = attrs.field(factory=set)


@attrs.define(eq=False)
class Host:
    """
    A computer with one UDP socket, bound to the wildcard address.

    @ivar addresses: for each of its addresses, the realm where that is; the first of a family is used
        towards strangers.
    @ivar received: gets data and source of what arrives at the socket.
    """

    addresses: dict[str, Realm]
    port: int
    received: Callable[[bytes, Address], None] | None = None

    def __attrs_post_init__(self) -> None:
        for host, realm in self.addresses.items():
            realm.members[host] = self._arrived

    def send(self, datagrams: list[tuple[bytes, Address]]) -> None:
        """
        Send from the socket.
        """
        for data, destination in datagrams:
            source = self._sourceTowards(destination)
            if source is not None:
                self.addresses[source].send(data, Address(source, self.port), destination)

    def _sourceTowards(self, destination: Address) -> str | None:
        family = [host for host in self.addresses if (":" in host) == (":" in destination.host)]
        near = [host for host in family if destination.host in self.addresses[host].members]
        return next(iter([*near, *family]), None)

    def _arrived(self, data: bytes, source: Address, destination: Address) -> None:
        if destination.port == self.port and self.received is not None:
            self.received(data, source)
