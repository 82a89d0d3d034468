# -*- test-case-name: vnet.test.test_portprobe -*-
"""
The datagram by which a node learns whether its UDP port is reached from outside.
"""

from __future__ import annotations

import socket

from vnet.protocols.codec.stun import BINDING, Class, Message, encode
from vnet.values import Address

__all__ = ["probePort"]


def probePort(address: Address, token: bytes) -> None:
    """
    Send one STUN Binding indication, from a port that nobody knows: a NAT lets it in only if it lets in anybody.

    @param token: its transaction id, 12 bytes.
    @raise OSError: it cannot be sent.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as fresh:
        fresh.setblocking(False)
        fresh.sendto(encode(Message(BINDING, Class.INDICATION, token)), (address.host, address.port))
