# -*- test-case-name: vnet.test.test_client_peer -*-
"""
What a user is told of a peer, as JSON values.
"""

from __future__ import annotations

from typing import Any

from vnet.client.peer import Peer

__all__ = ["describe", "describeFully", "stateOf", "why"]


def stateOf(peer: Peer) -> str:
    """
    C{"online"}, C{"offline"}, C{"lost"} or C{"unreachable"}, as a user sees it.
    """
    if peer.refused:
        return "unreachable"
    if peer.member.state == "lost":
        return "lost" if peer.path is not None else "offline"
    if peer.member.state == "online" and peer.path is None and peer.failures:
        return "unreachable"
    return peer.member.state


def describe(peer: Peer) -> dict[str, Any]:
    """
    @return: the JSON value of the peer in a list.
    """
    return {
        "clientId": peer.key.hex(),
        "nick": peer.member.nick,
        "address": peer.member.address,
        "address6": peer.member.address6,
        "state": stateOf(peer),
        "path": "direct" if peer.path is not None and peer.answers else "none",
        "endpoint": str(peer.path.address) if peer.path is not None else None,
        "latencyMs": round(peer.path.rtt * 1000, 2) if peer.path is not None else None,
    }


def describeFully(peer: Peer) -> dict[str, Any]:
    """
    @return: the JSON value of C{vnet peer}.
    """
    status, path = peer.context.tunnels.status(peer.tunnelKey), peer.path
    endpoint = status.endpoint if path is not None else None
    age = None if status.lastHandshake is None else peer.context.clock.seconds() - status.lastHandshake
    return {
        **describe(peer),
        "endpoint": str(endpoint) if endpoint else None,
        "transport": "udp" if path is not None else None,
        "lastHandshake": None if age is None else round(age, 1),
        "rxBytes": status.rxBytes,
        "txBytes": status.txBytes,
        "why": why(peer),
    }


def why(peer: Peer) -> str | None:
    """
    Why there is no direct path; L{None} when there is one.
    """
    if peer.refused:
        return peer.refused
    if peer.path is not None and peer.answers:
        return None
    if peer.member.state == "offline":
        return "the peer is offline"
    if peer.path is not None:
        return peer.failure or "a path was found; the tunnel's handshake is under way"
    return peer.failure or "looking for a path"
