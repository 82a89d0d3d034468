# -*- test-case-name: vnet.test.test_directreads -*-
"""
A shorter way from the reactor to those who read packets.

For each descriptor that has something to read Twisted's reactor sets up a logging context, which costs as much as to read and
decrypt a packet.  Those that implement L{IDirectReader} do without: they log what goes wrong themselves.
"""

from __future__ import annotations

import errno
import select
from collections.abc import Callable
from typing import Any

from twisted.python import log
from zope.interface import Attribute, Interface

__all__ = ["PASSES", "IDirectReader", "installDirectReads"]

PASSES = 3
"""How often packets are looked for before timers and threads have their turn."""


class IDirectReader(Interface):
    """
    An L{twisted.internet.interfaces.IReadDescriptor} whose C{doRead} raises nothing.
    """

    isFull = Attribute(
        "Whether the last C{doRead} has read as much as it may in one turn, so that there may be more."
    )


def installDirectReads(reactor: Any) -> bool:
    """
    Have a reactor call the C{doRead} of each L{IDirectReader} directly.

    @param reactor: any of Twisted's; nothing is changed where it is none with epoll.  It must not be running yet.
    @return: whether it does so now.
    """
    try:
        poller, selectables = reactor._poller, reactor._selectables
        ordinary, disconnect = reactor._doReadOrWrite, reactor._disconnectSelectable
        isKnown = isinstance(poller, select.epoll)
    except AttributeError:
        return False
    if isKnown:
        iterate = _iteration(poller.poll, selectables, ordinary, disconnect)
        reactor.doPoll = reactor.doIteration = iterate
    return isKnown


def _iteration(
    poll: Callable[..., list[tuple[int, int]]],
    selectables: dict[int, Any],
    ordinary: Callable[..., None],
    disconnect: Callable[..., None],
) -> Callable[[float | None], None]:
    """
    What the reactor does in each turn.
    """
    isDirect: dict[type, bool] = {}
    full: set[int] = set()

    def iterate(timeout: float | None) -> None:
        # What a packet sets off is often there at once: an answer, or the next packet.
        for _ in range(PASSES):
            if not once(-1 if timeout is None else timeout):
                return
            timeout = 0

    def once(timeout: float) -> bool:
        """
        @return: whether packets were read.
        """
        hasRead = False
        try:
            events = poll(timeout, max(len(selectables), 1))
        except OSError as error:
            if error.errno != errno.EINTR:
                raise
            return False
        if full and len(events) > 1:
            # A packet that is alone does not wait behind many.
            events.sort(key=lambda event: event[0] in full)
        for descriptor, event in events:
            selectable = selectables.get(descriptor)
            if selectable is None:
                continue
            kind = selectable.__class__
            direct = isDirect.get(kind)
            if direct is None:
                direct = isDirect[kind] = IDirectReader.implementedBy(kind)
            if direct and event == select.EPOLLIN:
                hasRead = True
                why = selectable.doRead()
                if why is not None:
                    disconnect(selectable, why, True)
                elif selectable.isFull:
                    full.add(descriptor)
                else:
                    full.discard(descriptor)
            else:
                log.callWithLogger(selectable, ordinary, selectable, descriptor, event)
        return hasRead

    return iterate
