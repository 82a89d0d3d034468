"""
Tests for L{vnet.statedir} and L{vnet.server.certificate}.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.trial.unittest import SynchronousTestCase

from vnet.errors import StateError
from vnet.protocols.tls import spkiHash
from vnet.server.certificate import loadIdentity
from vnet.statedir import StateDirectory


class DirectoryCase(SynchronousTestCase):
    """
    A state directory.
    """

    def setUp(self) -> None:
        base = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, base)
        self.path = base / "deep" / "state"
        self.directory = StateDirectory(self.path)
        self.addCleanup(self.directory.close)

    def mode(self, name: str = "") -> int:
        return stat.S_IMODE((self.path / name).stat().st_mode)


class StateDirectoryTests(DirectoryCase):
    """
    L{StateDirectory}.
    """

    def test_private(self) -> None:
        """The directory is 0700 and its files 0600, whatever the umask."""
        old = os.umask(0)
        try:
            self.directory.open()
            self.directory.write("secret", b"x")
        finally:
            os.umask(old)
        self.assertEqual((0o700, 0o600, 0o600), (self.mode(), self.mode("lock"), self.mode("secret")))

    def test_second(self) -> None:
        """A directory that is in use is refused, and free after the first has closed it."""
        self.directory.open()
        second = StateDirectory(self.path)
        with self.assertRaisesRegex(StateError, "in use by another process"):
            second.open()
        self.directory.close()
        second.open()
        second.close()

    def test_write(self) -> None:
        """A file is replaced as a whole; what a crash left is no hindrance; what is not there reads as None."""
        self.directory.open()
        (self.path / "url.new").write_bytes(b"half")
        self.directory.write("url", b"one")
        self.directory.write("url", b"two")
        self.assertEqual((b"two", None), (self.directory.read("url"), self.directory.read("other")))
        self.assertEqual({"lock", "url"}, {each.name for each in self.path.iterdir()})

    def test_impossible(self) -> None:
        """What cannot be made, read or written is refused with the path and the reason."""
        with self.assertRaisesRegex(StateError, "/proc/none"):
            StateDirectory(Path("/proc/none/state")).open()
        self.directory.open()
        (self.path / "folder").mkdir()
        with self.assertRaisesRegex(StateError, "folder.*directory"):
            self.directory.read("folder")
        with self.assertRaisesRegex(StateError, "folder.*directory"):
            self.directory.write("folder", b"x")


class IdentityTests(DirectoryCase):
    """
    L{loadIdentity}.
    """

    def setUp(self) -> None:
        super().setUp()
        self.directory.open()

    def test_first(self) -> None:
        """The first start makes a P-256 key, 0600, and a certificate for the host, with its key, for decades."""
        identity = loadIdentity(self.directory, "mediator.example")
        self.assertIsInstance(identity.key.curve, ec.SECP256R1)
        self.assertEqual(0o600, self.mode("key.pem"))
        self.assertEqual(identity.key.public_key(), identity.certificate.public_key())
        names = identity.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertEqual(["mediator.example"], names.get_values_for_type(x509.DNSName))
        lifetime = identity.certificate.not_valid_after_utc - identity.certificate.not_valid_before_utc
        self.assertGreater(lifetime.days, 30 * 365)

    def test_same(self) -> None:
        """Later starts have the same key, whatever the host; a lost certificate is made anew with the same pin."""
        first = loadIdentity(self.directory, "192.0.2.1")
        second = loadIdentity(self.directory, "other.example")
        self.assertEqual(first.certificate, second.certificate)
        (self.path / "certificate.pem").unlink()
        third = loadIdentity(self.directory, "other.example")
        self.assertEqual(spkiHash(first.certificate), spkiHash(third.certificate))

    def test_damaged(self) -> None:
        """A damaged, foreign or missing key is refused with its file, and nothing is changed."""
        loadIdentity(self.directory, "a.example")
        whole = (self.path / "key.pem").read_bytes()
        for content in (
            b"",
            whole[:100],
            b"x" * 300,
            b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        ):
            (self.path / "key.pem").write_bytes(content)
            with self.assertRaisesRegex(StateError, "key.pem is damaged"):
                loadIdentity(self.directory, "a.example")
            self.assertEqual(content, (self.path / "key.pem").read_bytes())
        (self.path / "key.pem").unlink()
        with self.assertRaisesRegex(StateError, "key.pem is not"):
            loadIdentity(self.directory, "a.example")
        self.assertFalse((self.path / "key.pem").exists())

    def test_otherCertificate(self) -> None:
        """A certificate of another key, or a damaged one, is refused."""
        loadIdentity(self.directory, "a.example")
        other = StateDirectory(self.path / "other")
        other.open()
        loadIdentity(other, "a.example")
        shutil.copy(self.path / "other" / "certificate.pem", self.path / "certificate.pem")
        with self.assertRaisesRegex(StateError, "another key"):
            loadIdentity(self.directory, "a.example")
        (self.path / "certificate.pem").write_bytes(b"x")
        with self.assertRaisesRegex(StateError, "damaged"):
            loadIdentity(self.directory, "a.example")
        other.close()
