"""
Tests for L{vnet.unusedmodules}.
"""

from __future__ import annotations

import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

_PROGRAM = """
import sys
from twisted.scripts.twistd import ServerOptions
ServerOptions().parseOptions(["-n", "vnet-client"])
print(sorted({"unittest", "unittest.case", "twisted.trial.itrial"} & set(sys.modules)))
from twisted.trial import itrial
import unittest.case
print(itrial.ITestCase.__name__, unittest.case is sys.modules["unittest.case"], unittest.TestCase.__name__)
"""


def ran(name: str) -> list[str]:
    """
    What a program of this name prints that has loaded the options of the node as C{twistd} does.
    """
    program = f"import sys; sys.argv = [{name!r}]\n{_PROGRAM}"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.splitlines()


class ForgetTests(SynchronousTestCase):
    """
    Tests of L{forgetTests}.
    """

    def test_forgotten(self) -> None:
        """
        C{twistd} has nothing of what runs tests in memory, and gets it if it asks.
        """
        self.assertEqual(ran("/usr/bin/twistd"), ["[]", "ITestCase True TestCase"])

    def test_others(self) -> None:
        """
        From other programs nothing is taken.
        """
        self.assertEqual(ran("trial")[0], "['twisted.trial.itrial', 'unittest', 'unittest.case']")
