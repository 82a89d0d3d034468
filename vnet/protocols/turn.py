# -*- test-case-name: vnet.test.priv.test_turn_server -*-
"""
A TURN server (RFC 8656) over UDP, TCP and TLS, which can be used alone::

    settings = RelaySettings("example.org", hosts={4: "192.0.2.1"})
    server = TurnServer(reactor, settings, SharedSecrets((b"...",)))
    server.listenUdp("192.0.2.1", 3478)
    reactor.listenTCP(3478, server.streamFactory("tcp"))
    reactor.listenTCP(5349, server.streamFactory("tls", serverOptions(key, certificate)))
    server.start()

Binding requests of STUN are answered as well, as RFC 5780 has it where C{server.relaying.origins} knows of two addresses.
"""

from __future__ import annotations

import itertools
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IOpenSSLServerConnectionCreator, IProtocolFactory
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from vnet.driver import Driver
from vnet.protocols.codec.turn import CHANNELS_5766
from vnet.protocols.machine.crowd import Crowd
from vnet.protocols.machine.relaycredentials import CredentialSource
from vnet.protocols.machine.relaying import Allocated, Ended, Relaying, RelaySettings, SendToPeer
from vnet.protocols.machine.relayingevents import RelayingEvent
from vnet.protocols.machine.served import Served
from vnet.protocols.tls import serverFactory
from vnet.protocols.trainpoller import TrainPoller
from vnet.protocols.trains import BUFFER, SocketAddress, TrainSocket, cut
from vnet.protocols.turnclients import StreamClient, UdpClient
from vnet.protocols.turnforward import Forwarding
from vnet.protocols.turngate import TurnGate
from vnet.protocols.turnstream import TurnStream
from vnet.values import Address, Train

__all__ = ["STRANGER_TIME", "TurnServer"]

STRANGER_TIME = 14.0
"""Seconds for which a connection may have no allocation."""

_BATCH = 64
_LISTENER_BUFFER, _RELAY_BUFFER = 7 << 20, 1 << 20
#: The longest message of a connection without an allocation, bytes.
_STRANGER_MESSAGE = 2048


@define(eq=False, repr=False)
class _Listener:
    """
    A UDP port for clients.

    @ivar routes: the allocations of its clients.
    """

    name: str
    socket: TrainSocket
    routes: dict[SocketAddress, Served] = field(factory=dict)


@define(eq=False, repr=False)
class _Connection:
    """
    A connection of a client.
    """

    client: Address
    stream: TurnStream
    served: Served | None = None
    deadline: IDelayedCall | None = None


