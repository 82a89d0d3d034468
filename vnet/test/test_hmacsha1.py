"""
Tests for L{vnet.protocols.codec.hmacsha1}.
"""

from __future__ import annotations

import hmac

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.codec.hmacsha1 import HmacSha1


class HmacTests(SynchronousTestCase):
    """
    Tests of L{HmacSha1}.
    """

    @given(st.binary(max_size=130), st.lists(st.binary(max_size=200), min_size=1, max_size=3))
    def test_equal(self, key: bytes, messages: list[bytes]) -> None:
        """
        It is what the standard library computes, for keys below, at and above the size of a block, as often as it is asked.
        """
        made = HmacSha1(key)
        for message in messages:
            self.assertEqual(made.sign(message), hmac.digest(key, message, "sha1"))
