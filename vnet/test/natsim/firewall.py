"""
A stateful firewall without NAT, as home routers have for IPv6.
"""

from __future__ import annotations

import attrs

from vnet.test.natsim.realm import HOPS, Realm
from vnet.values import Address

__all__ = ["Firewall"]

_MAX_FLOWS = 4096


@attrs.define(eq=False)
class Firewall:
    """
    Lets in what answers to something that has gone out.

    @ivar hosts: the addresses inside, which mean the same outside.
    @ivar lifetime: seconds after the last packet of a flow when it ends.
    """

    inside: Realm
    outside: Realm
    hosts: tuple[str, ...]
    lifetime: float = 120.0
    _flows: dict[tuple[Address, Address], float] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self.inside.gateway6 = self._outbound
        for host in self.hosts:
            self.outside.members[host] = self._inbound
            self.outside.routers.add(host)

    def _now(self) -> float:
        return self.inside.clock.seconds()

    def _outbound(self, data: bytes, source: Address, destination: Address, hops: int = HOPS) -> None:
        if hops <= 1:
            self.inside.packets.note("expired", data, source, destination, "firewall")
            return
        now = self._now()
        if len(self._flows) >= _MAX_FLOWS:
            self._flows = {flow: expires for flow, expires in self._flows.items() if expires >= now}
        self._flows[source, destination] = now + self.lifetime
        self.outside.send(data, source, destination, hops - 1)

    def _inbound(self, data: bytes, source: Address, destination: Address, hops: int = HOPS) -> None:
        flow, now = (destination, source), self._now()
        if self._flows.get(flow, float("-inf")) < now:
            self.inside.packets.note("filtered", data, source, destination, "firewall")
        elif hops <= 1:
            self.inside.packets.note("expired", data, source, destination, "firewall")
        else:
            self._flows[flow] = now + self.lifetime
            self.inside.send(data, source, destination, hops - 1)
