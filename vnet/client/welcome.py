# -*- test-case-name: vnet.test.test_client_welcome -*-
"""
What a login gives, checked: a mediator must not be able to talk a node into routing anything but an overlay.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any

from attrs import evolve, frozen

from vnet.errors import DecodeError, Refused
from vnet.protocols.codec.address6 import address6Of
from vnet.protocols.codec.names import displayable
from vnet.protocols.machine.candidates import checkable
from vnet.values import Address

__all__ = ["Welcome", "checkPool", "memberAddressesIn", "parseAddress", "parseWelcome"]

_MAXIMUM_SERVERS = 8
# A mediator names up to 8, and its own relay over UDP, TCP and TLS besides.
_MAXIMUM_TICKETS = 16
_SHORTEST_PREFIX = 8
_LONGEST_PREFIX = 24
_RESERVED = tuple(
    ipaddress.IPv4Network(block)
    for block in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "224.0.0.0/3",
    )
)
# Nothing on the Internet is reached by these (RFC 6598, RFC 2544): a mediator may choose among them freely.
_FREE = (ipaddress.IPv4Network("100.64.0.0/10"), ipaddress.IPv4Network("198.18.0.0/15"))
_UNIQUE_LOCAL = ipaddress.IPv6Network("fd00::/8")


@frozen
class Welcome:
    """
    This node's place in the overlay.

    @ivar realm: 16 bytes that name the mediator for ever.
    @ivar epoch: the mediator's epoch of versions.
    @ivar address: the IPv4 address; C{pool} the block that it is from, in CIDR form.
    @ivar address6: the IPv6 address; C{pool6} the unique local /48 that it is from.
    @ivar stun: the STUN servers that may be asked.
    @ivar relays: C{(uri, username, credential)} of each relay.
    @ivar mediatorHost: the IP address at which the mediator was reached; empty when that is not known for sure.
    """

    realm: bytes
    epoch: bytes
    address: str
    pool: str
    address6: str
    pool6: str
    stun: tuple[Address, ...]
    relays: tuple[tuple[str, str, str], ...]
    mediatorHost: str = ""

    def mayServe(self, server: Address) -> bool:
        """
        Whether a STUN server or a relay may be asked: not one inside the overlay, nor a group, nor a service of this computer
        unless the mediator runs on it.
        """
        return server.host == self.mediatorHost or (checkable(server) and not self.holds(server.host))

    @property
    def blocks(self) -> tuple[ipaddress.IPv4Network, ipaddress.IPv6Network]:
        """The blocks that members have their addresses from."""
        return ipaddress.IPv4Network(self.pool), ipaddress.IPv6Network(self.pool6)

    def holds(self, host: str) -> bool:
        """
        @return: whether an IP address lies in the overlay.
        """
        address = ipaddress.ip_address(host)
        return address in ipaddress.ip_network(self.pool if address.version == 4 else self.pool6)


def parseAddress(text: str, mediatorHost: str) -> Address:
    """
    Read C{"IP:PORT"}, C{"[IP6]:PORT"} or C{":PORT"}, which means the mediator's own host.

    @raise DecodeError: the text is something else.
    """
    host, colon, port = text.rpartition(":")
    try:
        number = int(port)
        literal = _zoneless(host).removeprefix("[").removesuffix("]") or mediatorHost
        address = ipaddress.ip_address(literal)
    except ValueError as error:
        raise DecodeError("not an address and a port") from error
    if not colon or not 0 < number < 65536:
        raise DecodeError("not an address and a port")
    mapped = getattr(address, "ipv4_mapped", None)
    return Address(str(mapped or address), number)


def _zoneless(text: str) -> str:
    """
    Python keeps the zone of an IPv6 address, any text after C{%}, and counts such an address to its block.
    """
    if "%" in text:
        raise DecodeError("an address with a zone")
    return text


def parseWelcome(answer: dict[str, Any], mediatorHost: str, key: bytes, reached: bool = True) -> Welcome:
    """
    Check what the mediator gave.

    @param key: this node's Ed25519 key.
    @param mediatorHost: the mediator's IP address; empty when it is not known.
    @param reached: whether a connection shows that the mediator is there: one through a proxy does not.
    @raise Refused: it is no place that this node would take.
    """
    try:
        pool = ipaddress.IPv4Network(answer["pool"])
        pool6 = ipaddress.IPv6Network(_zoneless(answer["pool6"]))
        address = ipaddress.IPv4Address(answer["address"])
        address6 = ipaddress.IPv6Address(_zoneless(answer["address6"]))
        stun = tuple(
            parseAddress(text, mediatorHost)
            for text in answer["stun"][:_MAXIMUM_SERVERS]
            if mediatorHost or not text.startswith(":")
        )
    except ValueError as error:
        raise Refused(f"the mediator gave an address that is none: {displayable(str(error))}") from error
    if not _SHORTEST_PREFIX <= pool.prefixlen <= _LONGEST_PREFIX or any(
        pool.overlaps(block) for block in _RESERVED
    ):
        raise Refused(
            f"the mediator's address block {pool} may collide with other networks: its operator has to choose another --pool"
        )
    if pool6.prefixlen != 48 or not pool6.subnet_of(_UNIQUE_LOCAL):
        raise Refused(f"the mediator's IPv6 block {pool6} is no unique local /48")
    if address not in pool or address6 != _expected6(pool6, key) or len(answer["realm"]) != 16:
        raise Refused("the mediator gave an address outside of its own block")
    welcome = Welcome(
        realm=answer["realm"],
        epoch=answer["epoch"],
        address=str(address),
        pool=str(pool),
        address6=str(address6),
        pool6=str(pool6),
        stun=(),
        relays=parseTickets(answer["relays"]),
        mediatorHost=mediatorHost if reached else "",
    )
    return evolve(welcome, stun=tuple(each for each in stun if welcome.mayServe(each)))


def parseTickets(relays: Sequence[dict[str, str]]) -> tuple[tuple[str, str, str], ...]:
    """
    @param relays: as the mediator gives them.
    @return: C{(uri, username, credential)} of each relay.
    """
    return tuple((r["uri"], r["username"], r["credential"]) for r in relays[:_MAXIMUM_TICKETS])


def checkPool(welcome: Welcome, accepted: Sequence[ipaddress.IPv4Network]) -> None:
    """
    See that the overlay takes the place of no part of the Internet that this computer may want to reach.

    @param accepted: further blocks that this computer's owner has allowed.
    @raise Refused: it would.
    """
    pool = ipaddress.IPv4Network(welcome.pool)
    if not any(pool.subnet_of(block) for block in (*_FREE, *accepted)):
        raise Refused(
            f"the mediator's address block {pool} may be in use on the Internet: if you trust it with that block, "
            f"start vnet-client with --accept-pool={pool}"
        )


def _expected6(pool6: ipaddress.IPv6Network, key: bytes) -> ipaddress.IPv6Address:
    return address6Of(pool6.network_address.packed[:6], key)


def memberAddressesIn(welcome: Welcome, key: bytes, address: str, address6: str) -> tuple[str, str]:
    """
    Check the addresses of a member.

    @param key: its Ed25519 key.
    @return: both in canonical form.
    @raise DecodeError: they are none, lie outside of the overlay's blocks, do not belong to the key, or are this node's
        own.
    """
    try:
        ipv4, ipv6 = ipaddress.IPv4Address(address), ipaddress.IPv6Address(_zoneless(address6))
    except ValueError as error:
        raise DecodeError("the mediator gave a member an address that is none") from error
    inside: Sequence[bool] = (
        ipv4 in ipaddress.IPv4Network(welcome.pool),
        ipv6 == _expected6(ipaddress.IPv6Network(welcome.pool6), key),
        str(ipv4) != welcome.address,
        str(ipv6) != welcome.address6,
    )
    if not all(inside):
        raise DecodeError("the mediator gave a member an address that is not its own")
    return str(ipv4), str(ipv6)
