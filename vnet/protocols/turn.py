# -*- test-case-name: vnet.test.test_turn_server -*-
"""
A TURN server (RFC 8656) over UDP, TCP and TLS, which can be used alone::

    server = TurnServer(reactor, RelaySettings(realm="example", secrets=(b"...",), ...))
    server.listenUdp("0.0.0.0", 3478)
    reactor.listenTCP(3478, server.streamFactory("tcp"))
    server.start()

Binding requests of STUN are answered as well.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory

from vnet.values import Address

if TYPE_CHECKING:
    from vnet.protocols.machine.relaying import Relaying, RelaySettings

__all__ = ["TurnServer"]


class TurnServer:
    """
    A TURN server.

    @ivar relaying: the machine.
    @ivar counters: what the sockets have done; the machine has its own counters.
    """

    relaying: Relaying
    counters: Counter[str]

    def __init__(
        self,
        reactor: Any,
        settings: RelaySettings,
        *,
        random: Callable[[int], bytes] = os.urandom,
        wallClock: Callable[[], float] = time.time,
    ) -> None:
        raise NotImplementedError

    def listenUdp(self, host: str, port: int) -> Address:
        """
        Take a UDP port; it is read from L{start} on.

        @param host: an address of this host; C{0.0.0.0} and C{::} are all of one family.
        @return: what was bound.
        @raise OSError: it cannot be taken.
        """
        raise NotImplementedError

    def streamFactory(self, transport: str) -> IProtocolFactory:
        """
        A factory for connections of clients.

        @param transport: C{tcp} or C{tls}: what the connections that it gets are.
        """
        raise NotImplementedError

    def start(self) -> None:
        """
        Begin to read.
        """
        raise NotImplementedError

    def stop(self) -> Deferred[None]:
        """
        Close all sockets and connections.

        @return: fires when the connections are gone.
        """
        raise NotImplementedError
