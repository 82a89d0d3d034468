# -*- test-case-name: vnet.test.priv.test_portmapping_network -*-
"""
The sockets towards the router: see L{vnet.client.portmapping.mapper.RouterNetwork}.

Nothing is sent but to the router and, for SSDP, to its multicast group, which does not leave the network of the router.
What comes from another address is dropped unread.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from attrs import define, field
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.interfaces import IReadDescriptor, IStreamClientEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from vnet.client.portmapping.asking import Channel
from vnet.client.portmapping.gateway import defaultGateway
from vnet.client.portmapping.mapper import Closeable, Uplink
from vnet.protocols.codec.ssdp import GROUP, PORT

__all__ = ["Announcements", "ReactorNetwork", "RouterSocket"]

_CONTROL = 5351
# RFC 6886 section 3.2.1, RFC 6887 section 14.1.3, and SSDP.
_ANNOUNCED = (("224.0.0.1", 5350), (GROUP, PORT))
_CONNECT = 3.0
_LONGEST = 2049
_AT_ONCE = 16


@implementer(IReadDescriptor)
@define(eq=False, repr=False)
class RouterSocket:
    """
    A UDP socket that hears one host only.

    Twisted's own UDP ports are not used: they write a line to the log whenever one is opened or closed.

    @ivar _router: whom to hear.
    @ivar _destinations: where each datagram is sent.
    """

    _reactor: Any
    _socket: socket.socket
    _router: str
    _destinations: Sequence[tuple[str, int]]
    _received: Callable[[bytes], None]
    _open: bool = field(default=True, init=False)
    _log = Logger()

    def __attrs_post_init__(self) -> None:
        self._reactor.addReader(self)

    def send(self, data: bytes) -> None:
        """
        Send; what cannot be sent is dropped.
        """
        for destination in self._destinations if self._open else ():
            with suppress(OSError):
                self._socket.sendto(data, destination)

    def fileno(self) -> int:
        """See L{IReadDescriptor}."""
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """See L{IReadDescriptor}."""
        return "router"

    def doRead(self) -> None:
        """See L{IReadDescriptor}."""
        for _ in range(_AT_ONCE):
            if not self._open:
                return
            try:
                data, source = self._socket.recvfrom(_LONGEST)
            except BlockingIOError:
                return
            except OSError:
                # An error that an earlier datagram met on its way; reading it has cleared it.
                continue
            if source[0] == self._router:
                with self._log.failuresHandled("while the router is heard"):
                    self._received(data)

    def connectionLost(self, reason: Failure) -> None:
        """See L{IReadDescriptor}."""
        self.close()

    def close(self) -> None:
        """
        Close it.  May be called twice.
        """
        if self._open:
            self._open = False
            self._reactor.removeReader(self)
            self._socket.close()


def _bound(address: tuple[str, int], *options: tuple[int, int, int | bytes]) -> socket.socket:
    """
    @raise OSError: the system refuses.
    """
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        for option in options:
            opened.setsockopt(*option)
        opened.bind(address)
    except OSError:
        opened.close()
        raise
    return opened


@define(eq=False, repr=False)
class Announcements:
    """
    What a router says to all, in the groups of NAT-PMP, PCP and SSDP.
    """

    _sockets: list[RouterSocket]

    def close(self) -> None:
        """
        Hear no more.
        """
        for each in self._sockets:
            each.close()


@define(eq=False, repr=False)
class ReactorNetwork:
    """
    See L{vnet.client.portmapping.mapper.RouterNetwork}.
    """

    _reactor: Any

    def uplink(self) -> Uplink | None:
        """See L{vnet.client.portmapping.mapper.RouterNetwork}."""
        gateway = defaultGateway()
        if gateway is None:
            return None
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                # Nothing is sent.
                probe.connect((gateway.host, _CONTROL))
            except OSError:
                return None
            local = probe.getsockname()[0]
        return None if local == gateway.host else Uplink(gateway.host, local)

    def openControl(self, uplink: Uplink, received: Callable[[bytes], None]) -> Channel:
        """See L{vnet.client.portmapping.mapper.RouterNetwork}."""
        opened = _bound((uplink.local, 0))
        return RouterSocket(self._reactor, opened, uplink.router, [(uplink.router, _CONTROL)], received)

    def openSearch(self, uplink: Uplink, received: Callable[[bytes], None]) -> Channel:
        """See L{vnet.client.portmapping.mapper.RouterNetwork}: some routers answer to one of the two only."""
        opened = _bound(
            (uplink.local, 0),
            (socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(uplink.local)),
            (socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1),
            (socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0),
        )
        places = [(uplink.router, PORT), (GROUP, PORT)]
        return RouterSocket(self._reactor, opened, uplink.router, places, received)

    def openAnnouncements(self, uplink: Uplink, heard: Callable[[], None]) -> Closeable:
        """See L{vnet.client.portmapping.mapper.RouterNetwork}."""
        found = []
        for group, port in _ANNOUNCED:
            member = socket.inet_aton(group) + socket.inet_aton(uplink.local)
            # Bound to the group, it takes nothing that another program on this computer waits for.
            with suppress(OSError):
                opened = _bound(
                    (group, port),
                    (socket.SOL_SOCKET, socket.SO_REUSEADDR, 1),
                    (socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member),
                )
                found.append(RouterSocket(self._reactor, opened, uplink.router, (), lambda data: heard()))
        return Announcements(found)

    def endpoint(self, uplink: Uplink, port: int) -> IStreamClientEndpoint:
        """See L{vnet.client.portmapping.mapper.RouterNetwork}."""
        return TCP4ClientEndpoint(self._reactor, uplink.router, port, timeout=_CONNECT)
