# -*- test-case-name: vnet.test.test_client_relayed -*-
"""
The use that a node makes of relays, or none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from attrs import define, field
from twisted.internet.defer import Deferred

from vnet.client.dataplane.paths import Paths
from vnet.client.logins import Logins
from vnet.client.nat import NatDiscovery
from vnet.client.nodeparts import NodeParts
from vnet.client.welcome import Welcome, parseTickets
from vnet.errors import VnetError
from vnet.protocols import control
from vnet.protocols.punch import Puncher
from vnet.values import Address

if TYPE_CHECKING:
    from vnet.client.relays import Relays

__all__ = ["RelayUse"]


@define(eq=False, repr=False)
class RelayUse:
    """
    The relays of one node.

    @ivar _welcome: what the last login gave.
    @ivar _changed: something that a user sees has changed.
    @ivar relays: L{None}: this node uses none, or the mediator has named none so far.
    """

    _parts: NodeParts
    _paths: Paths
    _logins: Logins
    _puncher: Puncher
    _nat: NatDiscovery
    _welcome: Callable[[], Welcome | None]
    _changed: Callable[[], None]
    relays: Relays | None = field(default=None, init=False)

    def setTickets(self, tickets: Sequence[tuple[str, str, str]]) -> None:
        """
        See L{Relays.setTickets}.
        """
        if self.relays is None and tickets:
            self.relays = self._makeRelays()
        if self.relays is not None:
            self.relays.setTickets(tickets)

    def _makeRelays(self) -> Relays | None:
        # TURN is in memory only where there are relays.
        from vnet.client.relays import Relays

        parts = self._parts
        if parts.relayReach is None:
            return None
        return Relays(
            parts.clock,
            parts.random,
            self._paths,
            parts.port,
            parts.relayReach,
            changed=self._relaysChanged,
            renew=self._renewTickets,
            accepts=self._mayBeRelay,
        )

    def check(self) -> None:
        """
        There is doubt whether the relays are reached.
        """
        if self.relays is not None:
            self.relays.check()

    def clear(self) -> None:
        """
        This node is logged out.
        """
        if self.relays is not None:
            self.relays.clear()

    def hosts(self) -> set[str]:
        """
        @return: the addresses of the relays in use.
        """
        return set() if self.relays is None else set(self.relays.hosts())

    def dropped(self) -> Counter[str]:
        """
        @return: how many datagrams the allocations dropped, and why.
        """
        return Counter() if self.relays is None else self.relays.dropped()

    @property
    def problem(self) -> str:
        """Why no relay can be used, one line; empty when one can, or none is known."""
        return "" if self.relays is None else self.relays.problem

    def doubt(self, via: str) -> None:
        """
        There is doubt whether an allocation of this name works.
        """
        self.check()

    def describe(self, via: str) -> tuple[str, str] | None:
        """
        @return: the relay of an allocation, and over what it is reached.
        """
        found = None if self.relays is None else self.relays.via(via)
        return None if found is None else (found.relay, found.transport)

    def _relaysChanged(self, relayed: Mapping[str, Sequence[Address]]) -> None:
        self._puncher.setRelays(relayed)
        if self.relays is not None:
            self._nat.learnServers(self.relays.servers())
        self._changed()

    def _mayBeRelay(self, address: Address) -> bool:
        """
        Whether this node would ask for an allocation at an address that the mediator names: see L{Welcome.mayServe}.
        """
        welcome = self._welcome()
        return welcome is not None and welcome.mayServe(address)

    def _renewTickets(self) -> None:
        Deferred.fromCoroutine(self._fetchTickets()).addErrback(lambda failure: failure.trap(VnetError))

    async def _fetchTickets(self) -> None:
        answer = await self._logins.ask(control.Relays)
        self.setTickets(parseTickets(answer["relays"]))
