# -*- test-case-name: vnet.test.test_lanroutes -*-
"""
LANs behind nodes: the prefixes that this node shares, and those of other members that it uses.

For a prefix that it shares, this computer forwards what the members of that network send there, and masquerades it.  For one that
it uses there is a route by the virtual interface, and the tunnel of the member who shares it carries the packets, and takes those
that come from there.  Nothing else of this computer changes, and all of it ends with this program.

The owner says what is wanted (L{LanRoutes.offer}, L{LanRoutes.use}); what of that is possible follows from the addresses and
routes of this computer, and is looked at again whenever those change.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from vnet.client.dataplane.forwarder import Forwarder
from vnet.client.firewall.firewall import Firewall
from vnet.client.lanroutes.kernel import Kernel
from vnet.client.lanroutes.plan import Gateway
from vnet.client.tunnels import TunnelTable

__all__ = ["LanRoutes"]


@define(eq=False, repr=False)
class LanRoutes:
    """
    The routes of one node.

    @ivar _interface: the name of the virtual one; C{_isTun}: whether it is a TUN.
    @ivar _kernel: this computer's, L{vnet.client.lanroutes.kernel.LinuxKernel}; L{None}: nothing is routed.
    @ivar _admits: whether the member with a tunnel key may reach a prefix that this node shares: whether it is a member, and not
        offline, of a network in which the prefix is accepted.  It is asked once for each member and prefix, see
        L{membersChanged}.
    @ivar _needed: the addresses outside the overlay that this node sends to: the endpoints of peers, the mediator, the relays,
        STUN servers.  A prefix that holds one of them is not used: what goes into the tunnel would go into the tunnel again.
    @ivar _changed: called, without arguments, when L{offerProblems} or L{useProblems} are others than before.
    """

    _clock: IReactorTime
    _interface: str
    _isTun: bool
    _tunnels: TunnelTable
    _forwarder: Forwarder
    _firewall: Firewall
    _kernel: Kernel | None
    _admits: Callable[[bytes, str], bool]
    _needed: Callable[[], Iterable[str]] = field(default=tuple)
    _changed: Callable[[], None] = field(default=lambda: None)

    # The life of it

    def prepare(self) -> None:
        """
        Give back what a client that died has left.  To be called before L{Firewall.prepare}.
        """

    def configure(self, address: str, pool: str, address6: str, pool6: str) -> None:
        """
        This node is logged in: these are its addresses, and the overlay's blocks.  To be called after L{Forwarder.configure}.
        """

    async def close(self) -> None:
        """
        Give everything back.  To be called before the device and the firewall are closed.
        """

    # What is wanted

    def offer(self, prefixes: Iterable[str]) -> None:
        """
        Share these from now on, and no others: those that are accepted in any network.
        """

    def use(self, used: Mapping[Gateway, Collection[str]]) -> None:
        """
        Use these from now on, and no others: those that this node's user has chosen, that are offered, and that are accepted.
        """

    async def settle(self) -> None:
        """
        Carry out now what was asked for.  What failed is in L{offerProblems} and L{useProblems}.
        """

    # What has changed

    def membersChanged(self) -> None:
        """
        Members came, went or moved between networks: they are asked for anew.
        """

    def linksChanged(self) -> None:
        """
        This computer's addresses or routes have changed, or where this node sends to (C{_needed}).
        """

    # What is true

    def offerRefusal(self, prefix: str) -> str:
        """
        @return: why this computer cannot share a prefix, one line; empty: it can.
        """
        return ""

    def useRefusal(self, gateway: Gateway, prefix: str) -> str:
        """
        @return: why this computer cannot use a prefix of a member, beside what is used already; empty: it can.
        """
        return ""

    def offerProblems(self) -> Mapping[str, str]:
        """
        @return: why a prefix that L{offer} named is not shared, one line, by prefix.
        """
        return {}

    def useProblems(self) -> Mapping[tuple[bytes, str], str]:
        """
        @return: why a prefix that L{use} named is not used, one line, by tunnel key and prefix.
        """
        return {}

    def holds(self, host: str) -> bool:
        """
        Whether an address lies in a prefix that is used: nothing of the node's own may go there, see C{_needed}.

        @param host: an IP literal.
        """
        return False
