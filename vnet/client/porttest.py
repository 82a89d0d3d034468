# -*- test-case-name: vnet.test.test_client_porttest -*-
"""
The Magic Option under test: does the UDP port that the user named reach this node from outside?

The mediator is asked to send one datagram to that port of the address that it sees this node at, from a port that this node has
never sent to.  What comes has the token of the question.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime

from vnet.client.calls import Calls
from vnet.errors import Refused, VnetError
from vnet.protocols import control
from vnet.protocols.machine.natbehaviour import ADDRESS_DEPENDENT
from vnet.values import Address, NatReport

__all__ = ["PortTest"]

# Datagrams are lost: only so many that do not come mean something.
_ATTEMPTS = 3
_TRAVEL = 2.0
# A mediator sends one in 10 s.
_PAUSE = 10.5


@define(eq=False, repr=False)
class PortTest:
    """
    Tests one port, at each public address that this node gets.  Implements L{vnet.protocols.punch.Asker}.

    @ivar _port: the port.
    @ivar _ask: asks the mediator.
    @ivar _random: returns so many unpredictable bytes.
    @ivar _changed: called when L{result} has changed.
    @ivar result: C{"open"} or C{"closed"}; L{None} while that is not known.
    """

    _clock: IReactorTime
    _port: int
    _ask: Callable[..., Awaitable[dict[str, Any]]]
    _random: Callable[[int], bytes]
    _changed: Callable[[], None]
    result: str | None = field(default=None, init=False)
    _host: str = field(default="", init=False)
    _token: bytes = field(default=b"", init=False)
    _attempt: int = field(default=0, init=False)
    _askedAt: float = field(default=float("-inf"), init=False)
    _calls: Calls = field(init=False)
    _waiting: list[Deferred[None]] = field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self._calls = Calls(self._clock)

    def consider(self, report: NatReport) -> None:
        """
        Test the port, if this node has got another public address.
        """
        public = report.publicAddress
        host = public.host if public is not None and report.udp else ""
        if host != self._host:
            self._host = host
            self._set(None)
            self._begin()

    def again(self, timeout: float) -> Deferred[None]:
        """
        Test the port again, unless it is known to be open: its user may have forwarded it meanwhile.

        @return: fires when the port is found to be open, or after C{timeout} seconds.
        """
        if not self._host or self.result == "open":
            return succeed(None)
        self._begin()
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        self._clock.callLater(timeout, self._release, waiting)
        return waiting

    def forwarded(self, report: NatReport) -> str | None:
        """
        @return: L{result}, where it says something: a NAT that filters by address lets the mediator in to each port that has
            sent to it.
        """
        mapped = report.publicAddress is not None and report.publicAddress.port == self._port
        if self.result == "open" and mapped and report.filtering == ADDRESS_DEPENDENT:
            return None
        return self.result

    def close(self) -> None:
        """
        Test nothing any more.
        """
        self._calls.cancelAll()
        self._token = b""
        for each in list(self._waiting):
            self._release(each)

    def expects(self, transactionId: bytes, addr: Address) -> bool:
        """
        See L{vnet.protocols.punch.Asker.expects}.
        """
        return bool(self._token) and transactionId == self._token and not addr.via

    def datagramReceived(self, data: bytes, addr: Address) -> None:
        """
        The datagram has come.
        """
        self._calls.cancelAll()
        self._token = b""
        self._set("open")
        for each in list(self._waiting):
            self._release(each)

    def _begin(self) -> None:
        self._attempt, self._token = 0, b""
        self._calls.cancelAll()
        if self._host:
            self._calls.later("test", max(0.0, self._askedAt + _PAUSE - self._clock.seconds()), self._test)

    def _test(self) -> None:
        self._attempt += 1
        self._askedAt = self._clock.seconds()
        self._token = token = self._random(12)
        Deferred.fromCoroutine(self._question(token)).addErrback(self._refused, token)

    async def _question(self, token: bytes) -> None:
        answer = await self._ask(control.TestPort, port=self._port, token=token)
        if token == self._token:
            # Through a proxy the mediator sees another address: what does not come from there says nothing.
            seen = answer["host"] == self._host
            self._calls.later("test", _TRAVEL, self._silent if seen else self._giveUp)

    def _refused(self, failure: Any, token: bytes) -> None:
        refused = failure.trap(VnetError) and failure.check(Refused)
        if token == self._token:
            self._token = b""
            if refused and self._attempt < _ATTEMPTS:
                self._calls.later("test", _PAUSE, self._test)
            else:
                # The mediator is not there, or too old to be asked; a new session is a new attempt.
                self._host = ""

    def _giveUp(self) -> None:
        self._token = b""

    def _silent(self) -> None:
        if self._attempt < _ATTEMPTS:
            self._calls.later("test", _PAUSE - _TRAVEL, self._test)
        else:
            self._token = b""
            self._set("closed")

    def _set(self, result: str | None) -> None:
        if result != self.result:
            self.result = result
            self._changed()

    def _release(self, waiting: Deferred[None]) -> None:
        if waiting in self._waiting:
            self._waiting.remove(waiting)
            waiting.callback(None)
