"""
A node's NAT discovery on L{vnet.test.natsim}, for tests: real sockets' roads, a computer behind a NAT, and STUN servers.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import attrs

from vnet.client.dataplane.paths import Paths
from vnet.client.dataplane.sockets import SpareSockets
from vnet.client.nat import NatDiscovery
from vnet.protocols.codec.stun import BINDING, Class, Message, decode, encode, isStun
from vnet.protocols.codec.stunattributes import (
    CHANGE_REQUEST,
    ERROR_CODE,
    OTHER_ADDRESS,
    XOR_MAPPED_ADDRESS,
    ChangeRequest,
    ErrorCode,
)
from vnet.protocols.machine.candidates import checkable
from vnet.protocols.punch import Puncher
from vnet.test.natsim import HeapClock, Internet, Nat, NatHost, SimPort
from vnet.testing import inPairs
from vnet.values import Address, NatReport

__all__ = ["HOME", "ONE", "PUBLIC", "TWO", "DiscoveryLab", "Site"]

ONE, TWO = "203.0.113.53", "203.0.113.54"
PUBLIC, HOME = "198.51.100.1", "192.168.1.2"
PORTS = (3478, 3479)


@attrs.define(eq=False)
class Site:
    """
    A STUN server at some addresses and two ports (RFC 5780).

    @ivar hosts: one or two.
    @ivar ports: one or two.
    @ivar changes: whether it answers from elsewhere when it is asked to.
    @ivar other: what it says in OTHER-ADDRESS in place of the truth.
    @ivar answer: what it sends in place of what it would: gets request, source and own address.
    @ivar asked: the sources of the requests, in their order.
    """

    internet: Internet
    hosts: Sequence[str] = (ONE, TWO)
    ports: Sequence[int] = PORTS
    changes: bool = True
    other: Address | None = None
    answer: Callable[[Message, Address, Address], Message] | None = None
    asked: list[Address] = attrs.field(factory=list)
    silent: bool = False
    _ports: dict[Address, SimPort] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        for host in self.hosts:
            computer = NatHost({host: self.internet})
            for number in self.ports:
                port = computer.port(number)
                port.open()
                place = Address(host, number)
                self._ports[place] = port
                port.start(inPairs(partial(self._arrived, place=place)))

    @property
    def addresses(self) -> tuple[Address, ...]:
        """All places, as a mediator names them."""
        return tuple(self._ports)

    def _opposite(self, place: Address, change: ChangeRequest) -> Address | None:
        hosts, ports = list(self.hosts), list(self.ports)
        if (change.address and len(hosts) < 2) or (change.port and len(ports) < 2):
            return None
        host = hosts[1 - hosts.index(place.host)] if change.address else place.host
        port = ports[1 - ports.index(place.port)] if change.port else place.port
        return Address(host, port)

    def _arrived(self, batch: Sequence[tuple[bytes, Address]], place: Address) -> None:
        for data, source in batch:
            self.asked.append(source)
            if isStun(data) and not self.silent:
                self._respond(decode(data), source, place)

    def _respond(self, request: Message, source: Address, place: Address) -> None:
        change = request.get(CHANGE_REQUEST)
        origin = place if change is None or not self.changes else self._opposite(place, change)
        identifier = request.transactionId
        if origin is None:
            refusal = Message(BINDING, Class.ERROR, identifier, (ERROR_CODE(ErrorCode(420)),))
            self._ports[place].send([(encode(refusal), source)])
            return
        attributes: list[Any] = [XOR_MAPPED_ADDRESS(source)]
        other = self.other or self._opposite(place, ChangeRequest(address=True, port=True))
        if other is not None and self.changes:
            attributes.append(OTHER_ADDRESS(other))
        answer = Message(BINDING, Class.SUCCESS, identifier, tuple(attributes))
        if self.answer is not None:
            answer = self.answer(answer, source, origin)
        self._ports[origin].send([(encode(answer), source)])


class DiscoveryLab:
    """
    A computer with a discovery, behind a NAT or not.

    @ivar reports: with the seconds from when the servers were known.
    @ivar sent: what left the computer.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        nat: Callable[..., Any] | None = Nat,
        delay: float = 0.03,
        loss: float = 0.0,
        spares: bool = True,
        **behaviour: Any,
    ) -> None:
        """
        @param nat: makes what is between the computer and the Internet; L{None}: nothing.
        @param behaviour: of the NAT.
        """
        self.clock = HeapClock()
        self.internet = Internet(self.clock, seed, delay, loss)
        self.nat: Any = None
        if nat is None:
            self.computer = NatHost({PUBLIC: self.internet})
        else:
            lan = self.internet.lan()
            self.nat = nat(lan, self.internet, PUBLIC, **behaviour)
            self.computer = NatHost({HOME: lan})
        self._seen: list[tuple[str, bytes, Address, Address, str]] = []
        self.internet.packets.watcher = lambda *noted: self._seen.append(noted)
        port = self.computer.port(41641)
        port.open()
        self.paths = Paths(port)
        self.sockets = SpareSockets(self.computer.port, self.paths)
        self.random = random.Random(seed).randbytes
        self.puncher = Puncher(
            self.clock, self.paths.send, self.random, onMapped=lambda: self.discovery.mappingsChanged()
        )
        self.reports: list[tuple[float, NatReport]] = []
        self.discovery = NatDiscovery(
            self.clock,
            self.puncher,
            self.paths.send,
            self.random,
            self.sockets if spares else None,
            checkable,
            onReport=self._reported,
        )
        self.paths.start(inPairs(self._arrived))
        self._startedAt = 0.0

    def _arrived(self, batch: Sequence[tuple[bytes, Address]]) -> None:
        for data, source in batch:
            self.puncher.datagramReceived(data, source)

    def _reported(self, report: NatReport) -> None:
        self.reports.append((self.clock.seconds() - self._startedAt, report))

    @property
    def sent(self) -> list[tuple[bytes, Address]]:
        """What left the computer, in order."""
        own = self.computer.addresses
        return [
            (data, destination)
            for what, data, source, destination, _ in self._seen
            if what == "sent" and source.host in own
        ]

    def sentTo(self, host: str) -> int:
        """How many datagrams left the computer for a host."""
        return sum(destination.host == host for _, destination in self.sent)

    def start(self, *servers: Address) -> None:
        """The node is online."""
        self._startedAt = self.clock.seconds()
        self.discovery.setLocal(tuple(self.computer.addresses), 41641)
        self.discovery.setServers(servers)

    def run(self, seconds: float = 4.0) -> NatReport:
        """Let time pass, and see what is known then."""
        self.clock.run(seconds)
        return self.discovery.report()

    def settle(self) -> float:
        """
        Wait for the end of the discovery.

        @return: how long it took, from the moment when the servers were known.
        """
        done: list[None] = []
        self.discovery.whenSettled(30.0).addCallback(done.append)
        self.clock.run(40.0, until=lambda: bool(done))
        return self.clock.seconds() - self._startedAt
