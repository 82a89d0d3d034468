# -*- test-case-name: vnet.test.test_client_session -*-
"""
The node's session with its mediator: connect, log in, stay, and come back.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from attrs import define, field
from twisted.application.internet import ClientService
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IProtocol, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.protocol import Protocol as StreamProtocol
from twisted.logger import Logger
from twisted.protocols import amp
from twisted.python.failure import Failure

from vnet.client.links import hasLeft
from vnet.client.loginendpoint import LoginEndpoint
from vnet.client.loginfailures import NETWORK_FAILURES, REFUSALS
from vnet.client.mediatorclock import MediatorClock
from vnet.client.welcome import Welcome, parseWelcome
from vnet.errors import Refused, Unreachable, VnetError
from vnet.protocols import control
from vnet.protocols.controlclient import ControlClient, ControlClientFactory, Credentials
from vnet.protocols.proxied import FarEnd
from vnet.protocols.tls import describeFailure, identify

__all__ = ["Session", "SessionOwner"]

_SHORTEST_RETRY = 0.8
_RETRY_GROWTH = 1.6
_LONGEST_RETRY = 30.0
_ATTEMPT_TIMEOUT = 20.0
_PROBE_TIMEOUT = 1.0
_STALE_ATTEMPT, _RESTARTS = 0.5, 3
_LOGOUT_TIMEOUT = 2.0
_STEADY = 10.0


class SessionOwner(Protocol):
    """
    Who owns a session and is told what happens in it.
    """

    def sessionOnline(self, session: Session, welcome: Welcome) -> None:
        """This node is logged in."""

    def sessionLost(self, reason: str) -> None:
        """The connection was lost after a login; the session goes on trying."""

    def sessionReplaced(self, session: Session) -> None:
        """Another computer logged in with this node's key; the session has stopped."""

    def memberChanged(self, network: bytes, version: int, members: Sequence[dict[str, Any]]) -> None:
        """See L{control.MemberChanged}."""

    def networkGone(self, network: bytes) -> None:
        """See L{control.NetworkGone}."""

    def rendezvous(self, peer: bytes, start: int, startAt: float, host: str) -> None:
        """Connect to this peer, beginning at C{startAt} of this node's clock, which is C{start} of the mediator's."""

    def signal(self, peer: bytes, sealed: bytes) -> None:
        """See L{control.Signal}."""


def retryDelay(failures: int) -> float:
    """
    How long to wait after so many failed attempts: longer each time, and so spread that a crowd of nodes that lost its
    mediator at once does not come back at once.

    @return: seconds.
    """
    longest = min(_SHORTEST_RETRY * _RETRY_GROWTH ** min(failures - 1, 20), _LONGEST_RETRY)
    return longest * random.uniform(0.5, 1.0)


