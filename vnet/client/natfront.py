# -*- test-case-name: vnet.test.test_node -*-
"""
What stands between a node and the Internet, and all that deals with it: the puncher, what is known of the NAT, how long its
mappings live, the port that the user forwards, and the one that the router maps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from attrs import define, evolve, field
from twisted.internet.defer import Deferred

from vnet.client.dataplane.paths import Paths
from vnet.client.dataplane.sockets import SpareSockets
from vnet.client.lifetimes import LifetimeWatch
from vnet.client.logins import Logins
from vnet.client.nat import NatDiscovery
from vnet.client.nodeparts import NodeParts
from vnet.client.obstacles import OwnNat
from vnet.client.traits import traitsOf
from vnet.protocols.machine.pathmtu import OVERHEAD
from vnet.protocols.punch import Puncher
from vnet.values import Address, NatReport, PortMapping

if TYPE_CHECKING:
    from vnet.client.portmapping.mapper import PortMapper
    from vnet.client.porttest import PortTest

__all__ = ["NatFront"]


@define(eq=False, repr=False)
class NatFront:
    """
    The front of one node.

    @ivar _accepts: whether something may be sent to an address that a stranger names.
    @ivar _mapped: this node's candidates have changed.
    @ivar _changed: something that a user sees has changed.
    @ivar sockets: L{None}: there are no spare ones.
    """

    _parts: NodeParts
    _paths: Paths
    _logins: Logins
    _accepts: Callable[[Address], bool]
    _mapped: Callable[[], None]
    _changed: Callable[[], None]
    sockets: SpareSockets | None = field(default=None, init=False)
    puncher: Puncher = field(init=False)
    nat: NatDiscovery = field(init=False)
    lifetimes: LifetimeWatch = field(init=False)
    portTest: PortTest | None = field(default=None, init=False)
    portMapper: PortMapper | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        parts, send = self._parts, self._paths.send
        if parts.openPort is not None:
            self.sockets = SpareSockets(parts.openPort, self._paths)
        self.puncher = Puncher(
            parts.clock,
            send,
            parts.random,
            onMapped=self._candidatesChanged,
            accepts=self._accepts,
            sockets=self.sockets,
            sendLimited=self._paths.sendLimited,
            sendWhole=self._paths.sendWhole,
            largest=parts.device.mtu + OVERHEAD,
        )
        self.nat = NatDiscovery(
            parts.clock,
            self.puncher,
            send,
            parts.random,
            self.sockets,
            self._accepts,
            onReport=self._reported,
        )
        self.lifetimes = LifetimeWatch(
            parts.clock, self.puncher, send, parts.random, self.sockets, self.nat.learnLifetime
        )
        if parts.fixedPort:
            from vnet.client.porttest import PortTest

            self.portTest = PortTest(
                parts.clock, parts.port.port, self._logins.ask, parts.random, self._changed
            )
            self.puncher.askers.append(self.portTest)
        if parts.routerNetwork is not None:
            # HTTP and XML are in memory only where a router is asked.
            from vnet.client.portmapping.mapper import PortMapper
            from vnet.client.portmapping.pcp import nonceOf

            self.portMapper = PortMapper(
                parts.clock,
                parts.routerNetwork,
                partial(nonceOf, parts.identity.seed),
                parts.random,
                self._portMapped,
            )

    def linksChanged(self) -> None:
        """
        An address of this computer has come or gone: the router may be another one.
        """
        if self.portMapper is not None:
            self.portMapper.update(self._parts.port.port)
            self._portMapped()

    def setServers(self, servers: Sequence[Address]) -> None:
        """
        Ask these STUN servers.
        """
        self.nat.setServers(servers)
        self.lifetimes.setServers(servers)
        self._testPort(self.nat.report())

    def unmap(self) -> Deferred[None] | None:
        """
        Give the router's mapping back.

        @return: fires when that is done, or has taken too long.
        """
        return None if self.portMapper is None else Deferred.fromCoroutine(self.portMapper.close())

    def close(self) -> None:
        """
        Stop all of it.
        """
        self.nat.close()
        if self.portTest is not None:
            self.portTest.close()
        self.lifetimes.close()
        self.puncher.close()
        if self.sockets is not None:
            self.sockets.closeAll()

    @property
    def forwardedPort(self) -> str | None:
        """
        Whether the UDP port that the user named is reached from outside: see L{PortTest.forwarded}.
        """
        return None if self.portTest is None else self.portTest.forwarded(self.nat.report())

    @property
    def portMapping(self) -> PortMapping:
        """
        What the router does for this node's port.
        """
        if self.portMapper is None:
            return PortMapping(reason="turned off by --no-port-mapping")
        status = self.portMapper.status
        if status.external is not None and self.puncher.contradicts(status.external):
            return evolve(status, behindCarrier=True)
        return status

    def ownNat(self) -> OwnNat:
        """
        All that is known of this side.
        """
        port = self._parts.port.port if self._parts.fixedPort else 0
        return OwnNat(self.nat.report(), port, self.portMapping, self.forwardedPort)

    def _candidatesChanged(self) -> None:
        self.nat.mappingsChanged()
        self._mapped()

    def _reported(self, report: NatReport) -> None:
        traits = traitsOf(report, self._parts.port.localAddresses())
        self.puncher.setTraits(traits, report.noise or 0.0, report.hosts)
        self.puncher.setBare(report.natted is False)
        self._testPort(report)
        self._changed()

    def _testPort(self, report: NatReport) -> None:
        if self.portTest is not None and self._logins.online:
            self.portTest.consider(report)

    def _portMapped(self) -> None:
        if self.portMapper is not None:
            external = self.portMapper.status.external
            self.puncher.setMapped(self.portMapper.addresses)
            self.nat.learnRouter(None if external is None else external.host)
            self._changed()
