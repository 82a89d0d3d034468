# -*- test-case-name: vnet.test.test_stunplaces -*-
"""
UDP ports on each address that this host has, now and later, so that answers come from where the question went.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from typing import Any

from attrs import define, field
from twisted.logger import Logger

from vnet.interfaceaddresses import InterfaceAddress, interfaceAddresses
from vnet.protocols.machine.stunorigins import Origins
from vnet.values import Address

__all__ = ["EveryAddress", "ownAddresses"]

_log = Logger()


def ownAddresses() -> list[InterfaceAddress]:
    """
    The addresses of this host; none where the system does not tell.
    """
    try:
        return interfaceAddresses()
    except OSError as error:
        _log.warn("the addresses of this host are not known: {error}", error=error)
        return []


@define(eq=False)
class EveryAddress:
    """
    The ports.

    @ivar _origins: the sockets that are open, whoever opened them.
    @ivar _open: takes a port of an address, and raises L{OSError}; returns the port.
    @ivar _close: gives one back.
    """

    _origins: Origins[Any]
    _open: Callable[[str, int], int]
    _close: Callable[[Address], None]
    _served: dict[int, set[str]] = field(factory=dict, init=False)

    def __bool__(self) -> bool:
        return bool(self._served)

    def listen(self, first: str, hosts: Iterable[str], port: int) -> int:
        """
        Serve one more port.

        @param first: an address of this host on which it has to be possible.
        @param hosts: all addresses of this host.
        @param port: 0: any that is free on the first.
        @return: the port.
        @raise OSError: it cannot be taken on the first, or is in use on another one.
        """
        isChosen = port != 0
        served: set[str] = set()
        if Address(first, port) not in self._origins:
            port = self._open(first, port)
            served.add(first)
        self._served[port] = served
        try:
            self._serve(port, set(hosts), strict=isChosen)
        except OSError:
            for host in self._served.pop(port):
                self._close(Address(host, port))
            raise
        return port

    def follow(self, hosts: Iterable[str]) -> None:
        """
        The host has these addresses now.
        """
        found = set(hosts)
        for port, served in self._served.items():
            for host in served - found:
                served.discard(host)
                self._close(Address(host, port))
            self._serve(port, found, strict=False)

    def _serve(self, port: int, hosts: set[str], strict: bool) -> None:
        served = self._served[port]
        for host in sorted(hosts - served):
            if Address(host, port) in self._origins:
                continue
            try:
                self._open(host, port)
            except OSError as error:
                # A link-local one needs the name of its interface, and one that is new may not be ready yet.
                if strict and error.errno == errno.EADDRINUSE:
                    raise
            else:
                served.add(host)