@define(eq=False, repr=False)
class Session:
    """
    The session with one mediator.

    @ivar _identify: gives the SHA-256 of the mediator's SubjectPublicKeyInfo and the TLS exporter's value for a
        transport.
    @ivar welcome: what the last login gave; L{None} before.
    @ivar online: whether this node is logged in now.
    @ivar error: why it is not, one line; empty when it is.
    """

    _clock: IReactorTime
    _endpoint: IStreamClientEndpoint
    _credentials: Callable[[], Credentials]
    _owner: SessionOwner
    _identify: Callable[[Any], tuple[bytes, bytes]] = identify
    _log: Logger = field(factory=Logger)
    welcome: Welcome | None = field(default=None, init=False)
    online: bool = field(default=False, init=False)
    error: str = field(default="", init=False)
    _service: ClientService | None = field(default=None, init=False)
    _protocol: ControlClient | None = field(default=None, init=False)
    _connection: IProtocol | None = field(default=None, init=False)
    _mediatorClock: MediatorClock = field(factory=MediatorClock, init=False)
    _waiting: list[Deferred[Welcome]] = field(factory=list, init=False)
    _pausing: bool = field(default=False, init=False)
    _hurrying: bool = field(default=False, init=False)
    _probing: bool = field(default=False, init=False)
    _attemptedAt: float = field(default=0.0, init=False)
    _restarts: int = field(default=0, init=False)
    _left: bool = field(default=False, init=False)
    _onlineAt: float = field(default=0.0, init=False)
    _short: int = field(default=0, init=False)

    def start(self) -> None:
        """
        Connect, and keep connected until L{stop}.
        """
        endpoint = LoginEndpoint(
            self._endpoint,
            ControlClientFactory(self._clock, self),
            self._attempting,
            self._logIn,
            self._attemptFailed,
            self._established,
        )
        self._service = ClientService(
            endpoint, Factory.forProtocol(StreamProtocol), retryPolicy=self._pause, clock=self._clock
        )
        self._service.startService()

    def _attempting(self) -> None:
        self._pausing = False
        self._attemptedAt = self._clock.seconds()

    def _pause(self, failures: int) -> float:
        self._pausing = True
        hurrying, self._hurrying = self._hurrying, False
        if hurrying:
            return 0.0
        return retryDelay(failures + self._short)

    def linksChanged(self) -> None:
        """
        The network has changed: see at once whether the mediator is still there; if it was not, do not wait to try again.
        """
        protocol = self._protocol
        if self.online and protocol is not None:
            if _isLost(protocol.transport):
                self._renew(protocol)
            else:
                self.check()
        elif self._service is not None and (self._pausing or self._isStale()):
            self._service.stopService()
            self.start()

    def _isStale(self) -> bool:
        """
        Whether the attempt under way is better begun again: it may leave from an address that is none any more.  An attempt
        that is young is spared after a few times, for there are computers whose links change all the time.
        """
        self._restarts += 1
        return self._restarts <= _RESTARTS or self._clock.seconds() - self._attemptedAt >= _STALE_ATTEMPT

    def check(self) -> None:
        """
        There is doubt whether the mediator is reached: connect anew if it does not answer.
        """
        if self.online and not self._probing:
            self._probing = True
            Deferred.fromCoroutine(self._probe())

    async def _probe(self) -> None:
        protocol = self._protocol
        patience = _PROBE_TIMEOUT + 2 * self._mediatorClock.roundTrip
        answer = Deferred.fromCoroutine(self.call(control.Ping)).addTimeout(patience, self._clock)
        try:
            await answer
        except Exception:
            if protocol is self._protocol and protocol is not None:
                self._renew(protocol)
        finally:
            self._probing = False

    def renew(self, since: float) -> None:
        """
        The address from which the mediator saw this node is another one since then: connect anew, unless that has been done.
        """
        if self.online and self._protocol is not None and self._onlineAt < since:
            self._renew(self._protocol)

    def _renew(self, protocol: ControlClient) -> None:
        """
        Give a connection up, and make the next without delay.
        """
        if protocol.transport is not None:
            self._hurrying = True
            protocol.transport.abortConnection()

    async def leave(self) -> None:
        """
        Log out and disconnect.  From now on the owner hears nothing of this session.
        """
        self._left = True
        if self.online:
            leaving = Deferred.fromCoroutine(self.call(control.Logout)).addTimeout(
                _LOGOUT_TIMEOUT, self._clock
            )
            await leaving.addErrback(lambda _: None)
        self.stop()

    @property
    def _heard(self) -> bool:
        """Whether the owner hears what the mediator says: not before the login, and not after the logout."""
        return self.online and not self._left

    def stop(self) -> Deferred[None]:
        """
        Disconnect; the session cannot be used again.
        """
        service, self._service = self._service, None
        self._settle(Failure(Unreachable("stopped")))
        self.online = False
        if service is None:
            return succeed(None)
        return service.stopService()

    @property
    def stopped(self) -> bool:
        """Whether this session is at its end."""
        return self._service is None

    def outcome(self) -> Deferred[Welcome]:
        """
        Fires at the next login; fails with L{Refused} or L{Unreachable} when the next attempt fails.
        """
        waiting: Deferred[Welcome] = Deferred()
        if self.online and self.welcome is not None:
            waiting.callback(self.welcome)
        else:
            self._waiting.append(waiting)
            waiting.addTimeout(_ATTEMPT_TIMEOUT, self._clock, self._tooLong)
        return waiting

    def _tooLong(self, result: Any, timeout: float) -> Any:
        raise Unreachable(f"the mediator did not let this node in within {timeout:.0f} seconds")

    async def call(self, command: type[amp.Command], **arguments: Any) -> dict[str, Any]:
        """
        Ask the mediator.

        @raise Refused: it refuses; the text says why.
        @raise Unreachable: it is not there.
        """
        protocol = self._protocol
        if protocol is None or not self.online:
            raise Unreachable(self.error or "the mediator is not connected: trying again")
        sent = self._clock.seconds()
        try:
            answer = await protocol.call(command, **arguments)
        except REFUSALS as error:
            raise Refused(str(error)) from error
        except amp.UnhandledCommand as error:
            raise Refused("the mediator is older than this node and cannot do that: update it") from error
        except Exception as error:
            raise Unreachable(f"the mediator did not answer: {error}") from error
        if command is control.Ping:
            self._mediatorClock.observe(sent, self._clock.seconds(), answer["now"])
        return answer

    async def _logIn(self, protocol: ControlClient) -> None:
        await protocol.whenSecure()
        sent = self._clock.seconds()
        credentials = self._credentials()
        answer = await protocol.login(credentials, *self._identify(protocol.transport))
        self._mediatorClock = MediatorClock()
        self._mediatorClock.observe(sent, self._clock.seconds(), answer["now"])
        host, reached = _placeOf(protocol.transport.getPeer())
        welcome = parseWelcome(answer, host, credentials.key, reached)
        self._protocol, self.welcome, self.online, self.error = protocol, welcome, True, ""
        try:
            self._owner.sessionOnline(self, welcome)
        except Exception:
            self._protocol, self.online = None, False
            raise
        self._onlineAt, self._restarts = self._clock.seconds(), 0
        self._settle(welcome)

    def _established(self, connection: IProtocol) -> None:
        self._connection = connection

    def _attemptFailed(self, failure: Failure) -> None:
        error = failure.value
        refused = isinstance(error, (*REFUSALS, VnetError))
        if not refused and not isinstance(error, NETWORK_FAILURES):
            self._log.failure("while logging in", failure)
        self.error = str(error) if refused else describeFailure(failure)
        self._settle(Failure(Refused(self.error) if refused else Unreachable(self.error)))

    def _settle(self, result: Welcome | Failure) -> None:
        # Not from here: who waits may stop this session, which is inside its own machine now.
        waiting, self._waiting = self._waiting, []
        if waiting:
            self._clock.callLater(0, _deliver, waiting, result)

    def disconnected(self, reason: Failure) -> None:
        """
        The control connection is lost.
        """
        if self._protocol is not None:
            self._protocol = None
            heard, self.online = self._heard, False
            # Each login has its price, for both sides: a mediator that breaks at once is one that fails.
            self._short = self._short + 1 if self._clock.seconds() - self._onlineAt < _STEADY else 0
            if heard:
                self.error = f"the connection to the mediator was lost: {describeFailure(reason)}"
                self._owner.sessionLost(self.error)
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.connectionLost(reason)

    def memberChanged(self, network: bytes, version: int, members: Sequence[dict[str, Any]]) -> None:
        """Hand on a change."""
        if self._heard:
            self._owner.memberChanged(network, version, members)

    def networkGone(self, network: bytes) -> None:
        """Hand on the end of a membership."""
        if self._heard:
            self._owner.networkGone(network)

    def rendezvous(self, peer: bytes, start: int, now: int, host: str = "") -> None:
        """Hand on a rendezvous, in time of our own clock."""
        current = self._clock.seconds()
        latest = current + max(0.0, min((start - now) / 1e6, 5.0))
        if self._heard:
            self._owner.rendezvous(peer, start, self._mediatorClock.local(start, latest), host)

    def signal(self, peer: bytes, sealed: bytes) -> None:
        """Hand on a signal."""
        if self._heard:
            self._owner.signal(peer, sealed)

    def replaced(self, byYou: bool) -> None:
        """
        Another session with this key: either we took over, or we were replaced and stop.
        """
        if byYou:
            self._log.warn("this login ended another session with the same key")
            return
        self.error = "another computer logged in with this node's key: make sure that only one has it, then log in again"
        self.online = False
        self.stop()
        self._owner.sessionReplaced(self)


def _placeOf(peer: Any) -> tuple[str, bool]:
    """
    Where a mediator is.

    @return: its IP address, empty where it is not known, and whether the connection itself shows that it is there.
    """
    if not isinstance(peer, FarEnd):
        return peer.host, True
    return peer.host if isIPAddress(peer.host) or isIPv6Address(peer.host) else "", False


def _isLost(transport: Any) -> bool:
    """
    Whether a connection leaves from an address that is not this computer's any more, or is not used towards that end.
    """
    own, far = transport.getHost(), transport.getPeer()
    if not isinstance(own, IPv4Address | IPv6Address):
        return False
    return hasLeft(own.host, far.host if isinstance(far, IPv4Address | IPv6Address) else "")


def _deliver(waiting: Sequence[Deferred[Welcome]], result: Welcome | Failure) -> None:
    for each in waiting:
        if not each.called:
            each.callback(result)
