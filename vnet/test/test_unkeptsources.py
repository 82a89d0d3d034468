"""
Tests for L{vnet.unkeptsources}.
"""

from __future__ import annotations

import linecache
import subprocess
import sys

import attrs
from twisted.trial.unittest import SynchronousTestCase

from vnet.unkeptsources import Sources, keepNone

_PROGRAM = """
import linecache, sys, vnet.client.clienttap
print(sum(name.startswith("<attrs generated ") and " vnet." in name for name in linecache.cache))
"""


def kept(*options: str) -> int:
    """
    How many sources of attrs a program keeps that has loaded the node.
    """
    done = subprocess.run(
        [sys.executable, *options, "-c", _PROGRAM], capture_output=True, text=True, timeout=60, check=True
    )
    return int(done.stdout)


class UnkeptTests(SynchronousTestCase):
    """
    Tests of L{keepNone}.
    """

    def test_kept(self) -> None:
        """
        Classes that attrs makes work and leave nothing behind; files are kept as before.
        """
        self.patch(linecache, "cache", {"a file": (1, None, ["x"], "a file")})
        keepNone()

        @attrs.frozen
        class Point:
            x: int = 1

        self.assertEqual((Point(2), repr(Point())[-4:]), (Point(2), "x=1)"))
        self.assertIsInstance(linecache.cache, Sources)
        self.assertEqual(list(linecache.cache), ["a file"])
        self.assertTrue(linecache.getlines(__file__))
        self.assertIn(__file__, linecache.cache)

    def test_debugging(self) -> None:
        """
        Only a node of C{python -O} does without: others can be debugged.
        """
        self.assertEqual(kept("-O"), 0)
        self.assertGreater(kept(), 100)
