# -*- test-case-name: vnet.test.test_client_report -*-
"""
What users are shown, as JSON values: docs/commands documents the keys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from vnet.client.listing import Selection
from vnet.client.natwording import natSummary
from vnet.client.peer import Peer
from vnet.client.peerreport import describe, stateOf
from vnet.client.peers import Peers
from vnet.client.state import RememberedNetwork
from vnet.client.sync import Network, NetworkView
from vnet.values import Address, NatReport, PortMapping

if TYPE_CHECKING:
    from vnet.client.relays import Relays

__all__ = ["describeNat", "describeNetworks", "describeRelays"]

ALL = Selection()

LansIn = Callable[[bytes], Mapping[bytes, list[dict[str, Any]]]]


def describeNetworks(
    view: NetworkView,
    joined: Mapping[str, RememberedNetwork],
    peers: Peers,
    online: bool,
    selection: Selection = ALL,
    nameIn: Callable[[bytes, bytes], str | None] = lambda network, member: None,
    lansIn: LansIn = lambda network: {},
) -> list[dict[str, Any]]:
    """
    @param joined: what this node remembers, by identifier in hexadecimal.
    @param online: whether this node is logged in.
    @param selection: which networks and members are wanted.
    @param nameIn: gives the name of a member (the second key) of a network that programs look up.
    @param lansIn: gives the LANs of the members of a network, by their keys.
    @return: the networks, in the order of their names; of those that only the memory knows, no members.
    """
    seen = {network.network.hex(): network for network in view.networks.values()}
    wanted = {key: each for key, each in joined.items() if selection.network in (None, each.name)}
    described = [
        _describe(wanted[key].name, network, peers, online, selection, nameIn, lansIn(network.network))
        for key, network in seen.items()
        if key in wanted
    ]
    if not online:
        described += [_remembered(network) for key, network in wanted.items() if key not in seen]
    return sorted(described, key=lambda network: str(network["name"]).casefold())


def _remembered(network: RememberedNetwork) -> dict[str, Any]:
    return {
        "name": network.name,
        "state": "offline",
        "owner": None,
        "protected": network.secret is not None,
        "members": [],
        "memberCount": 0,
        "onlineCount": 0,
        "foundCount": 0,
        "ownerNick": None,
        "ownLans": [],
    }


def _describe(
    name: str,
    network: Network,
    peers: Peers,
    online: bool,
    selection: Selection,
    nameIn: Callable[[bytes, bytes], str | None],
    lans: Mapping[bytes, list[dict[str, Any]]],
) -> dict[str, Any]:
    members = [
        (peer, _stateIn(network, peer)) for peer in map(peers.get, network.members) if peer is not None
    ]
    found = [each for each in members if _isWanted(selection, *each)]
    owner = network.members.get(network.owner)
    return {
        "name": name,
        "state": "online" if online and network.online else "offline",
        "owner": network.owner.hex(),
        "protected": network.protected,
        "members": [
            {
                **_describeMember(*each),
                "name": nameIn(network.network, each[0].key),
                "lans": lans.get(each[0].key, []),
            }
            for each in selection.ofPage(found)
        ],
        "memberCount": len(members),
        "onlineCount": sum(state == "online" for _, state in members),
        "foundCount": len(found),
        "ownerNick": None if owner is None else owner.nick,
        "ownLans": lans.get(peers.ownKey, []),
    }


def _stateIn(network: Network, peer: Peer) -> str:
    """
    How a peer is in one network: it may be online in another one only.
    """
    isOffline = not network.online or network.members[peer.key].state == "offline"
    return "offline" if isOffline else stateOf(peer)


def _isWanted(selection: Selection, peer: Peer, state: str) -> bool:
    member = peer.member
    return selection.picks(member.nick, member.address, member.address6, peer.key.hex(), state)


def _describeMember(peer: Peer, state: str) -> dict[str, Any]:
    described = describe(peer)
    if state == "offline":
        described.update(state="offline", path="none")
        described.update(dict.fromkeys(("endpoint", "relay", "transport", "latencyMs")))
    return described


def describeNat(
    report: NatReport, portMapping: PortMapping | None = None, forwardedPort: str | None = None
) -> dict[str, Any]:
    """
    @param portMapping: what the router does for this node, when it was asked.
    @param forwardedPort: C{"open"} or C{"closed"}, when the port that the user named was tested from outside.
    @return: the JSON value of C{vnet netcheck}.
    """
    mapped = portMapping if portMapping is not None and portMapping.external is not None else None
    described = {
        "udp": report.udp,
        "publicAddress": _text(report.publicAddress),
        "publicAddress6": _text(report.publicAddress6),
        "natted": report.natted,
        "mappingVaries": report.mappingVaries,
        "mapping": report.mapping,
        "filtering": report.filtering,
        "allocation": report.allocation,
        "step": report.step,
        "noise": report.noise,
        "ports": None if report.ports is None else list(report.ports),
        "hosts": list(report.hosts),
        "hairpin": report.hairpin,
        "lifetime": report.lifetime,
        "shared": True if mapped is not None and mapped.behindCarrier else report.shared,
        "portMapping": mapped and {"protocol": mapped.protocol, "address": _text(mapped.external)},
        "forwardedPort": forwardedPort,
    }
    return {**described, "summary": natSummary(described)}


def describeRelays(relays: Relays | None) -> list[dict[str, Any]]:
    """
    @return: the JSON values of the relays in use, the best first.
    """
    return [
        {
            "relay": each.relay,
            "transport": each.transport,
            "addresses": [str(address) for address in each.relayed],
            "latencyMs": round(each.rtt * 1000, 2) if each.rtt else None,
        }
        for each in (relays.status() if relays is not None else ())
    ]


def _text(address: Address | None) -> str | None:
    return None if address is None else str(address)
