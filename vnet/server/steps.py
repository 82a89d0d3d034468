# -*- test-case-name: vnet.test.test_mediator -*-
"""
How nodes get in step with their networks, and stay so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from vnet.protocols import control
from vnet.protocols.controlserver import ControlServer
from vnet.server.networks import MAXIMUM_NETWORKS
from vnet.server.presence import Change, Presence, Synchronisation

__all__ = ["Steps"]

_MAXIMUM_HELD = 1024


@define(eq=False)
class _Page:
    """
    A synchronisation that has more pages.
    """

    synchronisation: Synchronisation
    pages: Iterator[dict[str, Any]]
    next: dict[str, Any] | None
    number: int = 0


@define(eq=False)
class Steps:
    """
    Gives pages to those who synchronise, and changes to those who have.

    @ivar _sessions: the one session of each node that is logged in, by key.
    @ivar epoch: what the versions of networks count in.
    """

    _clock: IReactorTime
    _presence: Presence
    _sessions: dict[bytes, ControlServer]
    epoch: bytes
    _pages: dict[bytes, _Page] = field(factory=dict, init=False)
    _behind: dict[bytes, dict[bytes, int]] = field(factory=dict, init=False)

    def forget(self, key: bytes) -> None:
        """
        A node's session has ended, or another begins.
        """
        self._pages.pop(key, None)
        self._behind.pop(key, None)

    def page(
        self, session: ControlServer, epoch: bytes, held: list[dict[str, Any]], cursor: bytes
    ) -> dict[str, Any]:
        """
        Give one page of what changed.

        @return: the answer to L{control.Synchronise}.
        @raise control.Denied: the cursor is none.
        @raise control.TooMany: too many networks are held.
        """
        key = session.key
        if cursor:
            page = self._pages.get(key)
            if page is None or cursor != b"%d" % page.number:
                raise control.Denied("this page was not offered: synchronise again")
        else:
            page = self._firstPage(key, epoch, held)
        answer = page.next
        page.next = next(page.pages, None)
        page.number += 1
        if answer is None:
            raise control.Denied("this page was not offered: synchronise again")
        if page.next is not None:
            return {**answer, "cursor": b"%d" % page.number}
        self.forget(key)
        # After the answer, which is written when this has returned.
        self._clock.callLater(0, self._subscribe, session, page.synchronisation)
        return {**answer, "cursor": b""}

    def _firstPage(self, key: bytes, epoch: bytes, held: list[dict[str, Any]]) -> _Page:
        if len(held) > _MAXIMUM_HELD:
            raise control.TooMany(f"a node is in no more than {MAXIMUM_NETWORKS} networks")
        versions = {entry["network"]: entry["version"] for entry in held}
        work = Synchronisation(self._presence, key, self.epoch, versions, epoch == self.epoch)
        pages = work.pages()
        page = self._pages[key] = _Page(work, pages, next(pages))
        return page

    def _subscribe(self, session: ControlServer, synchronisation: Synchronisation) -> None:
        """
        From now on the node gets changes; those that came while it read its pages, it gets now.
        """
        key = session.key
        if self._sessions.get(key) is not session:
            return
        mine = self._presence.nodes[key].networks
        for identifier, told in synchronisation.told.items():
            if identifier in mine:
                self._presence.listen(key, identifier)
            self._catchUp(session, identifier, told)

    def _catchUp(self, session: ControlServer, identifier: bytes, told: int) -> None:
        """
        Make up for what a node was not told of a network after a version.
        """
        network = self._presence.nodes[session.key].networks.get(identifier)
        if network is None:
            session.push(control.NetworkGone, network=identifier)
        elif network.version != told:
            # More than one change is a gap in the versions, at which the node asks for the difference.
            missed = network.changedSince(told) or [] if network.version == told + 1 else []
            members = [self._presence.member(network, each) for each in missed]
            session.push(control.MemberChanged, network=identifier, version=network.version, members=members)

    def drained(self, session: ControlServer) -> None:
        """
        A node has answered most of what it was told: tell it what it missed.
        """
        if self._sessions.get(session.key) is session:
            for identifier, told in self._behind.pop(session.key, {}).items():
                self._catchUp(session, identifier, told)

    def tell(self, changes: Iterable[Change]) -> None:
        """
        Push changes to those who listen.
        """
        for change in changes:
            arguments = {"network": change.network, "version": change.version, "members": [change.member]}
            box = control.MemberChanged.makeArguments(arguments, None)
            for key in change.listeners:
                listener = self._sessions.get(key)
                if listener is None:
                    continue
                if listener.crowded:
                    self._behind.setdefault(key, {}).setdefault(change.network, change.version - 1)
                    continue
                listener.pushBox(control.MemberChanged.commandName, box)
