# -*- test-case-name: vnet.test.test_fatal -*-
"""
How a service of ours that cannot start ends its process: exit code 1 and one line on standard error.

Twisted would print a traceback for what a service raises while it starts, and a page of usage for a bad
option.  Use L{OneLineOptions} for the options, and L{startConditions} around what C{privilegedStartService}
does::

    def privilegedStartService(self):
        with startConditions(self.options):
            self.open()                      # raises ConfigurationError
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from twisted.logger import Logger
from twisted.python import usage

from vnet.errors import ConfigurationError

__all__ = ["OneLineOptions", "oneLine", "startConditions"]

_log = Logger()

# Twisted's pipe from the daemon to the process that started it takes this much.
_STATUS_LENGTH = 98


def oneLine(error: object) -> str:
    """
    The text of an error on one line.
    """
    return " ".join(str(error).split()) or type(error).__name__


class OneLineOptions(usage.Options):
    """
    Options whose mistakes give one line and exit code 1.

    @cvar program: what the line begins with.
    """

    program = "vnet"

    def parseOptions(self, options: Any = None) -> None:
        """
        Parse arguments.

        @raise SystemExit: they are wrong; the code is the line.
        """
        try:
            super().parseOptions(options)
        except usage.UsageError as error:
            text = oneLine(error).removeprefix("Parameter type enforcement failed: ")
            raise SystemExit(f"{self.program}: {text}") from None


@contextlib.contextmanager
def startConditions(options: usage.Options) -> Iterator[None]:
    """
    Where a service starts: a L{ConfigurationError} ends the process, with its text as the one line.

    Under C{twistd -n} the line goes to standard error.  A daemon's goes to its log, and to standard error of
    the command that started it, in the sentence in which Twisted reports such failures.

    @param options: the options of C{twistd}'s sub-command.
    @raise SystemExit: with code 1.
    """
    try:
        yield
    except ConfigurationError as error:
        _endProcess(
            f"{getattr(options, 'program', 'vnet')}: {oneLine(error)}", getattr(options, "parent", None) or {}
        )


def _endProcess(line: str, twistd: Mapping[str, Any]) -> NoReturn:
    _log.critical("{line}", line=line)
    # sys.stderr is Twisted's log by now.
    if sys.__stderr__ is not None:
        with contextlib.suppress(OSError, ValueError):
            sys.__stderr__.write(line + "\n")
            sys.__stderr__.flush()
    with contextlib.suppress(OSError):
        # As twisted.scripts._twistd_unix does for an exception, which would bring its traceback.
        status = twistd.get("statusPipe")
        if status is not None:
            os.write(status, b"1 " + line.encode("ascii", "backslashreplace")[:_STATUS_LENGTH])
    with contextlib.suppress(OSError):
        if twistd.get("pidfile"):
            os.unlink(twistd["pidfile"])
    raise SystemExit(1)
