# -*- test-case-name: vnet.test.test_names_roster -*-
"""
Who there is, to be given names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from attrs import frozen

from vnet.client.state import RememberedNetwork
from vnet.client.sync import Network

__all__ = ["PeerTable", "Roster", "RosterNetwork", "networksOf"]


class PeerTable(Protocol):
    """
    The addresses of the peers that this node trusts to be who they were.
    """

    def addressesOf(self, key: bytes) -> tuple[str, ...]:
        """
        Of the peer with this key, IPv4 first; empty: there is none.
        """

    def keyAt(self, address: str) -> bytes | None:
        """
        The key of the peer with this address.
        """


@frozen
class RosterNetwork:
    """
    A network that this node has joined.

    @ivar name: the name under which it was joined.
    @ivar members: the nickname of each, by key, in the order in which this node has learnt of them.
    """

    network: bytes
    name: str
    members: Mapping[bytes, str]


@frozen
class Roster:
    """
    Who there is.

    @ivar realm: the mediator's.
    @ivar own: this node's key, and C{nick} its nickname.
    @ivar whole: whether who is not named here is no member any more.
    """

    realm: bytes
    own: bytes
    nick: str
    networks: Sequence[RosterNetwork]
    whole: bool


def networksOf(
    networks: Iterable[Network], joined: Mapping[str, RememberedNetwork], peers: PeerTable
) -> list[RosterNetwork]:
    """
    @param networks: as the mediator describes them; the longest member is the first of each.
    @param joined: those that this node joined itself, by identifier in hexadecimal: others have no names.
    @return: the networks, with the members that have an address here.
    """
    found = []
    for network in networks:
        known = joined.get(network.network.hex())
        if known is not None:
            members = {key: each.nick for key, each in network.members.items() if peers.addressesOf(key)}
            found.append(RosterNetwork(network.network, known.name, members))
    return found
