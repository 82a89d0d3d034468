# -*- test-case-name: vnet.test.test_ip -*-
"""
The headers of IPv4 (RFC 791 section 3.1) and IPv6 (RFC 8200 section 3), as far as a tunnel looks at them::

    0               4               8               12        16        20
    +--+--+---------+-------+-------+--+--+---------+---------+---------+
    |45|TS| length  |  ident|frag   |TL|PR| checksum| source  | destin. | options, payload
    +--+--+---------+-------+-------+--+--+---------+---------+---------+

    0               4         6  7  8               24              40
    +---------------+---------+--+--+---------------+---------------+
    |6, class, flow | length  |NH|HL|    source     |  destination  | extensions, payload
    +---------------+---------+--+--+---------------+---------------+
"""

from __future__ import annotations

from struct import Struct

import attrs

from vnet.errors import DecodeError

__all__ = [
    "FRAGMENT6",
    "ICMP",
    "ICMP6",
    "TCP",
    "UDP",
    "IpHeader",
    "checksum",
    "decodeIp",
    "encodeIp4",
    "encodeIp6",
    "transportChecksum6",
    "upperLayer6",
]

ICMP = 1
TCP = 6
UDP = 17
FRAGMENT6 = 44
ICMP6 = 58

_HOP_BY_HOP, _ROUTING, _AUTHENTICATION, _OPTIONS = 0, 43, 51, 60
_EXTENSIONS = frozenset((_HOP_BY_HOP, _ROUTING, FRAGMENT6, _AUTHENTICATION, _OPTIONS))
_MAX_EXTENSIONS = 16

_header4 = Struct("!BBHHHBBH4s4s")
_header6 = Struct("!IHBB16s16s")


@attrs.frozen
class IpHeader:
    """
    What the header of an IP packet says.

    @ivar version: 4 or 6.
    @ivar source: packed, 4 or 16 bytes.
    @ivar destination: packed, 4 or 16 bytes.
    @ivar protocol: of what follows the header: in IPv6 perhaps an extension.
    @ivar hopLimit: or time to live.
    @ivar headerLength: bytes.
    @ivar totalLength: of header and payload, bytes: never more than was read.
    @ivar fragmentOffset: IPv4 only, bytes.
    """

    version: int
    source: bytes
    destination: bytes
    protocol: int
    hopLimit: int
    headerLength: int
    totalLength: int
    fragmentOffset: int = 0


def decodeIp(packet: bytes) -> IpHeader:
    """
    Read the header of an IP packet of either version.  Padding after the packet is allowed.

    @raise DecodeError: the version is neither, or a length contradicts the bytes there are.
    """
    version = packet[0] >> 4 if packet else 0
    if version == 4:
        return _decode4(packet)
    if version == 6:
        return _decode6(packet)
    raise DecodeError("neither IPv4 nor IPv6")


def _decode4(packet: bytes) -> IpHeader:
    if len(packet) < 20:
        raise DecodeError("a truncated IPv4 header")
    first, _, total, _, fragment, ttl, protocol, _, source, destination = _header4.unpack_from(packet)
    length = (first & 15) * 4
    if not 20 <= length <= total <= len(packet):
        raise DecodeError("an IPv4 length that does not fit")
    return IpHeader(4, source, destination, protocol, ttl, length, total, (fragment & 0x1FFF) * 8)


def _decode6(packet: bytes) -> IpHeader:
    if len(packet) < 40:
        raise DecodeError("a truncated IPv6 header")
    _, payload, protocol, hopLimit, source, destination = _header6.unpack_from(packet)
    if payload + 40 > len(packet):
        raise DecodeError("an IPv6 length that does not fit")
    return IpHeader(6, source, destination, protocol, hopLimit, 40, payload + 40)


def upperLayer6(packet: bytes) -> tuple[int, int]:
    """
    Walk the extension headers of an IPv6 packet (RFC 8200 section 4).  What lies behind the fragment header
    of a later fragment cannot be known: then the walk ends at that header.

    @return: the protocol and where it begins, bytes from the start of the packet.
    @raise DecodeError: a header is truncated, or there are too many.
    """
    if len(packet) < 40:
        raise DecodeError("a truncated IPv6 header")
    protocol, offset = packet[6], 40
    for _ in range(_MAX_EXTENSIONS):
        if protocol not in _EXTENSIONS:
            return protocol, offset
        if len(packet) < offset + 8:
            raise DecodeError("a truncated IPv6 extension header")
        if protocol == FRAGMENT6:
            if (packet[offset + 2] << 8 | packet[offset + 3]) & 0xFFF8:
                return protocol, offset
            length = 8
        elif protocol == _AUTHENTICATION:
            length = packet[offset + 1] * 4 + 8
        else:
            length = packet[offset + 1] * 8 + 8
        protocol, offset = packet[offset], offset + length
    raise DecodeError("too many IPv6 extension headers")


def checksum(data: bytes) -> int:
    """
    The Internet checksum (RFC 1071): 0 over bytes that hold their own, valid, checksum.
    """
    if len(data) % 2:
        data += b"\0"
    # 2**16 is 1 modulo 65535, so the sum of the words is the number itself modulo 65535.
    folded = int.from_bytes(data, "big") % 0xFFFF
    if folded == 0 and any(data):
        folded = 0xFFFF
    return 0xFFFF - folded


def transportChecksum6(source: bytes, destination: bytes, protocol: int, payload: bytes) -> int:
    """
    The checksum over the IPv6 pseudo-header (RFC 8200 section 8.1) and a payload.
    """
    pseudo = b"".join((source, destination, len(payload).to_bytes(4, "big"), protocol.to_bytes(4, "big")))
    return checksum(pseudo + payload)


def encodeIp4(source: bytes, destination: bytes, protocol: int, payload: bytes, ttl: int = 64) -> bytes:
    """
    An IPv4 packet without options, with its checksum; it may be fragmented.
    """
    fields = (0x45, 0, 20 + len(payload), 0, 0, ttl, protocol)
    total = checksum(_header4.pack(*fields, 0, source, destination))
    return _header4.pack(*fields, total, source, destination) + payload


def encodeIp6(source: bytes, destination: bytes, protocol: int, payload: bytes, hopLimit: int = 64) -> bytes:
    """
    An IPv6 packet without extensions.
    """
    return _header6.pack(6 << 28, len(payload), protocol, hopLimit, source, destination) + payload
