"""
Tests for L{vnet.client.dataplane.linkcounters}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from vnet.client.dataplane.linkcounters import LinkCounters, linkCounters, parseCounters

TEXT = """\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 9000      90    0    0    0     0          0         0     9000      90    0    0    0     0       0          0
 vnet0:    1       2    3    4    5     6          7         8        9      10   11   12   13    14      15         16
vnet00: 5555    5555 5555 5555 5555  5555       5555      5555     5555    5555 5555 5555 5555  5555    5555       5555
"""


class LinkCountersTests(SynchronousTestCase):
    """
    What the kernel counts.
    """

    def test_columns(self) -> None:
        """Each number is in its column, of the interface of this very name."""
        self.assertEqual(parseCounters(TEXT, "vnet0"), LinkCounters(1, 2, 4, 9, 10, 12))

    def test_absent(self) -> None:
        """An interface that is not there has counted nothing; a line that is cut neither."""
        self.assertEqual(parseCounters(TEXT, "vnet1"), LinkCounters())
        self.assertEqual(parseCounters("vnet0: 1 2 3", "vnet0"), LinkCounters())
        self.assertEqual(linkCounters("none-such"), LinkCounters())

    def test_kernel(self) -> None:
        """The running kernel's file can be read: its loopback is there."""
        found = linkCounters("lo")
        self.assertEqual(found.receivedBytes, found.sentBytes)
