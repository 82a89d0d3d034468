# -*- test-case-name: vnet.test.test_fragments -*-
"""
Fragments of an IP packet: IPv4 (RFC 791 section 3.2)::

    +---------------------+-----+-----+-----+---------------------------+
    | identification (16) |  0  | DF  | MF  | offset, units of 8 bytes  |
    +---------------------+-----+-----+-----+---------------------------+

and IPv6 (RFC 8200 section 4.5), between the header and the rest::

    +-------------+----------+-----------------------------+------+-----+---------------------+
    | next header | reserved |  offset, units of 8 bytes   |  00  |  M  | identification (32) |
    +-------------+----------+-----------------------------+------+-----+---------------------+
"""

from __future__ import annotations

from vnet.protocols.codec.ip import FRAGMENT6, ICMP6, TCP, UDP, checksum

__all__ = ["fragment", "fragmentOwn", "mayBeFragmented"]

_HEADER4, _HEADER6, _EXTENSION = 20, 40, 8
_MORE = 0x2000
_PLAIN = (TCP, UDP, ICMP6)


def mayBeFragmented(packet: bytes) -> bool:
    """
    Whether L{fragment} takes a packet: IPv4 without options whose sender allows it.
    """
    return len(packet) > _HEADER4 and packet[0] == 0x45 and not packet[6] & 0x40


def fragment(packet: bytes, mtu: int) -> list[bytes]:
    """
    Cut a packet, which may be a fragment itself.

    @param packet: see L{mayBeFragmented}; its checksums are finished.
    @param mtu: bytes of a fragment at most, 28 or more.
    """
    header, payload = bytearray(packet[:_HEADER4]), packet[_HEADER4 : packet[2] << 8 | packet[3]]
    field = packet[6] << 8 | packet[7]
    fragments: list[bytes] = []
    for start, part, more in _parts(payload, mtu - _HEADER4):
        header[2:4] = (_HEADER4 + len(part)).to_bytes(2, "big")
        header[6:8] = (field + start // 8 | (_MORE if more else 0)).to_bytes(2, "big")
        header[10:12] = bytes(2)
        header[10:12] = checksum(bytes(header)).to_bytes(2, "big")
        fragments.append(bytes(header) + part)
    return fragments


def fragmentOwn(packet: bytes, mtu: int, identification: int) -> list[bytes]:
    """
    Cut a packet of this computer's own that nobody else may cut.

    @param packet: its checksums are finished.
    @param mtu: bytes of a fragment at most, 56 or more.
    @param identification: 32 bits that are not the same soon again between these two computers.
    @return: the packet itself where it cannot be done: options, extension headers, a fragment, a length that does not fit.
    """
    if len(packet) > _HEADER4 and packet[0] == 0x45 and not packet[6] & 0xBF and not packet[7]:
        number = (identification & 0xFFFF).to_bytes(2, "big")
        return fragment(packet[:4] + number + bytes(2) + packet[8:], mtu)
    size = (packet[4] << 8 | packet[5]) + _HEADER6
    if packet[0] >> 4 != 6 or packet[6] not in _PLAIN or size > len(packet):
        return [packet]
    kind, rest = bytes((packet[6], 0)), packet[7:_HEADER6]
    number = identification.to_bytes(4, "big")
    fragments: list[bytes] = []
    for start, part, more in _parts(packet[_HEADER6:size], mtu - _HEADER6 - _EXTENSION):
        length = (len(part) + _EXTENSION).to_bytes(2, "big")
        head = packet[:4] + length + bytes((FRAGMENT6,)) + rest
        fragments.append(head + kind + (start | more).to_bytes(2, "big") + number + part)
    return fragments


def _parts(payload: bytes, room: int) -> list[tuple[int, bytes, bool]]:
    """
    Where each part begins, the part, and whether more follow.
    """
    step = room // 8 * 8
    starts = range(0, len(payload), step)
    return [(start, payload[start : start + step], start + step < len(payload)) for start in starts]
