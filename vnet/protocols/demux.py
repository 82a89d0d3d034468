# -*- test-case-name: vnet.test.test_demux -*-
"""
Tell apart the protocols that share a node's one UDP port.

STUN has its magic cookie at bytes 4 to 8 and a length that fits, ChannelData of TURN begins with
0x40 to 0x4F (RFC 8656 section 12), WireGuard with a type of 1 to 4 and three zero bytes.  None of them
can be read as another: WireGuard's header read as STUN gives a length of 0, and its messages are
never 20 bytes.
"""

from __future__ import annotations

import enum

from vnet.protocols.codec.stun import isStun

__all__ = ["Kind", "classify"]


class Kind(enum.Enum):
    """
    The protocol of a datagram.
    """

    STUN = "stun"
    CHANNEL_DATA = "channel data"
    WIREGUARD = "wireguard"


_WIREGUARD = frozenset(bytes([kind, 0, 0, 0]) for kind in (1, 2, 3, 4))
#: The shortest WireGuard message: transport data of an empty packet.
_WIREGUARD_MIN = 32


def classify(data: bytes) -> Kind | None:
    """
    What a datagram is, judged by its header alone.

    @return: L{None} for what is none of ours.
    """
    if data[:4] in _WIREGUARD and len(data) >= _WIREGUARD_MIN:
        return Kind.WIREGUARD
    if isStun(data):
        return Kind.STUN
    if len(data) >= 4 and 0x40 <= data[0] <= 0x4F:
        return Kind.CHANNEL_DATA
    return None
