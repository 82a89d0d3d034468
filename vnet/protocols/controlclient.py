# -*- test-case-name: vnet.test.test_controlclient -*-
"""
The client's side of the control protocol, which can be embedded alone::

    class Handler:                      # provides the methods of ControlHandler
        ...
    factory = ControlClientFactory(clock, Handler())
    service = ClientService(wrapClientTLS(clientOptions(pin, host), endpoint), factory)
    ...
    protocol = await service.whenConnected()
    answer = await protocol.login(credentials)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Any, Protocol

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHandshakeListener,
    IReactorTime,
)
from twisted.internet.protocol import Factory
from twisted.protocols import amp
from twisted.python.failure import Failure
from zope.interface import implementer

from vnet.errors import DecodeError
from vnet.protocols import control
from vnet.protocols._quietamp import QuietAMP

__all__ = ["ControlClient", "ControlClientFactory", "ControlHandler", "Credentials", "MediatorSilent"]

_HANDSHAKE_TIMEOUT = 10.0
_CALL_TIMEOUT = 15.0
_PING_TIMEOUT = 12.0
_MAXIMUM_BOX = 256 * 1024
_DONE = Failure(ConnectionDone())

_PUSHES: dict[bytes, tuple[type[amp.Command], str]] = {
    command.commandName: (command, method)
    for command, method in (
        (control.MemberChanged, "_memberChanged"),
        (control.NetworkGone, "_networkGone"),
        (control.Rendezvous, "_rendezvous"),
        (control.Signal, "_signal"),
        (control.Replaced, "_replaced"),
    )
}


class MediatorSilent(ConnectionLost):
    """
    The mediator did not answer in time.
    """

    def __str__(self) -> str:
        return str(self.args[0])


class ControlHandler(Protocol):
    """
    Who is told what the mediator says.  Each box is checked for its shape before.
    """

    def memberChanged(self, network: bytes, version: int, members: Sequence[dict[str, Any]]) -> None:
        """One network changed: see L{control.MemberChanged}."""

    def networkGone(self, network: bytes) -> None:
        """This node is no member any more."""

    def rendezvous(self, peer: bytes, start: int, now: int, host: str) -> None:
        """Connect to this peer at that time of the mediator's clock."""

    def signal(self, peer: bytes, sealed: bytes) -> None:
        """A sealed signal came."""

    def replaced(self, byYou: bool) -> None:
        """Another session with this node's key ended, or took over."""

    def disconnected(self, reason: Failure) -> None:
        """The connection is lost; nothing follows."""


@frozen
class Credentials:
    """
    What a login shows.

    @ivar key: the node's Ed25519 public key, 32 bytes.
    @ivar sign: makes an Ed25519 signature, 64 bytes.
    """

    key: bytes
    sign: Callable[[bytes], bytes] = field(repr=False)
    nick: str
    software: str


def _host(text: str | None) -> str:
    """
    An IP literal in canonical form; empty for none.
    """
    try:
        return str(ip_address(text)) if text else ""
    except ValueError:
        raise DecodeError("the mediator sent an address that is none") from None


def _key(value: bytes, length: int = 32) -> bytes:
    if len(value) != length:
        raise DecodeError("the mediator sent a key of a wrong length")
    return value


