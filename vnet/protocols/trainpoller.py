# -*- test-case-name: vnet.test.priv.test_trains -*-
"""
Watches any number of sockets for the reactor, which pays for one.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from vnet.directreads import IDirectReader

__all__ = ["TrainPoller"]

_AT_ONCE = 128


@implementer(IReadDescriptor, IDirectReader)
@define(eq=False, repr=False)
class TrainPoller:
    """
    Watches sockets, in an epoll of its own.

    @ivar isFull: see L{IDirectReader}; all sockets are read in turns here.
    @ivar _reactor: with C{addReader}.
    """

    _log = Logger()
    isFull = False

    _reactor: Any
    _epoll: select.epoll | None = field(default=None, init=False)
    _ready: dict[int, Callable[[], None]] = field(factory=dict, init=False)
    _refused: dict[int, Callable[[], None]] = field(factory=dict, init=False)

    def start(self) -> None:
        """
        Begin to watch.
        """
        if self._epoll is None:
            self._epoll = select.epoll()
            for descriptor in self._ready:
                self._epoll.register(descriptor, select.EPOLLIN)
            self._reactor.addReader(self)

    def stop(self) -> None:
        """
        Watch no more.  May be called twice.
        """
        epoll, self._epoll = self._epoll, None
        if epoll is not None:
            self._reactor.removeReader(self)
            epoll.close()

    def add(
        self, descriptor: int, ready: Callable[[], None], refused: Callable[[], None] | None = None
    ) -> None:
        """
        Call C{ready} whenever a socket has something to read.

        @param refused: called before it when there is a L{vnet.protocols.trains.Refusal}.
        """
        self._ready[descriptor] = ready
        if refused is not None:
            self._refused[descriptor] = refused
        if self._epoll is not None:
            self._epoll.register(descriptor, select.EPOLLIN)

    def remove(self, descriptor: int) -> None:
        """
        Watch a socket no more; before it is closed.
        """
        self._refused.pop(descriptor, None)
        if self._ready.pop(descriptor, None) is not None and self._epoll is not None:
            self._epoll.unregister(descriptor)

    def fileno(self) -> int:
        """
        See L{IReadDescriptor}.
        """
        return -1 if self._epoll is None else self._epoll.fileno()

    def logPrefix(self) -> str:
        """
        See L{IReadDescriptor}.
        """
        return "trains"

    def doRead(self) -> None:
        """
        Let each socket that is ready be read once.
        """
        if self._epoll is None:
            return
        for descriptor, events in self._epoll.poll(0, _AT_ONCE):
            if events & select.EPOLLERR:
                self._call(self._refused.get(descriptor))
            # One that was read before it may have closed this one.
            self._call(self._ready.get(descriptor))

    def _call(self, function: Callable[[], None] | None) -> None:
        if function is None:
            return
        try:
            function()
        except Exception:
            self._log.failure("while a socket is read")

    def connectionLost(self, reason: Failure) -> None:
        """
        See L{IReadDescriptor}.
        """
        self.stop()
