# -*- test-case-name: vnet.test.test_names_zone -*-
"""
Reverse names of addresses, and the zones that they are in.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

__all__ = ["addressIn", "reverseZones"]

_REVERSE4, _REVERSE6 = ["in-addr", "arpa"], ["ip6", "arpa"]


def reverseZones(pool: str, pool6: str) -> tuple[str, ...]:
    """
    The zones that together hold the reverse names of two blocks, and nothing else.

    @param pool: IPv4, /8 to /24; C{pool6}: IPv6, of a length that four divides.
    """
    network, network6 = IPv4Network(pool), IPv6Network(pool6)
    octets = -(-network.prefixlen // 8)
    zones = [
        ".".join([*str(each.network_address).split(".")[octets - 1 :: -1], *_REVERSE4])
        for each in network.subnets(new_prefix=octets * 8)
    ]
    nibbles = network6.network_address.exploded.replace(":", "")[: network6.prefixlen // 4]
    return (*zones, ".".join([*reversed(nibbles), *_REVERSE6]))


def addressIn(name: str) -> str | None:
    """
    @return: the address whose reverse name this is (RFC 1035 section 3.5, RFC 3596 section 2.5).
    """
    labels = name.split(".")
    kind, digits = labels[-2:], labels[-3::-1]
    try:
        if kind == _REVERSE4 and len(digits) == 4:
            return str(IPv4Address(".".join(digits)))
        if kind == _REVERSE6 and len(digits) == 32 and all(len(digit) == 1 for digit in digits):
            return str(IPv6Address(int("".join(digits), 16)))
    except ValueError:
        pass
    return None
