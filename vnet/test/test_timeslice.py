"""
Tests for L{vnet.timeslice}.
"""

from __future__ import annotations

import os
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from vnet import timeslice
from vnet.timeslice import SHORTEST, takeShortTurns, turn

_SAY = "from vnet.timeslice import *; import os; print(takeShortTurns(), turn(), os.getpriority(os.PRIO_PROCESS, 0))"


class TurnTests(SynchronousTestCase):
    """
    In processes of their own: what a thread has chosen stays.
    """

    def say(self, *before: str) -> list[str]:
        """What another process says after it has asked for short turns."""
        argv = [*before, sys.executable, "-c", _SAY]
        return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stdout.split()

    def test_short(self) -> None:
        """
        Turns are short then, where the system has turns of different lengths at all, and the niceness stays.
        """
        taken, length, nice = self.say("nice", "-n", "3")
        self.assertEqual((taken, nice), ("True", str(min(os.getpriority(os.PRIO_PROCESS, 0) + 3, 19))))
        self.assertEqual(length, "None" if turn() is None else str(SHORTEST))

    def test_otherPolicy(self) -> None:
        """
        Who was given another policy keeps it.
        """
        self.assertEqual(self.say("chrt", "-b", "0")[0], "False")

    def test_otherSystem(self) -> None:
        """
        Where there is no such call, nothing happens.
        """
        self.patch(timeslice, "_CALLS", {})
        self.assertEqual((takeShortTurns(), turn()), (False, None))
