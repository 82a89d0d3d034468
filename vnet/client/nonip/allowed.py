# -*- test-case-name: vnet.test.test_nonip -*-
"""
Which protocols beside IP pass between this node and a member: those of all networks together that the two share.
"""

from __future__ import annotations

from attrs import define, field

from vnet.client.firewall.filtered import Filtered
from vnet.client.nonip.choice import DEFAULT, Choice
from vnet.client.peers import Peers
from vnet.client.state import StateFile

__all__ = ["Allowed"]


@define(eq=False, repr=False)
class Allowed:
    """
    The lists, for each member that is asked for.

    @ivar default: the node's list, for networks without one; L{None}: the interface carries IP only.
    """

    _state: StateFile
    _filtered: Filtered
    _peers: Peers
    default: frozenset[int] | None
    _known: dict[bytes, frozenset[int]] = field(factory=dict, init=False)

    def choiceOf(self, network: bytes) -> Choice:
        """
        @return: what was chosen for a network.
        """
        return self._state.remembered.nonIp.get(network.hex(), DEFAULT)

    def typesIn(self, network: bytes) -> frozenset[int]:
        """
        @return: the protocols that pass in a network.
        """
        return frozenset() if self.default is None else self.choiceOf(network).types(self.default)

    def typesOf(self, tunnelKey: bytes) -> frozenset[int]:
        """
        @return: the protocols that pass to and from a member.
        """
        found = self._known.get(tunnelKey)
        if found is None:
            peer = self._peers.byTunnelKey(tunnelKey)
            networks = [] if peer is None else self._filtered.networksOf(peer.key)
            found = frozenset().union(*map(self.typesIn, networks))
            if peer is not None:
                self._known[tunnelKey] = found
        return found

    def changed(self) -> None:
        """
        Members came, went or moved between networks, or something else was chosen.
        """
        self._known.clear()
