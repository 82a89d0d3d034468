# -*- test-case-name: vnet.test.test_links -*-
"""
Which addresses of this computer peers may reach, and which routes an overlay would collide with.
"""

from __future__ import annotations

import socket
from collections.abc import Collection, Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import attrs

from vnet.interfaceaddresses import InterfaceAddress, interfaceAddresses
from vnet.rtnetlink import RouteSocket

__all__ = ["Overlap", "connectedNetworks", "hasLeft", "overlappingRoute", "reachable"]

_UNICAST, _TABLE_LOCAL = 1, 255
#: Halves of everything are how some tunnels replace the default route.
_AS_GOOD_AS_DEFAULT = 1
_DISCARD = 9

_Network = IPv4Network | IPv6Network


@attrs.frozen
class Overlap:
    """
    What overlaps a block.

    @ivar prefix: the other network, CIDR.
    @ivar interface: where it is.
    """

    prefix: str
    interface: str


def reachable(
    addresses: Iterable[InterfaceAddress],
    excludedInterfaces: Collection[str] = (),
    excludedPrefixes: Iterable[str] = (),
) -> list[str]:
    """
    The addresses at which a peer may be able to reach this computer (RFC 8445 section 5.1.1.1): an IPv6 address
    that allows tracking is left out where its interface has a temporary one of the same network.

    @param excludedInterfaces: names of interfaces that do not count, the overlay's own.
    @param excludedPrefixes: networks that do not count, CIDR.
    """
    excluded = [ip_network(prefix) for prefix in excludedPrefixes]
    candidates = [
        each
        for each in addresses
        if each.up
        and each.usable
        and not each.loopback
        and each.interface not in excludedInterfaces
        and _isRoutable(each.address, excluded)
    ]
    private = {(each.interface, each.prefix) for each in candidates if each.temporary}
    found = [
        each.address for each in candidates if each.temporary or (each.interface, each.prefix) not in private
    ]
    return list(dict.fromkeys(found))


def hasLeft(own: str, far: str) -> bool:
    """
    Whether a connection will never carry anything again: the computer has not its address any more, or would use another
    one towards the other end now.  What leaves by a new interface with an old address gets no answer.

    @param own: the connection's IP address at this end.
    @param far: at the other end; empty where that is not known.
    """
    family = socket.AF_INET6 if ":" in own else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as asked:
        try:
            asked.bind((own, 0))
        except OSError:
            return True
    # Of several IPv6 addresses on one link another may be preferred each day.
    if not far or family == socket.AF_INET6 or ":" in far:
        return False
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as asked:
        try:
            # Nothing is sent.
            asked.connect((far, _DISCARD))
        except OSError:
            # There is no network now: it may come back as it was.
            return False
        return bool(asked.getsockname()[0] != own)


def _isRoutable(text: str, excluded: Iterable[_Network]) -> bool:
    address = ip_address(text)
    if address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified:
        return False
    return not any(address in network for network in excluded)


def overlappingRoute(prefix: str, excluding: Collection[str] = ()) -> Overlap | None:
    """
    A route or address of this computer that a block would collide with.  A default route does not count, nor the two
    halves of everything that stand for one.

    @param prefix: the block, CIDR.
    @param excluding: names of interfaces that do not count.
    @raise OSError: the system does not tell.
    """
    block = ip_network(prefix)
    return next(
        (each for each in connectedNetworks(excluding) if _overlaps(block, ip_network(each.prefix))), None
    )


def connectedNetworks(excluding: Collection[str] = ()) -> list[Overlap]:
    """
    The networks of this computer's addresses, and those that it has routes to; default routes, and the two halves of everything
    that stand for one, are none.

    @param excluding: names of interfaces that do not count.
    @raise OSError: the system does not tell.
    """
    found = [Overlap(each.prefix, each.interface) for each in interfaceAddresses()]
    for version in (4, 6):
        found += _routes(version)
    return [each for each in found if each.interface not in excluding]


def _overlaps(one: _Network, other: _Network) -> bool:
    if isinstance(one, IPv4Network):
        return isinstance(other, IPv4Network) and one.overlaps(other)
    return isinstance(other, IPv6Network) and one.overlaps(other)


def _routes(version: int) -> list[Overlap]:
    """
    The routes to networks; several when one has several next hops.
    """
    with RouteSocket() as kernel:
        names = {link.index: link.name for link in kernel.links()}
        routes = kernel.routes(version)
    found = []
    for route in routes:
        if route.kind != _UNICAST or route.table == _TABLE_LOCAL:
            continue
        if route.prefixLength <= _AS_GOOD_AS_DEFAULT or not route.destination:
            continue
        prefix = f"{route.destination}/{route.prefixLength}"
        found += [Overlap(prefix, names.get(hop, "no interface")) for hop in route.hops or (0,)]
    return found
