"""
Values that several layers share.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import attrs

__all__ = [
    "Address",
    "Buffer",
    "Candidate",
    "NatReport",
    "Offload",
    "Pieces",
    "PortMapping",
    "Superframe",
    "Train",
]

_KEPT_CUTS = 32

Buffer = bytes | bytearray | memoryview


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


class Train(NamedTuple):
    """
    UDP datagrams of one size, to or from one address; the last one may be shorter.

    They lie in one buffer, one every C{stride} bytes, and each from C{start} to C{end} of its stride, but the last one to the
    end of the buffer.  Most lie one after the other: C{start} is 0, and C{end} is C{stride}.

    @ivar data: the buffer.  Whoever gave it uses it again as soon as the call that brought it returns.
    @ivar stride: bytes, above 0.
    @ivar start: how many bytes of each stride come before the datagram.
    @ivar end: of each datagram but the last one.
    """

    data: Buffer
    stride: int
    address: Address
    start: int
    end: int

    @classmethod
    def of(cls, data: Buffer, segment: int, address: Address) -> Train:
        """
        Datagrams that lie one after the other.
        """
        return cls(data, segment, address, 0, segment)

    @classmethod
    def single(cls, data: Buffer, address: Address) -> Train:
        """
        One datagram.
        """
        size = len(data) or 1
        return cls(data, size, address, 0, size)

    @property
    def datagramCount(self) -> int:
        """How many datagrams there are."""
        return -(-len(self.data) // self.stride) or 1

    def datagrams(self) -> Iterator[bytes]:
        """
        Copies of the datagrams.
        """
        data, stride, _, start, end = self
        last = (self.datagramCount - 1) * stride
        for place in range(0, last, stride):
            yield bytes(data[place + start : place + end])
        yield bytes(data[last + start :])


class Pieces:
    """
    A buffer that is cut up.  To cut one in Python costs as much as to copy it, so what was cut is kept.

    @ivar memory: all of it.
    """

    __slots__ = ("_pieces", "memory")

    def __init__(self, size: int) -> None:
        self.memory = memoryview(bytearray(size))
        self._pieces: dict[tuple[int, int, int], list[memoryview]] = {}

    def cut(self, first: int, stride: int, size: int, count: int) -> list[memoryview]:
        """
        Pieces of one size.

        @param first: where the first one begins, and C{stride} from one beginning to the next.
        @return: at least C{count} of them, not to be changed.
        """
        found = self._pieces.get((first, stride, size))
        if found is None:
            if len(self._pieces) >= _KEPT_CUTS:
                self._pieces.clear()
            found = self._pieces[first, stride, size] = []
        if len(found) < count:
            memory = self.memory
            start = first + len(found) * stride
            for place in range(start, first + count * stride, stride):
                found.append(memory[place : place + size])
        return found


@attrs.define(eq=False, repr=False)
class Superframe:
    """
    An Ethernet frame with its virtio header (L{vnet.protocols.codec.virtio}) that is a segment train.

    @ivar pieces: whose memory begins with it.
    @ivar size: bytes.
    """

    pieces: Pieces
    size: int = 0

    def __bytes__(self) -> bytes:
        return bytes(self.pieces.memory[: self.size])


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
class Offload:
    """
    What the operating system finishes of frames that it is given, and leaves unfinished in those that it gives.

    @ivar checksum: checksums of TCP and UDP.
    @ivar tcp: segment trains of TCP, over IPv4 and IPv6.
    @ivar udp: the same of UDP.
    """

    checksum: bool = False
    tcp: bool = False
    udp: bool = False


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
