# -*- test-case-name: vnet.test.test_peerreport -*-
"""
What a user is told of a peer, as JSON values.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from attrs import evolve

from vnet.client.obstacles import Obstacle, isProviders, obstacle, underWay
from vnet.client.peer import Peer
from vnet.protocols.codec.names import displayable
from vnet.protocols.codec.natsignal import Traits
from vnet.protocols.machine.pair import Path
from vnet.protocols.machine.strategy import strategy
from vnet.protocols.traversal import Story
from vnet.values import Address, NatReport

__all__ = [
    "describe",
    "describeFully",
    "describeOwnNat",
    "describePeerNat",
    "describeTried",
    "nameOf",
    "pathOf",
    "relayOf",
    "stateOf",
    "why",
]

_NAME_WIDTH = 32


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
        "path": pathOf(peer),
        "endpoint": None if path is None else _plain(path),
        "relay": relay,
        "transport": transport,
        "latencyMs": None if path is None else round(path.rtt * 1000, 2),
    }


def pathOf(peer: Peer) -> str:
    """
    C{"direct"}, C{"relayed"} or C{"none"}, as a user sees it.
    """
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


def describeFully(peer: Peer, answersPing: bool | None = None, pool: str = "") -> dict[str, Any]:
    """
    @param answersPing: see L{vnet.client.pingtest.answersPing}.
    @param pool: the overlay's block of IPv4 addresses.
    @return: the JSON value of C{vnet peer}.
    """
    status = peer.context.tunnels.status(peer.tunnelKey)
    age = None if status.lastHandshake is None else peer.context.clock.seconds() - status.lastHandshake
    return {
        **describe(peer),
        "mtu": None if peer.path is None else peer.context.tunnels.mtu(peer.tunnelKey),
        "lastHandshake": None if age is None else round(age, 1),
        "rxBytes": status.rxBytes,
        "txBytes": status.txBytes,
        "nat": {"own": describeOwnNat(peer.context.ownNat().report), "peer": _peerNat(peer)},
        "tried": describeTried(peer),
        "heard": _distinct(_heardFrom(peer, each) for each in _addresses(peer, "heard")),
        "answersPing": answersPing,
        "why": why(peer),
        "help": [*_help(peer), *([_firewall(peer, pool)] if answersPing is False else [])],
    }


def describeOwnNat(report: NatReport) -> dict[str, Any]:
    """
    @return: the JSON value of this side's NAT, as far as it is compared with the peer's.
    """
    return {
        "udp": report.udp,
        "natted": report.natted,
        "mapping": report.mapping,
        "filtering": report.filtering,
        "allocation": report.allocation,
        "shared": report.shared,
    }


def _peerNat(peer: Peer) -> dict[str, Any] | None:
    story = _story(peer)
    return None if story is None or story.peer is None else describePeerNat(story.peer)


def describePeerNat(traits: Traits) -> dict[str, Any]:
    """
    @return: the JSON value of a NAT of which a peer has told.
    """
    known = bool(traits.host)
    return {
        "udp": False if traits.blocked else known or None,
        "natted": not traits.natless if known else None,
        "mapping": traits.mapping or None,
        "filtering": traits.filtering or None,
        "allocation": traits.allocation or None,
        "shared": isProviders(traits) if known else None,
    }


def describeTried(peer: Peer) -> dict[str, Any]:
    """
    @return: the JSON value of what was tried to reach a peer since the last rendezvous.
    """
    story, tried = _story(peer), _addresses(peer, "tried")
    relays = (peer.context.describeVia(each.allocation) for each in tried if each.allocation)
    return {
        "addresses": _distinct(str(Address(*each[:2])) for each in tried if not each.allocation),
        "relays": _distinct(found[0] for found in relays if found is not None),
        "strategy": None if story is None else story.strategy or None,
        "rounds": 0 if story is None else story.rounds,
        "probes": 0 if story is None else story.probes,
        "sockets": 0 if story is None else story.sockets,
    }


def _story(peer: Peer) -> Story | None:
    story = None if peer.attempt is None else peer.attempt.story
    if story is None or story.peer is None or story.strategy:
        return story
    # It is chosen at the next look.
    return evolve(story, strategy=strategy(story.own, story.peer).value)


def _addresses(peer: Peer, which: str) -> tuple[Address, ...]:
    addresses: tuple[Address, ...] = () if peer.attempt is None else getattr(peer.attempt, which)
    return addresses


def _heardFrom(peer: Peer, address: Address) -> str:
    relay = peer.context.describeVia(address.allocation) if address.allocation else None
    plain = str(Address(*address[:2]))
    if relay is not None:
        return f"{plain} through {relay[0]}"
    return f"{plain}, a relay" if Address(*address[:2]) in _addresses(peer, "theirRelays") else plain


def _distinct(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))


def nameOf(peer: Peer) -> str:
    """
    What sentences call a peer: its nickname, made harmless, or its address.
    """
    return displayable(peer.member.nick, _NAME_WIDTH).strip() or peer.member.address


def _firewall(peer: Peer, pool: str) -> str:
    block = f", or of {pool}" if pool else ""
    return (
        f"the tunnel works, but {nameOf(peer)}'s operating system does not answer pings: its firewall may drop what comes from the "
        f"virtual interface; allow there what comes in on the interface of vnet (vnet0, unless --interface says otherwise){block}"
    )


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
    return _whyNone(peer)


def _whyNone(peer: Peer) -> str:
    found, parts = _obstacle(peer), [peer.failure or _looking(peer)]
    if found.isCertain:
        parts.append(found.why)
    problem = peer.context.relayProblem()
    if peer.failure and problem:
        parts.append(f"nor does a relay help: {problem}")
    return "; ".join(parts)


def _looking(peer: Peer) -> str:
    if not (peer.warm or peer.active or peer.isWaiting):
        return "no path is kept ready to this peer: the first packet to it makes one"
    tried = len({each[:2] for each in _addresses(peer, "tried")})
    if not tried:
        return "looking for a path"
    heard = "the peer is heard" if _addresses(peer, "heard") else "nothing is heard from the peer yet"
    return f"looking for a path: {tried} {'address is' if tried == 1 else 'addresses are'} checked, {heard}"


def _whyRelayed(peer: Peer) -> str:
    found = _obstacle(peer)
    if not _isSearching(peer):
        return found.why
    under = underWay(nameOf(peer), _story(peer))
    return f"{under}; but {found.why}" if found.isCertain else under


def _isSearching(peer: Peer) -> bool:
    return peer.searching or (peer.attempt is not None and peer.attempt.isBusy)


def _help(peer: Peer) -> tuple[str, ...]:
    """
    What would bring a direct path: nothing is said while one may still be found.
    """
    path = peer.path
    isOther = path is not None and not (peer.answers and path.relayed)
    if peer.refused or peer.member.state == "offline" or isOther:
        return ()
    found = _obstacle(peer)
    isOpen = _isSearching(peer) or (path is None and not peer.failure)
    return () if isOpen and not found.isCertain else found.help


def _obstacle(peer: Peer) -> Obstacle:
    relays = _addresses(peer, "theirRelays")
    isHeard = any(
        not each.allocation and Address(*each[:2]) not in relays for each in _addresses(peer, "heard")
    )
    return obstacle(peer.context.ownNat(), nameOf(peer), _story(peer), isHeard)
