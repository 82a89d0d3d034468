# -*- test-case-name: vnet.test.test_firewall -*-
"""
Which policy applies to whom: what the firewall is made from.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from attrs import define

from vnet.client.firewall.policy import OPEN, Policy, parsePolicy, union
from vnet.client.memberships import Memberships
from vnet.client.peers import Peers
from vnet.client.state import StateFile
from vnet.client.sync import NetworkView
from vnet.errors import Refused

__all__ = ["Filtered"]

_parse = lru_cache(maxsize=1024)(parsePolicy)


@define(eq=False, repr=False)
class Filtered:
    """
    The networks that this node joined, with their policies, and the members that may send to it.
    """

    _state: StateFile
    _view: NetworkView
    _memberships: Memberships
    _peers: Peers

    def policies(self) -> dict[bytes, Policy]:
        """
        @return: the policy of each network, by its identifier.
        """
        chosen = self._state.remembered.firewall
        return {
            bytes.fromhex(key): _parse(chosen[key]) if key in chosen else OPEN
            for key in self._memberships.joined
        }

    def nameOf(self, network: bytes) -> str:
        """
        @return: the name of a joined network.
        """
        return self._memberships.joined[network.hex()].name

    def named(self, name: str) -> list[bytes]:
        """
        @return: the networks of this name; before the first login it may be one of each mediator.
        @raise Refused: there is none.
        """
        found = [
            bytes.fromhex(key) for key, network in self._memberships.joined.items() if network.name == name
        ]
        if not found:
            raise Refused(f"this node is in no network named {name!r}: see 'vnet list'")
        return found

    def members(self) -> Iterable[bytes]:
        """
        @return: the keys of all peers.
        """
        return [peer.key for peer in self._peers.all()]

    def addressesOf(self, key: bytes) -> tuple[str, ...]:
        """
        @return: the addresses from which packets of a member come; none when it has no tunnel.
        """
        peer = self._peers.get(key)
        return () if peer is None or peer.refused else peer.addresses

    def networksOf(self, key: bytes) -> list[bytes]:
        """
        @return: the networks that this node shares with a member, and is not offline in.
        """
        shared = self._view.sharedWith(key, self._memberships.joined)
        return [network.network for network in shared if network.online]

    def policyFor(self, key: bytes) -> Policy:
        """
        @return: what a member may: all that one of the networks lets in that this node shares with it.
        """
        policies = self.policies()
        return union(policies[network] for network in self.networksOf(key) if network in policies)
