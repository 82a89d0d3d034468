# -*- test-case-name: vnet.test.test_client_keptclock -*-
"""
The wall clock for the timestamps of handshakes, which never goes backwards, not even across restarts.

A peer drops each initiation whose timestamp is not greater than all before.  So a computer whose clock was set back while the
node did not run, or that has no clock of its own and begins in 1970, would not be heard by any peer that remembers it.  The
node keeps on disk a time that it has not reached yet, and begins there; before it gets there it writes a later one.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from attrs import define, field
from twisted.logger import Logger

from vnet.errors import StateError
from vnet.statedir import readPrivate, writePrivate

__all__ = ["DAMAGED", "MARGIN", "SLACK", "KeptClock"]

_SECOND = 1_000_000_000

MARGIN = 900 * _SECOND
"""How far ahead the time on disk is when it is written, in nanoseconds: a restart makes the clock lead by so much at most."""

SLACK = 60 * _SECOND
"""The time on disk is at least so far ahead of what this gives, since a timestamp may be later by a few steps."""

DAMAGED = 86_400 * _SECOND
"""Where the file is damaged, by how much this leads the wall clock."""

_RETRY = 60.0
_LATEST = 1 << 62


@define(eq=False, repr=False)
class KeptClock:
    """
    Gives nanoseconds since 1970, or more, when called.

    @ivar _path: the file: a decimal number of nanoseconds.
    @ivar _wall: the wall clock, in nanoseconds since 1970.
    @ivar _seconds: CLOCK_BOOTTIME, with which this goes on where the wall clock is behind.
    """

    _path: Path
    _wall: Callable[[], int]
    _seconds: Callable[[], float]
    _log: Logger = field(factory=Logger)
    _base: int = field(default=0, init=False)
    _basedAt: float = field(default=0.0, init=False)
    _ceiling: int = field(default=0, init=False)
    _triedAt: float = field(default=float("-inf"), init=False)

    def load(self) -> None:
        """
        Begin where the life before may have ended.  Nothing is written before the first call.

        A file that cannot be read or makes no sense is not a reason not to run: this then leads the wall clock by a day, which
        is more than it had led it before, most probably.
        """
        self._basedAt = self._seconds()
        try:
            content = readPrivate(self._path)
            self._base = 0 if content is None else _parse(content)
        except (StateError, ValueError):
            self._log.warn("the file {path} is damaged and is written anew", path=self._path)
            self._base = self._wall() + DAMAGED

    def __call__(self) -> int:
        """
        @return: not less than before, in this life or an earlier one.
        """
        now = self._seconds()
        self._base = max(self._wall(), self._base + int((now - self._basedAt) * _SECOND))
        self._basedAt = now
        if self._base + SLACK > self._ceiling and now - self._triedAt >= _RETRY:
            self._keep(self._base + MARGIN, now)
        return self._base

    def _keep(self, ceiling: int, now: float) -> None:
        try:
            writePrivate(self._path, b"%d\n" % ceiling)
        except StateError as error:
            # In this life all is well, and perhaps the disk takes it next time.
            self._triedAt = now
            self._log.error(
                "a clock that is set back before the next start will not be noticed: {error}", error=error
            )
        else:
            self._ceiling = ceiling


def _parse(content: bytes) -> int:
    """
    @raise ValueError: this is no time that was written here.
    """
    text = content.strip()
    if not text.isdigit() or len(text) > 20 or int(text) >= _LATEST:
        raise ValueError("no time")
    return int(text)
