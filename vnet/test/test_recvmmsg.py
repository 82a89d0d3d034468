"""
Tests for L{vnet.protocols._recvmmsg}, which a program has written.
"""

from __future__ import annotations

import runpy
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

_TOOL = Path(__file__).parent.parent.parent / "tools" / "recvmmsg.py"


class RecvmmsgTests(SynchronousTestCase):
    """
    The module and its program.
    """

    def test_current(self) -> None:
        """
        The module is what the program writes.
        """
        tool = runpy.run_path(str(_TOOL))
        self.assertEqual(tool["MODULE"].read_text(), tool["text"]())
