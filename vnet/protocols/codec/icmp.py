# -*- test-case-name: vnet.test.test_icmp -*-
"""
ICMP echo, "destination unreachable", and "too big" (RFC 1191, RFC 8201), for IPv4 (RFC 792) and IPv6 (RFC 4443), as whole IP
packets::

    0      1      2          4            6          8
    +------+------+----------+------------+----------+---------
    | type | code | checksum | identifier | sequence | data ...          echo
    +------+------+----------+------------+----------+---------
    | type | code | checksum |       unused          | the packet ...    unreachable
    +------+------+----------+-----------------------+---------
    | type | code | checksum |  MTU, of IPv4 16 bits | the packet ...    too big
    +------+------+----------+-----------------------+---------
"""

from __future__ import annotations

from struct import Struct

import attrs

from vnet.errors import DecodeError
from vnet.protocols.codec.ip import (
    ICMP,
    ICMP6,
    TCP,
    UDP,
    IpHeader,
    checksum,
    decodeIp,
    encodeIp4,
    encodeIp6,
    transportChecksum6,
)

__all__ = ["Echo", "decodeEcho", "encodeEcho", "encodeTooBig", "encodeUnreachable"]

_REQUEST4, _REPLY4 = 8, 0
_REQUEST6, _REPLY6 = 128, 129
_HOST_UNREACHABLE = (3, 1)
_ADDRESS_UNREACHABLE = (1, 3)
_FRAGMENTATION_NEEDED = (3, 4)
_PACKET_TOO_BIG = (2, 0)

_ECHOES = {4: (b"\x08", b"\x00"), 6: (b"\x80", b"\x81")}
_message = Struct("!BBHHH")


@attrs.frozen
class Echo:
    """
    An echo request or reply.

    @ivar source: packed, 4 or 16 bytes.
    @ivar destination: packed, of the same version.
    @ivar identifier: 0 to 65535, as C{sequence}.
    """

    source: bytes
    destination: bytes
    identifier: int
    sequence: int
    data: bytes = b""
    reply: bool = False


def encodeEcho(echo: Echo) -> bytes:
    """
    The IP packet of an echo.
    """
    if len(echo.source) == 4:
        kind = _REPLY4 if echo.reply else _REQUEST4
    else:
        kind = _REPLY6 if echo.reply else _REQUEST6
    return _encode(echo.source, echo.destination, kind, 0, echo.identifier, echo.sequence, echo.data)


def decodeEcho(packet: bytes) -> Echo:
    """
    Read an IP packet that is an unfragmented echo without IPv6 extension headers.

    @raise DecodeError: it is anything else, or a checksum is wrong.
    """
    header = decodeIp(packet)
    message = packet[header.headerLength : header.totalLength]
    if header.protocol != (ICMP if header.version == 4 else ICMP6) or len(message) < _message.size:
        raise DecodeError("not ICMP")
    kind, code, _, identifier, sequence = _message.unpack_from(message)
    request, reply = (_REQUEST4, _REPLY4) if header.version == 4 else (_REQUEST6, _REPLY6)
    if kind not in (request, reply) or code or header.fragmentOffset:
        raise DecodeError("not an ICMP echo")
    if _checksumOf(header, message):
        raise DecodeError("an ICMP checksum that is wrong")
    return Echo(header.source, header.destination, identifier, sequence, message[8:], kind == reply)


def _checksumOf(header: IpHeader, message: bytes) -> int:
    if header.version == 4:
        return checksum(message)
    return transportChecksum6(header.source, header.destination, ICMP6, message)


def encodeUnreachable(packet: bytes) -> bytes:
    """
    The ICMP error that tells the sender of C{packet} that its destination is not there.  It comes from that
    destination's address, and quotes at most 548 bytes (RFC 1812 section 4.3.2.3).

    @raise DecodeError: C{packet} is none that may be answered with an error (RFC 1122 section 3.2.2): not
        TCP, UDP or an echo request, or a later fragment, or to a group.
    """
    header = decodeIp(packet)
    upper = packet[header.headerLength : header.headerLength + 1]
    request = (ICMP, b"\x08") if header.version == 4 else (ICMP6, b"\x80")
    if header.protocol not in (TCP, UDP) and (header.protocol, upper) != request:
        raise DecodeError("no packet to answer with an error")
    group = header.destination[0] >= 224 if header.version == 4 else header.destination[0] == 255
    if header.fragmentOffset or group:
        raise DecodeError("no packet to answer with an error")
    kind, code = _HOST_UNREACHABLE if header.version == 4 else _ADDRESS_UNREACHABLE
    quoted = packet[: header.totalLength][:548]
    return _encode(header.destination, header.source, kind, code, 0, 0, quoted)


def encodeTooBig(packet: bytes, mtu: int) -> bytes:
    """
    The ICMP error that tells the sender of C{packet} how long it may be at most.  It comes from where that was to go.

    @param mtu: bytes, 68 to 65,535.
    @raise DecodeError: C{packet} is none that may be answered with an error (RFC 1122 section 3.2.2, RFC 4443 section 2.4): ICMP
        that is no echo, a later fragment, or to a group or from one.
    """
    header = decodeIp(packet)
    isIcmp = header.protocol == (ICMP if header.version == 4 else ICMP6)
    upper = packet[header.headerLength : header.headerLength + 1]
    first = 224 if header.version == 4 else 255
    isGroup = header.destination[0] >= first or header.source[0] >= first
    if isGroup or header.fragmentOffset or (isIcmp and upper not in _ECHOES[header.version]):
        raise DecodeError("no packet to answer with an error")
    kind, code = _FRAGMENTATION_NEEDED if header.version == 4 else _PACKET_TOO_BIG
    quoted = packet[: header.totalLength][:548]
    return _encode(header.destination, header.source, kind, code, mtu >> 16, mtu & 0xFFFF, quoted)


def _encode(
    source: bytes, destination: bytes, kind: int, code: int, identifier: int, sequence: int, data: bytes
) -> bytes:
    blank = _message.pack(kind, code, 0, identifier, sequence) + data
    total = checksum(blank) if len(source) == 4 else transportChecksum6(source, destination, ICMP6, blank)
    message = _message.pack(kind, code, total, identifier, sequence) + data
    if len(source) == 4:
        return encodeIp4(source, destination, ICMP, message)
    return encodeIp6(source, destination, ICMP6, message)
