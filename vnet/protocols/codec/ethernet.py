# -*- test-case-name: vnet.test.test_ethernet -*-
"""
Ethernet II frames (IEEE 802.3 clause 3), as a TAP gives and takes them: without preamble and check sequence::

     0               6               12      14
    +---------------+---------------+-------+-----------
    |  destination  |    source     | type  | payload ...
    +---------------+---------------+-------+-----------
"""

from __future__ import annotations

import attrs

from vnet.errors import DecodeError

__all__ = [
    "ARP",
    "BROADCAST",
    "HEADER",
    "IPV4",
    "IPV6",
    "OWN_MAC",
    "EthernetFrame",
    "decodeEthernet",
    "encodeEthernet",
    "memberMac",
    "multicastMac4",
    "multicastMac6",
]

HEADER = 14
IPV4 = b"\x08\x00"
ARP = b"\x08\x06"
IPV6 = b"\x86\xdd"
BROADCAST = b"\xff" * 6


@attrs.frozen
class EthernetFrame:
    """
    A frame.

    @ivar destination: 6 bytes; the lowest bit of the first is set for a group (multicast, broadcast).
    @ivar source: 6 bytes.
    @ivar etherType: 2 bytes; below 0x0600 it is a length (802.3 with LLC).
    @ivar payload: what follows, with any padding.
    """

    destination: bytes
    source: bytes
    etherType: bytes
    payload: bytes


def decodeEthernet(frame: bytes) -> EthernetFrame:
    """
    Read a frame.

    @raise DecodeError: it is shorter than its header.
    """
    if len(frame) < HEADER:
        raise DecodeError(f"an Ethernet frame of {len(frame)} bytes")
    return EthernetFrame(frame[:6], frame[6:12], frame[12:14], frame[14:])


def encodeEthernet(frame: EthernetFrame) -> bytes:
    """
    Write a frame; nothing is padded.
    """
    return b"".join((frame.destination, frame.source, frame.etherType, frame.payload))


def memberMac(address: bytes) -> bytes:
    """
    The locally administered, unicast MAC address that stands for a member, and that its own interface has.

    @param address: its overlay IPv4 address, packed.
    """
    return b"\x02\x76" + address


OWN_MAC = memberMac(bytes(4))
"""The source of frames that a node makes for its own operating system, and that are from no member: 0.0.0.0 is none's."""


def multicastMac4(group: bytes) -> bytes:
    """
    The MAC address of an IPv4 multicast group (RFC 1112 section 6.4).

    @param group: packed, 4 bytes.
    """
    return bytes((1, 0, 0x5E, group[1] & 0x7F, group[2], group[3]))


def multicastMac6(group: bytes) -> bytes:
    """
    The MAC address of an IPv6 multicast group (RFC 2464 section 7).

    @param group: packed, 16 bytes.
    """
    return b"\x33\x33" + group[12:]
