# -*- test-case-name: vnet.test.priv.test_links -*-
"""
Tells when this computer's network interfaces change, or something else that netlink tells of (netlink(7), rtnetlink(7)).
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.interfaces import IDelayedCall, IReactorFDSet, IReactorTime, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from vnet.errors import ConfigurationError

__all__ = ["DEBOUNCE", "LinkWatcher"]

DEBOUNCE = 0.1
"""Seconds from the first of a burst of changes to the call."""

#: Links, IPv4 and IPv6 addresses and routes (linux/rtnetlink.h).
_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
_MESSAGES = 64


@implementer(IReadDescriptor)
@attrs.define(eq=False, repr=False)
class LinkWatcher:
    """
    Calls C{changed} when an interface, an address or a route has come, gone or changed: once, 100 ms after the first
    of a burst of changes.

    @ivar _family: of netlink; C{_groups} the groups of its messages.
    @ivar _isNews: whether a batch of messages is about a change.
    """

    _log = Logger()

    _reactor: Any
    _changed: Callable[[], None]
    _family: int = socket.NETLINK_ROUTE
    _groups: int = _GROUPS
    _isNews: Callable[[bytes], bool] = lambda messages: True
    _socket: socket.socket | None = attrs.field(default=None, init=False)
    _call: IDelayedCall | None = attrs.field(default=None, init=False)

    def start(self) -> None:
        """
        Begin to watch.

        @raise ConfigurationError: the system has no rtnetlink.
        """
        if self._socket is not None:
            return
        try:
            watching = socket.socket(
                socket.AF_NETLINK,
                socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC,
                self._family,
            )
            watching.bind((0, self._groups))
        except OSError as error:
            raise ConfigurationError(f"cannot watch the network interfaces: {error.strerror}") from error
        self._socket = watching
        self._fdSet().addReader(self)

    def stop(self) -> None:
        """
        Watch no longer.  May be called twice.
        """
        watching, self._socket = self._socket, None
        if watching is not None:
            self._fdSet().removeReader(self)
            watching.close()
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def fileno(self) -> int:
        """
        See L{IReadDescriptor}.
        """
        return -1 if self._socket is None else self._socket.fileno()

    def logPrefix(self) -> str:
        """
        See L{IReadDescriptor}.
        """
        return "links"

    def doRead(self) -> None:
        """
        Whatever the messages say: who is told looks for itself.
        """
        if self._socket is None:
            return
        changed = False
        for _ in range(_MESSAGES):
            try:
                changed |= self._isNews(self._socket.recv(65536))
            except BlockingIOError:
                break
            except OSError:
                # More came than the buffer holds (ENOBUFS): that is news too.
                changed = True
        if changed and self._call is None:
            clock: IReactorTime = self._reactor
            self._call = clock.callLater(DEBOUNCE, self._fire)

    def connectionLost(self, reason: Failure) -> None:
        """
        See L{IReadDescriptor}.
        """
        self.stop()

    def _fdSet(self) -> IReactorFDSet:
        reactor: IReactorFDSet = self._reactor
        return reactor

    def _fire(self) -> None:
        self._call = None
        with self._log.failuresHandled("while told of a change of the network"):
            self._changed()
