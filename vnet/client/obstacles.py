# -*- test-case-name: vnet.test.test_obstacles -*-
"""
Why there is no direct path between this node and a peer, and what would help: sentences from what is known of both NATs.
"""

from __future__ import annotations

from attrs import field, frozen

from vnet.client.traits import traitsOf
from vnet.protocols.codec.natsignal import Traits
from vnet.protocols.machine.strategy import isEasy, isSequential
from vnet.protocols.traversal import Story
from vnet.values import NatReport, PortMapping

__all__ = ["EXAMPLE_PORT", "Obstacle", "OwnNat", "isProviders", "obstacle", "underWay"]

EXAMPLE_PORT = 17000
"""The UDP port that a user is told to forward who has named none."""

_IPV6 = "ask the provider for a public address, or use IPv6 on both sides"
_EASY, _SEQUENTIAL, _RANDOM = "easy", "sequential", "random"


@frozen
class OwnNat:
    """
    What is known of the way out of this node.

    @ivar port: the UDP port that the user has named, to forward it; 0: none.
    @ivar mapping: what the router does for the port.
    @ivar forwarded: C{"open"} or C{"closed"} when the port that the user has named was tested from outside.
    """

    report: NatReport = field(factory=NatReport)
    port: int = 0
    mapping: PortMapping = field(factory=PortMapping)
    forwarded: str | None = None


@frozen
class Obstacle:
    """
    What is in the way of a direct path.

    @ivar why: a clause for a person.
    @ivar help: what would help, sentences.
    @ivar isCertain: whether a path through these NATs is known to be impossible, so that it need not be tried first.
    """

    why: str
    help: tuple[str, ...] = ()
    isCertain: bool = False


def obstacle(own: OwnNat, name: str, story: Story | None, isHeard: bool) -> Obstacle:
    """
    @param name: of the peer, harmless.
    @param story: what was done about the NATs; L{None}: nothing.
    @param isHeard: whether anything was heard from the peer that did not come through a relay.
    """
    peer = None if story is None else story.peer
    here, there = own.report.udp is False, peer is not None and peer.blocked
    if here or there:
        return _blocked(name, here, there)
    forwarding = (*_forwardHere(own), *_forwardThere(name, peer))
    mine = _EASY if _isForwarded(own) else _hardness(traitsOf(own.report), own.report)
    theirs = _EASY if peer is None else _hardness(peer)
    if mine != _EASY and theirs != _EASY:
        return Obstacle(_bothHard(name, mine, theirs, story), forwarding, _RANDOM in (mine, theirs))
    if mine != _EASY or theirs != _EASY:
        return Obstacle(_oneHard(own, name, mine, theirs, story), forwarding)
    return _noneHard(name, peer, isHeard, forwarding)


def underWay(name: str, story: Story | None) -> str:
    """
    What is being done to find a direct path.
    """
    if story is None or not story.rounds:
        return "a direct path is being looked for"
    if story.probes:
        return f"a direct path is being looked for: {_count(story.probes, 'port')} of {name}'s NAT were guessed so far"
    return (
        f"a direct path is being looked for: {_count(story.sockets, 'spare socket')} opened for {name} so far"
    )


def _count(number: int, one: str, more: str = "") -> str:
    return f"{number} {one}" if number == 1 else f"{number} {more or one + 's'}"


def isProviders(traits: Traits) -> bool:
    """
    Whether a carrier's NAT shares the address among its subscribers, as far as a peer has told.
    """
    return traits.limited or traits.allocation == "block"


def _hardness(traits: Traits, report: NatReport | None = None) -> str:
    isVarying = report is not None and report.mapping is None and bool(report.mappingVaries)
    if isEasy(traits) and not isVarying:
        return _EASY
    return _SEQUENTIAL if isSequential(traits) else _RANDOM


def _blocked(name: str, here: bool, there: bool) -> Obstacle:
    own = "allow outgoing UDP in the firewall of this computer's network, or ask its administrator to"
    peer = f"{name}'s network blocks UDP: only its administrator can allow it"
    if here and there:
        return Obstacle(
            f"no UDP gets out of this computer's network, nor of {name}'s", (own, peer), isCertain=True
        )
    if here:
        return Obstacle("no UDP gets out of this computer's network", (own,), isCertain=True)
    return Obstacle(f"{name}'s network blocks UDP", (peer,), isCertain=True)


