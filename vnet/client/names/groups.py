# -*- test-case-name: vnet.test.test_names_multicast -*-
"""
The groups of multicast DNS (RFC 6762 section 3).
"""

from __future__ import annotations

from ipaddress import ip_address

from vnet.protocols.codec.ethernet import multicastMac6

__all__ = ["GROUP4", "GROUP4_MAC", "GROUP6", "GROUP6_MAC", "isToGroup"]

GROUP4, GROUP6 = ip_address("224.0.0.251").packed, ip_address("ff02::fb").packed
GROUP4_MAC, GROUP6_MAC = b"\x01\x00\x5e\x00\x00\xfb", multicastMac6(GROUP6)


def isToGroup(frame: bytes) -> bool:
    """
    @return: whether an Ethernet frame goes to one of them.
    """
    return frame[:6] in (GROUP4_MAC, GROUP6_MAC)
