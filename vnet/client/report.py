# -*- test-case-name: vnet.test.test_client_report -*-
"""
What users are shown, as JSON values: docs/commands documents the keys.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from vnet.client.peers import Peers
from vnet.client.sync import Network, NetworkView
from vnet.values import Address, NatReport

__all__ = ["describeNat", "describeNetworks"]


def describeNetworks(
    view: NetworkView, joined: Container[str], peers: Peers, online: bool
) -> list[dict[str, Any]]:
    """
    @param online: whether this node is logged in.
    @return: the networks, in the order of their names.
    """
    networks = sorted(view.networks.values(), key=lambda network: network.name.casefold())
    return [_describe(network, peers, online) for network in networks if network.network.hex() in joined]


def _describe(network: Network, peers: Peers, online: bool) -> dict[str, Any]:
    members = []
    for key, member in network.members.items():
        peer = peers.get(key)
        if peer is not None:
            described = peer.describe()
            if not network.online or member.state == "offline":
                described.update(state="offline", path="none")
            members.append(described)
    return {
        "name": network.name,
        "state": "online" if online and network.online else "offline",
        "owner": network.owner.hex(),
        "protected": network.protected,
        "members": members,
    }


def describeNat(report: NatReport) -> dict[str, Any]:
    """
    @return: the JSON value of C{vnet netcheck}.
    """
    return {
        "udp": report.udp,
        "publicAddress": _text(report.publicAddress),
        "publicAddress6": _text(report.publicAddress6),
        "natted": report.natted,
        "mappingVaries": report.mappingVaries,
        "summary": _summary(report),
    }


def _text(address: Address | None) -> str | None:
    return None if address is None else str(address)


def _summary(report: NatReport) -> str:
    if report.udp is None:
        return "nothing is known yet: no STUN server was asked"
    if not report.udp:
        return "no STUN server answers over UDP: a firewall seems to block it, and direct paths beyond this LAN are not possible"
    if not report.natted:
        return "this computer has a public address: direct paths are possible"
    if report.mappingVaries:
        return "the NAT in front of this computer gives each destination another port: direct paths need a peer with an easier NAT"
    return "this computer is behind a NAT, through which direct paths are possible"
