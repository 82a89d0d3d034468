# -*- test-case-name: vnet.test.test_relays -*-
"""
The ways to relays that there are at a time, and how they are opened.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from attrs import define, field
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.interfaces import IReactorTime

from vnet.client.dataplane.paths import Paths
from vnet.client.reach import RelayReach
from vnet.client.relayleg import Leg, LegOwner, Unconnected
from vnet.client.relaylist import Relay
from vnet.interfaces import IDatagramPort
from vnet.protocols.codec.turnuri import RelayUri
from vnet.values import Address

__all__ = ["Legs"]

_MAXIMUM_LEGS = 24
_ELSEWHERE = "no relay can be at its address"


@define(eq=False, repr=False)
class Legs:
    """
    The legs, the newest last.

    @ivar _owner: gets their events.
    @ivar _accepts: whether a relay may be at this address.
    """

    _clock: IReactorTime
    _random: Callable[[int], bytes]
    _paths: Paths
    _udp: IDatagramPort
    _reach: RelayReach
    _owner: LegOwner
    _accepts: Callable[[Address], bool]
    _legs: dict[str, Leg] = field(factory=dict, init=False)
    _count: int = field(default=0, init=False)
    _lost: Counter[str] = field(factory=Counter, init=False)

    def __iter__(self) -> Iterator[Leg]:
        return iter(tuple(self._legs.values()))

    def __contains__(self, leg: Leg) -> bool:
        return leg.name in self._legs

    def dropped(self) -> Counter[str]:
        """
        What all legs that there were have dropped, by reason.
        """
        return sum((leg.dropped() for leg in self), Counter(self._lost))

    def of(self, host: str) -> list[Leg]:
        """
        The legs to one relay.
        """
        return [leg for leg in self if leg.uri.host == host]

    def moveToEnd(self, leg: Leg) -> None:
        """
        Let a leg be the last.
        """
        self._legs[leg.name] = self._legs.pop(leg.name)

    def drop(self, leg: Leg) -> None:
        """
        Close a leg.  May be called twice.
        """
        if self._legs.pop(leg.name, None) is not None:
            self._lost += leg.dropped()
        leg.close()
        self._paths.remove(leg.name)

    def open(self, relay: Relay, uri: RelayUri) -> None:
        """
        Try a way to a relay, unless it is tried or used already.
        """
        isUdp = uri.transport == "udp"
        # Of an ailing connection there may be another, but the UDP port has one address only.
        same = any(leg.uri == uri and (isUdp or not leg.isAiling) for leg in self)
        if same or len(self._legs) >= _MAXIMUM_LEGS:
            return
        leg = self._new(relay, uri)
        if isUdp:
            self._reach.resolve(uri.host).addCallbacks(
                lambda hosts: self._resolved(relay, leg, hosts),
                lambda failure: self._failed(leg, "its name does not resolve"),
            )
        elif isIPAddress(uri.host) or isIPv6Address(uri.host):
            self._connect(leg, self._accepts(Address(uri.host, uri.port)))
        else:
            self._connect(leg, True)

    def _new(self, relay: Relay, uri: RelayUri) -> Leg:
        self._count += 1
        name = f"r{self._count}"
        leg = Leg(
            name,
            uri,
            relay.credentials,
            self._clock,
            self._random,
            self._owner,
            self._udp.send,
            self._udp.sendTrains,
            self._udp.sendWhole,
        )
        self._legs[name] = leg
        return leg

    def _connect(self, leg: Leg, isAccepted: bool) -> None:
        if not isAccepted:
            self._failed(leg, _ELSEWHERE)
            return
        proxied = self._reach.isProxied(leg.uri)
        self._paths.add(leg.name, leg)
        try:
            leg.openStream(self._reach.connect(leg.uri), lambda address: proxied or self._accepts(address))
        except ValueError as error:
            self._failed(leg, str(error))

    def _resolved(self, relay: Relay, leg: Leg, hosts: Sequence[str]) -> None:
        """
        A relay's addresses are known: one of each family is tried.
        """
        if leg.isClosed:
            return
        taken = {each.server for each in self if each.uri.transport == "udp"}
        addresses = [Address(host, leg.uri.port) for host in hosts]
        good = [each for each in addresses if self._accepts(each) and each not in taken]
        families = {":" in each.host: each for each in reversed(good)}
        servers = [each for each in good if families[":" in each.host] is each]
        if not servers:
            self._failed(leg, _ELSEWHERE)
        for number, server in enumerate(servers):
            each = leg if number == 0 else self._new(relay, leg.uri)
            self._paths.add(each.name, each, server)
            each.openUdp(server)

    def _failed(self, leg: Leg, reason: str) -> None:
        if not leg.isClosed:
            self._owner.legEvent(leg, Unconnected(reason))
