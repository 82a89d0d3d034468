"""
Tests for L{vnet.fatal} and L{vnet.boottime}.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
import time
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from vnet.boottime import bootSeconds, installBootClock
from vnet.errors import ConfigurationError, StateError
from vnet.fatal import OneLineOptions, oneLine, startConditions


class SampleOptions(OneLineOptions):
    """
    Options with something to get wrong.
    """

    program = "sample"
    optParameters = (("number", None, None, "A number.", int),)


class FatalTests(SynchronousTestCase):
    """
    How a process ends that cannot start.
    """

    def ended(self, error: Exception, twistd: dict[str, Any]) -> str:
        """
        @return: what went to standard error.
        """
        output = io.StringIO()
        self.patch(sys, "__stderr__", output)
        options = SampleOptions()
        self.patch(options, "parent", twistd)
        with self.assertRaises(SystemExit) as caught:
            self.start(options, error)
        self.assertEqual(1, caught.exception.code)
        return output.getvalue()

    def start(self, options: SampleOptions, error: Exception) -> None:
        with startConditions(options):
            raise error

    def test_oneLine(self) -> None:
        """The text of the error is the one line, whatever line breaks it has."""
        self.assertEqual("sample: no way out\n", self.ended(StateError("no\nway  out"), {}))

    def test_daemon(self) -> None:
        """A daemon hands the line to the process that started it, in the form that Twisted reads, and removes its PID file."""
        reading, writing = os.pipe()
        descriptor, pidfile = tempfile.mkstemp()
        os.close(descriptor)
        self.ended(
            ConfigurationError("the port is in use" + "x" * 500), {"statusPipe": writing, "pidfile": pidfile}
        )
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            told = pipe.read()
        self.assertTrue(told.startswith(b"1 sample: the port is in use"))
        self.assertLessEqual(len(told), 100)
        self.assertFalse(os.path.exists(pidfile))

    def test_bugs(self) -> None:
        """Other exceptions pass: they are mistakes of ours, and need their tracebacks."""
        with self.assertRaises(ZeroDivisionError):
            self.start(SampleOptions(), ZeroDivisionError())

    def test_options(self) -> None:
        """A wrong option ends the process with one line."""
        for arguments, text in (
            (["--unknown"], "sample: option --unknown not recognized"),
            (["--number=x"], "sample: invalid literal for int() with base 10: 'x'"),
            (["rest"], "sample: Wrong number of arguments."),
        ):
            with self.assertRaises(SystemExit) as caught:
                SampleOptions().parseOptions(arguments)
            self.assertEqual(text, caught.exception.code)

    def test_empty(self) -> None:
        """An error without a text is named."""
        self.assertEqual("OSError", oneLine(OSError()))


class BootClockTests(SynchronousTestCase):
    """
    L{installBootClock}.
    """

    def test_install(self) -> None:
        """The reactor's time is CLOCK_BOOTTIME."""
        clock = Clock()
        installBootClock(clock)
        before = time.clock_gettime(time.CLOCK_BOOTTIME)
        self.assertLessEqual(before, clock.seconds())
        self.assertLess(clock.seconds() - before, 60)
        self.assertLessEqual(before, bootSeconds())
