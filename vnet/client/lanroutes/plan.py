# -*- test-case-name: vnet.test.test_lanroutes_plan -*-
"""
What of the prefixes that are wanted is possible, and what follows from that: values in, values out.
"""

from __future__ import annotations

from attrs import frozen

__all__ = ["Gateway"]


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
