# -*- test-case-name: vnet.test.test_linkscope -*-
"""
What concerns one link alone: who routes, who has which address, who listens to which group.  Nothing of it crosses the tunnel.

=============  =======================================================================================
C{dhcp}        UDP to port 67 or 68 (RFC 2131), 546 or 547 (RFC 8415)
C{discovery}   ICMPv6 133 to 137: routers, neighbours, redirects (RFC 4861); 151 to 153 (RFC 4286)
C{redirect}    ICMP 5 (RFC 792)
C{routers}     ICMP 9 and 10 (RFC 1256)
C{listeners}   IGMP (RFC 3376); ICMPv6 130 to 132 and 143 (MLD, RFC 3810)
C{sourceRoute} IPv4 with the options 131 and 137
=============  =======================================================================================
"""

from __future__ import annotations

from vnet.errors import DecodeError
from vnet.protocols.codec.ip import FRAGMENT6, ICMP, ICMP6, UDP, decodeIp, upperLayer6

__all__ = ["DHCP4", "DHCP6", "concernsLink"]

DHCP4 = frozenset((b"\0\x43", b"\0\x44"))
DHCP6 = frozenset((b"\x02\x22", b"\x02\x23"))
"""Destination ports, as they stand in a packet."""

_IGMP = 2
_NO_NEXT = 59
_REDIRECT = 5
_ROUTERS = (9, 10)
_DISCOVERY = frozenset((*range(133, 138), *range(151, 154)))
_LISTENERS = frozenset((*range(130, 133), 143))
_SOURCE_ROUTES = (131, 137)
_END, _NO_OPERATION = 0, 1


def concernsLink(packet: bytes) -> str:
    """
    Look at an IP packet.

    @return: one of the words above; empty: it may cross.
    @raise DecodeError: it is malformed, or the first of several fragments that hides what it is about (RFC 7112).
    """
    header = decodeIp(packet)
    if header.version == 6:
        return _concernsLink6(packet)
    if header.headerLength > 20 and _isSourceRouted(packet[20 : header.headerLength]):
        return "sourceRoute"
    if header.protocol == _IGMP:
        return "listeners"
    if header.fragmentOffset:
        return ""
    start = header.headerLength
    if header.protocol == UDP:
        return "dhcp" if packet[start + 2 : start + 4] in DHCP4 else ""
    if header.protocol == ICMP and header.totalLength > start:
        kind = packet[start]
        if kind == _REDIRECT:
            return "redirect"
        return "routers" if kind in _ROUTERS else ""
    return ""


def _concernsLink6(packet: bytes) -> str:
    protocol, start = upperLayer6(packet)
    if protocol in (FRAGMENT6, _NO_NEXT):
        return ""
    if start >= len(packet):
        raise DecodeError("an IPv6 packet that ends before its payload")
    if protocol == ICMP6:
        kind = packet[start]
        if kind in _DISCOVERY:
            return "discovery"
        return "listeners" if kind in _LISTENERS else ""
    return "dhcp" if protocol == UDP and packet[start + 2 : start + 4] in DHCP6 else ""


def _isSourceRouted(options: bytes) -> bool:
    place = 0
    while place < len(options) and options[place] != _END:
        if options[place] in _SOURCE_ROUTES:
            return True
        if options[place] == _NO_OPERATION:
            place += 1
            continue
        length = options[place + 1] if place + 1 < len(options) else 0
        if length < 2:
            raise DecodeError("an option of IPv4 that does not fit")
        place += length
    return False
