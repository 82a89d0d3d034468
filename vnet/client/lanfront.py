# -*- test-case-name: vnet.test.test_node -*-
"""
What makes the overlay a LAN to this computer: names, the firewall, protocols beside IP, and the LANs that nodes share.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field

from vnet.client.dataplane.forwarder import Forwarder
from vnet.client.firewall.filtered import Filtered
from vnet.client.firewall.firewall import Firewall
from vnet.client.firewall.report import FirewallVerb
from vnet.client.logins import Logins
from vnet.client.memberships import Memberships
from vnet.client.names.nameservice import NameService
from vnet.client.names.roster import Roster, networksOf
from vnet.client.nodeparts import NodeParts
from vnet.client.nonip.allowed import Allowed
from vnet.client.nonip.report import LanVerb
from vnet.client.peers import Peers
from vnet.client.relayuse import RelayUse
from vnet.client.sharedlans import SharedLans
from vnet.client.sync import NetworkView
from vnet.client.synchroniser import Synchroniser
from vnet.client.tunnels import TunnelTable
from vnet.client.welcome import Welcome

__all__ = ["LanFront"]


@define(eq=False, repr=False)
class LanFront:
    """
    The LAN that one node makes.

    @ivar _welcome: what the last login gave.
    @ivar _changed: something that a user sees has changed.
    """

    _parts: NodeParts
    _view: NetworkView
    _memberships: Memberships
    _peers: Peers
    _logins: Logins
    _synchroniser: Synchroniser
    _tunnels: TunnelTable
    _forwarder: Forwarder
    _relays: RelayUse
    _welcome: Callable[[], Welcome | None]
    _changed: Callable[[], None]
    names: NameService = field(init=False)
    firewall: Firewall = field(init=False)
    firewallVerb: FirewallVerb = field(init=False)
    allowed: Allowed = field(init=False)
    lanVerb: LanVerb = field(init=False)
    lans: SharedLans = field(init=False)

    def __attrs_post_init__(self) -> None:
        parts = self._parts
        self.names = NameService(
            parts.names,
            parts.device.name,
            parts.identity.publicKey,
            self._peers,
            self._forwarder.deliver,
            self._roster,
        )
        filtered = Filtered(parts.state, self._view, self._memberships, self._peers)
        self.firewall = Firewall(parts.clock, parts.device.name, filtered, parts.nft)
        self.firewallVerb = FirewallVerb(parts.state, filtered, self.firewall)
        self.allowed = Allowed(parts.state, filtered, self._peers, parts.etherTypes)
        self.lanVerb = LanVerb(parts.state, filtered, self.allowed)
        self.lans = SharedLans(
            parts,
            self._view,
            self._memberships,
            self._peers,
            self._logins,
            self._tunnels,
            self._forwarder,
            self.firewall,
            self._welcome,
            self._needed,
            self._changed,
        )

    def _needed(self) -> set[str]:
        """
        The addresses outside the overlay that this node sends to.
        """
        welcome = self._welcome()
        paths = [peer.path for peer in self._peers.opened() if peer.path is not None]
        found = {path.address.host for path in paths if not path.allocation}
        found.update(address.host for address in (welcome.stun if welcome else ()))
        found.update(self._relays.hosts())
        found.update(self._parts.proxyHosts())
        if welcome is not None and welcome.mediatorHost:
            found.add(welcome.mediatorHost)
        return found

    def _roster(self) -> Roster | None:
        welcome = self._welcome()
        if welcome is None:
            return None
        return Roster(
            welcome.realm,
            self._parts.identity.publicKey,
            self._parts.state.remembered.nick,
            networksOf(self._view.networks.values(), self._memberships.joined, self._peers),
            self._synchroniser.whole,
        )

    def configured(self, welcome: Welcome) -> None:
        """
        This node has these addresses now.
        """
        self.lans.configured(welcome)
        self.names.configured(welcome)
        if self._parts.lanPriority is not None:
            self._parts.lanPriority.configured(welcome.address)
        if self._parts.groupSocket is not None:
            self._parts.groupSocket.join()

    def changed(self) -> None:
        """
        Members, networks, or what they may do here, have changed.
        """
        self.allowed.changed()
        self.lans.changed()
        self.firewall.changed()

    def stop(self) -> None:
        """
        This computer has no names of members, nor broadcasts for them, any more.
        """
        self.names.stop()
        if self._parts.lanPriority is not None:
            self._parts.lanPriority.stop()
        if self._parts.groupSocket is not None:
            self._parts.groupSocket.close()
