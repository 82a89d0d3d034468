# -*- test-case-name: vnet.test.test_etherip -*-
"""
Ethernet frames in IP packets: EtherIP (RFC 3378), IP protocol 97::

    +-----------+----------------+-------------------------------
    | IP header | 3 | 0 (12 bit) | destination, source, type ...
    +-----------+----------------+-------------------------------
"""

from __future__ import annotations

from vnet.errors import DecodeError
from vnet.protocols.codec.ip import decodeIp, encodeIp4

__all__ = ["ETHERIP", "decodeEtherIp", "encodeEtherIp"]

ETHERIP = 97

_HEADER = b"\x30\x00"
_MORE_FRAGMENTS = 0x20


def encodeEtherIp(source: bytes, destination: bytes, frame: bytes) -> bytes:
    """
    @param source: a packed IPv4 address, and so is C{destination}.
    @param frame: an Ethernet frame without its check sequence, up to 65,513 bytes.
    """
    return encodeIp4(source, destination, ETHERIP, _HEADER + frame)


def decodeEtherIp(packet: bytes) -> bytes:
    """
    @param packet: IPv4.
    @return: the frame in it.
    @raise DecodeError: it is not EtherIP version 3, or is a fragment.
    """
    header = decodeIp(packet)
    payload = packet[header.headerLength : header.totalLength]
    if header.version != 4 or header.protocol != ETHERIP:
        raise DecodeError("not EtherIP")
    if header.fragmentOffset or packet[6] & _MORE_FRAGMENTS:
        raise DecodeError("a fragment of EtherIP")
    if not payload.startswith(_HEADER):
        raise DecodeError("another version of EtherIP")
    return payload[len(_HEADER) :]
