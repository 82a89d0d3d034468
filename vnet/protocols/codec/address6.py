# -*- test-case-name: vnet.test.test_addresses -*-
"""
The IPv6 address of a node: its mediator's unique local /48 (RFC 4193), and 80 bits of a hash of the node's key.

So each node can see for itself that an address belongs to a key.
"""

from __future__ import annotations

import hashlib
from ipaddress import IPv6Address

__all__ = ["address6Of"]


def address6Of(prefix6: bytes, key: bytes) -> IPv6Address:
    """
    @param prefix6: the first 6 bytes of the mediator's block.
    @param key: a node's Ed25519 public key, 32 bytes.
    @return: its IPv6 address.
    """
    return IPv6Address(prefix6 + hashlib.blake2b(key, digest_size=10, person=b"vnet-address6").digest())
