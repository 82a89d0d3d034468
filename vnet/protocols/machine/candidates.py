# -*- test-case-name: vnet.test.test_candidates -*-
"""
The candidates of a node that has one UDP socket (RFC 8445 section 5.1).

The socket is bound to the wildcard address, so each address of the computer with the socket's port is a
host candidate, and what a STUN server sees is a server-reflexive one.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from hashlib import blake2b
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from vnet.values import Address, Candidate

__all__ = ["LIMIT", "checkable", "gather", "isPublic", "pairPriority", "priority", "relayable"]

LIMIT = 32
"""Candidates of one node."""

_HOSTS = 24
_REFLEXIVE = 4
_OPENED = 2

_TYPE_PREFERENCE = {"host": 126, "prflx": 110, "srflx": 100, "relay": 0}
_HIGHEST = 65535

_SITE_LOCAL = ip_network("fec0::/10")
_UNIQUE_LOCAL = ip_network("fc00::/7")
_CARRIER = ip_network("100.64.0.0/10")
_INSIDE = tuple(
    ip_network(each) for each in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16")
)
_RELAYED = 4


def priority(kind: str, localPreference: int = _HIGHEST) -> int:
    """
    The priority of a candidate (RFC 8445 section 5.1.2.1) of the only component.

    @param localPreference: 0 to 65535.
    """
    return (_TYPE_PREFERENCE[kind] << 24) + (localPreference << 8) + 255


def pairPriority(controlling: int, controlled: int) -> int:
    """
    The priority of a pair (RFC 8445 section 6.1.2.3).

    @param controlling: the priority of the controlling side's candidate.
    @param controlled: that of the other side's.
    """
    least, most = sorted((controlling, controlled))
    return (least << 32) + 2 * most + (controlling > controlled)


def checkable(address: Address) -> bool:
    """
    Whether checks may be sent to an address that a peer named: not loopback, multicast, broadcast,
    unspecified, port 0, an IPv6 link-local address, which means nothing without an interface, or one that holds an IPv4
    address (C{::ffff:0:0/96}), which the system takes for that.
    """
    try:
        host = ip_address(address.host)
    except ValueError:
        return False
    return 1 <= address.port <= 65535 and _reachable(host)


def relayable(candidate: Candidate) -> bool:
    """
    Whether a relay may reach a candidate of a peer: not one inside of a home or a carrier's network.
    """
    return candidate.kind == "relay" or isPublic(candidate.address.host)


def isPublic(text: str) -> bool:
    """
    Whether an IP literal, of a host that can be reached at all, is none inside of a home or a carrier's network.
    """
    host = ip_address(text)
    if isinstance(host, IPv6Address):
        return host not in _UNIQUE_LOCAL
    return host not in _CARRIER and not any(host in network for network in _INSIDE)


def gather(
    hosts: Iterable[str],
    port: int,
    mapped: Iterable[Address] = (),
    relayed: Iterable[Address] = (),
    opened: Iterable[Address] = (),
) -> tuple[Candidate, ...]:
    """
    Make the candidates of a node, the best first.

    A public address is a candidate also with the socket's own port, last of all: a router may forward that
    port.

    @param hosts: the addresses of this computer; those that no peer can reach are left out.
    @param port: the port of the socket.
    @param mapped: what STUN servers saw.
    @param relayed: where relays relay for us.
    @param opened: where a router takes datagrams for the socket because it was asked to (PCP, NAT-PMP, UPnP).
    @return: at most L{LIMIT}, no address twice.
    """
    known = sorted({ip_address(host) for host in hosts}, key=_rank)
    bases = [str(host) for host in known if _reachable(host)][:_HOSTS]
    found: dict[Address, Candidate] = {}
    for index, host in enumerate(bases):
        _add(found, "host", Address(host, port), _HIGHEST - index, host)
    seen = [each for each in dict.fromkeys(mapped) if checkable(each)][:_REFLEXIVE]
    forwarded = dict.fromkeys(Address(each.host, port) for each in seen)
    ours = [each for each in dict.fromkeys(opened) if checkable(each)][:_OPENED]
    for index, address in enumerate(dict.fromkeys([*ours, *seen, *forwarded])):
        _add(found, "srflx", address, _HIGHEST - index, _baseOf(address, bases))
    relays = [each for each in dict.fromkeys(relayed) if checkable(each)][:_RELAYED]
    for index, address in enumerate(relays):
        _add(found, "relay", address, _HIGHEST - index, address.host)
    direct = [each for each in found.values() if each.kind != "relay"][: LIMIT - len(relays)]
    return (*direct, *(each for each in found.values() if each.kind == "relay"))


def _add(found: dict[Address, Candidate], kind: str, address: Address, preference: int, base: str) -> None:
    if address not in found:
        found[address] = Candidate(kind, address, priority(kind, preference), _foundation(kind, base))


def _foundation(kind: str, base: str) -> str:
    """
    RFC 8445 section 5.1.1.3: equal for equal type and base.
    """
    return b64encode(blake2b(f"{kind} {base}".encode(), digest_size=6).digest()).decode("ascii")


def _baseOf(address: Address, bases: list[str]) -> str:
    return next((base for base in bases if (":" in base) == (":" in address.host)), "")


def _reachable(host: IPv4Address | IPv6Address) -> bool:
    if isinstance(host, IPv6Address):
        isNowhere = host.is_link_local or host in _SITE_LOCAL or host.scope_id or host.ipv4_mapped
        if isNowhere:
            return False
    # 240/4 holds the broadcast address.
    return not (host.is_loopback or host.is_multicast or host.is_unspecified or host in _RESERVED)


_RESERVED = ip_network("240.0.0.0/4")


def _rank(host: IPv4Address | IPv6Address) -> tuple[int, int, int]:
    """
    Addresses of a LAN first: a pair of them is the shortest path, and the quickest to try.
    """
    if isinstance(host, IPv6Address):
        order = 1 if host in _UNIQUE_LOCAL else 2
    else:
        order = 4 if host.is_link_local else 3 if host in _CARRIER else 0 if host.is_private else 2
    return order, -host.version, int(host)
