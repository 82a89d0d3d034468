"""
Tests for L{vnet.protocols.machine.secrets}.
"""

from __future__ import annotations

from hashlib import blake2b

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.machine.secrets import deriveMaster, presharedKey, proofOf

REALM = bytes(range(16))
MASTER = bytes(range(32))
A, B = b"a" * 32, b"b" * 32


class MasterTests(SynchronousTestCase):
    """
    L{deriveMaster}.
    """

    def test_anotherImplementation(self) -> None:
        """
        OpenSSL's Argon2id gives the same secret for the documented parameters.
        """
        salt = blake2b(REALM + b"caf\xc3\xa9", digest_size=16, person=b"vnet-network").digest()
        other = Argon2id(salt=salt, length=32, iterations=3, lanes=1, memory_cost=64 * 1024)
        self.assertEqual(deriveMaster("p\u00e4ss", REALM, "caf\u00e9"), other.derive(b"p\xc3\xa4ss"))

    def test_normalised(self) -> None:
        """
        Composed and decomposed spellings of password and name give one secret.
        """
        self.assertEqual(
            deriveMaster("p\u00e4ss", REALM, "caf\u00e9"), deriveMaster("pa\u0308ss", REALM, "cafe\u0301")
        )

    def test_separate(self) -> None:
        """
        Another mediator, another network or another password gives another secret.
        """
        secrets = {
            deriveMaster("p", REALM, "n"),
            deriveMaster("p", bytes(16), "n"),
            deriveMaster("p", REALM, "m"),
            deriveMaster("q", REALM, "n"),
        }
        self.assertEqual(len(secrets), 4)

    def test_realmSize(self) -> None:
        """
        A realm of another size is an error, since its end would run into the name.
        """
        self.assertRaises(ValueError, deriveMaster, "p", b"short", "n")


class DerivedTests(SynchronousTestCase):
    """
    L{proofOf} and L{presharedKey}.
    """

    def test_vectors(self) -> None:
        """
        The derivations stay what they are: nodes of different versions depend on it.
        """
        self.assertEqual(
            proofOf(MASTER).hex(), "a50b720009fec9aa2024a135f128f41ea9583dfb7428a28f9002542e811c39ef"
        )
        self.assertEqual(
            presharedKey(MASTER, A, B).hex(),
            "b8c2a26f8d19438bdcc729b78ad213c22bafb5062212d8ac2931458ea24577c8",
        )

    def test_symmetric(self) -> None:
        """
        Both members find the same preshared key, and no other pair does.
        """
        self.assertEqual(presharedKey(MASTER, A, B), presharedKey(MASTER, B, A))
        self.assertEqual(len({presharedKey(MASTER, A, x) for x in (A, B, b"c" * 32)} | {proofOf(MASTER)}), 4)

    def test_sizes(self) -> None:
        """
        A value of a wrong size is an error.
        """
        self.assertRaises(ValueError, proofOf, MASTER[:-1])
        self.assertRaises(ValueError, presharedKey, MASTER, A[:-1], B + b"b")
        self.assertRaises(ValueError, presharedKey, MASTER[1:], A, B)
