# -*- test-case-name: vnet.test.priv.test_links -*-
"""
The kernel's interfaces, addresses and routes (netlink(7), rtnetlink(7)): as much of it as this program asks for and changes.

Each message is a header, a structure of its family, and attributes, all in the byte order of the machine and padded to 4 bytes::

    +---------------+-------+-------+---------------+---------------+-----------+------------------+
    | length        | type  | flags | sequence      | port          | structure | attributes ...   |
    +---------------+-------+-------+---------------+---------------+-----------+------------------+

    +-------+-------+---------+
    | length| type  | value   |
    +-------+-------+---------+
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address
from struct import Struct
from types import TracebackType
from typing import Self

import attrs

__all__ = ["Route", "RouteAddress", "RouteLink", "RouteSocket"]

_HEADER, _ATTRIBUTE, _ERROR = Struct("=IHHII"), Struct("=HH"), Struct("=i")
_LINK, _ADDRESS, _ROUTE = Struct("=BxHiII"), Struct("=BBBBI"), Struct("=BBBBBBBBI")
_HOP = Struct("=HBBi")
_U32 = Struct("=I")

_IS_ERROR, _IS_DONE = 2, 3
_SET_LINK, _GET_LINK = 19, 18
_NEW_ADDRESS, _DELETE_ADDRESS, _GET_ADDRESS = 20, 21, 22
_NEW_ROUTE, _DELETE_ROUTE, _GET_ROUTE = 24, 25, 26
_REQUEST, _ACK, _DUMP, _CREATE, _INTERRUPTED = 0x1, 0x4, 0x300, 0x600, 0x10

_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_TXQLEN, _IFLA_GSO_MAX_SIZE = 1, 3, 4, 13, 41
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST, _IFA_FLAGS = 1, 2, 4, 8
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PREFSRC, _RTA_MULTIPATH, _RTA_TABLE = 1, 4, 5, 7, 9, 15
_TABLE_MAIN, _SCOPE_ALL, _SCOPE_LINK, _SCOPE_NOWHERE, _UNICAST = 254, 0, 253, 255, 1
_TYPE = 0x3FFF
_IFF_UP = 1

_LARGEST = 1 << 17
_PATIENCE = 5.0
_ATTEMPTS = 8

Attributes = Mapping[int, bytes]


@attrs.frozen
class RouteLink:
    """
    An interface.
    """

    index: int
    name: str
    flags: int


@attrs.frozen
class RouteAddress:
    """
    An address of an interface.

    @ivar address: our own end.
    """

    index: int
    address: str
    prefixLength: int
    flags: int
    scope: int


@attrs.frozen
class Route:
    """
    A route.

    @ivar destination: an IP literal; empty where the kernel names none, as in a default route.
    @ivar hops: the indices of the interfaces that it leads to.
    @ivar origin: who has made it (C{RTPROT_*}).
    @ivar gateway: an IP literal; empty where the destination is on the link.
    """

    destination: str
    prefixLength: int
    table: int
    kind: int
    hops: tuple[int, ...]
    origin: int = 0
    gateway: str = ""


class RouteSocket:
    """
    Asks and tells the kernel; a context manager.  Each method blocks until the kernel has answered, which it does at once, and
    raises L{OSError} when it refuses.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        self._socket.settimeout(_PATIENCE)
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def links(self) -> list[RouteLink]:
        """
        All interfaces.
        """
        found = []
        for fields, values in self._dump(_GET_LINK, _LINK, socket.AF_UNSPEC):
            name = values[_IFLA_IFNAME].rstrip(b"\0").decode(errors="replace")
            found.append(RouteLink(fields[2], name, fields[3]))
        return found

    def addresses(self) -> list[RouteAddress]:
        """
        All IPv4 and IPv6 addresses.
        """
        found = []
        for fields, values in self._dump(_GET_ADDRESS, _ADDRESS, socket.AF_UNSPEC):
            family, length, short, scope, index = fields
            # Where the two differ, IFA_ADDRESS is the other end of a point-to-point link.
            packed = values.get(_IFA_LOCAL) or values.get(_IFA_ADDRESS)
            if family in (socket.AF_INET, socket.AF_INET6) and packed:
                flags = _number(values[_IFA_FLAGS]) if _IFA_FLAGS in values else short
                found.append(RouteAddress(index, str(ip_address(packed)), length, flags, scope))
        return found

    def routes(self, version: int) -> list[Route]:
        """
        All routes of one version of IP.
        """
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        found = []
        for fields, values in self._dump(_GET_ROUTE, _ROUTE, family):
            destination = str(ip_address(values[_RTA_DST])) if _RTA_DST in values else ""
            table = _number(values[_RTA_TABLE]) if _RTA_TABLE in values else fields[4]
            gateway = str(ip_address(values[_RTA_GATEWAY])) if _RTA_GATEWAY in values else ""
            hops = tuple(_hops(values))
            found.append(Route(destination, fields[1], table, fields[7], hops, fields[5], gateway))
        return found

    def setLink(
        self,
        index: int,
        *,
        mac: bytes = b"",
        mtu: int = 0,
        queueLength: int = 0,
        gsoMaxSize: int = 0,
        up: bool = False,
    ) -> None:
        """
        Change an interface; what is not given stays as it is.
        """
        flags = _IFF_UP if up else 0
        values = {
            _IFLA_ADDRESS: mac,
            _IFLA_MTU: _bytes(mtu),
            _IFLA_TXQLEN: _bytes(queueLength),
            _IFLA_GSO_MAX_SIZE: _bytes(gsoMaxSize),
        }
        self._tell(_SET_LINK, 0, _LINK.pack(socket.AF_UNSPEC, 0, index, flags, flags), values)

    def addAddress(
        self, index: int, address: str, prefixLength: int, *, broadcast: str = "", flags: int = 0
    ) -> None:
        """
        Give an interface an address.
        """
        values = {
            _IFA_BROADCAST: ip_address(broadcast).packed if broadcast else b"",
            _IFA_FLAGS: _bytes(flags),
        }
        self._tellAddress(_NEW_ADDRESS, _CREATE, index, address, prefixLength, values)

    def deleteAddress(self, index: int, address: str, prefixLength: int) -> None:
        """
        Take an address from an interface.
        """
        self._tellAddress(_DELETE_ADDRESS, 0, index, address, prefixLength, {})

    def _tellAddress(
        self, kind: int, flags: int, index: int, address: str, prefixLength: int, values: Attributes
    ) -> None:
        own = ip_address(address)
        family = socket.AF_INET if own.version == 4 else socket.AF_INET6
        structure = _ADDRESS.pack(family, prefixLength, 0, 0, index)
        self._tell(kind, flags, structure, {_IFA_LOCAL: own.packed, _IFA_ADDRESS: own.packed, **values})

    def addRoute(
        self,
        index: int,
        destination: str,
        prefixLength: int,
        *,
        origin: int,
        gateway: str = "",
        source: str = "",
    ) -> None:
        """
        Make a route that leads to an interface; one to the same prefix that is there already is left, and this fails.

        @param origin: who makes it (C{RTPROT_*}).
        @param source: our address in what this computer sends there.
        """
        values = {
            _RTA_GATEWAY: ip_address(gateway).packed if gateway else b"",
            _RTA_PREFSRC: ip_address(source).packed if source else b"",
        }
        scope = _SCOPE_ALL if gateway or ":" in destination else _SCOPE_LINK
        self._tellRoute(_NEW_ROUTE, _CREATE, index, destination, prefixLength, (origin, scope), values)

    def deleteRoute(self, index: int, destination: str, prefixLength: int, *, origin: int) -> None:
        """
        Remove a route that leads to an interface.
        """
        self._tellRoute(_DELETE_ROUTE, 0, index, destination, prefixLength, (origin, _SCOPE_NOWHERE), {})

    def _tellRoute(
        self,
        kind: int,
        flags: int,
        index: int,
        destination: str,
        prefixLength: int,
        made: tuple[int, int],
        values: Attributes,
    ) -> None:
        target = ip_address(destination)
        family = socket.AF_INET if target.version == 4 else socket.AF_INET6
        structure = _ROUTE.pack(family, prefixLength, 0, 0, _TABLE_MAIN, *made, _UNICAST, 0)
        self._tell(kind, flags, structure, {_RTA_DST: target.packed, _RTA_OIF: _bytes(index), **values})

    def _tell(self, kind: int, flags: int, structure: bytes, values: Attributes) -> None:
        self._send(kind, _REQUEST | _ACK | flags, structure + b"".join(map(_attribute, values.items())))
        for _ in self._answers(lambda flags: None):
            pass

    def _dump(
        self, kind: int, structure: Struct, family: int
    ) -> list[tuple[tuple[int, ...], dict[int, bytes]]]:
        for _ in range(_ATTEMPTS):
            interrupted: list[int] = []
            self._send(kind, _REQUEST | _DUMP, bytes((family,)).ljust(structure.size, b"\0"))
            found = [
                (structure.unpack_from(body), _attributes(body[structure.size :]))
                for body in self._answers(lambda flags, to=interrupted: to.append(flags & _INTERRUPTED))  # type: ignore[misc]
            ]
            # What was read while the kernel changed it may have a thing twice, or not at all.
            if not any(interrupted):
                break
        return found

    def _send(self, kind: int, flags: int, body: bytes) -> None:
        self._sequence += 1
        self._socket.send(_HEADER.pack(_HEADER.size + len(body), kind, flags, self._sequence, 0) + body)

    def _answers(self, seen: Callable[[int], None]) -> Iterator[bytes]:
        """
        What the kernel answers to the last message: the bodies of a dump, or nothing once it is done.

        @param seen: gets the flags of each message.
        """
        while True:
            data = self._socket.recv(_LARGEST)
            while len(data) >= _HEADER.size:
                length, kind, flags, sequence, _ = _HEADER.unpack_from(data)
                body, data = data[_HEADER.size : length], data[_aligned(max(length, _HEADER.size)) :]
                if sequence != self._sequence:
                    continue
                seen(flags)
                if kind in (_IS_ERROR, _IS_DONE):
                    number = -_ERROR.unpack_from(body)[0] if len(body) >= _ERROR.size else 0
                    if number:
                        raise OSError(number, os.strerror(number))
                    return
                yield body


def _aligned(length: int) -> int:
    return (length + 3) & ~3


def _attribute(item: tuple[int, bytes]) -> bytes:
    kind, value = item
    if not value:
        return b""
    length = _ATTRIBUTE.size + len(value)
    return (_ATTRIBUTE.pack(length, kind) + value).ljust(_aligned(length), b"\0")


def _attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if length < _ATTRIBUTE.size:
            break
        found[kind & _TYPE] = data[_ATTRIBUTE.size : length]
        data = data[_aligned(length) :]
    return found


def _hops(values: Attributes) -> Iterator[int]:
    if _RTA_OIF in values:
        yield _number(values[_RTA_OIF])
    data = values.get(_RTA_MULTIPATH, b"")
    while len(data) >= _HOP.size:
        length, _, _, index = _HOP.unpack_from(data)
        yield index
        data = data[_aligned(max(length, _HOP.size)) :]


def _number(value: bytes) -> int:
    return int(_U32.unpack_from(value)[0])


def _bytes(number: int) -> bytes:
    return _U32.pack(number) if number else b""
