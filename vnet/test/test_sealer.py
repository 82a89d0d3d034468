"""
Tests for L{vnet.protocols.machine.sealer}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from nacl.public import Box
from nacl.signing import SigningKey
from twisted.trial.unittest import SynchronousTestCase

from vnet.errors import DecodeError
from vnet.protocols.machine.sealer import OVERHEAD, Sealer
from vnet.test.icepeers import seeded

SEEDS = [bytes([number]) * 32 for number in range(1, 4)]
PUBLIC = [SigningKey(seed).verify_key.encode() for seed in SEEDS]


class SealerTests(SynchronousTestCase):
    """
    L{Sealer}.
    """

    def setUp(self) -> None:
        self.a, self.b, self.c = (Sealer(seed, seeded(number)) for number, seed in enumerate(SEEDS))

    def test_roundTrip(self) -> None:
        """
        Each of two nodes opens what the other has sealed for it.
        """
        sealed = self.a.seal(PUBLIC[1], b"hello")
        self.assertEqual(len(sealed), 5 + OVERHEAD)
        self.assertEqual(self.b.open(PUBLIC[0], sealed), b"hello")
        self.assertEqual(self.a.open(PUBLIC[1], self.b.seal(PUBLIC[0], b"")), b"")

    def test_naclBox(self) -> None:
        """
        A seal is a NaCl box of the converted keys.
        """
        box = Box(
            SigningKey(SEEDS[1]).to_curve25519_private_key(),
            SigningKey(SEEDS[0]).verify_key.to_curve25519_public_key(),
        )
        self.assertEqual(box.decrypt(self.a.seal(PUBLIC[1], b"hello")), b"hello")

    def test_forgeries(self) -> None:
        """
        What another node has made, or for another node, or what was changed in one bit, does not open.
        """
        sealed = self.a.seal(PUBLIC[1], b"hello")
        self.assertRaises(DecodeError, self.b.open, PUBLIC[2], sealed)
        self.assertRaises(DecodeError, self.c.open, PUBLIC[0], sealed)
        self.assertRaises(DecodeError, self.b.open, PUBLIC[0], self.c.seal(PUBLIC[1], b"hello"))
        for bit in range(8 * len(sealed)):
            changed = bytearray(sealed)
            changed[bit // 8] ^= 1 << bit % 8
            self.assertRaises(DecodeError, self.b.open, PUBLIC[0], bytes(changed))

    def test_reflected(self) -> None:
        """
        A signal that is sent back to its sender as if the peer had made it does not open, whichever key
        is greater.
        """
        self.assertRaises(DecodeError, self.a.open, PUBLIC[1], self.a.seal(PUBLIC[1], b"hello"))
        self.assertRaises(DecodeError, self.b.open, PUBLIC[0], self.b.seal(PUBLIC[0], b"hello"))

    def test_itself(self) -> None:
        """
        A node neither seals for itself nor opens from itself.
        """
        self.assertRaises(DecodeError, self.a.seal, PUBLIC[0], b"")
        self.assertRaises(DecodeError, self.a.open, PUBLIC[0], bytes(50))

    def test_badKeys(self) -> None:
        """
        A key that is no point of the curve, of small order, or of another size is refused.
        """
        for key in [
            b"",
            bytes(31),
            bytes(33),
            bytes(32),
            b"\x01" + bytes(31),
            b"\xff" * 32,
            b"\x02" + bytes(31),
        ]:
            self.assertRaises(DecodeError, self.a.seal, key, b"")
            self.assertRaises(DecodeError, self.a.open, key, bytes(60))

    def test_bounded(self) -> None:
        """
        The cache of boxes has a limit, and what was dropped from it works again.
        """
        sealed = self.b.seal(PUBLIC[0], b"x")
        self.a.open(PUBLIC[1], sealed)
        for number in range(1100):
            self.a.seal(SigningKey((number + 1000).to_bytes(32, "big")).verify_key.encode(), b"")
        self.assertTrue(len(self.a._boxes) <= 1024)
        self.assertEqual(self.a.open(PUBLIC[1], sealed), b"x")

    @given(st.binary(max_size=100))
    def test_anything(self, data: bytes) -> None:
        """
        Any bytes are refused with L{DecodeError}.
        """
        self.assertRaises(DecodeError, Sealer(SEEDS[0], seeded(0)).open, PUBLIC[1], data)
