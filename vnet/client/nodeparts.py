# -*- test-case-name: vnet.test.test_node -*-
"""
What a node is made of.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Any

from attrs import define
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint

from vnet.client.dataplane.groups import MEMBER_RATE
from vnet.client.firewall.nft import Nft
from vnet.client.groupsocket import GroupSocket
from vnet.client.identity import Identity
from vnet.client.names.nameservice import NameParts
from vnet.client.reach import RelayReach
from vnet.client.state import StateFile
from vnet.interfaces import IDatagramPort, IDevice
from vnet.protocols.codec.llc import DEFAULT_TYPES
from vnet.protocols.codec.url import MediatorUrl
from vnet.protocols.machine.sealer import Sealer
from vnet.protocols.machine.wireguard import WireGuard
from vnet.protocols.tls import identify

if TYPE_CHECKING:
    from vnet.client.lanpriority import LanPriority
    from vnet.client.lanroutes.kernel import Kernel
    from vnet.client.portmapping.mapper import RouterNetwork

__all__ = ["NodeParts"]


@define(eq=False, repr=False)
class NodeParts:
    """
    What a node is made of.

    @ivar clock: the reactor's clock, CLOCK_BOOTTIME.
    @ivar endpointFor: makes the endpoint, with TLS, of a mediator.
    @ivar deriveMaster: Argon2id off the reactor thread.
    @ivar acceptedPools: see L{checkPool}.
    @ivar relayReach: how relays are reached; L{None}: this node uses none.
    @ivar routerNetwork: the sockets towards the router that may map the port; L{None}: it is not asked.
    @ivar openPort: makes the port, not yet open, of a spare socket; L{None}: this node has none.
    @ivar names: what names of members take; L{None}: there are none.
    @ivar fixedPort: whether the user named the UDP port, to forward it.
    @ivar etherTypes: the protocols beside IP that pass in networks for which nothing else was chosen, see
        L{vnet.protocols.codec.llc}; L{None}: the interface carries IP only.
    @ivar carried: gets, twice a second, how many bytes all tunnels have carried.
    @ivar groupRate: packets a second to groups that are sent, and that are taken of one member.
    @ivar lanPriority: has limited broadcast reach our interface, too; L{None}: it does so where a program wants that.
    @ivar groupSocket: a membership on the interface, so that the operating system is known to report what programs join; L{None}:
        there is none.
    @ivar nft: sets the firewall of the interface; L{None}: this node has none.
    @ivar makeKernel: makes what routes to LANs behind nodes; L{None}: nothing is routed.
    @ivar proxyHosts: gives the addresses of the proxy that this node uses.
    @ivar wallClock: seconds since 1970, for people to read.
    """

    clock: IReactorTime
    identity: Identity
    state: StateFile
    device: IDevice
    port: IDatagramPort
    wireguard: WireGuard
    random: Callable[[int], bytes]
    sealer: Sealer
    endpointFor: Callable[[MediatorUrl], IStreamClientEndpoint]
    deriveMaster: Callable[[str, bytes, str], Awaitable[bytes]]
    identify: Callable[[Any], tuple[bytes, bytes]] = identify
    acceptedPools: Sequence[IPv4Network] = ()
    relayReach: RelayReach | None = None
    openPort: Callable[[], IDatagramPort] | None = None
    fixedPort: bool = False
    routerNetwork: RouterNetwork | None = None
    names: NameParts | None = None
    nft: Nft | None = None
    lanPriority: LanPriority | None = None
    groupSocket: GroupSocket | None = None
    etherTypes: frozenset[int] | None = DEFAULT_TYPES
    groupRate: int = MEMBER_RATE
    carried: Callable[[int], None] = lambda total: None
    makeKernel: Callable[[], Kernel] | None = None
    proxyHosts: Callable[[], Sequence[str]] = tuple
    wallClock: Callable[[], float] = time.time
