# -*- test-case-name: vnet.test.test_portmapper -*-
"""
Requests over UDP to the router, as Deferreds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime

from vnet.client.portmapping.way import Silent
from vnet.driver import Driver
from vnet.protocols.machine.routerquery import SENDS, Answered, QueryEvent, RouterQuery
from vnet.values import Address

__all__ = ["Asker", "Channel"]

T = TypeVar("T")
_ROUTER = Address("", 0)


class Channel(Protocol):
    """
    A UDP socket towards one router.  What others send to it is dropped.
    """

    def send(self, data: bytes) -> None:
        """
        Send to the router; what cannot be sent is dropped.
        """

    def close(self) -> None:
        """
        Close it.
        """


@define(eq=False, repr=False)
class Asker:
    """
    All requests over one channel.

    @ivar _open: opens the channel, and is told what is called with each datagram that the router sends.
    """

    _clock: IReactorTime
    _open: Callable[[Callable[[bytes], None]], Channel]
    _channel: Channel | None = field(default=None, init=False)
    _drivers: dict[Deferred[Any], Driver[Any]] = field(factory=dict, init=False)
    _closed: bool = field(default=False, init=False)

    def ask(
        self, requests: Sequence[bytes], read: Callable[[bytes], T | None], sends: int = SENDS
    ) -> Deferred[T]:
        """
        Ask the router.

        @param requests: see L{RouterQuery}, as for C{read} and C{sends}.
        @return: fails with L{Silent}.
        """
        if self._closed:
            return fail(Silent("it was not asked"))
        try:
            if self._channel is None:
                self._channel = self._open(self._received)
        except OSError as error:
            return fail(Silent(f"it cannot be asked: {error.strerror}"))
        channel = self._channel
        answered: Deferred[T] = Deferred(self._forget)
        driver: Driver[QueryEvent[T]] = Driver(
            RouterQuery(requests, _ROUTER, read, sends),
            self._clock,
            lambda datagrams: _sendAll(channel, datagrams),
            lambda event: self._ended(answered, event),
        )
        self._drivers[answered] = driver
        driver.wake()
        return answered

    def close(self) -> None:
        """
        Close the channel; nothing is answered any more.
        """
        self._closed = True
        for answered in list(self._drivers):
            self._forget(answered)
            answered.errback(Silent("it was not asked to the end"))
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def _received(self, data: bytes) -> None:
        for driver in list(self._drivers.values()):
            driver.datagramReceived(data, _ROUTER)

    def _ended(self, answered: Deferred[T], event: QueryEvent[T]) -> None:
        self._forget(answered)
        if isinstance(event, Answered):
            answered.callback(event.answer)
        else:
            answered.errback(Silent("it does not answer"))

    def _forget(self, answered: Deferred[Any]) -> None:
        driver = self._drivers.pop(answered, None)
        if driver is not None:
            driver.stop()


def _sendAll(channel: Channel, datagrams: Sequence[tuple[bytes, Address]]) -> None:
    for data, _ in datagrams:
        channel.send(data)
