# -*- test-case-name: vnet.test.test_lansharing -*-
"""
The LANs that nodes share, as the rest of the node sees them.  What shares and routes is loaded with the first of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from attrs import define, field

from vnet.client.dataplane.forwarder import Forwarder
from vnet.client.firewall.firewall import Firewall
from vnet.client.logins import Logins
from vnet.client.memberships import Memberships
from vnet.client.nodeparts import NodeParts
from vnet.client.peers import Peers
from vnet.client.sync import NetworkView
from vnet.client.tunnels import TunnelTable
from vnet.client.welcome import Welcome

if TYPE_CHECKING:
    from vnet.client.lanroutes.lanroutes import LanRoutes
    from vnet.client.lansharing.report import SharingVerbs
    from vnet.client.lansharing.sharing import SharedLan, Sharing

__all__ = ["SharedLans"]


class _Loaded(NamedTuple):
    routes: LanRoutes
    sharing: Sharing
    verbs: SharingVerbs


@define(eq=False, repr=False)
class SharedLans:
    """
    The shared LANs of one node.

    @ivar _welcome: what the last login gave.
    @ivar _needed: gives the addresses outside the overlay that this node sends to.
    @ivar _changed: something that a user sees has changed.
    """

    _parts: NodeParts
    _view: NetworkView
    _memberships: Memberships
    _peers: Peers
    _logins: Logins
    _tunnels: TunnelTable
    _forwarder: Forwarder
    _firewall: Firewall
    _welcome: Callable[[], Welcome | None]
    _needed: Callable[[], set[str]]
    _changed: Callable[[], None]
    _loaded: _Loaded | None = field(default=None, init=False)

    def load(self) -> _Loaded:
        """
        @return: what shares and routes.
        """
        if self._loaded is None:
            self._loaded = self._load()
            if (welcome := self._welcome()) is not None:
                self.configured(welcome)
        return self._loaded

    def _load(self) -> _Loaded:
        from vnet.client.firewall.barriers import Barriers
        from vnet.client.lanroutes.lanroutes import LanRoutes
        from vnet.client.lansharing.report import SharingVerbs
        from vnet.client.lansharing.sharing import Sharing

        parts, own = self._parts, self._parts.identity.publicKey
        routes = LanRoutes(
            parts.clock,
            parts.device.name,
            parts.etherTypes is None,
            self._tunnels,
            self._forwarder,
            self._firewall,
            None if parts.makeKernel is None else parts.makeKernel(),
            admits=lambda key, prefix: sharing.admits(key, prefix),
            needed=self._needed,
            changed=self._changed,
            barriers=Barriers(parts.clock, parts.device.name, parts.nft),
        )
        sharing = Sharing(own, parts.state, self._view, self._memberships, self._peers, routes)
        verbs = SharingVerbs(
            own,
            parts.state,
            self._view,
            self._memberships,
            self._logins,
            sharing,
            routes,
            lambda: welcome.blocks if (welcome := self._welcome()) else (),
        )
        return _Loaded(routes, sharing, verbs)

    @property
    def _isNeeded(self) -> bool:
        """
        Whether something is chosen here, or offered in a network.
        """
        return bool(self._parts.state.remembered.lans) or any(
            network.lans for network in self._view.networks.values()
        )

    # What has changed

    def configured(self, welcome: Welcome) -> None:
        """
        This node has these addresses now.
        """
        if self._loaded is not None:
            self._loaded.routes.configure(welcome.address, welcome.pool, welcome.address6, welcome.pool6)

    def changed(self) -> None:
        """
        Members, networks or choices have changed.
        """
        if self._loaded is not None or self._isNeeded:
            self.load().sharing.changed()

    def linksChanged(self) -> None:
        """See L{LanRoutes.linksChanged}."""
        if self._loaded is not None:
            self._loaded.routes.linksChanged()

    def rulesChanged(self) -> None:
        """See L{LanRoutes.rulesChanged}."""
        if self._loaded is not None:
            self._loaded.routes.rulesChanged()

    async def close(self) -> None:
        """See L{LanRoutes.close}."""
        if self._loaded is not None:
            await self._loaded.routes.close()

    # What is told

    def holds(self, host: str) -> bool:
        """See L{LanRoutes.holds}."""
        return self._loaded is not None and self._loaded.routes.holds(host)

    def all(self) -> list[SharedLan]:
        """
        @return: the LANs of all networks.
        """
        return [] if self._loaded is None else self._loaded.sharing.lans()

    def hindered(self) -> list[dict[str, Any]]:
        """See L{SharingVerbs.hindered}."""
        return [] if self._loaded is None else self._loaded.verbs.hindered()

    def ofNetwork(self, network: bytes) -> dict[bytes, list[dict[str, Any]]]:
        """See L{SharingVerbs.ofNetwork}."""
        return {} if self._loaded is None else self._loaded.verbs.ofNetwork(network)

    def ofMember(self, key: bytes) -> list[dict[str, Any]]:
        """See L{SharingVerbs.ofMember}."""
        return [] if self._loaded is None else self._loaded.verbs.ofMember(key)
