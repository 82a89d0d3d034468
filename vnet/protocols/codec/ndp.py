# -*- test-case-name: vnet.test.test_ndp -*-
"""
Neighbour solicitation and advertisement (RFC 4861 sections 4.3, 4.4), as whole IPv6 packets::

    0          1      2          4                  8          24
    +----------+------+----------+------------------+----------+--------------------
    | 135, 136 | 0    | checksum | R, S, O, 0 ...   | target   | options ...
    +----------+------+----------+------------------+----------+--------------------

    options, multiples of 8 bytes: type, length / 8, and here the link-layer address:
    of the source (1) or the target (2)
"""

from __future__ import annotations

from struct import Struct

import attrs

from vnet.errors import DecodeError
from vnet.protocols.codec.ip import ICMP6, decodeIp, encodeIp6, transportChecksum6, upperLayer6

__all__ = [
    "UNSPECIFIED",
    "NeighbourAdvertisement",
    "NeighbourSolicitation",
    "decodeAdvertisement",
    "decodeSolicitation",
    "encodeAdvertisement",
    "encodeSolicitation",
    "isNeighbourDiscovery",
    "solicitedNode",
]

UNSPECIFIED = bytes(16)

_SOLICITATION, _ADVERTISEMENT = 135, 136
# Router solicitation, router advertisement, both of these, redirect.
_DISCOVERY = range(133, 138)
_SOURCE_LINK, _TARGET_LINK = 1, 2
_ROUTER, _SOLICITED, _OVERRIDE = 0x80, 0x40, 0x20

_message = Struct("!BBHB3x16s")


@attrs.frozen
class NeighbourSolicitation:
    """
    The question who has an address.

    @ivar source: L{UNSPECIFIED} for duplicate address detection.
    @ivar destination: the target, or its solicited-node group.
    @ivar mac: of the source, or L{None}.
    """

    source: bytes
    destination: bytes
    target: bytes
    mac: bytes | None = None


@attrs.frozen
class NeighbourAdvertisement:
    """
    The answer to it.

    @ivar mac: of the target, or L{None}.
    """

    source: bytes
    destination: bytes
    target: bytes
    mac: bytes | None
    router: bool = False
    solicited: bool = True
    override: bool = True


def isNeighbourDiscovery(packet: bytes) -> bool:
    """
    Whether an IPv6 packet is a message of neighbour discovery of any kind, behind any extension headers.

    @raise DecodeError: it is truncated.
    """
    protocol, offset = upperLayer6(packet)
    return protocol == ICMP6 and packet[offset : offset + 1] != b"" and packet[offset] in _DISCOVERY


def solicitedNode(address: bytes) -> bytes:
    """
    The solicited-node multicast group of an address (RFC 4291 section 2.7.1).
    """
    return bytes.fromhex("ff0200000000000000000001ff") + address[13:]


def decodeSolicitation(packet: bytes) -> NeighbourSolicitation:
    """
    Read a neighbour solicitation.

    @raise DecodeError: RFC 4861 section 7.1.1 would have it discarded.
    """
    source, destination, _, target, mac = _decode(packet, _SOLICITATION, _SOURCE_LINK)
    if source == UNSPECIFIED and (mac is not None or destination != solicitedNode(target)):
        raise DecodeError("a probe that is malformed")
    return NeighbourSolicitation(source, destination, target, mac)


def decodeAdvertisement(packet: bytes) -> NeighbourAdvertisement:
    """
    Read a neighbour advertisement.

    @raise DecodeError: RFC 4861 section 7.1.2 would have it discarded.
    """
    source, destination, flags, target, mac = _decode(packet, _ADVERTISEMENT, _TARGET_LINK)
    if destination[0] == 255 and flags & _SOLICITED:
        raise DecodeError("solicited, but to a group")
    return NeighbourAdvertisement(
        source,
        destination,
        target,
        mac,
        router=bool(flags & _ROUTER),
        solicited=bool(flags & _SOLICITED),
        override=bool(flags & _OVERRIDE),
    )


def _decode(packet: bytes, kind: int, linkOption: int) -> tuple[bytes, bytes, int, bytes, bytes | None]:
    header = decodeIp(packet)
    if header.version != 6 or header.protocol != ICMP6:
        raise DecodeError("not ICMPv6")
    message = packet[40 : header.totalLength]
    if len(message) < _message.size:
        raise DecodeError("a truncated message of neighbour discovery")
    found, code, _, flags, target = _message.unpack_from(message)
    if found != kind or code or header.hopLimit != 255 or target[0] == 255:
        raise DecodeError("not the message of neighbour discovery that it should be")
    if transportChecksum6(header.source, header.destination, ICMP6, message):
        raise DecodeError("an ICMPv6 checksum that is wrong")
    return (
        header.source,
        header.destination,
        flags,
        target,
        _linkAddress(message[_message.size :], linkOption),
    )


def _linkAddress(options: bytes, wanted: int) -> bytes | None:
    mac = None
    while options:
        length = options[1] * 8 if len(options) >= 8 else 0
        if not 0 < length <= len(options):
            raise DecodeError("an option of neighbour discovery that does not fit")
        if options[0] == wanted and length == 8:
            mac = options[2:8]
        options = options[length:]
    return mac


def encodeSolicitation(message: NeighbourSolicitation) -> bytes:
    """
    The IPv6 packet of a solicitation.
    """
    return _encode(message.source, message.destination, _SOLICITATION, 0, message.target, message.mac)


def encodeAdvertisement(message: NeighbourAdvertisement) -> bytes:
    """
    The IPv6 packet of an advertisement.
    """
    flags = _ROUTER * message.router | _SOLICITED * message.solicited | _OVERRIDE * message.override
    return _encode(message.source, message.destination, _ADVERTISEMENT, flags, message.target, message.mac)


def _encode(
    source: bytes, destination: bytes, kind: int, flags: int, target: bytes, mac: bytes | None
) -> bytes:
    link = _SOURCE_LINK if kind == _SOLICITATION else _TARGET_LINK
    option = b"" if mac is None else bytes((link, 1)) + mac
    total = transportChecksum6(source, destination, ICMP6, _message.pack(kind, 0, 0, flags, target) + option)
    return encodeIp6(source, destination, ICMP6, _message.pack(kind, 0, total, flags, target) + option, 255)
