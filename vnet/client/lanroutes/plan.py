# -*- test-case-name: vnet.test.test_lanroutes_plan -*-
"""
What of the prefixes that are wanted is possible, and what follows from that: values in, values out.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from ipaddress import ip_address

from attrs import field, frozen

from vnet.errors import DecodeError
from vnet.protocols.codec.prefix import Prefix, overlapping, sharablePrefix

__all__ = ["Connected", "Gateway", "Plan", "Surroundings", "Wish", "makePlan"]

_LOOPBACK = "lo"
# What may stand in a rule, and is one switch in /proc/sys.
_PLAIN_NAME = re.compile(r"(?!(?:all|default|\.|\.\.)$)[A-Za-z0-9_.@-]{1,15}")
_NO_FORWARDING6 = (
    "this computer does not forward IPv6: turn that on with 'sysctl -w net.ipv6.conf.all.forwarding=1'"
)


@frozen
class Gateway:
    """
    A member who shares prefixes.

    @ivar tunnelKey: 32 bytes of X25519.
    @ivar address: of it in the overlay, IPv4; C{address6}: IPv6.
    """

    tunnelKey: bytes
    address: str
    address6: str


@frozen
class Connected:
    """
    A network that this computer has an address in, or a route to.
    """

    prefix: Prefix
    interface: str


@frozen
class Surroundings:
    """
    What there is, beside the overlay.

    @ivar connected: without default routes, and without the virtual interface.
    @ivar forwards6: whether IPv6 is forwarded.
    @ivar needed: addresses outside the overlay that this node sends to, IP literals.
    """

    connected: Collection[Connected] = ()
    forwards6: bool = False
    needed: Collection[str] = ()


@frozen
class Wish:
    """
    What is wanted.

    @ivar overlay: the blocks of the members' addresses.
    """

    overlay: Collection[Prefix] = ()
    offered: Collection[str] = ()
    used: Mapping[Gateway, Collection[str]] = field(factory=dict)


@frozen
class Plan:
    """
    What is to be.

    @ivar shared: the prefixes that members may send to; C{lans}: the interfaces that these are at; C{places}: those of each.
    @ivar used: prefixes by tunnel key; C{routes}: the gateway to each.
    @ivar offerProblems: why others are not shared, by prefix.
    @ivar useProblems: why others are not used, by tunnel key and prefix.
    """

    shared: tuple[str, ...] = ()
    lans: tuple[str, ...] = ()
    used: Mapping[bytes, tuple[str, ...]] = field(factory=dict)
    routes: Mapping[str, str] = field(factory=dict)
    offerProblems: Mapping[str, str] = field(factory=dict)
    useProblems: Mapping[tuple[bytes, str], str] = field(factory=dict)
    places: Mapping[str, tuple[str, ...]] = field(factory=dict, eq=False)


def makePlan(wish: Wish, around: Surroundings) -> Plan:
    """
    Choose what is possible.  Of two prefixes that cannot be used together it is the first.
    """
    places: dict[str, tuple[str, ...]] = {}
    offerProblems: dict[str, str] = {}
    for text in wish.offered:
        try:
            prefix = sharablePrefix(text, wish.overlay)
            places[str(prefix)] = tuple(sorted(_lansOf(prefix, around)))
        except DecodeError as error:
            offerProblems[text] = str(error)
    uses = _Uses(wish, around)
    for gateway, prefixes in wish.used.items():
        for text in prefixes:
            uses.add(gateway, text)
    lans = {name for names in places.values() for name in names}
    return Plan(
        tuple(places),
        tuple(sorted(lans)),
        uses.allowed(),
        uses.routes(),
        offerProblems,
        uses.problems,
        places,
    )


def _lansOf(prefix: Prefix, around: Surroundings) -> set[str]:
    """
    @return: the interfaces behind which a prefix is.
    """
    if prefix.version == 6 and not around.forwards6:
        raise DecodeError(_NO_FORWARDING6)
    elsewhere = [each for each in around.connected if each.interface != _LOOPBACK]
    near = [each for each in elsewhere if overlapping(prefix, (each.prefix,)) is not None]
    # A route to more than that, such as to all of a company behind a VPN, is not the one that is taken.
    nearest = max(
        (each.prefix.prefixlen for each in near if each.prefix.prefixlen <= prefix.prefixlen), default=0
    )
    found = {each.interface for each in near if each.prefix.prefixlen >= nearest}
    if not found:
        raise DecodeError(
            f"this computer is not connected to {prefix}: it has no address there, and no route to it"
        )
    for name in found:
        if not _PLAIN_NAME.fullmatch(name):
            raise DecodeError(f"the interface {name!r} has a name that the firewall does not take")
    return found


class _Uses:
    """
    The prefixes of others, as far as they get on with what is here.
    """

    def __init__(self, wish: Wish, around: Surroundings) -> None:
        self._overlay = wish.overlay
        self._around = around
        self._needed = [ip_address(each) for each in around.needed]
        self._used: dict[Prefix, Gateway] = {}
        self.problems: dict[tuple[bytes, str], str] = {}

    def add(self, gateway: Gateway, text: str) -> None:
        try:
            prefix = sharablePrefix(text, self._overlay)
            self._refuseOwn(prefix)
            self._refuseOthers(prefix, gateway)
        except DecodeError as error:
            self.problems[gateway.tunnelKey, text] = str(error)
        else:
            self._used[prefix] = gateway

    def _refuseOwn(self, prefix: Prefix) -> None:
        for each in self._around.connected:
            if overlapping(prefix, (each.prefix,)) is not None:
                raise DecodeError(
                    f"{prefix} overlaps {each.prefix} on {each.interface}, a network of this computer"
                )
        for address in self._needed:
            if address in prefix:
                raise DecodeError(f"{prefix} holds {address}, which this node needs for the overlay itself")

    def _refuseOthers(self, prefix: Prefix, gateway: Gateway) -> None:
        others = [each for each, other in self._used.items() if other.tunnelKey != gateway.tunnelKey]
        found = overlapping(prefix, others)
        if found is not None:
            address = self._used[found].address
            raise DecodeError(f"{prefix} overlaps {found}, which this node uses from {address}")

    def allowed(self) -> dict[bytes, tuple[str, ...]]:
        found: dict[bytes, tuple[str, ...]] = {}
        for prefix, gateway in self._used.items():
            found[gateway.tunnelKey] = (*found.get(gateway.tunnelKey, ()), str(prefix))
        return found

    def routes(self) -> dict[str, str]:
        return {
            str(prefix): gateway.address if prefix.version == 4 else gateway.address6
            for prefix, gateway in self._used.items()
        }
