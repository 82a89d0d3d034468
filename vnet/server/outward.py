# -*- test-case-name: vnet.test.test_relaytap -*-
"""
The addresses from which this host reaches the Internet.
"""

from __future__ import annotations

import contextlib
import socket
from ipaddress import ip_address

__all__ = ["guessHost", "outwardAddresses"]

#: Of documentation (RFC 5737, RFC 3849): where the default route leads, and nobody is.
_TARGETS = {4: (socket.AF_INET, "192.0.2.1"), 6: (socket.AF_INET6, "2001:db8::1")}


def outwardAddresses() -> dict[int, str]:
    """
    The address of each family (4, 6) that this host would send from; nothing is sent.
    """
    found: dict[int, str] = {}
    for version, (family, target) in _TARGETS.items():
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((target, 9))
            host = str(probe.getsockname()[0]).partition("%")[0]
            if not (ip_address(host).is_unspecified or ip_address(host).is_link_local):
                found[version] = host
    return found


def guessHost() -> str:
    """
    What others may reach this host by: an address, or else its name.
    """
    found = outwardAddresses()
    return next(iter(found.values()), socket.gethostname().lower() or "localhost")
