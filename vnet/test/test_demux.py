"""
Tests for L{vnet.protocols.demux}.
"""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.codec.stun import BINDING, Class, Message, encode
from vnet.protocols.demux import Kind, classify

COOKIE = bytes.fromhex("2112a442")


class ClassifyTests(SynchronousTestCase):
    def test_stun(self) -> None:
        """STUN of every method and class is STUN."""
        for method in (1, 3, 0xFFF):
            for klass in Class:
                self.assertIs(classify(encode(Message(method, klass, os.urandom(12)))), Kind.STUN)
        self.assertIs(classify(encode(Message(BINDING, Class.REQUEST, bytes(12)), b"k")), Kind.STUN)

    def test_wireguard(self) -> None:
        """The four messages of WireGuard are WireGuard, also when their index is STUN's cookie."""
        for kind, size in [(1, 148), (2, 92), (3, 64), (4, 32), (4, 1452)]:
            head = bytes([kind, 0, 0, 0])
            self.assertIs(classify(head + os.urandom(size - 4)), Kind.WIREGUARD)
            self.assertIs(classify(head + COOKIE + bytes(size - 8)), Kind.WIREGUARD)

    def test_channelData(self) -> None:
        """A first byte of 0x40 to 0x4F is ChannelData; channels above are reserved."""
        self.assertIs(classify(b"\x40\x00\x00\x00"), Kind.CHANNEL_DATA)
        self.assertIs(classify(b"\x4f\xff\x00\x04abcd"), Kind.CHANNEL_DATA)
        self.assertIsNone(classify(b"\x50\x00\x00\x04abcd"))

    def test_none(self) -> None:
        """What is none of ours is nothing: empty, short, with another type, length or cookie."""
        for data in [
            b"",
            b"\x04",
            b"\x04\x00\x00\x00",
            b"\x04\x00\x00\x00" + bytes(27),
            b"\x05\x00\x00\x00" + bytes(60),
            b"\x04\x00\x01\x00" + bytes(60),
            b"\x40\x00",
            b"\x00\x01\x00\x00" + bytes(16),
            b"\x00\x01\x00\x00" + COOKIE + bytes(16),
            b"\x00\x01\x00\x04" + COOKIE + bytes(12),
            b"\xc0\x01\x00\x00" + COOKIE + bytes(12),
        ]:
            self.assertIsNone(classify(data), data)

    @given(st.binary(max_size=100))
    def test_anyBytes(self, data: bytes) -> None:
        """Whatever arrives has a kind or none, and nothing is raised."""
        self.assertIn(classify(data), {None, *Kind})
