# -*- test-case-name: vnet.test.test_gateway -*-
"""
The router of this computer: the gateway of the IPv4 default route (C{/proc/net/route}, proc_net(5)).
"""

from __future__ import annotations

import re
import sys
from ipaddress import IPv4Address
from pathlib import Path

from attrs import frozen

__all__ = ["Gateway", "defaultGateway", "parseRoutes"]

_ROUTES = Path("/proc/thread-self/net/route")
# linux/route.h
_UP, _GATEWAY = 0x1, 0x2
_LINE = re.compile(
    r"(\S+)\t00000000\t([0-9A-F]{8})\t([0-9A-F]{4})\t\d+\t\d+\t(\d{1,10})\t00000000\t.*", re.ASCII
)


@frozen
class Gateway:
    """
    Where the default route leads.

    @ivar host: dotted IPv4.
    @ivar interface: the name of the interface towards it.
    """

    host: str
    interface: str


def parseRoutes(text: str) -> Gateway | None:
    """
    Read the kernel's table.

    @return: the gateway of the default route that counts, the one of the lowest metric; L{None} without one.
    """
    found: list[tuple[int, Gateway]] = []
    for line in text.splitlines():
        match = _LINE.fullmatch(line.rstrip())
        if match is None or int(match[3], 16) & (_UP | _GATEWAY) != _UP | _GATEWAY:
            continue
        # Bytes in the order of the network, printed as a number of this computer's.
        host = IPv4Address(int(match[2], 16).to_bytes(4, sys.byteorder))
        if not (host.is_loopback or host.is_multicast or host.is_unspecified or host.is_reserved):
            found.append((int(match[4]), Gateway(str(host), match[1])))
    return min(found, key=lambda each: each[0])[1] if found else None


def defaultGateway(path: Path = _ROUTES) -> Gateway | None:
    """
    @return: the router now; L{None} when there is none, or the system does not tell.
    """
    try:
        return parseRoutes(path.read_text(encoding="ascii", errors="replace"))
    except OSError:
        return None
