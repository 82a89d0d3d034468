# -*- test-case-name: vnet.test.test_portmapping_network -*-
"""
The sockets towards the router: see L{vnet.client.portmapping.mapper.RouterNetwork}.

Nothing is sent but to the router and, for SSDP, to its multicast group, which does not leave the network of the router.
What comes from another address is dropped unread.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from attrs import define, field
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import CannotListenError, MulticastJoinError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import DatagramProtocol

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


class RouterSocket(DatagramProtocol):
    """
    A UDP socket that hears one host only.
    """

    noisy = False

    def __init__(
        self, host: str, destinations: Sequence[tuple[str, int]], received: Callable[[bytes], None]
    ) -> None:
        """
        @param host: whom to hear.
        @param destinations: where each datagram is sent.
        """
        self._host = host
        self._destinations = destinations
        self._received = received

    def send(self, data: bytes) -> None:
        """
        Send; what cannot be sent is dropped.
        """
        for destination in self._destinations:
            if self.transport is not None:
                with suppress(OSError):
                    self.transport.write(data, destination)

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """
        See L{DatagramProtocol}.
        """
        if addr[0] == self._host:
            self._received(datagram)

    def close(self) -> None:
        """
        Close it.
        """
        transport, self.transport = self.transport, None
        if transport is not None:
            transport.stopListening()


@define(eq=False, repr=False)
class Announcements:
    """
    What a router says to all, in the groups of NAT-PMP, PCP and SSDP.
    """

    _sockets: list[RouterSocket] = field(factory=list)

    def close(self) -> None:
        """
        Hear no more.
        """
        for each in self._sockets:
            each.close()


def _listen(listen: Callable[..., Any], port: int, protocol: RouterSocket, **options: Any) -> Any:
    try:
        return listen(port, protocol, maxPacketSize=_LONGEST, **options)
    except CannotListenError as error:
        number = getattr(error.socketError, "errno", None) or errno.EADDRNOTAVAIL
        raise OSError(number, os.strerror(number)) from error


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
        control = RouterSocket(uplink.router, [(uplink.router, _CONTROL)], received)
        _listen(self._reactor.listenUDP, 0, control, interface=uplink.local)
        return control

    def openSearch(self, uplink: Uplink, received: Callable[[bytes], None]) -> Channel:
        """See L{vnet.client.portmapping.mapper.RouterNetwork}: some routers answer to one of the two only."""
        search = RouterSocket(uplink.router, [(uplink.router, PORT), (GROUP, PORT)], received)
        port = _listen(self._reactor.listenMulticast, 0, search, interface=uplink.local)
        port.setTTL(1)
        port.setLoopbackMode(False)
        port.setOutgoingInterface(uplink.local).addErrback(lambda failure: failure.trap(OSError))
        return search

    def openAnnouncements(self, uplink: Uplink, heard: Callable[[], None]) -> Closeable:
        """See L{vnet.client.portmapping.mapper.RouterNetwork}."""
        opened = Announcements()
        for group, port in _ANNOUNCED:
            listener = RouterSocket(uplink.router, [], lambda datagram: heard())
            # Bound to the group, it takes nothing that another program on this computer waits for.
            with suppress(OSError):
                transport = _listen(
                    self._reactor.listenMulticast, port, listener, interface=group, listenMultiple=True
                )
                opened._sockets.append(listener)
                joined = transport.joinGroup(group, uplink.local)
                joined.addErrback(lambda failure: failure.trap(MulticastJoinError))
        return opened

    def endpoint(self, uplink: Uplink, port: int) -> IStreamClientEndpoint:
        """See L{vnet.client.portmapping.mapper.RouterNetwork}."""
        return TCP4ClientEndpoint(self._reactor, uplink.router, port, timeout=_CONNECT)
