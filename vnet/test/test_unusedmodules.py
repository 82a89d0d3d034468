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


def ran(*argv: str) -> list[str]:
    """
    What a program of these arguments prints that has loaded the options of the node as C{twistd} does.
    """
    program = f"import sys; sys.argv = {[*argv]!r}\n{_PROGRAM}"
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
        The node has nothing of what runs tests in memory, and gets it if it asks.
        """
        self.assertEqual(ran("/usr/bin/twistd", "-n", "vnet-client"), ["[]", "ITestCase True TestCase"])

    def test_others(self) -> None:
        """
        From other programs nothing is taken, nor from a C{twistd} that runs something of which we are a part.
        """
        for argv in (["trial"], ["twistd", "-y", "home.tac"]):
            self.assertEqual(ran(*argv)[0], "['twisted.trial.itrial', 'unittest', 'unittest.case']")
