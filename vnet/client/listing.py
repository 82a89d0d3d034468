# -*- test-case-name: vnet.test.test_listing -*-
"""
Which members a list of networks shows.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from attrs import evolve, frozen

from vnet.errors import Refused

__all__ = ["PER_PAGE", "STATES", "Selection", "moreLine"]

T = TypeVar("T")

PER_PAGE = 100
"""Members on a page, where nobody says how many."""

STATES = frozenset({"online", "offline", "lost", "unreachable"})


@frozen
class Selection:
    """
    A choice of members.

    @ivar network: the only network that is wanted; L{None}: all are.
    @ivar search: what nickname, an address or the client id of a member has to hold, whatever the case; L{None}: nothing.
    @ivar state: the state in which it has to be; L{None}: any.
    @ivar page: which page of each network; C{perPage} its members.  L{None} both: all members.
    """

    network: str | None = None
    search: str | None = None
    state: str | None = None
    page: int | None = None
    perPage: int | None = None

    def check(self) -> None:
        """
        @raise Refused: there is no such state.
        """
        if self.state is not None and self.state not in STATES:
            raise Refused(f"no member is ever {self.state!r}: there are {', '.join(sorted(STATES))}")

    def picks(self, nick: str, address: str, address6: str, clientId: str, state: str) -> bool:
        """
        Whether a member is one of those.
        """
        if self.state is not None and state != self.state:
            return False
        wanted = (self.search or "").casefold()
        return not wanted or any(wanted in each.casefold() for each in (nick, address, address6, clientId))

    def ofPage(self, members: Sequence[T]) -> Sequence[T]:
        """
        Those of a network's members that are on the page.
        """
        return members[self._first : self._first + self._size] if self._isPaged else members

    @property
    def isFiltered(self) -> bool:
        """Whether some members are not wanted on any page."""
        return bool(self.search) or self.state is not None

    @property
    def _isPaged(self) -> bool:
        return self.page is not None or self.perPage is not None

    @property
    def _size(self) -> int:
        return self.perPage or PER_PAGE

    @property
    def _first(self) -> int:
        return ((self.page or 1) - 1) * self._size


def moreLine(network: Mapping[str, Any], selection: Selection, shown: Callable[[object, int], str]) -> str:
    """
    @param network: the JSON value of one, of a list of this selection.
    @param shown: makes a text harmless that fills so many cells at most.
    @return: which of its members are on the page, and the command for the next one; empty when all are.
    """
    members, found = network.get("members"), network.get("foundCount")
    if not isinstance(members, list) or not isinstance(found, int) or len(members) >= found or not members:
        return ""
    last = selection._first + len(members)
    line = f"members {selection._first + 1:,}-{last:,} of {found:,}"
    if last >= found:
        return line
    name = shown(network.get("name"), 64)
    return f"{line}: {_command(evolve(selection, network=name, page=(selection.page or 1) + 1), shown)}"


def _command(selection: Selection, shown: Callable[[object, int], str]) -> str:
    words, name = ["vnet", "list"], selection.network or ""
    if selection.search:
        words += ["--search", shlex.quote(shown(selection.search, 64))]
    if selection.state == "online":
        words += ["--online"]
    if selection.perPage not in (None, PER_PAGE):
        words += ["--per-page", str(selection.perPage)]
    end = ["--"] if name.startswith("-") else []
    return " ".join([*words, "--page", str(selection.page), *end, shlex.quote(name)])