@implementer(IHandshakeListener)
class ControlClient(QuietAMP):
    """
    One connection to a mediator.
    """

    transport: Any

    def __init__(self, clock: IReactorTime, handler: ControlHandler) -> None:
        super().__init__()
        self._clock = clock
        self._handler = handler
        self._handshake: Deferred[None] = Deferred()
        self._ping: IDelayedCall | None = None
        self._received = 0

    def handshakeCompleted(self) -> None:
        """
        TLS is up, and the mediator is who it should be.
        """
        self._handshake.callback(None)

    def dataReceived(self, data: bytes) -> None:
        """
        Decode boxes, of bounded size.
        """
        self._received += len(data)
        if self._received > _MAXIMUM_BOX:
            self.transport.abortConnection()
            return
        super().dataReceived(data)

    def ampBoxReceived(self, box: amp.Box) -> None:
        """
        One whole box came.
        """
        self._received = 0
        try:
            super().ampBoxReceived(box)
        except Exception:
            # Responders run inside Deferreds: what arrives here is a box that makes no sense.
            self.transport.abortConnection()

    def unhandledError(self, failure: Failure) -> None:
        """
        A box of the mediator's makes no sense.
        """
        self.transport.abortConnection()

    def locateResponder(self, name: bytes) -> Callable[[amp.Box], Deferred[amp.Box]] | None:
        """
        @return: what answers this command: none but the pushes, also not those that AMP itself knows.
        """
        found = _PUSHES.get(name)
        if found is None:
            return None
        command, method = found
        return lambda box: self._respond(command, getattr(self, method), box)

    def _respond(
        self, command: type[amp.Command], method: Callable[..., None], box: amp.Box
    ) -> Deferred[amp.Box]:
        try:
            arguments = command.parseArguments(box, self)
        except Exception:
            return fail(self._nonsense())
        answer: Deferred[amp.Box] = maybeDeferred(method, **arguments).addCallback(lambda _: amp.Box())
        return answer.addErrback(self._refuse)

    def _refuse(self, failure: Failure) -> Failure:
        return Failure(self._nonsense()) if failure.check(DecodeError) else failure

    def _nonsense(self) -> amp.RemoteAmpError:
        self.transport.abortConnection()
        return amp.RemoteAmpError(b"MALFORMED", "the arguments make no sense", fatal=True)

    def connectionLost(self, reason: Failure = _DONE) -> None:
        """
        The connection is lost, or TLS failed.
        """
        super().connectionLost(reason)
        if self._ping is not None and self._ping.active():
            self._ping.cancel()
        if not self._handshake.called:
            self._handshake.errback(reason)
        self._handler.disconnected(reason)

    async def call(self, command: type[amp.Command], **arguments: Any) -> dict[str, Any]:
        """
        Call the mediator, for at most 15 seconds.

        @raise Exception: one of the errors that the command declares, or L{twisted.internet.error.ConnectionLost}
            when there is no answer.
        """
        if self.transport is None:
            raise ConnectionLost("not connected to the mediator")
        answer: Deferred[dict[str, Any]] = self.callRemote(command, **arguments)
        answer.addTimeout(_CALL_TIMEOUT, self._clock, self._silent)
        return await answer

    def _silent(self, result: object, timeout: float) -> Failure:
        if self.transport is not None:
            self.transport.abortConnection()
        return Failure(MediatorSilent(f"no answer for {timeout:.0f} seconds"))

    async def login(self, credentials: Credentials, mediator: bytes, exported: bytes) -> dict[str, Any]:
        """
        Log in on a connection whose handshake is complete (L{whenSecure}).

        @param mediator: the SHA-256 of the mediator's SubjectPublicKeyInfo, 32 bytes.
        @param exported: 32 bytes of the TLS exporter.
        @return: the answer of L{control.Login}.
        """
        answer = await self.call(
            control.Login,
            version=control.ACCEPTED_VERSION,
            key=credentials.key,
            signature=credentials.sign(control.loginTranscript(mediator, exported)),
            nick=credentials.nick,
            software=credentials.software,
        )
        self._schedulePing()
        return answer

    def whenSecure(self) -> Deferred[None]:
        """
        Fires when the TLS handshake is complete; fails when it fails or takes more than 10 seconds.
        """
        return self._handshake.addTimeout(_HANDSHAKE_TIMEOUT, self._clock, self._silent)

    def _schedulePing(self) -> None:
        self._ping = self._clock.callLater(control.PING_INTERVAL, self._sendPing)

    def _sendPing(self) -> None:
        answer = self.callRemote(control.Ping)
        answer.addTimeout(_PING_TIMEOUT, self._clock, self._silent)
        answer.addCallbacks(
            lambda _: self._schedulePing(), lambda _: self.transport and self.transport.abortConnection()
        )

    def _memberChanged(self, network: bytes, version: int, members: list[dict[str, Any]]) -> None:
        self._handler.memberChanged(_key(network, 16), version, members)

    def _networkGone(self, network: bytes) -> None:
        self._handler.networkGone(_key(network, 16))

    def _rendezvous(self, peer: bytes, start: int, now: int, host: str | None = None) -> None:
        self._handler.rendezvous(_key(peer), start, now, _host(host))

    def _signal(self, peer: bytes, sealed: bytes) -> None:
        self._handler.signal(_key(peer), sealed)

    def _replaced(self, byYou: bool) -> None:
        self._handler.replaced(byYou)


@define(eq=False, repr=False)
class ControlClientFactory(Factory):
    """
    Makes a L{ControlClient} for each connection.
    """

    clock: IReactorTime
    handler: ControlHandler
    noisy = False

    def buildProtocol(self, addr: IAddress | None) -> ControlClient:
        """
        @return: a new protocol.
        """
        return ControlClient(self.clock, self.handler)
