"""
Computers and their UDP ports.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import attrs
from zope.interface import implementer

from vnet.errors import ConfigurationError
from vnet.interfaces import IDatagramPort
from vnet.test.natsim.realm import HOPS, Realm
from vnet.values import Address, Train

__all__ = ["Host", "NatHost", "SimPort"]


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
            source = _sourceTowards(self.addresses, destination)
            if source is not None:
                self.addresses[source].send(data, Address(source, self.port), destination)

    def _arrived(self, data: bytes, source: Address, destination: Address) -> None:
        if destination.port == self.port and self.received is not None:
            self.received(data, source)


@attrs.define(eq=False)
class NatHost:
    """
    A computer with any number of UDP ports.

    @ivar addresses: as of L{Host}.
    @ivar up: whether its network works at all.
    @ivar sentTo: how many datagrams it has sent to each address.
    """

    addresses: dict[str, Realm]
    up: bool = True
    sentTo: Counter[str] = attrs.field(factory=Counter, init=False)
    _ports: dict[int, SimPort] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self._appear()

    def _appear(self) -> None:
        for host, realm in self.addresses.items():
            realm.members[host] = self._arrived

    def move(self, addresses: dict[str, Realm]) -> None:
        """
        Have other addresses from now on, perhaps elsewhere; the ports stay open.
        """
        for host, realm in self.addresses.items():
            realm.members.pop(host, None)
        self.addresses = addresses
        self._appear()

    def port(self, number: int = 0) -> SimPort:
        """
        A UDP port of this computer, not yet open.
        """
        return SimPort(self, number)

    def bind(self, port: SimPort, wanted: int) -> int:
        """
        Attach a port.

        @return: its number.
        @raise ConfigurationError: another has it.
        """
        if wanted in self._ports:
            raise ConfigurationError(f"UDP port {wanted} is in use")
        number = wanted
        while not number or number in self._ports:
            number = next(iter(self.addresses.values())).random.randrange(32768, 61000)
        self._ports[number] = port
        return number

    def unbind(self, port: SimPort) -> None:
        """
        Detach a port.
        """
        if self._ports.get(port.port) is port:
            del self._ports[port.port]

    def carry(self, data: bytes, port: int, destination: Address, hops: int) -> None:
        """
        Send one datagram.
        """
        host = _sourceTowards(self.addresses, destination)
        if host is None or not self.up:
            return
        self.sentTo[destination.host] += 1
        realm, source = self.addresses[host], Address(host, port)
        realm.packets.note("sent", data, source, destination, host)
        if destination.host in self.addresses:
            realm.clock.callLater(
                0.0, self._arrived, data, source._replace(host=destination.host), destination
            )
        else:
            realm.send(data, source, destination, hops)

    def _arrived(self, data: bytes, source: Address, destination: Address) -> None:
        port = self._ports.get(destination.port)
        if port is not None and self.up:
            realm = next(iter(self.addresses.values()))
            realm.packets.note("received", data, source, destination, destination.host)
            port.arrived(data, source)


@implementer(IDatagramPort)
@attrs.define(eq=False)
class SimPort:
    """
    A UDP port of a L{NatHost}.

    @ivar sent: how many datagrams were sent.
    """

    _computer: NatHost
    _wanted: int = 0
    port: int = attrs.field(default=0, init=False)
    sent: int = attrs.field(default=0, init=False)
    _received: Callable[[Sequence[Train]], None] | None = attrs.field(default=None, init=False)

    @property
    def hosts(self) -> tuple[str, ...]:
        """The addresses of its computer."""
        return tuple(self._computer.addresses)

    def open(self) -> None:
        """
        See L{IDatagramPort.open}.
        """
        self.port = self._computer.bind(self, self._wanted)

    def start(self, received: Callable[[Sequence[Train]], None]) -> None:
        """
        See L{IDatagramPort.start}.
        """
        self._received = received

    def send(self, datagrams: Sequence[tuple[bytes, Address]]) -> None:
        """
        See L{IDatagramPort.send}.
        """
        self.sendLimited(datagrams, HOPS)

    def sendTrains(self, trains: Sequence[Train]) -> None:
        """
        See L{IDatagramPort.sendTrains}.
        """
        self.send([(datagram, train.address) for train in trains for datagram in train.datagrams()])

    def sendLimited(self, datagrams: Sequence[tuple[bytes, Address]], hopLimit: int) -> None:
        """
        See L{IDatagramPort.sendLimited}.
        """
        if self.port:
            self.sent += len(datagrams)
            for data, destination in datagrams:
                self._computer.carry(data, self.port, destination, hopLimit)

    def sendWhole(self, data: bytes, addr: Address) -> bool:
        """
        See L{IDatagramPort.sendWhole}: here all is short enough.
        """
        self.send([(data, addr)])
        return True

    def localAddresses(self) -> Sequence[str]:
        """
        See L{IDatagramPort.localAddresses}.
        """
        return self.hosts

    def close(self) -> None:
        """
        See L{IDatagramPort.close}.
        """
        self._computer.unbind(self)
        self._received = None
        self.port = 0

    def arrived(self, data: bytes, source: Address) -> None:
        """
        A datagram has come.
        """
        if self._received is not None:
            self._received([Train.single(data, source)])


def _sourceTowards(addresses: dict[str, Realm], destination: Address) -> str | None:
    family = [host for host in addresses if (":" in host) == (":" in destination.host)]
    near = [host for host in family if destination.host in addresses[host].members]
    return next(iter([*near, *family]), None)
