# -*- test-case-name: vnet.test.test_paths -*-
"""
All ways out of the node as one port: the network itself through the UDP port, and each relay through the node's
allocation there::

    Forwarder, Puncher --(data, Address)--> Paths --via ""-----> UdpPort --> the network
                                              |
                                              +---via "r1"----> leg "r1" --frames--> UdpPort, or a stream --> relay

Spare sockets of the node are ways out too: L{vnet.client.dataplane.sockets}.  What a relay or a spare socket brings comes
back with a source whose C{via} names it, so that whoever answers it answers the same way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

from attrs import define, field
from zope.interface import implementer

from vnet.interfaces import IDatagramPort
from vnet.values import Address, Train

__all__ = ["Carrier", "Datagrams", "Paths"]

Datagrams = Sequence[tuple[bytes, Address]]


class Carrier(Protocol):
    """
    What carries datagrams through one allocation.
    """

    def send(self, datagrams: Datagrams) -> None:
        """
        Send through the allocation.
        """

    def sendTrains(self, trains: Sequence[Train]) -> None:
        """
        The same of trains.
        """

    def received(self, train: Train, found: list[Train]) -> None:
        """
        The relay's server sent this to the UDP port.

        @param found: gets what a peer sent through the relay, and what may be meant for someone else too: a STUN response.
        """


@implementer(IDatagramPort)
@define(eq=False, repr=False)
class Paths:
    """
    The port that peers are reached through.

    @ivar counters: how many datagrams were dropped, by reason.
    """

    _udp: IDatagramPort
    counters: Counter[str] = field(factory=Counter, init=False)
    _legs: dict[str, Carrier] = field(factory=dict, init=False)
    _servers: dict[Address, Carrier] = field(factory=dict, init=False)
    _received: Callable[[Sequence[Train]], None] | None = field(default=None, init=False)

    @property
    def port(self) -> int:
        """
        See L{IDatagramPort}.
        """
        return self._udp.port

    def open(self) -> None:
        """
        See L{IDatagramPort.open}.
        """
        self._udp.open()

    def start(self, received: Callable[[Sequence[Train]], None]) -> None:
        """
        See L{IDatagramPort.start}.
        """
        self._received = received
        self._udp.start(self._arrived)

    def localAddresses(self) -> Sequence[str]:
        """
        See L{IDatagramPort.localAddresses}.
        """
        return self._udp.localAddresses()

    def close(self) -> None:
        """
        See L{IDatagramPort.close}.
        """
        self._udp.close()
        self._received = None
        self._legs.clear()
        self._servers.clear()

    def add(self, name: str, leg: Carrier, server: Address | None = None) -> None:
        """
        Reach peers through an allocation too.

        @param name: the C{via} of its addresses.
        @param server: where its datagrams come from, if it uses the UDP port.
        """
        self._legs[name] = leg
        if server is not None:
            self._servers[server] = leg

    def remove(self, name: str) -> None:
        """
        An allocation is gone.
        """
        leg = self._legs.pop(name, None)
        for server in [server for server, each in self._servers.items() if each is leg]:
            del self._servers[server]

    def send(self, datagrams: Datagrams) -> None:
        """
        See L{IDatagramPort.send}.
        """
        if not datagrams:
            return
        first = datagrams[0][1]
        via = first.via
        for _, addr in datagrams:
            # Nearly always all of a batch go to one peer.
            if addr is not first and addr.via != via:
                self._sendMixed(datagrams)
                return
        self._sendVia(via, datagrams)

    def _sendMixed(self, datagrams: Datagrams) -> None:
        ways: dict[str, list[tuple[bytes, Address]]] = {}
        for each in datagrams:
            ways.setdefault(each[1].via, []).append(each)
        for via, batch in ways.items():
            self._sendVia(via, batch)

    def _sendVia(self, via: str, datagrams: Datagrams) -> None:
        if not via:
            self._udp.send(datagrams)
            return
        leg = self._legs.get(via)
        if leg is None:
            # It may have gone while its addresses are still in use.
            self.counters["noLeg"] += len(datagrams)
        else:
            leg.send(datagrams)

    def sendTrains(self, trains: Sequence[Train]) -> None:
        """
        See L{IDatagramPort.sendTrains}.
        """
        for train in trains:
            via = train.address.via
            if not via:
                self._udp.sendTrains((train,))
                continue
            leg = self._legs.get(via)
            if leg is None:
                self.counters["noLeg"] += train.datagramCount
            else:
                leg.sendTrains((train,))

    def sendLimited(self, datagrams: Datagrams, hopLimit: int) -> None:
        """
        See L{IDatagramPort.sendLimited}; through a relay there is no such thing.
        """
        for each in datagrams:
            via = each[1].via
            way = getattr(self._legs.get(via), "sendLimited", None) if via else self._udp.sendLimited
            if way is None:
                self.counters["noLeg"] += 1
            else:
                way([each], hopLimit)

    def sendWhole(self, data: bytes, addr: Address) -> bool:
        """
        See L{IDatagramPort.sendWhole}: through a relay, as far as to that.
        """
        way = getattr(self._legs.get(addr.via), "sendWhole", None) if addr.via else self._udp.sendWhole
        if way is None:
            self.counters["noLeg"] += 1
            return True
        sent: bool = way(data, addr)
        return sent

    def deliver(self, trains: Sequence[Train]) -> None:
        """
        Datagrams have come through a relay, or to a spare socket.
        """
        if self._received is not None and trains:
            self._received(trains)

    def _arrived(self, trains: Sequence[Train]) -> None:
        servers = self._servers
        if servers:
            found: list[Train] = []
            for train in trains:
                leg = servers.get(train.address)
                if leg is None:
                    found.append(train)
                else:
                    leg.received(train, found)
            trains = found
        if trains and self._received is not None:
            self._received(trains)
