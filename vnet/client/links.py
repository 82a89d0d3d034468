# -*- test-case-name: vnet.test.test_links -*-
"""
What this computer's network interfaces are, and when they change: rtnetlink (rtnetlink(7)).
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any, TypeVar

import attrs
from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError
from twisted.internet.interfaces import IDelayedCall, IReactorFDSet, IReactorTime, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from vnet.errors import ConfigurationError

__all__ = [
    "InterfaceAddress",
    "LinkWatcher",
    "Overlap",
    "interfaceAddresses",
    "overlappingRoute",
    "reachable",
]

# if(7), rtnetlink(7), linux/if_addr.h, linux/rtnetlink.h
_UP, _LOOPBACK, _RUNNING, _LOWER_UP = 0x1, 0x8, 0x40, 0x10000
_WORKS = _UP | _RUNNING | _LOWER_UP
_TEMPORARY, _DADFAILED, _DEPRECATED, _TENTATIVE = 0x01, 0x08, 0x20, 0x40
_UNICAST, _TABLE_LOCAL = 1, 255
_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
#: Halves of everything are how some tunnels replace the default route.
_AS_GOOD_AS_DEFAULT = 1
DEBOUNCE = 0.2
_MESSAGES = 64

T = TypeVar("T")
_Network = IPv4Network | IPv6Network


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


@attrs.frozen
class Overlap:
    """
    What overlaps a block.

    @ivar prefix: the other network, CIDR.
    @ivar interface: where it is.
    """

    prefix: str
    interface: str


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


def _attributes(message: Mapping[str, Any]) -> dict[str, Any]:
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
    found = _attributes(message)
    # Where the two differ, IFA_ADDRESS is the other end of a point-to-point link.
    address = ip_address(found.get("IFA_LOCAL") or found["IFA_ADDRESS"])
    flags = found.get("IFA_FLAGS", message["flags"])
    return InterfaceAddress(
        address=str(address),
        prefix=str(ip_network((address, message["prefixlen"]), strict=False)),
        interface=_attributes(link)["IFLA_IFNAME"],
        up=link["flags"] & _WORKS == _WORKS,
        loopback=bool(link["flags"] & _LOOPBACK),
        usable=not flags & (_DADFAILED | _DEPRECATED | _TENTATIVE),
        # The same bit means "secondary" on an IPv4 address.
        temporary=address.version == 6 and bool(flags & _TEMPORARY),
    )


def reachable(
    addresses: Iterable[InterfaceAddress],
    excludedInterfaces: Collection[str] = (),
    excludedPrefixes: Iterable[str] = (),
) -> list[str]:
    """
    The addresses at which a peer may be able to reach this computer (RFC 8445 section 5.1.1.1): an IPv6 address
    that allows tracking is left out where its interface has a temporary one of the same network.

    @param excludedInterfaces: names of interfaces that do not count, the overlay's own.
    @param excludedPrefixes: networks that do not count, CIDR.
    """
    excluded = [ip_network(prefix) for prefix in excludedPrefixes]
    candidates = [
        each
        for each in addresses
        if each.up
        and each.usable
        and not each.loopback
        and each.interface not in excludedInterfaces
        and _isRoutable(each.address, excluded)
    ]
    private = {(each.interface, each.prefix) for each in candidates if each.temporary}
    found = [
        each.address for each in candidates if each.temporary or (each.interface, each.prefix) not in private
    ]
    return list(dict.fromkeys(found))


def _isRoutable(text: str, excluded: Iterable[_Network]) -> bool:
    address = ip_address(text)
    if address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified:
        return False
    return not any(address in network for network in excluded)


def overlappingRoute(prefix: str, excluding: Collection[str] = ()) -> Overlap | None:
    """
    A route or address of this computer that a block would collide with.  A default route does not count, nor the two
    halves of everything that stand for one.

    @param prefix: the block, CIDR.
    @param excluding: names of interfaces that do not count.
    @raise OSError: the system does not tell.
    """
    block = ip_network(prefix)
    for each in interfaceAddresses():
        if each.interface not in excluding and _overlaps(block, ip_network(each.prefix)):
            return Overlap(each.prefix, each.interface)
    for found in withNetlink(lambda route: _routes(route, block.version)):
        if found.interface not in excluding and _overlaps(block, ip_network(found.prefix)):
            return found
    return None


def _overlaps(one: _Network, other: _Network) -> bool:
    if isinstance(one, IPv4Network):
        return isinstance(other, IPv4Network) and one.overlaps(other)
    return isinstance(other, IPv6Network) and one.overlaps(other)


def _routes(route: IPRoute, version: int) -> list[Overlap]:
    """
    The routes to networks; several when one has several next hops.
    """
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    names = {link["index"]: _attributes(link)["IFLA_IFNAME"] for link in route.get_links()}
    found = []
    for message in route.get_routes(family=family):
        values = _attributes(message)
        if message["type"] != _UNICAST or values.get("RTA_TABLE", message["table"]) == _TABLE_LOCAL:
            continue
        if message["dst_len"] <= _AS_GOOD_AS_DEFAULT or "RTA_DST" not in values:
            continue
        prefix = f"{values['RTA_DST']}/{message['dst_len']}"
        hops = [hop["oif"] for hop in values.get("RTA_MULTIPATH", ())] or [values.get("RTA_OIF")]
        found += [Overlap(prefix, names.get(hop, "no interface")) for hop in hops]
    return found


@implementer(IReadDescriptor)
@attrs.define(eq=False)
class LinkWatcher:
    """
    Calls C{changed} when an interface, an address or a route has come, gone or changed: once, 200 ms after the first
    of a burst of changes.
    """

    _log = Logger()

    _reactor: Any
    _changed: Callable[[], None]
    _socket: socket.socket | None = attrs.field(default=None, init=False)
    _call: IDelayedCall | None = attrs.field(default=None, init=False)

    def start(self) -> None:
        """
        Begin to watch.

        @raise ConfigurationError: the system has no rtnetlink.
        """
        if self._socket is not None:
            return
        try:
            watching = socket.socket(
                socket.AF_NETLINK,
                socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC,
                socket.NETLINK_ROUTE,
            )
            watching.bind((0, _GROUPS))
        except OSError as error:
            raise ConfigurationError(f"cannot watch the network interfaces: {error.strerror}") from error
        self._socket = watching
        self._fdSet().addReader(self)

    def stop(self) -> None:
        """
        Watch no longer.  May be called twice.
        """
        watching, self._socket = self._socket, None
        if watching is not None:
            self._fdSet().removeReader(self)
            watching.close()
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def fileno(self) -> int:
        """
        See L{IReadDescriptor}.
        """
        return -1 if self._socket is None else self._socket.fileno()

    def logPrefix(self) -> str:
        """
        See L{IReadDescriptor}.
        """
        return "links"

    def doRead(self) -> None:
        """
        Whatever the messages say: who is told looks for itself.
        """
        if self._socket is None:
            return
        for _ in range(_MESSAGES):
            try:
                self._socket.recv(65536)
            except BlockingIOError:
                break
            except OSError:
                # More came than the buffer holds (ENOBUFS): that is news too.
                continue
        if self._call is None:
            clock: IReactorTime = self._reactor
            self._call = clock.callLater(DEBOUNCE, self._fire)

    def connectionLost(self, reason: Failure) -> None:
        """
        See L{IReadDescriptor}.
        """
        self.stop()

    def _fdSet(self) -> IReactorFDSet:
        reactor: IReactorFDSet = self._reactor
        return reactor

    def _fire(self) -> None:
        self._call = None
        with self._log.failuresHandled("while told of a change of the network"):
            self._changed()
