"""
What the WireGuard machine tells, and the status of a peer.

Each C{publicKey} is the 32 bytes of the peer's static key.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from vnet.protocols.codec.runs import Run
from vnet.values import Address

__all__ = [
    "EndpointMoved",
    "HandshakeFailed",
    "PacketsReceived",
    "PeerStatus",
    "SessionEstablished",
    "SessionExpired",
    "WireGuardEvent",
]


@attrs.frozen
class PacketsReceived:
    """
    Inner IP packets have come: authentic, new, from an address of the peer, and without padding.

    @ivar runs: the packets in runs, see L{vnet.protocols.codec.runs}: what the first one of a run says of source and
        destination is true of all.  Valid until the machine receives again after this was taken from it.
    """

    publicKey: bytes
    runs: Sequence[Run]

    @property
    def packets(self) -> tuple[bytes, ...]:
        """All of them."""
        return tuple(packet for run in self.runs for packet in run)


@attrs.frozen
class SessionEstablished:
    """
    A handshake is complete: there are new keys.  This comes with each rekeying too.
    """

    publicKey: bytes


@attrs.frozen
class SessionExpired:
    """
    The session is 180 seconds old and no other has followed.  That is no fault where nothing was sent:
    the next packet makes a new one.
    """

    publicKey: bytes


@attrs.frozen
class EndpointMoved:
    """
    An authentic packet has come from another address than the endpoint: it is there now, where the peer may roam.
    """

    publicKey: bytes
    address: Address


@attrs.frozen
class HandshakeFailed:
    """
    The peer has not answered for 90 seconds.  What was queued is lost; the next packet tries again.
    """

    publicKey: bytes


WireGuardEvent = PacketsReceived | SessionEstablished | SessionExpired | EndpointMoved | HandshakeFailed


@attrs.frozen
class PeerStatus:
    """
    @ivar lastHandshake: when the last handshake was completed, seconds on the machine's clock.
    @ivar rxBytes: the bytes of authentic datagrams from the peer.
    @ivar txBytes: the bytes of datagrams to the peer.
    @ivar endpoint: where the peer is thought to be.
    @ivar established: whether there is a session that can carry packets now.
    """

    lastHandshake: float | None
    rxBytes: int
    txBytes: int
    endpoint: Address | None
    established: bool
