# -*- test-case-name: vnet.test.test_driver -*-
"""
The driver of the datagram machines: it moves bytes, events and one timer, and decides nothing.

A machine has five verbs and knows no clock, no socket and no callback.  The driver gives it what
arrives, sends what it wants sent, hands out its events in order, and keeps exactly one
C{callLater} armed for its deadline::

    socket --datagramReceived--> Driver --receive----------> machine
    socket <-------send--------- Driver <--datagramsToSend-- machine
    owner  <-----onEvent-------- Driver <--nextEvent-------- machine
    clock  ------callLater-----> Driver --timerFired-------> machine
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from vnet.values import Address

__all__ = ["DatagramMachine", "Driver"]

_AFTER_FAILURE = 1.0

E = TypeVar("E")
EventT = TypeVar("EventT", covariant=True)


class DatagramMachine(Protocol[EventT]):
    """
    What each datagram machine does.  C{now} is always seconds of one clock that never goes back.
    """

    def receive(self, data: bytes, addr: Address, now: float) -> None:
        """
        A datagram came from C{addr}.  Whatever it holds, this does not raise.
        """

    def datagramsToSend(self, now: float) -> list[tuple[bytes, Address]]:
        """
        Hand out, once, the datagrams that are to be sent now.
        """

    def deadline(self) -> float | None:
        """
        When L{timerFired} has to be called; L{None} when nothing waits for time to pass.
        """

    def timerFired(self, now: float) -> None:
        """
        The deadline is reached.  Afterwards the deadline is later than C{now}, or L{None}.
        """

    def nextEvent(self) -> EventT | None:
        """
        Hand out, once, the oldest event; L{None} when there is none.
        """


@define(eq=False)
class Driver(Generic[E]):
    """
    Runs one machine.

    C{send} and C{onEvent} may call anything here and on the machine: nothing runs inside itself,
    it runs again afterwards.  What they raise is logged, and the machine goes on.  Where its C{timerFired} raises, time
    stands still for it for a second: a machine whose deadline does not move would keep the reactor busy.  Whoever calls a
    verb or a method of the machine by itself calls L{wake} after it.

    @ivar machine: the machine.
    @ivar _clock: whose C{seconds} is the machine's C{now}.
    @ivar _send: gets each batch of datagrams, never empty.
    @ivar _onEvent: gets each event, in order.
    """

    _log = Logger()

    machine: DatagramMachine[E]
    _clock: IReactorTime
    _send: Callable[[list[tuple[bytes, Address]]], None]
    _onEvent: Callable[[E], None]
    _call: IDelayedCall | None = field(default=None, init=False)
    _armedFor: float = field(default=0.0, init=False)
    _pausedUntil: float = field(default=float("-inf"), init=False)
    _running: bool = field(default=False, init=False)
    _again: bool = field(default=False, init=False)
    _stopped: bool = field(default=False, init=False)

    def datagramReceived(self, data: bytes, addr: Address) -> None:
        """
        Give one datagram to the machine, and do all that follows from it.
        """
        if self._stopped:
            return
        self.machine.receive(data, addr, self._clock.seconds())
        self.wake()

    def wake(self) -> None:
        """
        Deliver the events, send what is to be sent, and arm the timer for the deadline.
        """
        if self._running:
            self._again = True
            return
        self._running = True
        try:
            self._again = True
            while self._again and not self._stopped:
                self._again = False
                self._flush()
        finally:
            self._running = False
            self._arm()

    def stop(self) -> None:
        """
        Disarm the timer.  Nothing is sent and no event is delivered any more.
        """
        self._stopped = True
        self._disarm()

    def _flush(self) -> None:
        machine, isQuiet = self.machine, False
        while not self._stopped:
            event = machine.nextEvent()
            if event is not None:
                isQuiet = False
                try:
                    self._onEvent(event)
                except Exception:
                    self._log.failure("while delivering {event}", event=event)
                continue
            if isQuiet:
                return
            # After the events: their consumers may have changed the machine.
            datagrams = machine.datagramsToSend(self._clock.seconds())
            isQuiet = not datagrams
            if datagrams:
                try:
                    self._send(datagrams)
                except Exception:
                    self._log.failure("while sending datagrams")

    def _arm(self) -> None:
        deadline = None if self._stopped else self.machine.deadline()
        if deadline is None:
            self._disarm()
            return
        deadline = max(deadline, self._pausedUntil)
        if self._call is None or deadline < self._armedFor:
            # A deadline that moved later is not re-armed: the timer fires early and looks again,
            # which is cheaper than moving it with each packet.
            self._disarm()
            self._armedFor = deadline
            delay = max(0.0, deadline - self._clock.seconds())
            self._call = self._clock.callLater(delay, self._fired)

    def _disarm(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def _fired(self) -> None:
        self._call = None
        # The clock may stand a rounding error before the time that it was asked for.
        now = max(self._clock.seconds(), self._armedFor)
        deadline = self.machine.deadline()
        try:
            if deadline is not None and deadline <= now:
                self.machine.timerFired(now)
        except BaseException:
            self._pausedUntil = now + _AFTER_FAILURE
            raise
        finally:
            self.wake()
