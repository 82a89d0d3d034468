# -*- test-case-name: vnet.test.test_sockets -*-
"""
Spare UDP sockets of the node, beside its one port: each has a mapping of its own at the NAT.

What is sent to an address whose C{via} is the name of a spare socket leaves from it, and what arrives there has that
C{via} in its source::

    Paths --via "#3"--> spare socket "#3" --> the network
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from attrs import define, field
from twisted.logger import Logger

from vnet.client.dataplane.paths import Datagrams, Paths
from vnet.client.losses import countersOf
from vnet.errors import ConfigurationError
from vnet.interfaces import IDatagramPort
from vnet.values import Address, Train

__all__ = ["MAXIMUM_SOCKETS", "SpareSockets"]

MAXIMUM_SOCKETS = 512
"""Spare sockets of one node at once."""

_MAX_CACHED = 4096


@define(eq=False, repr=False)
class _Spare:
    """
    One spare socket, as a way out of the node.
    """

    name: str
    port: IDatagramPort
    _deliver: Callable[[Sequence[Train]], None]
    _named: dict[Address, Address] = field(factory=dict, init=False)

    def send(self, datagrams: Datagrams) -> None:
        """Send from this socket."""
        self.port.send(_plain(datagrams))

    def sendTrains(self, trains: Sequence[Train]) -> None:
        """See L{IDatagramPort.sendTrains}."""
        self.port.sendTrains(
            [train._replace(address=Address(train.address.host, train.address.port)) for train in trains]
        )

    def sendLimited(self, datagrams: Datagrams, hopLimit: int) -> None:
        """See L{IDatagramPort.sendLimited}."""
        self.port.sendLimited(_plain(datagrams), hopLimit)

    def sendWhole(self, data: bytes, addr: Address) -> bool:
        """See L{IDatagramPort.sendWhole}."""
        return self.port.sendWhole(data, Address(addr.host, addr.port))

    def received(self, train: Train, found: list[Train]) -> None:
        """No server sends through a spare socket to the node's UDP port."""
        found.append(train)

    def arrived(self, trains: Sequence[Train]) -> None:
        """Datagrams have come to this socket."""
        self._deliver([train._replace(address=self._name(train.address)) for train in trains])

    def _name(self, source: Address) -> Address:
        named = self._named.get(source)
        if named is None:
            if len(self._named) >= _MAX_CACHED:
                self._named.clear()
            named = self._named[source] = Address(source.host, source.port, self.name)
        return named


@define(eq=False, repr=False)
class SpareSockets:
    """
    The spare sockets of a node.
    """

    _log = Logger()

    _make: Callable[[], IDatagramPort]
    _paths: Paths
    _spares: dict[str, _Spare] = field(factory=dict, init=False)
    _count: int = field(default=0, init=False)
    _lost: Counter[str] = field(factory=Counter, init=False)

    def __len__(self) -> int:
        return len(self._spares)

    def open(self, count: int) -> tuple[str, ...]:
        """
        Open spare sockets.

        @return: their names; fewer than C{count} when there are L{MAXIMUM_SOCKETS}, or the system gives no more.
        """
        names: list[str] = []
        while len(names) < count and len(self._spares) < MAXIMUM_SOCKETS:
            port = self._make()
            try:
                port.open()
            except ConfigurationError as error:
                self._log.debug("no spare socket: {error}", error=error)
                break
            self._count += 1
            name = f"#{self._count}"
            spare = self._spares[name] = _Spare(name, port, self._paths.deliver)
            port.start(spare.arrived)
            self._paths.add(name, spare)
            names.append(name)
        return tuple(names)

    def portOf(self, name: str) -> int:
        """
        The local port of a spare socket; 0 when there is none of this name.
        """
        spare = self._spares.get(name)
        return 0 if spare is None else spare.port.port

    def dropped(self) -> Counter[str]:
        """
        What all spare sockets that there were have dropped, by reason.
        """
        return sum((countersOf(spare.port) for spare in self._spares.values()), Counter(self._lost))

    def close(self, names: Iterable[str]) -> None:
        """
        Close some of them; those that are closed already are ignored.
        """
        for name in names:
            spare = self._spares.pop(name, None)
            if spare is not None:
                self._paths.remove(name)
                self._lost += countersOf(spare.port)
                spare.port.close()

    def closeAll(self) -> None:
        """
        Close all.
        """
        self.close(list(self._spares))


def _plain(datagrams: Datagrams) -> Datagrams:
    return [(data, Address(each.host, each.port)) for data, each in datagrams]
