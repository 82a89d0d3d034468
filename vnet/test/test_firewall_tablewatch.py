"""
Messages of nfnetlink.
"""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.firewall.tablewatch import isRemoval, isRuleChange


def message(kind: int, body: bytes = b"") -> bytes:
    """
    One message, padded.
    """
    whole = struct.pack("=LHHLL", 16 + len(body), kind, 0, 0, 0) + body
    return whole + bytes(-len(whole) % 4)


class RemovalTests(SynchronousTestCase):
    """
    Tests of L{isRemoval}.
    """

    def test_kinds(self) -> None:
        """
        A table that is deleted is found among other messages, of odd lengths too.
        """
        new, deleted, rule = 0x0A00, 0x0A02, 0x0A08
        self.assertFalse(isRemoval(message(new, b"12345") + message(rule)))
        self.assertTrue(isRemoval(message(new, b"12345") + message(deleted, b"1")))

    def test_rules(self) -> None:
        """
        Rules and chains that come and go are found, elements of sets are not.
        """
        element = message(0x0A0C, b"123")
        self.assertFalse(isRuleChange(element))
        for kind in (0x0A00, 0x0A02, 0x0A03, 0x0A05, 0x0A06, 0x0A08):
            self.assertTrue(isRuleChange(element + message(kind)))

    @given(st.binary(max_size=100))
    def test_garbage(self, data: bytes) -> None:
        """
        Whatever comes, there is an answer.
        """
        self.assertIn(isRemoval(data), (True, False))
        self.assertIn(isRuleChange(data), (True, False))
        self.assertFalse(isRemoval(bytes(16) + data[:8]))
