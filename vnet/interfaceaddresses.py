# -*- test-case-name: vnet.test.priv.test_links -*-
"""
The addresses of this computer's network interfaces: rtnetlink (rtnetlink(7)).
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from ipaddress import ip_address, ip_network
from typing import Any, TypeVar

import attrs
from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

__all__ = ["InterfaceAddress", "interfaceAddresses", "netlinkAttributes", "withNetlink"]

# if(7), linux/if_addr.h
_UP, _LOOPBACK, _RUNNING, _LOWER_UP = 0x1, 0x8, 0x40, 0x10000
_WORKS = _UP | _RUNNING | _LOWER_UP
_TEMPORARY, _DADFAILED, _DEPRECATED, _TENTATIVE = 0x01, 0x08, 0x20, 0x40

T = TypeVar("T")


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


@contextmanager
def _asOSError() -> Iterator[None]:
    try:
        yield
    except NetlinkError as error:
        raise OSError(error.code, os.strerror(error.code)) from error


def withNetlink(ask: Callable[[IPRoute], T]) -> T:
    """
    Ask the system something.  pyroute2 runs an event loop for each question, which it cannot do inside of
    another, where the reactor is asyncio's: then it does so in a thread.

    @raise OSError: the system refuses.
    """

    def run() -> T:
        with _asOSError(), IPRoute() as route:
            return ask(route)

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return run()
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(run).result()


def netlinkAttributes(message: Mapping[str, Any]) -> dict[str, Any]:
    """
    The attributes of a message, by name.
    """
    return {name: value for name, value, *_ in message["attrs"]}


def interfaceAddresses() -> list[InterfaceAddress]:
    """
    All addresses of all interfaces.

    @raise OSError: the system does not tell.
    """
    return withNetlink(_interfaceAddresses)


def _interfaceAddresses(route: IPRoute) -> list[InterfaceAddress]:
    links = {link["index"]: link for link in route.get_links()}
    return [
        _interfaceAddress(message, links[message["index"]])
        for message in route.get_addr()
        if message["index"] in links and message["family"] in (socket.AF_INET, socket.AF_INET6)
    ]


def _interfaceAddress(message: Mapping[str, Any], link: Mapping[str, Any]) -> InterfaceAddress:
    found = netlinkAttributes(message)
    # Where the two differ, IFA_ADDRESS is the other end of a point-to-point link.
    address = ip_address(found.get("IFA_LOCAL") or found["IFA_ADDRESS"])
    flags = found.get("IFA_FLAGS", message["flags"])
    return InterfaceAddress(
        address=str(address),
        prefix=str(ip_network((address, message["prefixlen"]), strict=False)),
        interface=netlinkAttributes(link)["IFLA_IFNAME"],
        up=link["flags"] & _WORKS == _WORKS,
        loopback=bool(link["flags"] & _LOOPBACK),
        usable=not flags & (_DADFAILED | _DEPRECATED | _TENTATIVE),
        # The same bit means "secondary" on an IPv4 address.
        temporary=address.version == 6 and bool(flags & _TEMPORARY),
    )
