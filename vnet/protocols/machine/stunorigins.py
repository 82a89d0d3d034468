# -*- test-case-name: vnet.test.test_stun_server -*-
"""
From where a STUN server answers (RFC 5780 section 6.1).  It has up to two addresses and two ports::

                       change port
             A1:P1  <------------->  A1:P2
               ^                       ^
     change IP |                       | change IP
               v                       v
             A2:P1  <------------->  A2:P2

A request that came to one of the four is answered from there, or from another one that it asks for.
"""

from __future__ import annotations

from collections.abc import Hashable
from ipaddress import ip_address
from typing import Generic, TypeVar

from vnet.protocols.codec.stunattributes import ChangeRequest
from vnet.values import Address

__all__ = ["Origins"]

S = TypeVar("S", bound=Hashable)

_DIAGONAL = ChangeRequest(address=True, port=True)
_EVERY_CHANGE = (ChangeRequest(port=True), ChangeRequest(address=True), _DIAGONAL)


class Origins(Generic[S]):
    """
    The sockets of one STUN server, and which of them stand in for each other.  Who opens sockets says what they are called.
    """

    def __init__(self) -> None:
        self._sockets: dict[Address, S] = {}
        self._addresses: dict[S, Address] = {}
        self._hosts: dict[str, str] = {}
        self._ports: dict[int, int] = {}

    def __getitem__(self, address: Address) -> S:
        return self._sockets[address]

    def __contains__(self, address: Address) -> bool:
        return address in self._sockets

    def pairHosts(self, one: str, other: str) -> None:
        """
        These addresses, of one family, are the two of the server.
        """
        self._hosts |= {one: other, other: one}

    def pairPorts(self, one: int, other: int) -> None:
        """
        These ports are the two of the server.
        """
        self._ports |= {one: other, other: one}

    def add(self, address: Address, socket: S) -> None:
        """
        A socket is open.  One of all addresses does not count: from which of them it answers is the system's choice.
        """
        host = address.host.partition("%")[0]
        if not ip_address(host).is_unspecified:
            self._sockets[address] = socket
            self._addresses[socket] = address

    def remove(self, socket: S) -> None:
        """
        A socket is closed.
        """
        address = self._addresses.pop(socket, None)
        if address is not None:
            del self._sockets[address]

    def addressOf(self, socket: S) -> Address | None:
        """
        Where a socket is; L{None}: it is none of these.
        """
        return self._addresses.get(socket)

    def changed(self, own: Address | None, change: ChangeRequest) -> Address | None:
        """
        From where a request is answered that came to C{own}; L{None}: the server is not there.
        """
        if own is None:
            return None
        host = self._hosts.get(own.host) if change.address else own.host
        port = self._ports.get(own.port) if change.port else own.port
        if host is None or port is None or Address(host, port) not in self._sockets:
            return None
        return Address(host, port)

    def other(self, own: Address | None) -> Address | None:
        """
        The address that differs from C{own} in both; L{None} where the server is not at all four.
        """
        if any(self.changed(own, each) is None for each in _EVERY_CHANGE):
            return None
        return self.changed(own, _DIAGONAL)
