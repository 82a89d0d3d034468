# -*- test-case-name: vnet.test.test_names_responder -*-
"""
The DNS responder on port 53 of this node's own virtual addresses, UDP and TCP.

It answers programs of this computer: their questions come from the address that they go to.  Who else asks, a peer through the
tunnel say, gets nothing.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, field
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import DatagramProtocol, Protocol, ServerFactory
from twisted.protocols.basic import Int16StringReceiver
from twisted.protocols.policies import TimeoutMixin

from vnet.errors import DecodeError
from vnet.protocols.machine.ratelimit import KeyedLimit

__all__ = ["PORT", "Responder"]

PORT = 53
_RATE = 500
_MAXIMUM_QUERY = 4096
_MAXIMUM_CONNECTIONS = 32
_PATIENCE = 10.0


@define(eq=False, repr=False)
class Desk:
    """
    Where each question is weighed before it is answered.

    @ivar own: the address that questions go to, and come from.
    @ivar answer: see L{vnet.client.names.zone.Zone.answer}.
    """

    own: str
    answer: Callable[[bytes, int], bytes | None]
    seconds: Callable[[], float]
    counters: Counter[str]
    _limit: KeyedLimit = field(factory=lambda: KeyedLimit(_RATE, _RATE, 1))

    def ask(self, data: bytes, host: str, maximum: int) -> bytes | None:
        """
        @return: the answer, if this question from C{host} gets one.
        """
        if host != self.own:
            self.counters["fromOthers"] += 1
        elif not self._limit.allow("", self.seconds()):
            self.counters["tooMany"] += 1
        else:
            try:
                return self.answer(data, maximum)
            except DecodeError:
                self.counters["malformed"] += 1
        return None


class DatagramResponder(DatagramProtocol):
    """
    Answers over UDP.
    """

    noisy = False

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """
        A question came.
        """
        answer = self._desk.ask(datagram, addr[0], 512)
        if answer is not None and self.transport is not None:
            self.transport.write(answer, addr)


class StreamResponder(Int16StringReceiver, TimeoutMixin):
    """
    Answers over TCP (RFC 7766).
    """

    MAX_LENGTH = _MAXIMUM_QUERY

    def __init__(
        self, desk: Desk, host: str, lost: Callable[[], None], callLater: Callable[..., Any]
    ) -> None:
        self._desk = desk
        self._host = host
        self._lost = lost
        self._callLater = callLater

    def callLater(self, period: float, func: Callable[[], None]) -> Any:
        """
        See L{TimeoutMixin.callLater}.
        """
        return self._callLater(period, func)

    def connectionMade(self) -> None:
        """
        Wait for a question, but not for long.
        """
        self.setTimeout(_PATIENCE)

    def stringReceived(self, string: bytes) -> None:
        """
        A question came.
        """
        answer = self._desk.ask(string, self._host, 0)
        if answer is not None:
            self.sendString(answer)
            self.resetTimeout()
        elif self.transport is not None:
            self.transport.loseConnection()

    def connectionLost(self, reason: Any = None) -> None:
        """
        The asker has gone.
        """
        self.setTimeout(None)
        self._lost()


class StreamFactory(ServerFactory):
    """
    Takes connections of this computer, a few at a time.
    """

    noisy = False

    def __init__(self, desk: Desk, callLater: Callable[..., Any]) -> None:
        self._desk = desk
        self._callLater = callLater
        self.connections = 0

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        """
        Somebody has connected.
        """
        host = getattr(addr, "host", "")
        if host != self._desk.own or self.connections >= _MAXIMUM_CONNECTIONS:
            self._desk.counters["refusedConnections"] += 1
            return None
        self.connections += 1
        return StreamResponder(self._desk, host, self._ended, self._callLater)

    def _ended(self) -> None:
        self.connections -= 1


@define(eq=False, repr=False)
class Responder:
    """
    The sockets.

    @ivar _reactor: for UDP, TCP and time.
    @ivar counters: what was not answered, by reason.
    @ivar serving: the addresses that are served.
    """

    _reactor: Any
    counters: Counter[str] = field(factory=Counter, init=False)
    serving: tuple[str, ...] = field(default=(), init=False)
    _ports: list[Any] = field(factory=list, init=False)

    def open(self, addresses: Sequence[str], answer: Callable[[bytes, int], bytes | None]) -> str:
        """
        Serve these addresses of this computer, and no others any more.

        @param addresses: the first has to work; one of another family, which this computer may not have, need not.
        @return: why that is not possible, one line; empty: it is done.
        """
        self.close()
        for address in addresses:
            try:
                self._listen(address, answer)
            except CannotListenError as error:
                if address == addresses[0]:
                    self.close()
                    return _reason(address, error)
            else:
                self.serving = (*self.serving, address)
        return ""

    def _listen(self, address: str, answer: Callable[[bytes, int], bytes | None]) -> None:
        desk = Desk(address, answer, self._reactor.seconds, self.counters)
        udp = self._reactor.listenUDP(PORT, DatagramResponder(desk), address, _MAXIMUM_QUERY)
        try:
            factory = StreamFactory(desk, self._reactor.callLater)
            tcp = self._reactor.listenTCP(PORT, factory, _MAXIMUM_CONNECTIONS, address)
        except CannotListenError:
            udp.stopListening()
            raise
        self._ports += [udp, tcp]

    def close(self) -> None:
        """
        Serve nobody any more.
        """
        ports, self._ports, self.serving = self._ports, [], ()
        for port in ports:
            port.stopListening()


def _reason(address: str, error: CannotListenError) -> str:
    number = getattr(error.socketError, "errno", None)
    if number == errno.EADDRINUSE:
        return f"another program has port {PORT} of {address}: no names in vnet until it is gone"
    if number in (errno.EACCES, errno.EPERM):
        return f"port {PORT} takes root or CAP_NET_BIND_SERVICE"
    return f"port {PORT} of {address} cannot be opened: {error.socketError}"
