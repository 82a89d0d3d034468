"""
The node's key.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from nacl.bindings import crypto_scalarmult_base
from nacl.signing import VerifyKey
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.identity import Identity, loadIdentity, tunnelKey
from vnet.errors import DecodeError, StateError


class IdentityTests(SynchronousTestCase):
    """
    Tests of L{vnet.client.identity}.
    """

    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    def test_keptOverStarts(self) -> None:
        """
        The first start makes a key, and each later one reads the same.
        """
        first = loadIdentity(self.path)
        self.assertEqual(loadIdentity(self.path), first)
        self.assertEqual(len(first.publicKey), 32)

    def test_private(self) -> None:
        """
        Nobody but the owner may read the key file, whatever the umask.
        """
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        loadIdentity(self.path)
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)

    def test_tunnelKey(self) -> None:
        """
        The public key of the tunnel, which anyone can derive from the Ed25519 key, belongs to the private one.
        """
        identity = loadIdentity(self.path)
        self.assertEqual(tunnelKey(identity.publicKey), crypto_scalarmult_base(identity.tunnelPrivateKey()))

    def test_signature(self) -> None:
        """
        A signature verifies under the public key.
        """
        identity = loadIdentity(self.path)
        VerifyKey(identity.publicKey).verify(b"message", identity.sign(b"message"))

    def test_damaged(self) -> None:
        """
        A damaged key file is refused in one line that names it, and left as it is.
        """
        loadIdentity(self.path)
        good = self.path.read_bytes()
        for damaged in (b"", good[:-10], b"x" + good, good.replace(good[20:22], b"zz"), os.urandom(200)):
            self.path.write_bytes(damaged)
            error = self.assertRaises(StateError, loadIdentity, self.path)
            self.assertIn(str(self.path), str(error))
            self.assertNotIn("\n", str(error))
            self.assertEqual(self.path.read_bytes(), damaged)

    def test_flippedSeed(self) -> None:
        """
        A seed in which one digit changed is noticed, since the file holds the public key too.
        """
        loadIdentity(self.path)
        text = self.path.read_text()
        place = len("vnet identity 1 ") + 5
        other = "0" if text[place] != "0" else "1"
        self.path.write_text(text[:place] + other + text[place + 1 :])
        self.assertRaises(StateError, loadIdentity, self.path)

    def test_notAKey(self) -> None:
        """
        A key that cannot be converted, of wrong length or of low order, is a L{DecodeError}.
        """
        for bad in (b"", b"\1" * 31, bytes(32), b"\1" + bytes(31)):
            self.assertRaises(DecodeError, tunnelKey, bad)

    def test_secretNotShown(self) -> None:
        """
        The seed does not appear where an identity is printed.
        """
        self.assertNotIn("secret", repr(Identity(b"secret" + bytes(26))))
