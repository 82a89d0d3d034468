# -*- test-case-name: vnet.test.test_arp -*-
"""
Address resolution for IPv4 on Ethernet (RFC 826), the payload of ether type 0x0806::

    0        2        4    5    6           8            14          18           24          28
    +--------+--------+----+----+-----------+------------+-----------+------------+-----------+
    | 1      | 0x0800 | 6  | 4  | operation | sender MAC | sender IP | target MAC | target IP |
    +--------+--------+----+----+-----------+------------+-----------+------------+-----------+
"""

from __future__ import annotations

from struct import Struct

import attrs

from vnet.errors import DecodeError

__all__ = ["REPLY", "REQUEST", "ArpPacket", "decodeArp", "encodeArp"]

REQUEST = 1
REPLY = 2

_packet = Struct("!8s6s4s6s4s")
_PREFIX = bytes.fromhex("000108000604")


@attrs.frozen
class ArpPacket:
    """
    An ARP packet.

    @ivar operation: L{REQUEST} or L{REPLY}, or another of 0 to 65535.
    @ivar senderAddress: packed IPv4; all zero in a probe (RFC 5227).
    """

    operation: int
    senderMac: bytes
    senderAddress: bytes
    targetMac: bytes
    targetAddress: bytes


def decodeArp(payload: bytes) -> ArpPacket:
    """
    Read an ARP packet; padding after it is allowed.

    @raise DecodeError: it is truncated, or not of IPv4 on Ethernet.
    """
    if len(payload) < _packet.size:
        raise DecodeError("a truncated ARP packet")
    head, *rest = _packet.unpack_from(payload)
    if head[:6] != _PREFIX:
        raise DecodeError("ARP, but not of IPv4 on Ethernet")
    return ArpPacket(int.from_bytes(head[6:], "big"), *rest)


def encodeArp(packet: ArpPacket) -> bytes:
    """
    Write an ARP packet, 28 bytes.
    """
    head = _PREFIX + packet.operation.to_bytes(2, "big")
    return _packet.pack(head, packet.senderMac, packet.senderAddress, packet.targetMac, packet.targetAddress)
