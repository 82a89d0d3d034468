"""
Tests for the WireGuard codecs.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from vnet.errors import DecodeError
from vnet.protocols.codec.handshake import (
    CookieReply,
    HandshakeMessage,
    Initiation,
    Response,
    decodeHandshake,
    encodeHandshake,
)
from vnet.protocols.codec.transport import TransportHeader, decodeTransport, encodeTransport, headerPrefix

_INDEX = st.integers(0, 2**32 - 1)


def _bytes(size: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=size, max_size=size)


_MESSAGES: st.SearchStrategy[HandshakeMessage] = st.one_of(
    st.builds(Initiation, _INDEX, _bytes(32), _bytes(48), _bytes(28), _bytes(16), _bytes(16)),
    st.builds(Response, _INDEX, _INDEX, _bytes(32), _bytes(16), _bytes(16), _bytes(16)),
    st.builds(CookieReply, _INDEX, _bytes(24), _bytes(32)),
)


class HandshakeCodecTests(SynchronousTestCase):
    """
    L{decodeHandshake} and L{encodeHandshake}.
    """

    def test_layout(self) -> None:
        """
        Each field stands where the whitepaper has it.
        """
        initiation = Initiation(0x04030201, b"e" * 32, b"s" * 48, b"t" * 28, b"1" * 16, b"2" * 16)
        self.assertEqual(
            encodeHandshake(initiation),
            b"\x01\0\0\0\x01\x02\x03\x04" + b"e" * 32 + b"s" * 48 + b"t" * 28 + b"1" * 16 + b"2" * 16,
        )
        response = Response(1, 2, b"e" * 32, b"n" * 16, b"1" * 16, b"2" * 16)
        self.assertEqual(
            encodeHandshake(response),
            b"\x02\0\0\0\x01\0\0\0\x02\0\0\0" + b"e" * 32 + b"n" * 16 + b"1" * 16 + b"2" * 16,
        )
        reply = CookieReply(9, b"n" * 24, b"c" * 32)
        self.assertEqual(encodeHandshake(reply), b"\x03\0\0\0\x09\0\0\0" + b"n" * 24 + b"c" * 32)

    @given(_MESSAGES)
    def test_roundTrip(self, message: HandshakeMessage) -> None:
        """
        What was encoded decodes to the same value, and has the size of its type.
        """
        data = encodeHandshake(message)
        self.assertEqual(len(data), {1: 148, 2: 92, 3: 64}[data[0]])
        self.assertEqual(decodeHandshake(data), message)

    def test_reserved(self) -> None:
        """
        A message with another type for its size, or a reserved byte that is not zero, is refused.
        """
        for size, kind in ((148, 1), (92, 2), (64, 3)):
            rest = bytes(size - 4)
            decodeHandshake(bytes((kind, 0, 0, 0)) + rest)
            for head in (
                (kind, 1, 0, 0),
                (kind, 0, 1, 0),
                (kind, 0, 0, 1),
                (kind % 3 + 1, 0, 0, 0),
                (4, 0, 0, 0),
            ):
                self.assertRaises(DecodeError, decodeHandshake, bytes(head) + rest)

    @given(st.one_of(st.binary(max_size=200), *map(_bytes, (64, 92, 148))))
    def test_garbage(self, data: bytes) -> None:
        """
        Any bytes are either decoded to what encodes to them, or refused with L{DecodeError}.
        """
        try:
            message = decodeHandshake(data)
        except DecodeError:
            return
        self.assertEqual(encodeHandshake(message), data)


class TransportCodecTests(SynchronousTestCase):
    """
    L{decodeTransport}, L{encodeTransport} and L{headerPrefix}.
    """

    def test_layout(self) -> None:
        """
        Type, receiver and counter are little-endian, and the prefix is the first half.
        """
        data = encodeTransport(TransportHeader(0x04030201, 0x0C0B0A0908070605))
        self.assertEqual(data, b"\x04\0\0\0" + bytes(range(1, 13)))
        self.assertEqual(headerPrefix(0x04030201), data[:8])

    @given(_INDEX, st.integers(0, 2**64 - 1), st.binary(min_size=16, max_size=40))
    def test_roundTrip(self, receiver: int, counter: int, sealed: bytes) -> None:
        """
        What was encoded decodes to the same value.
        """
        header = TransportHeader(receiver, counter)
        self.assertEqual(decodeTransport(encodeTransport(header) + sealed), header)

    @given(st.binary(max_size=64))
    def test_garbage(self, data: bytes) -> None:
        """
        Less than 32 bytes and another type are refused with L{DecodeError}.
        """
        if len(data) >= 32 and data[:4] == b"\x04\0\0\0":
            self.assertEqual(encodeTransport(decodeTransport(data)), data[:16])
        else:
            self.assertRaises(DecodeError, decodeTransport, data)
