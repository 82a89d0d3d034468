# -*- test-case-name: vnet.test.test_natbehaviour -*-
"""
What answers of STUN servers say about a NAT, in the words of RFC 4787.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from ipaddress import IPv4Network, ip_address
from itertools import combinations

from vnet.values import Address

__all__ = [
    "ADDRESS_AND_PORT_DEPENDENT",
    "ADDRESS_DEPENDENT",
    "ENDPOINT_INDEPENDENT",
    "filteringOf",
    "inside",
    "isShared",
    "mappingOf",
]

ENDPOINT_INDEPENDENT = "endpoint-independent"
ADDRESS_DEPENDENT = "address-dependent"
ADDRESS_AND_PORT_DEPENDENT = "address-and-port-dependent"

_CARRIER = IPv4Network("100.64.0.0/10")
_INSIDE = (
    _CARRIER,
    *(IPv4Network(each) for each in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16")),
)
# Ports of a subscriber: no carrier gives more.
_LARGEST_BLOCK = 8192


def mappingOf(seen: Mapping[Address, Address]) -> str | None:
    """
    How the mapping of one socket depends on the destination (RFC 5780 section 4.3).

    @param seen: the external address that each server sees.
    @return: L{None} when the servers cannot tell: two that have one address see no other dependence than that on the port.
    """
    pairs = list(combinations(seen.items(), 2))
    sameHost = [mine == theirs for (one, mine), (two, theirs) in pairs if one.host == two.host]
    otherHost = [mine == theirs for (one, mine), (two, theirs) in pairs if one.host != two.host]
    if not all(sameHost):
        return ADDRESS_AND_PORT_DEPENDENT
    if not all(otherHost):
        return ADDRESS_DEPENDENT if sameHost else None
    return ENDPOINT_INDEPENDENT if otherHost else None


def filteringOf(otherAddress: bool | None, otherPort: bool | None) -> str | None:
    """
    What may come back in to a socket that has sent to one address and port (RFC 5780 section 4.4).

    @param otherAddress: whether an answer came from another address; L{None} when no server sends from another.
    @param otherPort: whether an answer came from another port of the same address.
    @return: where no server sends from another address, the stricter of what is possible.
    """
    if otherAddress:
        return ENDPOINT_INDEPENDENT
    if otherPort:
        return ADDRESS_DEPENDENT
    return None if otherPort is None else ADDRESS_AND_PORT_DEPENDENT


def inside(host: str) -> bool:
    """
    Whether an IPv4 address is one of a home or of a carrier's network.
    """
    address = ip_address(host)
    return address.version == 4 and any(address in network for network in _INSIDE)


def isShared(
    natted: bool | None,
    hosts: Collection[str],
    public: Collection[str],
    ports: tuple[int, int] | None,
    routers: str | None = None,
) -> bool | None:
    """
    Whether a carrier's NAT shares the public address among its subscribers.

    @param hosts: this computer's addresses.
    @param public: the public IPv4 addresses that were seen.
    @param ports: the block of ports, if there is one.
    @param routers: the external address that a router named.
    @return: L{None} when there is no sign.
    """
    if natted is None or not natted:
        return natted
    own = [address for address in map(ip_address, hosts) if address.version == 4 and not address.is_loopback]
    carried = bool(own) and all(address in _CARRIER for address in own)
    narrow = ports is not None and ports[1] - ports[0] <= _LARGEST_BLOCK
    if carried or narrow or len(public) > 1:
        return True
    if routers is None or not public:
        return None
    return routers not in public