class TurnServer:
    """
    A TURN server.

    @ivar relaying: the machine, with its own counters.
    @ivar forwarding: what moves the data, with its own counters.
    @ivar crowd: connections without an allocation.
    @ivar counters: what the connections did wrong.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        settings: RelaySettings,
        credentials: CredentialSource,
        *,
        random: Callable[[int], bytes] = os.urandom,
        wallClock: Callable[[], float] = time.time,
    ) -> None:
        """
        @param credentials: whom to serve, see L{vnet.protocols.machine.relaycredentials}.
        """
        self._reactor = reactor
        self.relaying = Relaying(
            settings,
            credentials,
            random=random,
            wallClock=wallClock,
            open=self._openRelayed,
            close=self._closeRelayed,
            isConnection=lambda client: client.via in self._connections,
        )
        self.forwarding = Forwarding(self.relaying, reactor.seconds)
        self.crowd = Crowd()
        self.counters: Counter[str] = Counter()
        self._driver: Driver[RelayingEvent] = Driver(
            self.relaying, reactor, self._sendToClients, self._happened
        )
        self._poller = TrainPoller(reactor)
        self._listeners: dict[str, _Listener] = {}
        self._connections: dict[str, _Connection] = {}
        self._numbers: Iterator[int] = itertools.count(1)
        self._buffer = self.forwarding.buffer.memory
        self._stopped = False

    # The beginning and the end

    def listenUdp(self, host: str, port: int) -> Address:
        """
        Take a UDP port; it is read from L{start} on.

        @param host: an address of this host.  C{0.0.0.0} and C{::} are all of one family; with several addresses, answers may
            leave from another one than was asked.
        @return: what was bound.
        @raise OSError: it cannot be taken.
        """
        socket = TrainSocket.bind(host, port, buffer=_LISTENER_BUFFER)
        listener = _Listener(f"udp{next(self._numbers)}", socket)
        self._listeners[listener.name] = listener
        self.relaying.origins.add(socket.address, listener.name)
        self._poller.add(socket.fileno(), lambda: self._readClients(listener))
        return socket.address

    def closeUdp(self, bound: Address) -> None:
        """
        Give a UDP port back: the allocations of its clients end.
        """
        for listener in [each for each in self._listeners.values() if each.socket.address == bound]:
            for served in list(listener.routes.values()):
                self.relaying.gone(served.client)
            self._driver.wake()
            del self._listeners[listener.name]
            self.relaying.origins.remove(listener.name)
            self._poller.remove(listener.socket.fileno())
            self.forwarding.retired.update(listener.socket.counters)
            listener.socket.close()

    def streamFactory(
        self, transport: str, creator: IOpenSSLServerConnectionCreator | None = None
    ) -> IProtocolFactory:
        """
        A factory for the connections of a TCP port.

        @param transport: C{tcp} or C{tls}.
        @param creator: of C{tls}: its key and certificate, see L{vnet.protocols.tls.serverOptions}.
        """
        inner = _Streams(self, transport)
        if creator is None:
            return TurnGate(inner, self.crowd)
        return TurnGate(serverFactory(creator, inner, self._reactor), self.crowd)

    def socketErrors(self) -> Counter[str]:
        """
        Datagrams that the kernel did not take, by its error.
        """
        sockets = [*(each.socket for each in self._listeners.values()), *self.forwarding.sockets()]
        return sum((each.counters for each in sockets), Counter(self.forwarding.retired))

    def start(self) -> None:
        """
        Begin to read.
        """
        self._poller.start()

    def stop(self) -> None:
        """
        Close all sockets and connections, at once.
        """
        self._stopped = True
        self.relaying.endAll()
        self._driver.wake()
        self._driver.stop()
        for connection in list(self._connections.values()):
            connection.stream.abort()
        for listener in self._listeners.values():
            self._poller.remove(listener.socket.fileno())
            listener.socket.close()
        self._listeners.clear()
        self._poller.stop()

    # Relayed addresses

    def _openRelayed(self, bound: Address) -> bool:
        try:
            socket = TrainSocket.bind(bound.host, bound.port, buffer=_RELAY_BUFFER, refusals=True)
        except OSError:
            return False
        self.forwarding.attach(bound, socket)
        return True

    def _closeRelayed(self, bound: Address) -> None:
        socket = self.forwarding.detach(bound)
        if socket is not None:
            self._poller.remove(socket.fileno())
            socket.close()

    # What the machine wants

    def _sendToClients(self, batch: list[tuple[bytes, Address]]) -> None:
        for data, client in batch:
            listener = self._listeners.get(client.via)
            if listener is not None:
                socket = listener.socket
                socket.send((data,), len(data), 1, socket.socketAddress(client))
            elif client.via in self._connections:
                self._connections[client.via].stream.send([data])

    def _happened(self, event: RelayingEvent) -> None:
        if isinstance(event, SendToPeer):
            self.forwarding.sendToPeer(event.served, event.peer, event.data, event.whole)
        elif isinstance(event, Allocated):
            self._allocated(event.served)
        elif isinstance(event, Ended):
            self._ended(event.served)

    def _allocated(self, served: Served) -> None:
        via = served.client.via
        if via in self._listeners:
            listener = self._listeners[via]
            to = listener.socket.socketAddress(served.client)
            listener.routes[to] = served
            served.driver = UdpClient(listener.socket, to)
        elif via in self._connections:
            connection = self._connections[via]
            connection.served = served
            connection.stream.limit = BUFFER
            served.driver = StreamClient(connection.stream)
            self.crowd.leave(via)
            _cancel(connection)
        for side in served.sides.values():
            self._watch(side.bound, served)

    def _watch(self, bound: Address, served: Served) -> None:
        descriptor = self.forwarding.descriptor(bound)
        if descriptor is not None:
            self._poller.add(
                descriptor,
                lambda: self.forwarding.readRelayed(bound, served),
                lambda: self.forwarding.readRefusals(bound, served),
            )

    def _ended(self, served: Served) -> None:
        via = served.client.via
        served.driver = None
        if via in self._listeners:
            listener = self._listeners[via]
            listener.routes.pop(listener.socket.socketAddress(served.client), None)
        elif via in self._connections:
            connection = self._connections[via]
            connection.served = None
            self._expect(connection)

    # Clients over UDP

    def _readClients(self, listener: _Listener) -> None:
        now, buffer, heard = self._reactor.seconds(), self._buffer, False
        for _ in range(_BATCH):
            train = listener.socket.receive(buffer)
            if train is None:
                break
            size, segment, source = train
            data = buffer[:size]
            if size >= 4 and 0x40 <= data[0] < 0x80:
                served = listener.routes.get(source)
                if self.forwarding.channelData(served, data, segment, now):
                    continue
            for each in cut(data, segment or 1):
                heard |= self._datagram(listener, each, source, now)
        if heard:
            self._driver.wake()

    def _datagram(self, listener: _Listener, data: memoryview, source: SocketAddress, now: float) -> bool:
        """
        @return: whether the machine was told.
        """
        if len(data) >= 4 and 0x40 <= data[0] < 0x80:
            self.forwarding.channelData(listener.routes.get(source), data, len(data), now)
            return False
        client = listener.socket.canonical(source)._replace(via=listener.name)
        self.relaying.receive(bytes(data), client, now)
        return True

    # Clients over TCP and TLS

    def makeStream(self, transport: str, host: str, port: int) -> TurnStream:
        """
        The protocol of one connection, for who has accepted it by other means.

        @param transport: C{tcp} or C{tls}.
        @param host: whom it comes from.
        """
        via = f"{transport}{next(self._numbers)}"
        stream = TurnStream(self, self._reactor, _STRANGER_MESSAGE, CHANNELS_5766)
        connection = _Connection(Address(host, port, via), stream)
        stream.name = via
        self._connections[via] = connection
        return stream

    def streamConnected(self, stream: TurnStream) -> None:
        """
        See L{vnet.protocols.turnstream.StreamOwner}.
        """
        connection = self._connections[stream.name]
        self._expect(connection)

    def _expect(self, connection: _Connection) -> None:
        """
        Give a connection without an allocation some time to get one.
        """
        if self._stopped:
            return
        client = connection.client
        self.crowd.enter(client.via, client.host, connection.stream.abort)
        connection.stream.limit = _STRANGER_MESSAGE
        _cancel(connection)
        connection.deadline = self._reactor.callLater(STRANGER_TIME, self._tooLong, connection)

    def _tooLong(self, connection: _Connection) -> None:
        connection.deadline = None
        self.counters["tooLong"] += 1
        connection.stream.abort()

    def framesReceived(self, stream: TurnStream, trains: Sequence[Train]) -> None:
        """
        See L{vnet.protocols.turnstream.StreamOwner}.
        """
        connection, now = self._connections[stream.name], self._reactor.seconds()
        for train in trains:
            if train.data[0] >= 0x40:
                self.forwarding.frames(connection.served, train, now)
            else:
                self.relaying.receive(bytes(train.data), connection.client, now)
                self._driver.wake()

    def streamLost(self, stream: TurnStream, reason: Failure) -> None:
        """
        See L{vnet.protocols.turnstream.StreamOwner}.
        """
        connection = self._connections.pop(stream.name, None)
        if connection is None:
            return
        _cancel(connection)
        self.crowd.leave(stream.name)
        self.counters.update(stream.counters)
        self.relaying.gone(connection.client)
        self._driver.wake()


def _cancel(connection: _Connection) -> None:
    call, connection.deadline = connection.deadline, None
    if call is not None and call.active():
        call.cancel()


@define(eq=False, repr=False)
class _Streams(Factory):
    """
    Makes the protocols of connections.
    """

    _server: TurnServer
    _transport: str
    noisy = False

    def buildProtocol(self, addr: Any) -> TurnStream:
        """
        See L{Factory.buildProtocol}.
        """
        client = TrainSocket.canonical((addr.host, addr.port))
        return self._server.makeStream(self._transport, client.host, client.port)
