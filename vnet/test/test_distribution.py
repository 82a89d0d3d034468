"""
Which file of tests a worker takes next.
"""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from vnet.test import distribution
from vnet.test.conftest import PRIVILEGED
from vnet.test.distribution import WAITING, nextFile

FILES = [
    "a/test_many.py",
    "a/priv/test_busy.py",
    "a/priv/test_long.py",
    "a/priv/test_longer.py",
    "a/test_long.py",
]


class NextFileTests(SynchronousTestCase):
    """
    L{nextFile}.
    """

    def setUp(self) -> None:
        self.patch(distribution, "WAITING", {"test_long.py": 20, "test_longer.py": 30})

    def order(self, worker: str) -> list[str]:
        """
        What a worker takes that is alone.
        """
        left, taken = list(FILES), []
        while (file := nextFile(left, worker)) is not None:
            left.remove(file)
            taken.append(file)
        return [file.removeprefix("a/") for file in taken]

    def test_order(self) -> None:
        """
        Two of three workers begin with those that do not wait, those in C{priv/} first; the third one takes those that wait only,
        the longest first.
        """
        waiting = ["priv/test_longer.py", "priv/test_long.py"]
        others = ["priv/test_busy.py", "test_many.py", "test_long.py"]
        for worker in ("gw0", "gw1"):
            self.assertEqual(self.order(worker), others + waiting)
        self.assertEqual(self.order("gw2"), waiting)

    def test_replacement(self) -> None:
        """
        A worker in place of one that has crashed takes each file.
        """
        self.assertEqual(sorted(self.order("gw3")), sorted(file.removeprefix("a/") for file in FILES))


class WaitingTests(SynchronousTestCase):
    """
    L{WAITING}.
    """

    def test_files(self) -> None:
        """
        Each file of it is there.
        """
        self.assertEqual(set(WAITING) - set(os.listdir(PRIVILEGED)), set())
