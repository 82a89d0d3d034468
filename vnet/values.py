"""
Values that several layers share.
"""

from __future__ import annotations

from typing import NamedTuple

import attrs

__all__ = ["Address", "Candidate", "NatReport", "PortMapping"]


class Address(NamedTuple):
    """
    A transport address, and the way there.

    @ivar host: an IP literal in canonical form: dotted IPv4, or compressed lower-case IPv6.
        An IPv4-mapped IPv6 address is always written as IPv4.
    @ivar port: 0 to 65535.
    @ivar via: the way out of this node: empty for its own UDP port; C{"#1"}, C{"#2"} and so on for a spare UDP socket;
        else the name of this node's allocation on a relay, through which datagrams go there and come from there.
    """

    host: str
    port: int
    via: str = ""

    @property
    def spare(self) -> str:
        """The name of the spare socket that it is reached from, if any."""
        return self.via if self.via.startswith("#") else ""

    @property
    def allocation(self) -> str:
        """The name of this node's allocation on a relay that it is reached through, if any."""
        return "" if self.via.startswith("#") else self.via

    def __str__(self) -> str:
        plain = f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
        return f"{plain} via {self.via}" if self.via else plain


@attrs.frozen
class Candidate:
    """
    An ICE candidate (RFC 8445 section 5.1): one transport address at which a node may be reached.

    @ivar kind: C{"host"}, C{"srflx"}, C{"prflx"} or C{"relay"}.
    @ivar address: where datagrams are sent to reach it.
    @ivar priority: RFC 8445 section 5.1.2.1, 1 to 2**31 - 1.
    @ivar foundation: RFC 8445 section 5.1.1.3, 1 to 32 characters.
    """

    kind: str
    address: Address
    priority: int
    foundation: str


@attrs.frozen
class NatReport:
    """
    What is known of the NAT in front of this node.

    @ivar udp: whether a STUN server answered over UDP; L{None} before the first answer or silence.
    @ivar publicAddress: the IPv4 transport address that STUN servers see.
    @ivar publicAddress6: the same for IPv6.
    @ivar natted: whether the public IPv4 address is none of this computer's own.
    @ivar mappingVaries: whether two servers saw different addresses for the same socket; L{None} when unknown.
    @ivar mapping: how the external port depends on the destination (RFC 4787 section 4.1): C{"endpoint-independent"},
        C{"address-dependent"} or C{"address-and-port-dependent"}; L{None} when unknown.  Without a NAT it is the first.
    @ivar filtering: the same words for what comes back in (RFC 4787 section 5), also of a firewall without NAT.
    @ivar allocation: how external ports are chosen: C{"preserving"}, C{"sequential"}, C{"random"} or C{"block"} (random
        within few ports); L{None} when unknown, or there is no NAT.
    @ivar step: from one port to the next, of a sequential NAT; may be negative.
    @ivar noise: mappings of others a second, of a sequential NAT.
    @ivar ports: the lowest and the highest external port to be expected, of a block.
    @ivar hosts: the public IPv4 addresses that were seen; with several, pooling is arbitrary (RFC 4787 section 4.1).
    @ivar hairpin: whether this node reaches itself at its public address.
    @ivar lifetime: seconds for which an idle mapping is known to live; L{None} when unknown.
    @ivar shared: whether a carrier's NAT shares the address and the ports among its subscribers, as far as signs tell.
    """

    udp: bool | None = None
    publicAddress: Address | None = None
    publicAddress6: Address | None = None
    natted: bool | None = None
    mappingVaries: bool | None = None
    mapping: str | None = None
    filtering: str | None = None
    allocation: str | None = None
    step: int | None = None
    noise: float | None = None
    ports: tuple[int, int] | None = None
    hosts: tuple[str, ...] = ()
    hairpin: bool | None = None
    lifetime: float | None = None
    shared: bool | None = None


@attrs.frozen
class PortMapping:
    """
    What the router in front of this node does for the node's UDP port.

    @ivar protocol: by which protocol it does: C{"pcp"}, C{"nat-pmp"} or C{"upnp"}; empty when it does nothing.
    @ivar external: where the router takes datagrams for the node, if it does.
    @ivar lifetime: seconds for which it has promised that; 0: until it is asked to end it.
    @ivar reason: why it does nothing, one line; empty when it does.
    @ivar behindCarrier: whether there is another NAT outside of the router, so that nobody on the Internet reaches
        C{external}.
    """

    protocol: str = ""
    external: Address | None = None
    lifetime: int = 0
    reason: str = ""
    behindCarrier: bool = False
