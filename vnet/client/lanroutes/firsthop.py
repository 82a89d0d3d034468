# -*- test-case-name: vnet.test.test_lanroutes_firsthop -*-
"""
Whether the member who shares a LAN forwards what goes there yet.  It hears of that from the mediator, as we do, and then needs a
moment; what comes before that is lost.

A datagram into the LAN that lives for one hop (RFC 791, C{Time to Live}) gets no further than the member's computer, which answers
that its time is exceeded (RFC 792) as soon as it would forward it, and never before: by then its data plane lets it through, and
that comes last.  No device of the LAN sees it.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Protocol

from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

__all__ = ["PATIENCE", "Probe", "SocketProbe", "whenForwarded"]

PATIENCE = 2.0
"""Seconds for which is asked: some firewalls let no such answers out."""

_LOOK, _AGAIN = 0.01, 0.05
# Of a service that throws away what it gets (RFC 863).
_DISCARD = 9
# linux/in.h and linux/in6.h.
_IP_RECVERR, _IPV6_RECVERR = 11, 25


class Probe(Protocol):
    """
    One datagram.
    """

    def answered(self) -> bool:
        """
        Whether somebody on the way has answered it.
        """

    def close(self) -> None:
        """
        Wait no longer.
        """


@define(eq=False)
class SocketProbe:
    """
    One of this computer's, which goes where its routes say.
    """

    _host: str
    _socket: socket.socket = field(init=False)

    def __attrs_post_init__(self) -> None:
        """
        Send it.

        @raise OSError: that is not possible.
        """
        isSix = ip_address(self._host).version == 6
        self._socket = socket.socket(socket.AF_INET6 if isSix else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            if isSix:
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 1)
                self._socket.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
            else:
                self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 1)
                self._socket.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
            self._socket.connect((self._host, _DISCARD))
            self._socket.send(b"")
        except OSError:
            self._socket.close()
            raise

    def answered(self) -> bool:
        """See L{Probe}."""
        return self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0

    def close(self) -> None:
        """See L{Probe}."""
        self._socket.close()


async def whenForwarded(clock: IReactorTime, prefix: str, send: Callable[[str], Probe]) -> bool:
    """
    Wait until what goes to a prefix gets to the LAN, or to a computer that could send it there.

    @param prefix: one that has a route.
    @param send: sends a probe to an address.
    @return: whether it does; not as far as is known after L{PATIENCE}.
    """
    due = clock.seconds()
    end = due + PATIENCE
    hosts, probes = _hosts(prefix), list[Probe]()
    try:
        while not any(probe.answered() for probe in probes):
            now = clock.seconds()
            if now >= end:
                return False
            if now >= due:
                due = now + _AGAIN
                with suppress(OSError):
                    probes.append(send(next(hosts)))
                    continue
            await deferLater(clock, _LOOK)
        return True
    finally:
        for probe in probes:
            probe.close()


def _hosts(prefix: str) -> Iterator[str]:
    """
    Addresses of it, one after the other at random: one of them may be that of the member itself, whose firewall drops what comes
    for it.
    """
    network = ip_network(prefix)
    first, last = int(network.network_address), int(network.broadcast_address)
    while True:
        # Neither the first nor the last, where there are others.
        number = random.randint(first + 1, last - 1) if last - first > 1 else first
        yield str(IPv4Address(number) if network.version == 4 else IPv6Address(number))
