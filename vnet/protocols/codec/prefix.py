# -*- test-case-name: vnet.test.test_prefix -*-
"""
Prefixes of LANs that members share: which may be shared, and in which form they are written.

The one form of a prefix is that of RFC 4632 section 3.1 or RFC 4291 section 2.3, compressed (RFC 5952), with no bit set that does
not belong to the network: C{192.168.7.0/24}.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from vnet.errors import DecodeError

__all__ = ["LONGEST_TEXT", "Prefix", "overlapping", "parsePrefix", "sharablePrefix"]

Prefix = IPv4Network | IPv6Network

LONGEST_TEXT = 64
"""Characters of a text that is looked at."""

_SHORTEST = {4: 8, 6: 32}

_NEVER = tuple(
    (ip_network(prefix), what)
    for prefix, what in (
        ("0.0.0.0/8", "which means 'this network'"),
        ("127.0.0.0/8", "which is loopback"),
        ("169.254.0.0/16", "which is link-local"),
        ("224.0.0.0/4", "which is multicast"),
        ("240.0.0.0/4", "which is reserved"),
        ("::/96", "which holds loopback"),
        ("::ffff:0:0/96", "which stands for IPv4"),
        ("fe80::/10", "which is link-local"),
        ("ff00::/8", "which is multicast"),
    )
)


def parsePrefix(text: str) -> Prefix:
    """
    Read a prefix; an address alone is a prefix that holds it alone.

    @raise DecodeError: it is none, or has bits set that do not belong to the network; the text says which it should be.
    """
    address, slash, length = text.strip().partition("/")
    isNumber = length.isascii() and length.isdigit() and len(length) <= 3
    if len(text) > LONGEST_TEXT or "%" in text or not (isNumber or not slash):
        raise _noPrefix(text)
    try:
        network = ip_network(text.strip(), strict=False)
    except ValueError:
        raise _noPrefix(text) from None
    if ip_address(address) != network.network_address:
        raise DecodeError(
            f"{address}/{length} is an address of a network, not the network: that is {network}"
        )
    return network


def _noPrefix(text: str) -> DecodeError:
    return DecodeError(f"{text[:LONGEST_TEXT]!r} is no prefix such as 192.168.7.0/24")


def sharablePrefix(text: str, overlay: Iterable[Prefix] = ()) -> Prefix:
    """
    Read a prefix that a member may share.

    @param overlay: the blocks from which members have their addresses.
    @raise DecodeError: nobody may share it; the text says why.
    """
    prefix = parsePrefix(text)
    shortest = _SHORTEST[prefix.version]
    if prefix.prefixlen < shortest:
        raise DecodeError(f"{prefix} is too large: at most a /{shortest} is shared")
    for never, what in _NEVER:
        if overlapping(prefix, (never,)) is not None:
            raise DecodeError(f"{prefix} overlaps {never}, {what}")
    taken = overlapping(prefix, overlay)
    if taken is not None:
        raise DecodeError(f"{prefix} overlaps {taken}, from which members have their addresses")
    return prefix


def overlapping(prefix: Prefix, others: Iterable[Prefix]) -> Prefix | None:
    """
    @return: the first of the others that has an address in common with a prefix.
    """
    return next((each for each in others if each.version == prefix.version and each.overlaps(prefix)), None)
