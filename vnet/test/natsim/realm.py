"""
Realms: networks in which addresses mean something, with loss, delay, jitter and hops.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs
from twisted.internet.task import Clock

from vnet.values import Address

if TYPE_CHECKING:
    from vnet.test.natsim.host import SimPort

__all__ = ["HOPS", "Internet", "Link", "Packets", "Realm"]

HOPS = 64
"""The hop limit that a packet starts with."""

Receiver: TypeAlias = Callable[..., None]
"""Gets data, source and destination; a router also how many hops are left."""


@attrs.define(eq=False)
class Packets:
    """
    What becomes of the packets of a whole Internet.

    @ivar counters: how many were C{sent}, C{lost}, C{expired} by their hop limit, C{filtered} by a NAT, C{refused} by a NAT
        that has no mapping left, sent to C{nobody}, or C{received}.
    @ivar watcher: called with one of these words, the data, the source and the destination, and where that was.
    """

    counters: Counter[str] = attrs.field(factory=Counter)
    watcher: Callable[[str, bytes, Address, Address, str], None] | None = None

    def note(self, what: str, data: bytes, source: Address, destination: Address, where: str = "") -> None:
        """Count it."""
        self.counters[what] += 1
        if self.watcher is not None:
            self.watcher(what, data, source, destination, where)


@attrs.frozen
class Link:
    """
    What lies between two addresses.

    @ivar delay: one way, seconds; C{jitter}: at most so many more.
    @ivar loss: the share of the packets that is lost.
    """

    delay: float = 0.0
    jitter: float = 0.0
    loss: float = 0.0


@attrs.define(eq=False)
class Realm:
    """
    A network in which addresses mean something: the Internet or a LAN.

    @ivar delay: seconds that a packet needs across it; C{jitter}: at most so many more.
    @ivar loss: the share of packets that it loses.
    @ivar gateway: who takes the packets to IPv4 addresses that nobody here has; C{gateway6}: those to IPv6 addresses.
    @ivar cut: whether everything is lost.
    @ivar hops: routers inside, which each packet passes.
    @ivar members: who has which address.
    @ivar routers: the addresses of those members that go on with what is left of the hop limit.
    @ivar links: for two addresses, in this order, what lies between them if it is not the same as for all.
    @ivar log: source, destination and data of each packet that was sent here, if it C{keepsLog}.
    """

    clock: Clock
    random: random.Random
    delay: float = 0.0
    loss: float = 0.0
    gateway: Receiver | None = None
    cut: bool = False
    members: dict[str, Receiver] = attrs.field(factory=dict)
    log: list[tuple[Address, Address, bytes]] = attrs.field(factory=list)
    keepsLog: bool = True
    jitter: float = 0.0
    hops: int = 0
    gateway6: Receiver | None = None
    routers: set[str] = attrs.field(factory=set)
    links: dict[tuple[str, str], Link] = attrs.field(factory=dict)
    packets: Packets = attrs.field(factory=Packets)
    name: str = "realm"

    def connect(self, ones: Iterable[str], others: Iterable[str], link: Link) -> None:
        """
        Say what lies between each of some addresses and each of some others, both ways.
        """
        others = tuple(others)
        for one in ones:
            for other in others:
                self.links[one, other] = self.links[other, one] = link

    def send(self, data: bytes, source: Address, destination: Address, hops: int = HOPS) -> None:
        """
        Carry a packet to whom has the destination's address.
        """
        if self.keepsLog:
            self.log.append((source, destination, data))
        link: Any = self.links.get((source.host, destination.host), self) if self.links else self
        if self.cut or self.random.random() < link.loss:
            self.packets.note("lost", data, source, destination, self.name)
        elif hops <= self.hops:
            self.packets.note("expired", data, source, destination, self.name)
        else:
            delay = link.delay + (self.random.random() * link.jitter if link.jitter else 0.0)
            self._carry(delay, data, source, destination, hops - self.hops)

    def _carry(self, delay: float, data: bytes, source: Address, destination: Address, hops: int) -> None:
        receiver = self.members.get(destination.host)
        if receiver is None:
            receiver = self.gateway6 if ":" in destination.host else self.gateway
            if receiver is None:
                self.packets.note("nobody", data, source, destination, self.name)
                return
        elif destination.host not in self.routers:
            self.clock.callLater(delay, receiver, data, source, destination)
            return
        self.clock.callLater(delay, receiver, data, source, destination, hops)


class Internet(Realm):
    """
    The realm of public addresses, which has no gateway.

    @ivar shared: what the kinds of a laboratory have in common in this Internet, by a name.
    """

    def __init__(
        self,
        clock: Clock,
        seed: int = 0,
        delay: float = 0.03,
        loss: float = 0.0,
        hops: int = 6,
        keepsLog: bool = True,
    ) -> None:
        """
        @param hops: routers between any two of its addresses.
        @param keepsLog: whether the realms remember every packet.
        """
        super().__init__(
            clock, random.Random(seed), delay, loss, hops=hops, keepsLog=keepsLog, name="Internet"
        )
        self.shared: dict[str, Any] = {}

    def lan(self, delay: float = 0.0005, name: str = "LAN", hops: int = 0) -> Realm:
        """
        Make a LAN, which no one has connected yet.
        """
        return Realm(
            self.clock,
            self.random,
            delay,
            keepsLog=self.keepsLog,
            hops=hops,
            packets=self.packets,
            name=name,
        )

    def port(self, *hosts: str, port: int = 0) -> SimPort:
        """
        A port, not yet open, of a computer on the Internet itself.
        """
        from vnet.test.natsim.host import NatHost

        key = "host " + " ".join(hosts)
        if key not in self.shared:
            self.shared[key] = NatHost(dict.fromkeys(hosts, self))
        computer: NatHost = self.shared[key]
        return computer.port(port)
