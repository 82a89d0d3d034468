"""
The public borders of vnet: what a third party implements to add a device, a socket or a front end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from vnet.values import Address, Buffer, Offload, Superframe, Train

__all__ = ["IDatagramPort", "IDevice", "INode"]


class IDevice(Interface):
    """
    An Ethernet interface of the operating system that this process reads and writes: a TAP.
    """

    name: str = Attribute("The interface's name, as C{ip link} shows it.")
    mac: bytes = Attribute("The interface's own MAC address, 6 bytes.")
    mtu: int = Attribute("The largest IP packet, bytes.")
    offload: Offload = Attribute("What the operating system finishes of frames; after L{open}.")

    def open() -> None:
        """
        Create the interface.  The address is not yet known.

        @raise vnet.errors.ConfigurationError: the privilege or C{/dev/net/tun} is missing, or the name is taken.
        """

    def configure(address: str, pool: str, address6: str, pool6: str) -> None:
        """
        Give the interface its addresses and the routes of the overlay (and no other), and bring it up.  May be called again.

        @param pool: the IPv4 block in CIDR form; C{pool6} the IPv6 block.
        @raise vnet.errors.ConfigurationError: the block overlaps a route that this computer has on another interface.
        """

    def start(received: Callable[[Sequence[bytes | Superframe]], None]) -> None:
        """
        Call C{received} with each batch of Ethernet frames that the operating system sends, until L{close}.  Each has a virtio
        header (L{vnet.protocols.codec.virtio}) in front.  A segment train comes as a L{Superframe}, which is used again when
        C{received} returns.
        """

    def write(frames: Sequence[Sequence[Buffer]]) -> None:
        """
        Hand Ethernet frames to the operating system.  Frames that it does not take are dropped.

        @param frames: each in parts, of which the first one begins with the virtio header, and holds it whole.  Only what is
            in L{offload} may be left unfinished.
        """

    def close() -> None:
        """
        Remove the interface.  May be called in any state, and twice.
        """


class IDatagramPort(Interface):
    """
    The one UDP port of a node.
    """

    port: int = Attribute("The bound port; 0 before L{open}.")

    def open() -> None:
        """
        Bind.

        @raise vnet.errors.ConfigurationError: the port is in use, or not permitted.
        """

    def start(received: Callable[[Sequence[Train]], None]) -> None:
        """
        Call C{received} with each batch of datagrams and where they came from, until L{close}.  Their buffers are used again
        when it returns.
        """

    def send(datagrams: Sequence[tuple[bytes, Address]]) -> None:
        """
        Send datagrams.  Those that the operating system does not take are dropped.
        """

    def sendTrains(trains: Sequence[Train]) -> None:
        """
        Send trains, whose datagrams lie one after the other: at most 64 in each, and 65,000 bytes.  They are not kept.
        """

    def sendLimited(datagrams: Sequence[tuple[bytes, Address]], hopLimit: int) -> None:
        """
        Send datagrams that die after so many hops: they open a NAT nearby, and reach nobody.
        """

    def sendWhole(data: bytes, addr: Address) -> bool:
        """
        Send a datagram that is not fragmented on its way: where it is too long it is lost, whatever ICMP said before.

        @return: whether this computer itself could send it so; C{False} only if it is too long for that.
        """

    def localAddresses() -> Sequence[str]:
        """
        The IP addresses of this computer that a peer may be able to reach: none of loopback, IPv6 link-local or the
        overlay's own interface.
        """

    def close() -> None:
        """
        Close the port.  May be called in any state, and twice.
        """


class INode(Interface):
    """
    What a front end (the command line, a GUI) asks of the running client.  Each method gives a L{Deferred} of a JSON value as
    docs/commands describes it, and fails with L{vnet.errors.Refused} or L{vnet.errors.Unreachable}, whose text is one line;
    but not L{watch}.
    """

    def login(url: str) -> Deferred[dict[str, Any]]:
        """Connect to the mediator of this URL, now and at each start; fires with the status when it is online."""

    def logout() -> Deferred[dict[str, Any]]:
        """Go offline, and stay so until the next L{login}."""

    def status() -> Deferred[dict[str, Any]]:
        """The state of this node."""

    def create(name: str, password: str | None) -> Deferred[dict[str, Any]]:
        """Found a network.  L{None}: without a password."""

    def join(name: str, password: str | None) -> Deferred[dict[str, Any]]:
        """Join a network."""

    def joinInvite(link: str) -> Deferred[dict[str, Any]]:
        """Log in to the mediator of an invite link if need be, and join its network."""

    def invite(name: str) -> Deferred[dict[str, Any]]:
        """C{{"link": ...}}: one link that holds the mediator, its pin, the network and its secret."""

    def leave(name: str) -> Deferred[dict[str, Any]]:
        """Leave a network."""

    def networks(
        network: str | None = None,
        search: str | None = None,
        state: str | None = None,
        page: int | None = None,
        perPage: int | None = None,
    ) -> Deferred[dict[str, Any]]:
        """
        C{{"networks": [...]}}: the networks with their members.

        @param network: only this one; C{search} only members of whom nickname, an address or the client id holds this;
            C{state} only those in this state; C{page} and C{perPage} only one page, from 1, of those of each network.
        """

    def watch(tell: Callable[[dict[str, Any]], None]) -> Callable[[], None]:
        """Call C{tell} with each event from now on, first with one that says how things stand, until what this gives is called."""

    def peer(nameOrAddress: str) -> Deferred[dict[str, Any]]:
        """All that is known of one peer and the path to it."""

    def ping(nameOrAddress: str) -> Deferred[dict[str, Any]]:
        """C{{"latencyMs": ...}}: one echo through the tunnel, answered by the peer's operating system."""

    def netcheck() -> Deferred[dict[str, Any]]:
        """The report on the NAT in front of this node."""

    def setNick(nick: str) -> Deferred[dict[str, Any]]:
        """Change this node's nickname."""

    def goOnline(name: str) -> Deferred[dict[str, Any]]:
        """Be online in this network."""

    def goOffline(name: str) -> Deferred[dict[str, Any]]:
        """Be offline in this network, and remain its member."""

    def lan(name: str | None, nonIp: str | None, etherTypes: str | None) -> Deferred[dict[str, Any]]:
        """
        Which protocols beside IP pass in this network, or in each; choose that for this network.

        @param nonIp: C{on}, C{off}, or L{None}: as it is.
        @param etherTypes: a list as of C{--ether-types}, C{default}, or L{None}: as it is.
        """

    def shareLan(prefix: str | None, network: str | None, stop: bool) -> Deferred[dict[str, Any]]:
        """
        The LANs that are shared in this network, or in each; with a prefix, offer the members the way to it.

        @param network: may be left out where there is one only.
        @param stop: do so no more.
        """

    def acceptLan(member: str, prefix: str, network: str | None, stop: bool) -> Deferred[dict[str, Any]]:
        """Accept, as the owner of the network, what a member offers; arguments as of C{shareLan}."""

    def useLan(member: str, prefix: str, network: str | None, stop: bool) -> Deferred[dict[str, Any]]:
        """Use, on this computer, what a member offers; arguments as of C{shareLan}."""

    def firewall(name: str | None, policy: str | None) -> Deferred[dict[str, Any]]:
        """
        What the members of this network, or of each, may begin with this computer, and how many packets were dropped; with a
        policy, choose what the members of this network may.
        """
