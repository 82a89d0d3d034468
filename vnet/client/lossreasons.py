# -*- test-case-name: vnet.test.test_losses -*-
"""
The reasons for which a node drops something: names that stay, which docs/commands explains, for the counters of its parts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

__all__ = ["PARTS", "REASONS", "SERIOUS", "droppedLines", "reasonsOf"]

#: Each counter of each part by the name that users see; L{None}: it counts what was not dropped.  The errors of system calls stand
#: for themselves; those that are not here are C{PARTRefused}.
PARTS: Mapping[str, Mapping[str, str | None]] = {
    "interface": {
        "closed": "interfaceClosed",
        "EIO": "interfaceClosed",
        "EBADFD": "interfaceClosed",
        "EAGAIN": "interfaceBusy",
        "ENOBUFS": "interfaceBusy",
        "ENOMEM": "interfaceBusy",
        "other": "interfaceRefused",
        "sendQueueFull": "interfaceSendQueueFull",
        "receiveDropped": "interfaceReceiveDropped",
    },
    "udp": {
        "closed": "udpClosed",
        "noAddress": "udpNoAddress",
        "noLeg": "udpNoPath",
        "EAGAIN": "udpBusy",
        "ENOBUFS": "udpBusy",
        "ENOMEM": "udpBusy",
        "EACCES": "udpForbidden",
        "EPERM": "udpForbidden",
        "EMSGSIZE": "udpTooLong",
        "ENETUNREACH": "udpUnreachable",
        "EHOSTUNREACH": "udpUnreachable",
        "ENETDOWN": "udpUnreachable",
        "EADDRNOTAVAIL": "udpUnreachable",
        "other": "udpRefused",
        "receiveQueueFull": "udpReceiveQueueFull",
    },
    "tunnel": {
        "malformed": "tunnelMalformed",
        "tooShort": "tunnelMalformed",
        "noSession": "tunnelNoSession",
        "badTag": "tunnelBadTag",
        "replayed": "tunnelReplayed",
        "notIp": "tunnelNotIp",
        "badLength": "tunnelNotIp",
        "wrongSource": "tunnelWrongSource",
        "queueFull": "tunnelQueueFull",
        "backlog": "tunnelBacklog",
        "muted": "tunnelMuted",
        "badInitiation": "tunnelBadHandshake",
        "badResponse": "tunnelBadHandshake",
        "badMac1": "tunnelBadHandshake",
        "badCookie": "tunnelBadHandshake",
        "oldTimestamp": "tunnelOldHandshake",
        "initiationFlood": "tunnelHandshakeFlood",
        "sourceLimited": "tunnelHandshakeFlood",
        "cookieSent": "tunnelUnderLoad",
        "unknownPeer": "tunnelUnknownPeer",
    },
    "relay": {
        "noChannel": "relayNoChannel",
        "malformed": "relayMalformed",
        "ignored": "relayIgnored",
        "unauthentic": "relayUnauthentic",
        "refused": "relayRefused",
        "waitingDropped": "relayWaitingFull",
        "family": "relayFamily",
        "tooManyPeers": "relayTooManyPeers",
        "dropped": "relayQueueFull",
    },
    "forward": {
        "malformed": "forwardMalformed",
        "noTunnel": "forwardNoTunnel",
        "noMember": "forwardNoMember",
        "notForUs": "forwardNotForUs",
        "fromInside": "forwardFromInside",
        "fromNoMember": "forwardFromNoMember",
        "unknownDatagram": "forwardUnknownDatagram",
        "unansweredArp": "forwardUnansweredArp",
        "unansweredSolicitations": "forwardUnansweredSolicitation",
        "discovery": "forwardDiscovery",
        "dhcp": "forwardDhcp",
        "redirect": "forwardRouting",
        "routers": "forwardRouting",
        "listeners": "forwardListeners",
        "sourceRoute": "forwardSourceRoute",
        "groupOther": "forwardGroupOther",
        "groupTooMany": "forwardGroupTooMany",
        "stormDropped": "forwardStorm",
        "etherType": "forwardEtherType",
        "etherForeign": "forwardEtherForeign",
        "etherSize": "forwardEtherSize",
        "arp": None,
        "solicitations": None,
        "groupSent": None,
        "groupReceived": None,
        "groupSpared": None,
        "groupReports": None,
        "etherSent": None,
        "etherReceived": None,
        "clamped": None,
        "fragmented": None,
        "tooBig": None,
        "tooBigTold": None,
    },
}

_OTHER = {part: f"{part}Refused" for part in PARTS}

REASONS = tuple(
    sorted(
        {reason for table in PARTS.values() for reason in table.values() if reason is not None}
        | set(_OTHER.values())
    )
)
"""All that there are."""

SERIOUS: Mapping[str, str] = {
    "interfaceSendQueueFull": "programs send faster than this computer seals",
    "interfaceBusy": "the system takes no more packets",
    "udpReceiveQueueFull": "peers send faster than this computer opens",
    "udpBusy": "the network is slower than what is sent",
    "udpForbidden": "a firewall of this computer does not let the tunnel out",
    "udpTooLong": "datagrams are too long for the network",
    "relayQueueFull": "the relay is slower than what is sent",
    "forwardStorm": "a member floods its networks",
}
"""Those that people are told of while they grow, and what they mean."""


def reasonsOf(part: str, counters: Mapping[str, int]) -> Counter[str]:
    """
    @param part: a key of L{PARTS}.
    @return: what these counters of it have dropped, by reason.
    """
    table, found = PARTS[part], Counter[str]()
    for name, count in counters.items():
        reason = table.get(name, _OTHER[part])
        if reason is not None and count:
            found[reason] += count
    return found


def droppedLines(status: Mapping[str, Any]) -> list[str]:
    """
    @param status: of this node, JSON.
    @return: a line for each of L{SERIOUS} that has grown lately.
    """
    lately = status.get("droppedLately")
    found = lately if isinstance(lately, dict) else {}
    return [
        f"{found[reason]:,} in the last minutes: {words} ({reason})"
        for reason, words in SERIOUS.items()
        if isinstance(found.get(reason), int)
    ]
