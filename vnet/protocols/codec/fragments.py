# -*- test-case-name: vnet.test.test_fragments -*-
"""
Fragments of an IPv4 packet (RFC 791 section 3.2)::

    +---------------------+-----+-----+-----+---------------------------+
    | identification (16) |  0  | DF  | MF  | offset, units of 8 bytes  |
    +---------------------+-----+-----+-----+---------------------------+
"""

from __future__ import annotations

from vnet.protocols.codec.ip import checksum

__all__ = ["fragment", "mayBeFragmented"]

_HEADER = 20
_MORE = 0x2000


def mayBeFragmented(packet: bytes) -> bool:
    """
    Whether L{fragment} takes a packet: IPv4 without options whose sender allows it.
    """
    return len(packet) > _HEADER and packet[0] == 0x45 and not packet[6] & 0x40


def fragment(packet: bytes, mtu: int) -> list[bytes]:
    """
    Cut a packet, which may be a fragment itself.

    @param packet: see L{mayBeFragmented}; its checksums are finished.
    @param mtu: bytes of a fragment at most, 28 or more.
    """
    header, payload = bytearray(packet[:_HEADER]), packet[_HEADER : packet[2] << 8 | packet[3]]
    field = packet[6] << 8 | packet[7]
    step = (mtu - _HEADER) // 8 * 8
    fragments: list[bytes] = []
    for start in range(0, len(payload), step):
        part = payload[start : start + step]
        isLast = start + step >= len(payload)
        header[2:4] = (_HEADER + len(part)).to_bytes(2, "big")
        header[6:8] = (field + start // 8 | (0 if isLast else _MORE)).to_bytes(2, "big")
        header[10:12] = bytes(2)
        header[10:12] = checksum(bytes(header)).to_bytes(2, "big")
        fragments.append(bytes(header) + part)
    return fragments
