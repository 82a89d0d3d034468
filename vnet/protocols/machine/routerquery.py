# -*- test-case-name: vnet.test.test_routerquery -*-
"""
One request to a router over UDP, sent until it is answered: 250 ms after the first time, and then after twice as long
each time (RFC 6886 section 3.1).

PCP's own first wait is 3 s (RFC 6887 section 8.1.1); in a LAN the shorter one does no harm, and who asks in both
protocols should not know later that the better one is there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from attrs import define, field, frozen

from vnet.errors import DecodeError
from vnet.values import Address

__all__ = ["FIRST_WAIT", "SENDS", "Answered", "QueryEvent", "RouterQuery", "Unanswered"]

FIRST_WAIT = 0.25
"""Seconds to the first repetition."""

SENDS = 9
"""How many times a request is sent to somebody who may not be there: over 2 minutes."""

T = TypeVar("T")


@frozen
class Answered(Generic[T]):
    """
    The router answered.  Nothing follows.
    """

    answer: T


@frozen
class Unanswered:
    """
    It did not.  Nothing follows.
    """


QueryEvent = Answered[T] | Unanswered


@define(eq=False, repr=False)
class RouterQuery(Generic[T]):
    """
    The machine.  See L{vnet.driver.DatagramMachine} for its five verbs.

    @ivar _requests: the request; more than one where several words for the same are sent together.
    @ivar _read: reads an answer; L{None}, or L{DecodeError}: it is none to this request.
    @ivar _sends: how many times the request is sent; after the last time twice the last wait passes.
    """

    _requests: Sequence[bytes]
    _router: Address
    _read: Callable[[bytes], T | None]
    _sends: int = SENDS
    _sent: int = field(default=0, init=False)
    _dueAt: float | None = field(default=float("-inf"), init=False)
    _events: deque[QueryEvent[T]] = field(factory=deque, init=False)

    def receive(self, data: bytes, addr: Address, now: float) -> None:
        """
        Take an answer.  Anything else is ignored.
        """
        if addr != self._router or self._dueAt is None:
            return
        try:
            answer = self._read(data)
        except DecodeError:
            return
        if answer is not None:
            self._finish(Answered(answer))

    def datagramsToSend(self, now: float) -> list[tuple[bytes, Address]]:
        if self._dueAt is None or self._dueAt > now or self._sent >= self._sends:
            return []
        self._dueAt = now + FIRST_WAIT * 2**self._sent
        self._sent += 1
        return [(data, self._router) for data in self._requests]

    def deadline(self) -> float | None:
        return self._dueAt

    def timerFired(self, now: float) -> None:
        if self._dueAt is not None and self._dueAt <= now and self._sent >= self._sends:
            self._finish(Unanswered())

    def nextEvent(self) -> QueryEvent[T] | None:
        return self._events.popleft() if self._events else None

    def _finish(self, event: QueryEvent[T]) -> None:
        self._dueAt = None
        self._events.append(event)
