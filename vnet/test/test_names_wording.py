"""
Tests for L{vnet.client.names.wording}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from vnet.client.names.wording import namesSummary


class SummaryTests(SynchronousTestCase):
    """
    Tests of L{namesSummary}.
    """

    def test_ways(self) -> None:
        """
        The line says this computer's name, how names are known, and why not better; an older client says nothing.
        """
        for names, line in (
            ({"by": "resolved", "name": "me.vnet", "why": None}, "me.vnet, by systemd-resolved"),
            ({"by": "mdns", "name": "me.vnet", "why": "no"}, "me.vnet, as NICK.local by multicast DNS (no)"),
            ({"by": "off", "name": None, "why": "--no-names"}, "off (--no-names)"),
            ({"by": "\x1b[31m", "name": 7}, "7, \N{REPLACEMENT CHARACTER}[31m"),
        ):
            self.assertEqual(namesSummary({"names": names}), [("names", line)])
        self.assertEqual(namesSummary({}), [])
