"""
Tests for L{vnet.server.relaysecrets}.
"""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from vnet.errors import ConfigurationError
from vnet.protocols.machine.relaycredentials import restPassword
from vnet.server.relaysecrets import SecretFile, makeSecret, parseSecrets, readSecrets
from vnet.statedir import StateDirectory

OLD, NEW = b"the secret of yesterday", b"the secret of tomorrow"
USER = "2000000000:high-someone"


class ParseTests(SynchronousTestCase):
    """
    L{parseSecrets}.
    """

    def test_lines(self) -> None:
        """One secret in a line, in order, without empty lines and comments."""
        content = b"# of the relays\n\n" + OLD + b"  \r\n" + NEW
        self.assertEqual((OLD, NEW), parseSecrets(content))

    def test_refused(self) -> None:
        """No secret, a short one, or very many, are mistakes."""
        for content in (b"", b"# nothing\n", OLD + b"\nshort", b"\n".join([OLD] * 9)):
            self.assertRaises(ValueError, parseSecrets, content)


class FileTests(SynchronousTestCase):
    """
    L{SecretFile}, L{readSecrets} and L{makeSecret}.
    """

    def setUp(self) -> None:
        """A file with the old secret."""
        self.path = Path(self.mktemp())
        self.path.write_bytes(OLD)
        self.secrets = SecretFile(self.path)
        self.secrets.load()

    def test_rotation(self) -> None:
        """A file that has changed is read again: during the change both secrets are good, and then the new one only."""
        old, new = restPassword(OLD, USER), restPassword(NEW, USER)
        self.assertEqual([old], self.secrets.passwords(USER, 0.0))
        for content, passwords in ((OLD + b"\n" + NEW, [old, new]), (NEW, [new])):
            self._write(content)
            self.secrets.refresh()
            self.assertEqual(passwords, self.secrets.passwords(USER, 0.0))

    def test_damaged(self) -> None:
        """With a file that is gone or makes no sense, the secrets stay."""
        self._write(b"short")
        self.secrets.refresh()
        self.path.unlink()
        self.secrets.refresh()
        self.assertEqual([restPassword(OLD, USER)], self.secrets.passwords(USER, 0.0))

    def test_missing(self) -> None:
        """A file that is not there is one line that names it."""
        with self.assertRaisesRegex(ConfigurationError, "--secret-file=.*there is no such file"):
            readSecrets(Path("/nonexistent/secret"))

    def test_made(self) -> None:
        """A secret is drawn once, and only its owner can read it."""
        directory = StateDirectory(Path(self.mktemp()))
        directory.open()
        self.addCleanup(directory.close)
        path = makeSecret(directory, "secret")
        before = path.read_bytes()
        self.assertEqual(path, makeSecret(directory, "secret"))
        self.assertEqual((before, 0o600), (path.read_bytes(), path.stat().st_mode & 0o777))
        self.assertGreaterEqual(len(readSecrets(path)[0]), 32)

    def _write(self, content: bytes) -> None:
        new = self.path.with_suffix(".new")
        new.write_bytes(content)
        os.replace(new, self.path)
