# -*- test-case-name: vnet.test.test_llc -*-
"""
Which protocol an Ethernet frame carries that is neither IP nor ARP (IEEE 802.3, 802.2; RFC 1042)::

    Ethernet II     destination, source | type, from 0x0600 on | payload
    802.3 raw       destination, source | length               | FF FF ...          IPX of old
    802.2 LLC       destination, source | length               | DSAP SSAP control  payload
    SNAP            destination, source | length               | AA AA 03  OUI (3)  type (2)  payload

Each has a number here: the EtherType, also in SNAP; the SAP of LLC, which is below 0x100; and L{RAW}.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from vnet.errors import DecodeError
from vnet.protocols.codec.ethernet import HEADER

__all__ = ["DEFAULT_TYPES", "RAW", "formatTypes", "parseTypes", "protocolOf"]

RAW = 0xFFFF
"""IPX without a header of LLC; as an EtherType it is reserved."""

_FIRST_TYPE, _LARGEST = 0x0600, 1500
_SNAP = b"\xaa\xaa\x03"
#: Of SNAP: Ethernet's own types, and Apple's, which has AppleTalk.
_ETHERNET, _APPLE = b"\0\0\0", b"\x08\0\x07"
_APPLETALK = 0x809B
_INDIVIDUAL = 0xFE
_MAXIMUM, _SHOWN = 64, 40

_NUMBER = re.compile("0x[0-9a-fA-F]{1,4}")

_NAMES = {
    "ipx": frozenset((0x8137, 0x8138, 0xE0, RAW)),
    "appletalk": frozenset((_APPLETALK, 0x80F3)),
    "netbeui": frozenset((0xF0,)),
}
DEFAULT_TYPES = frozenset().union(*_NAMES.values())
"""IPX, AppleTalk and NetBEUI."""

# IP, ARP, RARP and IPv6; VLANs; MPLS; pause frames, slow protocols and other things of a switch; authentication; PPPoE.
_NEVER_TYPES = (
    *(0x0800, 0x0806, 0x8035, 0x86DD, 0x8100, 0x88A8, 0x9100, 0x9200, 0x8847, 0x8848),
    *(0x8808, 0x8809, 0x88CC, 0x88E7, 0x88F5, 0x8902, 0x888E, 0x88E5, 0x8863, 0x8864),
)
# Nothing; IP; spanning tree; ARP; SNAP, whose types are named by themselves; the global SAP.
_NEVER_SAPS = (0x00, 0x06, 0x42, 0x98, 0xAA, 0xFE)


def protocolOf(frame: bytes) -> int:
    """
    @param frame: an Ethernet frame, whatever it carries.
    @return: the number of what it carries; of SNAP with another OUI one that is in no list.
    @raise DecodeError: it is truncated, or has a length that does not fit.
    """
    if len(frame) < HEADER + 3:
        raise DecodeError("an Ethernet frame with nothing in it")
    kind = frame[12] << 8 | frame[13]
    if kind >= _FIRST_TYPE:
        return kind
    if not 3 <= kind <= min(_LARGEST, len(frame) - HEADER):
        raise DecodeError("a length of 802.3 that does not fit")
    head = frame[HEADER : HEADER + kind]
    if head.startswith(b"\xff\xff"):
        return RAW
    if head.startswith(_SNAP):
        return _snapType(head)
    destination, source = head[0], head[1]
    # The lowest bit says: of the destination, a group of programs; of the source, an answer.
    return destination if destination == source & _INDIVIDUAL else 0


def _snapType(head: bytes) -> int:
    if len(head) < 8:
        raise DecodeError("a truncated header of SNAP")
    kind = head[6] << 8 | head[7]
    known = head[3:6] == _ETHERNET or (head[3:6] == _APPLE and kind == _APPLETALK)
    return kind if known and kind >= _FIRST_TYPE and kind != RAW else 0


def parseTypes(text: str) -> frozenset[int]:
    """
    Read a list of protocols: C{ipx}, C{appletalk}, C{netbeui}, EtherTypes from 0x0600 on and SAPs of LLC in hexadecimal, with
    commas between them; or C{none}.

    @raise DecodeError: one is none of these, or is one that never crosses the tunnel.
    """
    if text == "none":
        return frozenset()
    words = text.split(",", _MAXIMUM)
    if len(words) > _MAXIMUM:
        raise DecodeError(f"a list of protocols has at most {_MAXIMUM}")
    return frozenset(_each(words))


def formatTypes(types: frozenset[int]) -> str:
    """
    The text that L{parseTypes} reads, names first.
    """
    words = [name for name, numbers in _NAMES.items() if numbers <= types]
    others = types.difference(*(_NAMES[name] for name in words))
    return (
        ",".join(
            [
                *words,
                *(f"0x{number:02x}" if number < 0x100 else f"0x{number:04x}" for number in sorted(others)),
            ]
        )
        or "none"
    )


def _each(words: Iterable[str]) -> Iterable[int]:
    for word in words:
        if word in _NAMES:
            yield from _NAMES[word]
            continue
        number = int(word, 16) if _NUMBER.fullmatch(word) else -1
        if not (0 <= number < 0x100 or _FIRST_TYPE <= number <= RAW):
            raise DecodeError(
                f"{word[:_SHOWN]!r} is no protocol: use ipx, appletalk, netbeui, or a number such as 0x8137"
            )
        if number in _NEVER_TYPES or number in _NEVER_SAPS or (number < 0x100 and number & 1):
            raise DecodeError(f"{word} never crosses the tunnel")
        yield number
