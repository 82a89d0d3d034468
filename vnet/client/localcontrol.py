# -*- test-case-name: vnet.test.test_localcontrol -*-
"""
The local control socket: how the command line, or a program of somebody else, asks the running client.

Connect to the UNIX socket C{DIR/control.sock} (C{SOCK_STREAM}; C{DIR} is the client's C{--state}).  Each
line, ended by a newline (C{0x0A}), is one JSON object (RFC 8259) in UTF-8.  A request::

    {"id": 1, "verb": "join", "arguments": {"network": "home", "password": "correct horse"}}

C{id} is an integer of at most 53 bits or a string of at most 64 characters; C{arguments} may be left out
when there are none.  The requests of one connection are worked on at the same time; each gets exactly one
answer, in the order in which they are done::

    {"id": 1, "result": {...}}
    {"id": 1, "error": {"code": 1, "message": "the password is wrong, or there is no such network"}}

C{code} is 1 when the request is refused, and 3 when the mediator or the peer cannot be reached: the exit
codes of C{vnet}.  C{message} is one line; it may hold what a stranger sent, so escape it before a terminal
sees it, as well as each name in a result.  C{id} is null when the line is no request, or the connection is
not accepted (which then ends).  Before the answer to a slow verb there may be any number of lines to show
to a person::

    {"id": 1, "progress": "waiting for the mediator, 2 s"}

The verbs, their arguments, and what the result is (docs/commands has the JSON)::

    status                                         this node
    login         url                              connect to a mediator (slow)
    logout
    create        network, password or null        found a network (slow)
    join          network, password or null        join a network (slow)
    join-invite   link                             log in and join (slow)
    invite        network                          {"link": ...}
    leave         network
    list          network, search, state, page, perPage
                                                   {"networks": [...]}; each argument may be null
    watch                                          events, see below
    peer          name                             one peer, by nickname, address or clientId
    ping          name                             {"latencyMs": ...}
    netcheck                                       the NAT in front of this node (slow)
    set-nick      nick
    go-online     network
    go-offline    network
    firewall      network, policy (each or null)   the policies; or choose one
    lan           network, nonIp, etherTypes (each or null)
                                                   protocols beside IP; or choose
    share-lan     prefix, network, stop            the LANs; or offer one.  Prefix and
                                                   network may be null; stop is a boolean
    accept-lan    member, prefix, network, stop    accept what a member offers
    use-lan       member, prefix, network, stop    use it

A C{watch} gets no answer but, from now on and until the connection ends, a line for each event::

    {"id": 1, "event": {"time": "2026-01-31T12:00:00.000Z", "event": "memberState", ...}}

The first event says how things stand.  For who reads too slowly 256 events are kept; of those beyond only their
number is told, by an event C{missed}.  A connection has one watch, and all connections together eight.

Limits: a request has at most 64 KiB and a connection at most 8 unanswered ones; one that has none is closed
after a minute without a request, unless it watches; there are at most 32 connections.  An answer has no limit, and none takes
longer than two minutes.  The socket is open to root, to the user that runs the client, and to the group
C{vnet} if the system has it (mode 0660); the kernel's word on who connected is checked again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IDelayedCall, IListeningPort, IReactorTime
from twisted.internet.protocol import Factory
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.protocols.basic import LineReceiver
from twisted.protocols.policies import TimeoutMixin
from twisted.python.failure import Failure

from vnet.client._localsocket import SocketFile, credentialsOf
from vnet.client.localrequest import VERBS, Request, RequestError, decodeRequest
from vnet.client.localwatch import Watcher
from vnet.errors import ConfigurationError, Unreachable, VnetError
from vnet.interfaces import INode

__all__ = ["LocalControl", "LocalControlFactory", "LocalControlProtocol"]

MAXIMUM_LINE = 65536
MAXIMUM_CLIENTS = 32
MAXIMUM_OUTSTANDING = 8
MAXIMUM_WATCHERS = 8
IDLE_TIMEOUT = 60.0
CALL_TIMEOUT = 120.0
PROGRESS_INTERVAL = 2.0

_MAXIMUM_MESSAGE = 500
_REFUSED = 1
_UNREACHABLE = 3


class LocalControlProtocol(LineReceiver, TimeoutMixin):
    """
    One connection to the socket.
    """

    delimiter = b"\n"
    MAX_LENGTH = MAXIMUM_LINE
    factory: LocalControlFactory
    transport: Any
    _outstanding = 0
    _accepted = False
    _watcher: Watcher | None = None

    def connectionMade(self) -> None:
        """
        Find out who it is.
        """
        self.callLater: Callable[..., IDelayedCall] = self.factory.clock.callLater
        refusal = self.factory.refusal(self)
        if refusal is not None:
            self._reject(refusal)
            return
        self._accepted = True
        self.factory.clients.add(self)
        # Who asks without reading the answers is not read from.
        self.transport.registerProducer(self, True)
        self.setTimeout(IDLE_TIMEOUT)

    def connectionLost(self, reason: Failure | None = None) -> None:
        """
        Forget the connection.  What it asked for is carried out all the same.
        """
        self.setTimeout(None)
        self.connected = 0
        self.factory.clients.discard(self)
        if self._watcher is not None:
            self._watcher.stop()

    def timeoutConnection(self) -> None:
        """
        Nothing was asked for too long.
        """
        self.transport.abortConnection()

    def lineLengthExceeded(self, line: bytes) -> None:
        """
        A request is too long: where the next one starts is anyone's guess.
        """
        self._reject(f"a request is longer than {MAXIMUM_LINE} bytes")

    def lineReceived(self, line: bytes) -> None:
        """
        Carry out one request.
        """
        if not self._accepted:
            return
        self.resetTimeout()
        try:
            request = decodeRequest(line)
        except RequestError as error:
            self._sendError(error.id, _REFUSED, str(error))
            return
        if (
            self._outstanding >= MAXIMUM_OUTSTANDING
            or self.factory.outstanding >= self.factory.maximumOutstanding
        ):
            self._sendError(request.id, _REFUSED, "too many requests at once: wait for an answer")
            return
        self._perform(request)

    def pauseProducing(self) -> None:
        """
        See L{twisted.internet.interfaces.IPushProducer}.
        """
        super().pauseProducing()
        if self._watcher is not None:
            self._watcher.pause()

    def resumeProducing(self) -> None:
        """
        See L{twisted.internet.interfaces.IPushProducer}.
        """
        if self._watcher is not None:
            self._watcher.resume()
        super().resumeProducing()

    def _watch(self, request: Request) -> None:
        watching = sum(each._watcher is not None for each in self.factory.clients)
        if self._watcher is not None:
            self._sendError(request.id, _REFUSED, "this connection watches already")
        elif watching >= MAXIMUM_WATCHERS:
            self._sendError(request.id, _REFUSED, f"too many watch already (the limit is {MAXIMUM_WATCHERS})")
        else:
            self.setTimeout(None)
            self._watcher = Watcher(lambda event: self._send({"id": request.id, "event": event}))
            self._watcher.start(self.factory.node)

    def _perform(self, request: Request) -> None:
        verb = VERBS[request.verb]
        if verb.streams:
            self._watch(request)
            return
        self._count(+1)
        progress = self._startProgress(request) if verb.waitsFor else None
        calling: Deferred[Any] = maybeDeferred(getattr(self.factory.node, verb.method), *request.arguments)
        calling.addTimeout(CALL_TIMEOUT, self.factory.clock)

        def done(result: object) -> None:
            self._count(-1)
            if progress is not None and progress.running:
                progress.stop()
            if isinstance(result, Failure):
                self._sendError(request.id, *self._explain(request, result))
            else:
                self._send({"id": request.id, "result": result})

        calling.addBoth(done)
        calling.addErrback(self._unsendable, request)

    def _startProgress(self, request: Request) -> LoopingCall:
        started = self.factory.clock.seconds()

        def tell() -> None:
            seconds = self.factory.clock.seconds() - started
            waitsFor = VERBS[request.verb].waitsFor
            self._send({"id": request.id, "progress": f"waiting for {waitsFor}, {seconds:.0f} s"})

        progress = LoopingCall(tell)
        progress.clock = self.factory.clock
        progress.start(PROGRESS_INTERVAL, now=False)
        return progress

    def _count(self, change: int) -> None:
        self._outstanding += change
        self.factory.outstanding += change
        if self.connected:
            busy = self._outstanding or self._watcher is not None
            self.setTimeout(None if busy else IDLE_TIMEOUT)

    def _explain(self, request: Request, failure: Failure) -> tuple[int, str]:
        if failure.check(Unreachable):
            return _UNREACHABLE, str(failure.value)
        if failure.check(VnetError):
            return _REFUSED, str(failure.value)
        if failure.check(DeferredTimeout, CancelledError):
            return _UNREACHABLE, f"no answer within {CALL_TIMEOUT:.0f} s"
        self.factory.log.failure("{verb} failed", failure, verb=request.verb)
        return _REFUSED, "internal error; see the log"

    def _unsendable(self, failure: Failure, request: Request) -> None:
        self._sendError(request.id, *self._explain(request, failure))

    def _reject(self, message: str) -> None:
        self._accepted = False
        self._sendError(None, _REFUSED, message)
        self.setTimeout(None)
        self.transport.loseConnection()

    def _sendError(self, identifier: int | str | None, code: int, message: str) -> None:
        oneLine = " ".join(message.split())[:_MAXIMUM_MESSAGE] or "no reason was given"
        self._send({"id": identifier, "error": {"code": code, "message": oneLine}})

    def _send(self, answer: dict[str, object]) -> None:
        if self.connected:
            # Plain ASCII: text from strangers may hold what UTF-8 cannot encode.
            self.sendLine(json.dumps(answer, allow_nan=False).encode("ascii"))


@define(eq=False, repr=False)
class LocalControlFactory(Factory):
    """
    Serves L{node} to each connection.

    @ivar authorize: of a connection's transport: whether it may ask.
    """

    node: INode
    clock: IReactorTime
    authorize: Callable[[Any], bool]
    maximumOutstanding: int = MAXIMUM_CLIENTS * 2
    outstanding: int = field(default=0, init=False)
    clients: set[LocalControlProtocol] = field(factory=set, init=False)
    noisy = False
    log = Logger()

    def buildProtocol(self, addr: IAddress | None) -> LocalControlProtocol:  # type: ignore[override]
        """
        Make the protocol of a connection.
        """
        protocol = LocalControlProtocol()
        protocol.factory = self
        return protocol

    def refusal(self, client: LocalControlProtocol) -> str | None:
        """
        Why a new connection is not accepted, or L{None}.
        """
        if not self.authorize(client.transport):
            return "not permitted: use sudo, or become a member of the group vnet"
        if len(self.clients) >= MAXIMUM_CLIENTS:
            return f"too many programs ask at once (the limit is {MAXIMUM_CLIENTS})"
        return None


class LocalControl(Service):
    """
    The service that serves a node on the control socket.

    @ivar path: of the socket.
    """

    name = "local control"

    def __init__(self, node: INode, path: str, reactor: Any) -> None:
        """
        @param reactor: provides C{IReactorUNIX} and C{IReactorTime}.
        """
        self.path = path
        self._reactor = reactor
        self._file = SocketFile(path)
        self._factory = LocalControlFactory(node, reactor, self._authorize)
        self._port: IListeningPort | None = None

    def startService(self) -> None:
        """
        Listen.

        @raise ConfigurationError: another client serves this socket, or the file system says no.
        """
        self._file.claim()
        try:
            with self._file.creating():
                self._port = self._reactor.listenUNIX(self._file.bindable, self._factory, mode=0o660)
        except CannotListenError as error:
            self._file.release()
            raise ConfigurationError(f"no control socket at {self.path}: {error.socketError}") from error
        super().startService()

    async def _stop(self, port: IListeningPort) -> None:
        removable = self._file.hold()
        stopping = maybeDeferred(port.stopListening)
        for client in list(self._factory.clients):
            client.transport.loseConnection()
        if removable:  # else the port fails to remove its file, and never says that it has stopped
            await stopping
        self._file.release()

    def stopService(self) -> Deferred[None] | None:
        """
        Stop listening, end the connections and remove the socket.
        """
        super().stopService()
        port, self._port = self._port, None
        return None if port is None else Deferred.fromCoroutine(self._stop(port))

    def _authorize(self, transport: Any) -> bool:
        try:
            credentials = credentialsOf(transport.getHandle())
        except OSError:
            return False
        return credentials.mayUse(os.geteuid(), self._file.gid())
