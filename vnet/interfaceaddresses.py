# -*- test-case-name: vnet.test.priv.test_links -*-
"""
The addresses of this computer's network interfaces: rtnetlink (rtnetlink(7)).
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import attrs

from vnet.rtnetlink import RouteAddress, RouteLink, RouteSocket

__all__ = ["InterfaceAddress", "interfaceAddresses"]

# if(7), linux/if_addr.h
_UP, _LOOPBACK, _RUNNING, _LOWER_UP = 0x1, 0x8, 0x40, 0x10000
_WORKS = _UP | _RUNNING | _LOWER_UP
_TEMPORARY, _DADFAILED, _DEPRECATED, _TENTATIVE = 0x01, 0x08, 0x20, 0x40


@attrs.frozen
class InterfaceAddress:
    """
    An address of an interface.

    @ivar address: an IP literal in canonical form.
    @ivar prefix: the network that it is in, CIDR.
    @ivar interface: the interface's name.
    @ivar up: whether the interface is up and has a carrier.
    @ivar loopback: whether the interface is a loopback.
    @ivar usable: not deprecated, and not suspected to be a duplicate.
    @ivar temporary: an IPv6 address that changes for the sake of privacy (RFC 8981).
    """

    address: str
    prefix: str
    interface: str
    up: bool = True
    loopback: bool = False
    usable: bool = True
    temporary: bool = False


def interfaceAddresses() -> list[InterfaceAddress]:
    """
    All addresses of all interfaces.

    @raise OSError: the system does not tell.
    """
    with RouteSocket() as route:
        links = {link.index: link for link in route.links()}
        return [
            _interfaceAddress(found, links[found.index])
            for found in route.addresses()
            if found.index in links
        ]


def _interfaceAddress(found: RouteAddress, link: RouteLink) -> InterfaceAddress:
    address = ip_address(found.address)
    return InterfaceAddress(
        address=found.address,
        prefix=str(ip_network((address, found.prefixLength), strict=False)),
        interface=link.name,
        up=link.flags & _WORKS == _WORKS,
        loopback=bool(link.flags & _LOOPBACK),
        usable=not found.flags & (_DADFAILED | _DEPRECATED | _TENTATIVE),
        # The same bit means "secondary" on an IPv4 address.
        temporary=address.version == 6 and bool(found.flags & _TEMPORARY),
    )
