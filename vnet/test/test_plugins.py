"""
What C{twistd} finds.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile

from twisted.application.service import IServiceMaker
from twisted.plugin import getPlugins
from twisted.python.usage import Options
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

OURS = {"vnet-mediator", "vnet-client", "vnet-relay"}


class PluginTests(SynchronousTestCase):
    """
    The lines of C{twisted/plugins/vnet_plugins.py}.
    """

    def test_found(self) -> None:
        """
        An installed vnet gives C{twistd} each of its commands once, and each can be loaded.
        """
        ours = [maker for maker in getPlugins(IServiceMaker) if maker.tapname.startswith("vnet-")]
        self.assertEqual(sorted(OURS), sorted(maker.tapname for maker in ours))
        for maker in ours:
            verifyObject(IServiceMaker, maker)
            self.assertIsInstance(maker.options(), Options)
            self.assertTrue(callable(maker.makeService))

    def test_anyDirectory(self) -> None:
        """
        C{twistd --help} names them from any directory, not only from the checkout.
        """
        command = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "--help"]
        with tempfile.TemporaryDirectory() as elsewhere:
            shown = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True, timeout=60).stdout
        self.assertEqual(OURS, {word for word in shown.split() if word.startswith("vnet-")})
