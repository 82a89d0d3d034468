"""
Tests for L{vnet.protocols.codec.stunstencil}.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from vnet.errors import DecodeError
from vnet.protocols.codec.hmacsha1 import HmacSha1
from vnet.protocols.codec.stun import BINDING, Class, Message, authenticate, decode, encode
from vnet.protocols.codec.stunattributes import (
    FINGERPRINT,
    ICE_CONTROLLED,
    ICE_CONTROLLING,
    PATH_PADDING,
    PRIORITY,
    USE_CANDIDATE,
    USERNAME,
    XOR_MAPPED_ADDRESS,
    Attribute,
)
from vnet.protocols.codec.stunstencil import Stencil
from vnet.values import Address

KEYS = st.binary(min_size=1, max_size=80)
IDS = st.binary(min_size=12, max_size=12)
NUMBERS = st.integers(0, 2**64 - 1)
ATTRIBUTES = st.lists(
    st.one_of(
        st.text(st.characters(codec="ascii"), max_size=40).map(USERNAME),
        st.integers(0, 2**32 - 1).map(PRIORITY),
        NUMBERS.map(ICE_CONTROLLED),
        NUMBERS.map(ICE_CONTROLLING),
        st.just(USE_CANDIDATE(True)),
        st.binary(max_size=30).map(PATH_PADDING),
        st.integers(0, 65535).map(lambda port: XOR_MAPPED_ADDRESS(Address("192.0.2.1", port))),
    ),
    max_size=6,
)
CLASSES = st.sampled_from(list(Class))


def written(klass: Class, transactionId: bytes, attributes: list[Attribute[Any]], key: bytes) -> bytes:
    """
    What the general codec makes of it.
    """
    return encode(Message(BINDING, klass, transactionId, tuple(attributes)), key=key, fingerprint=True)


class StencilTests(SynchronousTestCase):
    """
    L{Stencil}.
    """

    @given(CLASSES, ATTRIBUTES, KEYS, IDS, IDS)
    def test_written(
        self, klass: Class, attributes: list[Attribute[Any]], key: bytes, first: bytes, other: bytes
    ) -> None:
        """
        A message with another transaction id is, byte for byte, what the general codec writes, and is recognised.
        """
        stencil = Stencil(written(klass, first, attributes, key), HmacSha1(key))
        expected = written(klass, other, attributes, key)
        self.assertEqual(stencil.write(other), expected)
        self.assertTrue(stencil.matches(expected))

    @given(ATTRIBUTES, KEYS, IDS, IDS, st.data())
    def test_changed(
        self, attributes: list[Attribute[Any]], key: bytes, first: bytes, other: bytes, data: st.DataObject
    ) -> None:
        """
        Nothing is recognised that the general codec does not find authentic, and with the same attributes: one changed bit
        is enough, wherever it is.
        """
        stencil = Stencil(written(Class.REQUEST, first, attributes, key), HmacSha1(key))
        message = bytearray(written(Class.REQUEST, other, attributes, key))
        bit = data.draw(st.integers(0, 8 * len(message) - 1))
        message[bit // 8] ^= 1 << bit % 8
        changed = bytes(message)
        self.assertFalse(stencil.matches(changed))
        try:
            found = authenticate(decode(changed), key)
        except DecodeError:
            return
        self.assertTrue(found is None or FINGERPRINT not in decode(changed))

    @given(st.binary(max_size=120), KEYS)
    def test_anything(self, data: bytes, key: bytes) -> None:
        """
        Of anything else there is no stencil, and a stencil recognises nothing else.
        """
        self.assertRaises(ValueError, Stencil, data, HmacSha1(key))
        stencil = Stencil(written(Class.REQUEST, bytes(12), [PRIORITY(1)], key), HmacSha1(key))
        self.assertFalse(stencil.matches(data))

    def test_otherShape(self) -> None:
        """
        Of a message without integrity, without fingerprint, or under another key there is none.
        """
        message = Message(BINDING, Class.REQUEST, bytes(12), (PRIORITY(1),))
        for data in (
            encode(message),
            encode(message, fingerprint=True),
            encode(message, key=b"key"),
            encode(message, key256=b"key", fingerprint=True),
            encode(message, key=b"another", fingerprint=True),
        ):
            self.assertRaises(ValueError, Stencil, data, HmacSha1(b"key"))

    def test_otherAttributes(self) -> None:
        """
        An authentic message with other attributes, or of another class, is another one.
        """
        stencil = Stencil(written(Class.REQUEST, bytes(12), [PRIORITY(1)], b"key"), HmacSha1(b"key"))
        self.assertFalse(stencil.matches(written(Class.REQUEST, bytes(12), [PRIORITY(2)], b"key")))
        self.assertFalse(stencil.matches(written(Class.SUCCESS, bytes(12), [PRIORITY(1)], b"key")))
        nominating: list[Attribute[Any]] = [PRIORITY(1), USE_CANDIDATE(True)]
        self.assertFalse(stencil.matches(written(Class.REQUEST, bytes(12), nominating, b"key")))
