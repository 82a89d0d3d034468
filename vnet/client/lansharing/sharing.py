# -*- test-case-name: vnet.test.test_lansharing -*-
"""
The LANs of this node's networks: what the mediator tells of them, what the user has chosen, and what follows for the routes.

The mediator's word alone routes nothing: a LAN is shared only if this node's own user has offered it, and used only if he has
chosen it, of that member.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Protocol

from attrs import define, field, frozen

from vnet.client.lanroutes.plan import Gateway
from vnet.client.lansharing.choices import NONE, Choices
from vnet.client.memberships import Memberships
from vnet.client.peers import Peers
from vnet.client.state import StateFile
from vnet.client.sync import Network, NetworkView

__all__ = ["Routes", "SharedLan", "Sharing"]


class Routes(Protocol):
    """
    What routes: see L{vnet.client.lanroutes.lanroutes.LanRoutes}.
    """

    def offer(self, prefixes: Iterable[str]) -> None: ...
    def use(self, used: Mapping[Gateway, Collection[str]]) -> None: ...
    async def settle(self) -> None: ...
    async def whenSettled(self) -> None: ...
    async def reach(self, prefix: str) -> bool: ...
    def membersChanged(self) -> None: ...
    def offerRefusal(self, prefix: str) -> str: ...
    def useRefusal(self, gateway: Gateway, prefix: str) -> str: ...
    def offerProblems(self) -> Mapping[str, str]: ...
    def useProblems(self) -> Mapping[tuple[bytes, str], str]: ...
    def barriers(self) -> Mapping[str, tuple[str, list[str]]]: ...


@frozen
class SharedLan:
    """
    One LAN in one network.

    @ivar network: the network's identifier; C{name} its name.
    @ivar key: of the member that offers it.
    @ivar isOwn: whether that is this node.
    @ivar isOffered: whether the mediator says that it is offered; C{isAccepted}: and accepted.
    @ivar isChosen: whether this node's user has offered it, or has chosen to use it.
    @ivar isKnown: whether the mediator has said anything of the network since the login.
    @ivar barrier: why another firewall of this computer drops what is forwarded though it is shared, one line; C{help}: the
        commands that let it through.
    @ivar problem: why it is not shared or used though all agree, one line; empty: it is.
    """

    network: bytes
    name: str
    prefix: str
    key: bytes
    isOwn: bool
    isOffered: bool
    isAccepted: bool
    isChosen: bool
    problem: str = ""
    isKnown: bool = True
    barrier: str = ""
    help: tuple[str, ...] = ()

    @property
    def state(self) -> str:
        """
        C{"offered"}: it waits for the owner; C{"accepted"}: it may be used; C{"shared"} and C{"used"}: it is; C{"blocked"}: it
        should be, and cannot; C{"absent"}: chosen here, and not offered or accepted now; C{"ignored"}: offered in the name of
        this node, whose user did not.
        """
        if self.isChosen:
            if not self.isOffered or not (self.isAccepted or self.isOwn):
                return "absent"
            if self.isAccepted:
                return "blocked" if self.problem else "shared" if self.isOwn else "used"
        elif self.isOwn:
            return "ignored"
        return "accepted" if self.isAccepted else "offered"

    @property
    def why(self) -> str | None:
        """
        One line on a state in which something is missing.
        """
        if self.state == "absent":
            if not self.isKnown:
                return "nothing is known of it until this computer is connected to the mediator"
            if not self.isOffered:
                return "it is not offered now"
            return "the network's owner does not accept it any more"
        if self.state == "ignored":
            return "the mediator says that this computer offers it, which it does not: nothing is forwarded"
        if self.state == "offered":
            return "the network's owner has not accepted it yet"
        return self.problem or (self.barrier if self.state == "shared" else "") or None

    @property
    def isHindered(self) -> bool:
        """
        Whether this node shares or uses it, as all want, and it does not work for a reason that this computer knows.
        """
        return self.state in ("shared", "used", "blocked") and self.why is not None


@define(eq=False, repr=False)
class Sharing:
    """
    Keeps the routes in step with view, peers and choices.

    @ivar _ownKey: this node's Ed25519 key.
    """

    _ownKey: bytes
    _state: StateFile
    _view: NetworkView
    _memberships: Memberships
    _peers: Peers
    _routes: Routes
    _offered: tuple[str, ...] = field(default=(), init=False)
    _used: dict[Gateway, tuple[str, ...]] = field(factory=dict, init=False)

    def choicesOf(self, network: bytes) -> Choices:
        """
        @return: what was chosen in a network.
        """
        return self._state.remembered.lans.get(network.hex(), NONE)

    def changed(self) -> None:
        """
        The view, the peers or the choices have changed.
        """
        offered, used = tuple(self._toShare()), self._toUse()
        if offered != self._offered:
            self._offered = offered
            self._routes.offer(offered)
        elif offered:
            self._routes.membersChanged()
        if used != self._used:
            self._used = used
            self._routes.use(used)

    def _chosen(self) -> Iterator[tuple[Network, Choices]]:
        """
        @return: the networks in which something was chosen and this node is online.
        """
        joined = self._memberships.joined
        for identifier, choices in self._state.remembered.lans.items():
            network = self._view.networks.get(bytes.fromhex(identifier))
            if network is not None and network.online and identifier in joined:
                yield network, choices

    def _toShare(self) -> list[str]:
        return list(
            dict.fromkeys(
                prefix
                for network, choices in self._chosen()
                for prefix in choices.offered
                if _acceptance(network, self._ownKey, prefix)
            )
        )

    def _toUse(self) -> dict[Gateway, tuple[str, ...]]:
        found: dict[Gateway, tuple[str, ...]] = {}
        for network, choices in self._chosen():
            for text, prefix in choices.used:
                key = bytes.fromhex(text)
                gateway = self.gatewayOf(key)
                if gateway is not None and _acceptance(network, key, prefix):
                    known = found.get(gateway, ())
                    found[gateway] = known if prefix in known else (*known, prefix)
        return found

    def gatewayOf(self, key: bytes) -> Gateway | None:
        """
        @return: a member as the routes know it; L{None}: it is no peer, or it is refused.
        """
        peer = self._peers.get(key)
        if peer is None or peer.refused or not peer.addresses:
            return None
        return Gateway(peer.tunnelKey, *peer.addresses)

    def admits(self, tunnelKey: bytes, prefix: str) -> bool:
        """
        Whether a member may reach a prefix that this node shares: it is in a network in which that is shared.
        """
        peer = self._peers.byTunnelKey(tunnelKey)
        return peer is not None and any(
            prefix in choices.offered
            and peer.key in network.members
            and network.members[peer.key].state != "offline"
            and _acceptance(network, self._ownKey, prefix)
            for network, choices in self._chosen()
        )

    async def settle(self) -> None:
        """
        Fires when what was chosen holds, or it is known why not.
        """
        self.changed()
        await self._routes.settle()

    # What is told

    def lans(self, network: bytes | None = None) -> list[SharedLan]:
        """
        @param network: only those of this one.
        @return: the LANs of the networks that this node has joined, its own first.
        """
        found = [
            lan
            for identifier, joined in self._memberships.joined.items()
            if network is None or network.hex() == identifier
            for lan in self._lansIn(bytes.fromhex(identifier), joined.name)
        ]
        return sorted(found, key=lambda lan: (lan.name.casefold(), not lan.isOwn))

    def _lansIn(self, identifier: bytes, name: str) -> Iterator[SharedLan]:
        network, choices = self._view.networks.get(identifier), self.choicesOf(identifier)
        told = {
            (key, lan.prefix): lan.accepted
            for key, lans in (network.lans if network is not None else {}).items()
            for lan in lans
        }
        chosen = [(self._ownKey, prefix) for prefix in choices.offered]
        chosen += [(bytes.fromhex(key), prefix) for key, prefix in choices.used]
        barriers = self._routes.barriers()
        for key, prefix in dict.fromkeys([*chosen, *told]):
            barrier, commands = barriers.get(prefix, ("", [])) if key == self._ownKey else ("", [])
            yield SharedLan(
                identifier,
                name,
                prefix,
                key,
                key == self._ownKey,
                (key, prefix) in told,
                told.get((key, prefix), False),
                (key, prefix) in chosen,
                self._problem(network, name, key, prefix),
                network is not None,
                barrier,
                tuple(commands),
            )

    def _problem(self, network: Network | None, name: str, key: bytes, prefix: str) -> str:
        if network is None or not network.online:
            return f"this computer is offline in {name}"
        if key == self._ownKey:
            return self._routes.offerProblems().get(prefix, "")
        gateway = self.gatewayOf(key)
        if gateway is None:
            peer = self._peers.get(key)
            return (peer and peer.refused) or "there is no tunnel to the member"
        return self._routes.useProblems().get((gateway.tunnelKey, prefix), "")


def _acceptance(network: Network, key: bytes, prefix: str) -> bool:
    return any(lan.prefix == prefix and lan.accepted for lan in network.lans.get(key, ()))
