# -*- test-case-name: vnet.test.test_mss -*-
"""
The option of a TCP SYN that says how long the segments may be that its sender takes (RFC 9293 section 3.7.1)::

    +--------+--------+---------+--------+
    |00000010|00000100|   max seg size   |
    +--------+--------+---------+--------+
     Kind=2   Length=4

It is lowered where a tunnel carries less than the interfaces at its ends tell of.
"""

from __future__ import annotations

from vnet.errors import DecodeError
from vnet.protocols.codec.ip import FRAGMENT6, TCP, upperLayer6

__all__ = ["isSyn", "lowerMss"]

_SYN = 0x02
_END, _NOTHING, _MSS = 0, 1, 2
_FIXED = 20
_CHECKSUM = 16
_MOST = 0xFFFF


def isSyn(packet: bytes) -> bool:
    """
    Whether a packet may be a SYN, or hides what it is behind headers of IPv6: cheap, for each packet.
    """
    if packet[0] == 0x45:
        return packet[9] == TCP and len(packet) > 33 and packet[33] & _SYN != 0
    if packet[0] >> 4 == 6:
        # What is neither TCP (6), UDP (17) nor ICMPv6 (58) may be an extension header.
        return (
            packet[53] & _SYN != 0 if packet[6] == TCP and len(packet) > 53 else packet[6] in (0, 43, 51, 60)
        )
    return packet[0] >> 4 == 4 and packet[9] == TCP


def lowerMss(packet: bytes, mss4: int, mss6: int) -> bytes:
    """
    Lower the maximum segment size of a SYN, and correct its checksum (RFC 1624); one that is unfinished, and holds the sum of the
    pseudo-header only, stays.

    @param packet: an IP packet, whatever it is.
    @param mss4: what it may be at most over IPv4; C{mss6}: over IPv6.
    @return: the packet, itself where nothing is to be done.
    """
    start = _segmentOf(packet)
    place = _optionOf(packet, start) if start else 0
    if not place:
        return packet
    old, new = packet[place] << 8 | packet[place + 1], mss4 if packet[0] >> 4 == 4 else mss6
    if old <= new:
        return packet
    lowered = bytearray(packet)
    lowered[place : place + 2] = new.to_bytes(2, "big")
    at = start + _CHECKSUM
    before = packet[at] << 8 | packet[at + 1]
    if before != _pseudoSum(packet, start):
        if (place - start) % 2:
            # The bytes lie in two words.
            old, new = _swapped(old), _swapped(new)
        lowered[at : at + 2] = _corrected(before, old, new).to_bytes(2, "big")
    return bytes(lowered)


def _segmentOf(packet: bytes) -> int:
    """
    Where the TCP header of a SYN begins; 0: it is none.
    """
    version = packet[0] >> 4 if packet else 0
    if version == 4:
        if len(packet) < _FIXED or packet[9] != TCP or packet[6] & 0x1F or packet[7]:
            return 0
        start = (packet[0] & 15) * 4
    elif version == 6:
        try:
            protocol, start = upperLayer6(packet)
        except DecodeError:
            return 0
        if protocol != TCP or packet[6] == FRAGMENT6:
            return 0
    else:
        return 0
    return start if len(packet) >= start + _FIXED and packet[start + 13] & _SYN else 0


def _optionOf(packet: bytes, start: int) -> int:
    """
    Where the value of the option is; 0: there is none.
    """
    end = min(start + (packet[start + 12] >> 4) * 4, len(packet))
    place = start + _FIXED
    while place + 4 <= end:
        kind, length = packet[place], packet[place + 1]
        if kind == _END:
            return 0
        if kind == _NOTHING:
            place += 1
        elif kind == _MSS and length == 4:
            return place + 2
        elif length < 2:
            return 0
        else:
            place += length
    return 0


def _pseudoSum(packet: bytes, start: int) -> int:
    if packet[0] >> 4 == 4:
        addresses, size = packet[12:20], (packet[2] << 8 | packet[3]) - start
    else:
        addresses, size = packet[8:40], (packet[4] << 8 | packet[5]) + 40 - start
    return (int.from_bytes(addresses, "big") + TCP + max(size, 0)) % _MOST or _MOST


def _swapped(word: int) -> int:
    return (word & 0xFF) << 8 | word >> 8


def _corrected(checksum: int, old: int, new: int) -> int:
    """
    RFC 1624, equation 3.
    """
    total = (_MOST - checksum) + (_MOST - old) + new
    total = (total & _MOST) + (total >> 16)
    return _MOST - ((total & _MOST) + (total >> 16))
