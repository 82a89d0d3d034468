"""
Tests for L{vnet.client.slices}.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from vnet.client.slices import SLICE

PROGRAM = """
import os
from vnet.client.slices import askForSlices, sliceNow
os.nice(3)
print(askForSlices(), sliceNow(), os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0))
os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
print(askForSlices(), os.sched_getscheduler(0))
"""


class SliceTests(SynchronousTestCase):
    """
    In a process of its own.
    """

    def test_asked(self) -> None:
        """The slice is what was asked for, and nothing else is changed; who has another scheduler keeps it."""
        if platform.machine() != "x86_64":
            raise SkipTest("the numbers of the calls differ")
        done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
        first, second = done.stdout.splitlines()
        taken, now, nice, scheduler = first.split()
        self.assertEqual((taken, nice, scheduler), ("True", "3", str(os.SCHED_OTHER)))
        if tuple(int(each) for each in platform.release().split(".")[:2]) >= (6, 12):
            self.assertEqual(int(now), SLICE)
        self.assertEqual(second, f"False {os.SCHED_BATCH}")
