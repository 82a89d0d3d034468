# -*- test-case-name: vnet.test.test_client_peer -*-
"""
What a user is told of a peer, as JSON values.
"""

from __future__ import annotations

from typing import Any

from vnet.client.peer import Peer
from vnet.protocols.machine.pair import Path
from vnet.values import Address

__all__ = ["describe", "describeFully", "relayOf", "stateOf", "why"]


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
    path = peer.path
    relay, transport = relayOf(peer)
    return {
        "clientId": peer.key.hex(),
        "nick": peer.member.nick,
        "address": peer.member.address,
        "address6": peer.member.address6,
        "state": stateOf(peer),
        "path": _kind(peer),
        "endpoint": None if path is None else _plain(path),
        "relay": relay,
        "transport": transport,
        "latencyMs": None if path is None else round(path.rtt * 1000, 2),
    }


def _kind(peer: Peer) -> str:
    if peer.path is None or not peer.answers:
        return "none"
    return "relayed" if peer.path.relayed else "direct"


def _plain(path: Path) -> str:
    return str(Address(path.address.host, path.address.port))


def relayOf(peer: Peer) -> tuple[str | None, str | None]:
    """
    Which relay the path goes through, and over what this node sends.  Where both sides use a relay it is this node's own.
    """
    path = peer.path
    if path is None:
        return None, None
    if path.allocation:
        return peer.context.describeVia(path.allocation) or (None, None)
    return _plain(path) if path.relayed else None, "udp"


def describeFully(peer: Peer) -> dict[str, Any]:
    """
    @return: the JSON value of C{vnet peer}.
    """
    status = peer.context.tunnels.status(peer.tunnelKey)
    age = None if status.lastHandshake is None else peer.context.clock.seconds() - status.lastHandshake
    return {
        **describe(peer),
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
        return _whyRelayed(peer) if peer.path.relayed else None
    if peer.member.state == "offline":
        return "the peer is offline"
    if peer.path is not None:
        return peer.failure or "a path was found; the tunnel's handshake is under way"
    problem = peer.context.relayProblem()
    if peer.failure and problem:
        return f"{peer.failure}; nor does a relay help: {problem}"
    return peer.failure or "looking for a path"


def _whyRelayed(peer: Peer) -> str:
    if peer.searching:
        return "a direct path is being looked for"
    return peer.context.obstacle() or (
        "no direct path was found: the NATs or firewalls of both sides let none through, or no UDP gets out of the other "
        "side's network; it is tried again now and then"
    )
