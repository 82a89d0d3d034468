"""
Values that several layers share.
"""

from __future__ import annotations

from typing import NamedTuple

import attrs

__all__ = ["Address", "Candidate", "NatReport"]


class Address(NamedTuple):
    """
    A transport address, and the way there.

    @ivar host: an IP literal in canonical form: dotted IPv4, or compressed lower-case IPv6.
        An IPv4-mapped IPv6 address is always written as IPv4.
    @ivar port: 0 to 65535.
    @ivar via: the name of this node's allocation on a relay through which datagrams go there and come from there;
        empty for the network itself.
    """

    host: str
    port: int
    via: str = ""

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
    @ivar mappingVaries: whether two servers saw different ports for the same socket; L{None} when unknown.
    """

    udp: bool | None = None
    publicAddress: Address | None = None
    publicAddress6: Address | None = None
    natted: bool | None = None
    mappingVaries: bool | None = None