def _bothHard(name: str, mine: str, theirs: str, story: Story | None) -> str:
    if mine == theirs == _RANDOM:
        return "both NATs give each destination a random port: one of you has to forward a port"
    if mine == theirs:
        tried = "" if story is None or not story.rounds else f" ({_count(story.rounds, 'try', 'tries')})"
        return f"both NATs give each destination another port, and to predict both at once did not succeed{tried}"
    whose = f"{name}'s" if theirs == _RANDOM else "this computer's"
    return f"both NATs give each destination another port, {whose} a random one: one of you has to forward a port"


def _oneHard(own: OwnNat, name: str, mine: str, theirs: str, story: Story | None) -> str:
    hard = mine if mine != _EASY else theirs
    whose = "this computer's" if mine != _EASY else f"{name}'s"
    how = "another port, one after the other" if hard == _SEQUENTIAL else "a random port"
    if mine != _EASY and len(own.report.hosts) > 1:
        how = "another port, and sometimes another public address"
    start = f"{whose} NAT gives each destination {how}"
    if story is None or story.peer is None:
        return f"{start}, and nothing is known of {name}'s yet"
    if story.strategy == "plain":
        return (
            f"{start}, which {_other(whose, name)} lets in, but nothing got through: a firewall may drop UDP"
        )
    if story.unseen:
        return f"{start}, and the mediator sees {name} at another address than its NAT's (a proxy, or IPv6): ports are not guessed"
    return f"{start}: {_tried(story)}"


def _other(whose: str, name: str) -> str:
    return f"{name}'s" if whose == "this computer's" else "this computer's"


def _tried(story: Story) -> str:
    if story.probes:
        return f"{_count(story.probes, 'port')} were guessed, and none was the right one"
    if story.sockets:
        return f"the port was not found, with {_count(story.sockets, 'spare socket')} opened for it"
    return "it is not guessed yet"


def _noneHard(name: str, peer: Traits | None, isHeard: bool, forwarding: tuple[str, ...]) -> Obstacle:
    walls = f"allow UDP for vnet-client in the firewalls of this computer and of {name}"
    if isHeard:
        why = f"UDP comes from {name}, but no answer to what is sent there: a firewall at {name} may drop it"
        return Obstacle(why, (f"allow UDP for vnet-client in the firewall of {name}", *forwarding))
    if peer is None:
        return Obstacle(
            f"nothing was heard from {name} directly, and nothing is known of its NAT",
            (f"run 'vnet netcheck' on {name}'s computer: it says what is there", *forwarding),
        )
    why = f"nothing was heard from {name} directly, though both NATs let peers in: a firewall may drop UDP on the way"
    return Obstacle(why, (walls, *forwarding))


def _isForwarded(own: OwnNat) -> bool:
    isCarried = own.report.shared or own.mapping.behindCarrier
    return own.forwarded == "open" or (own.mapping.external is not None and not isCarried)


def _forwardHere(own: OwnNat) -> tuple[str, ...]:
    if _isForwarded(own) or not own.report.natted:
        return ()
    if own.report.shared or own.mapping.behindCarrier:
        return (f"your NAT is the provider's, where no port can be forwarded: {_IPV6}",)
    if own.port:
        fault = ", from outside it is not reached" if own.forwarded == "closed" else ""
        return (f"forward UDP port {own.port} on your router to this computer{fault}",)
    return (
        f"forward UDP port {EXAMPLE_PORT} on your router to this computer and start vnet-client with --port={EXAMPLE_PORT}",
        "switch on UPnP or PCP in your router"
        + (
            ", and start vnet-client without --no-port-mapping"
            if "--no-port-mapping" in own.mapping.reason
            else ""
        ),
    )


def _forwardThere(name: str, peer: Traits | None) -> tuple[str, ...]:
    if peer is None or peer.natless:
        return ()
    if isProviders(peer):
        return (f"the NAT of {name} is its provider's, where no port can be forwarded: {_IPV6}",)
    return (
        f"switch on UPnP or PCP in the router of {name}, or forward a UDP port there and start {name}'s vnet-client "
        "with --port",
    )
