# -*- test-case-name: vnet.test.test_store -*-
"""
The one writer: database work runs in order, each piece in its own transaction, off the reactor's thread.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from attrs import define, field
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError, TimeoutError
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from vnet.protocols import control
from vnet.server.store.schema import cause

__all__ = ["Store", "Submit", "inline", "threaded"]

P = ParamSpec("P")
T = TypeVar("T")


class Submit(Protocol):
    """
    Runs a function somewhere, after those that were submitted before.
    """

    def __call__(self, work: Callable[[], T], /) -> Deferred[T]: ...


def inline(work: Callable[[], T], /) -> Deferred[T]:
    """
    Run it here and now: for tests.
    """
    return maybeDeferred(work)


def threaded(reactor: Any) -> tuple[Submit, ThreadPool]:
    """
    @return: what runs functions in one thread, and its pool, not yet started.
    """
    pool = ThreadPool(1, 1, name="store")

    def submit(work: Callable[[], T], /) -> Deferred[T]:
        return deferToThreadPool(reactor, pool, work)

    return submit, pool


@define(eq=False)
class Store:
    """
    Runs functions of a connection in transactions.

    @ivar limit: how many may wait before L{control.Busy} is the answer.
    """

    _log = Logger()

    _engine: Engine
    _submit: Submit
    limit: int = 2000
    _waiting: int = field(default=0, init=False)
    _failing: bool = field(default=False, init=False)

    async def run(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """
        Call C{work(connection, ...)} in a transaction.  What it returns is committed, and on disk, when this
        returns; when it raises, nothing is changed.

        @raise control.Storage: the database cannot be written.
        @raise control.Busy: too much waits already.
        """

        def transaction() -> T:
            with self._engine.begin() as connection:
                return work(connection, *args, **kwargs)

        if self._waiting >= self.limit:
            raise control.Busy("the mediator's database is busy: try again in some seconds")
        self._waiting += 1
        try:
            result = await self._submit(transaction)
        except (DBAPIError, sqlite3.Error, TimeoutError) as error:
            # Not all comes wrapped: a new connection, or none to be had.
            self._failed(error)
            raise control.Storage(
                f"the mediator cannot store this now ({cause(error)}): nothing was changed; try again later"
            ) from error
        finally:
            self._waiting -= 1
        self._failing = False
        return result

    def runNow(self, work: Callable[[Connection], T]) -> T:
        """
        Call C{work} in a transaction in this thread: only before the reactor runs.
        """
        with self._engine.begin() as connection:
            return work(connection)

    def _failed(self, error: Exception) -> None:
        # Once for each time that it begins to fail, not for each request.
        if not self._failing:
            self._failing = True
            self._log.error("the database cannot be written: {cause}", cause=cause(error))

    def close(self) -> None:
        """
        Close the database.  Nothing may be running.
        """
        self._engine.dispose()
