# -*- test-case-name: vnet.test.test_control_server -*-
"""
The mediator's side of the control protocol, which can be embedded alone: give it a L{ControlBackend}.

A connection is I{handshaking}, then I{secure}, I{admitting} while its login is looked at, I{admitted}, and
I{closed}. Each of these has a deadline or a limit, and what a stranger sends wrong is counted, never logged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, cast

from attrs import define, field
from nacl.exceptions import CryptoError
from nacl.signing import VerifyKey
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import (
    IDelayedCall,
    IHandshakeListener,
    IPushProducer,
    IReactorTime,
)
from twisted.internet.protocol import Factory, connectionDone
from twisted.protocols import amp
from twisted.python.failure import Failure
from zope.interface import implementer

from vnet.protocols import control
from vnet.protocols._quietamp import QuietAMP
from vnet.protocols.controlbackend import Answer, ControlBackend, Limits
from vnet.protocols.controlgate import Gate, unmapped
from vnet.protocols.machine.admission import Admission

__all__ = ["ControlBackend", "ControlServer", "ControlServerFactory", "Gate", "Limits"]

_COMMANDS: dict[bytes, tuple[type[amp.Command], str]] = {
    command.commandName: (command, method)
    for command, method in (
        (control.Logout, "logout"),
        (control.Ping, "ping"),
        (control.Relays, "relays"),
        (control.CreateNetwork, "createNetwork"),
        (control.JoinNetwork, "joinNetwork"),
        (control.LeaveNetwork, "leaveNetwork"),
        (control.SetNick, "setNick"),
        (control.SetPresence, "setPresence"),
        (control.OfferLan, "offerLan"),
        (control.AcceptLan, "acceptLan"),
        (control.Synchronise, "synchronise"),
        (control.Connect, "connect"),
        (control.ForwardSignal, "forwardSignal"),
        (control.TestPort, "testPort"),
    )
}


@implementer(IHandshakeListener, IPushProducer)
class ControlServer(QuietAMP):
    """
    One connection of a node.

    @ivar host: the IP literal that it comes from.
    @ivar key: the node's Ed25519 public key once it is proved; before, empty.
    @ivar crowded: whether so much waits for the node, to be read or to be answered, that nothing should
        follow that can be made up for later.
    @ivar closing: whether nothing is heard or said any more.
    """

    def __init__(self, factory: ControlServerFactory, host: str) -> None:
        super().__init__()
        self._server = factory
        self._limits = factory.limits
        self.host = host
        self.key = b""
        self._state = "handshaking"
        self._deadline: IDelayedCall | None = None
        self._lastBox = 0.0
        self._received = 0
        self._keys = 0
        self._requests = 0
        self._pushes = 0
        self._admitted = False
        self._left = False
        self.closing = False
        self.crowded = False

    # The life of the connection.

    def connectionMade(self) -> None:
        """
        TCP is connected; TLS begins.
        """
        self._arm(self._limits.handshake, "handshakeTimeout")
        super().connectionMade()

    def handshakeCompleted(self) -> None:
        """
        TLS is up.
        """
        if self._state == "handshaking":
            self._state = "secure"
            self._arm(self._limits.login, "loginTimeout")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        The connection is closed.
        """
        self.closing = True
        self._disarm()
        self._server.admission.leave(self.host, self._admitted)
        super().connectionLost(reason)
        if self._admitted and not self._left:
            self._server.backend.ended(self)

    def abort(self, why: str) -> None:
        """
        Drop the connection at once.

        @param why: the counter that it adds to.
        """
        self._server.counters[why] += 1
        self.closing = True
        self._transport.abortConnection()

    def finish(self) -> None:
        """
        Close the connection after what was pushed.  The backend has forgotten this session, and does not
        hear of it again.
        """
        if not self.closing:
            self.closing = self._left = True
            self._arm(self._limits.closing, "closingTimeout")
            if self._admitted:
                self._transport.unregisterProducer()
            self._transport.loseConnection()

    @property
    def _transport(self) -> Any:
        return self.transport

    def _arm(self, delay: float, why: str) -> None:
        self._disarm()
        self._deadline = self._server.clock.callLater(delay, self.abort, why)

    def _disarm(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()

    def _watch(self) -> None:
        silent = self._server.clock.seconds() - self._lastBox
        if silent >= self._limits.idle:
            self.abort("idle")
        else:
            self._deadline = self._server.clock.callLater(self._limits.idle - silent, self._watch)

    # Back-pressure: a node that does not read is not read either, and then is silent.

    def pauseProducing(self) -> None:
        """
        The send buffer is full.
        """
        self.crowded = True
        super().pauseProducing()

    def resumeProducing(self) -> None:
        """
        The send buffer has room.
        """
        super().resumeProducing()
        self._relax()

    def stopProducing(self) -> None:
        """
        The connection is going away.
        """

    # What comes in.

    def dataReceived(self, data: bytes) -> None:
        """
        Application data of any kind.
        """
        if not self._admitted:
            self._received += len(data)
            if self._received > self._limits.strangerBytes:
                self.abort("strangerBytes")
                return
        super().dataReceived(data)

    def stringReceived(self, string: bytes) -> None:
        """
        One key or one value of a box, or its end.
        """
        if self.closing:
            return
        self._keys += 1
        if self._admitted:
            self._received += len(string)
        if self._received > self._limits.boxBytes or self._keys > 2 * self._limits.boxKeys + 1:
            self.abort("boxTooLarge")
            return
        super().stringReceived(string)

    def ampBoxReceived(self, box: amp.Box) -> None:
        """
        One whole box.
        """
        self._keys = 0
        if self._admitted:
            self._received = 0
            self._lastBox = self._server.clock.seconds()
        elif box.get(amp.COMMAND) != control.Login.commandName or amp.ASK not in box:
            self.abort("beforeLogin")
            return
        if amp.COMMAND in box and self._requests >= self._limits.requests:
            self._tooMany(box)
            return
        try:
            super().ampBoxReceived(box)
        except Exception:
            # Responders run inside Deferreds: what arrives here is a box that makes no sense.
            self.abort("malformed")

    def _tooMany(self, box: amp.Box) -> None:
        self._server.counters["tooManyRequests"] += 1
        if amp.ASK in box:
            refusal = amp.Box()
            refusal[amp.ERROR] = box[amp.ASK]
            refusal[amp.ERROR_CODE] = control.Login.errors[control.TooMany]
            refusal[amp.ERROR_DESCRIPTION] = b"too many requests at once: wait for answers"
            self.sendBox(refusal)

    def unhandledError(self, failure: Failure) -> None:
        """
        An answer of the node's makes no sense.
        """
        self.abort("malformed")

    def locateResponder(self, name: bytes) -> Callable[[amp.Box], Deferred[amp.Box]] | None:
        """
        @return: what answers this command.
        """
        if name == control.Login.commandName:
            return lambda box: self._respond(control.Login, self._login, box)
        found = _COMMANDS.get(name)
        if found is None:
            return None
        command, method = found
        bound = getattr(self._server.backend, method)
        return lambda box: self._respond(command, lambda **arguments: bound(self, **arguments), box)

    def _respond(
        self, command: type[amp.Command], method: Callable[..., Answer], box: amp.Box
    ) -> Deferred[amp.Box]:
        try:
            arguments = command.parseArguments(box, self)
        except Exception:
            self.abort("malformed")
            return fail(amp.RemoteAmpError(b"MALFORMED", "the arguments make no sense", fatal=True))
        return Deferred.fromCoroutine(self._run(command, method, arguments))

    async def _run(
        self, command: type[amp.Command], method: Callable[..., Answer], arguments: dict[str, Any]
    ) -> amp.Box:
        self._requests += 1
        try:
            return cast(amp.Box, command.makeResponse(await method(**arguments), self))
        except tuple(command.errors) as error:
            if not (self._admitted or self.closing):
                self._arm(self._limits.closing, "closingTimeout")
            code = command.errors[type(error)]
            raise amp.RemoteAmpError(code, str(error), fatal=command is control.Login) from None
        finally:
            self._requests -= 1

    async def _login(
        self, version: int, key: bytes, signature: bytes, nick: str, software: str
    ) -> dict[str, Any]:
        if self._state != "secure":
            raise control.LoginFailed("this connection has logged in already")
        self._state = "admitting"
        if version != control.ACCEPTED_VERSION:
            raise control.LoginFailed(
                f"this mediator speaks version {control.ACCEPTED_VERSION} of the protocol, "
                f"the node {version}: update the older one"
            )
        mediator, exported = self._server.identify(self.transport)
        try:
            # Peers need the key in its other form, too, which not every key has that signs.
            VerifyKey(key).to_curve25519_public_key()
            VerifyKey(key).verify(control.loginTranscript(mediator, exported), signature)
        except (CryptoError, ValueError, TypeError):
            self._server.counters["badSignature"] += 1
            raise control.LoginFailed("the signature does not prove possession of the key") from None
        self.key = key
        return await self._server.backend.login(self, key, nick, software)

    def admit(self) -> None:
        """
        The backend lets this session in: it is a stranger no more.
        """
        self._state = "admitted"
        self._admitted = True
        self._received = 0
        self._server.admission.logIn(self.host)
        self._lastBox = self._server.clock.seconds()
        self._disarm()
        self._watch()
        self._transport.registerProducer(self, True)

    # What goes out.

    def push(self, command: type[amp.Command], **arguments: Any) -> None:
        """
        Send a command to the node.  A node that leaves too many unanswered is dropped.
        """
        self.pushBox(command.commandName, command.makeArguments(arguments, self))

    def pushBox(self, name: bytes, box: Mapping[bytes, bytes]) -> None:
        """
        Send a command whose arguments are encoded already: what goes to many nodes is encoded once.
        """
        if self.closing:
            return
        if self._pushes >= self._limits.pushes:
            self.abort("unansweredPushes")
            return
        self._pushes += 1
        self.crowded = self.crowded or self._pushes > self._limits.pushes // 2
        self.callRemoteString(name, **{key.decode("ascii"): value for key, value in box.items()}).addBoth(
            self._pushed
        )

    def _pushed(self, result: object) -> None:
        self._pushes -= 1
        self._relax()

    def _relax(self) -> None:
        if self.crowded and not self.paused and self._pushes <= self._limits.pushes // 4:
            self.crowded = False
            if not self.closing:
                self._server.backend.drained(self)


@define(eq=False, repr=False)
class ControlServerFactory(Factory):
    """
    Makes a L{ControlServer} for each connection.  L{Gate} stands before it.

    @ivar identify: gives the SHA-256 of the mediator's SubjectPublicKeyInfo and the TLS exporter's value for
        a transport.
    @ivar counters: why connections were dropped.
    """

    backend: ControlBackend
    clock: IReactorTime
    identify: Callable[[Any], tuple[bytes, bytes]]
    admission: Admission = field(factory=Admission)
    limits: Limits = field(factory=Limits)
    counters: Counter[str] = field(factory=Counter)
    noisy = False

    def buildProtocol(self, addr: Any) -> ControlServer:
        """
        @param addr: an address of TCP.
        """
        return ControlServer(self, unmapped(addr.host))
