# -*- test-case-name: vnet.test.test_relaysecrets -*-
"""
The file with the secrets that relays and mediators share: one in a line.

The first is the one that credentials are made with.  The others are good at a relay too, so that a secret can be changed
while both run: put the new one below the old one at the relays, then in its place at the mediator, and take the old one away a day
later.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path

from attrs import define, field
from twisted.logger import Logger

from vnet.errors import ConfigurationError, StateError
from vnet.protocols.machine.relaycredentials import SharedSecrets
from vnet.statedir import StateDirectory, readPrivate

__all__ = ["SHORTEST", "SecretFile", "makeSecret", "parseSecrets", "readSecrets"]

SHORTEST = 16
"""Characters of a secret."""

_MOST = 8


def parseSecrets(content: bytes) -> tuple[bytes, ...]:
    """
    Read the content of a file of secrets; empty lines and those that begin with C{#} do not count.

    @raise ValueError: there is none, one is too short, or there are too many; the text says it.
    """
    lines = [line.strip() for line in content.splitlines()]
    found = tuple(line for line in lines if line and not line.startswith(b"#"))
    if not found:
        raise ValueError("there is no secret in it")
    if any(len(each) < SHORTEST for each in found):
        raise ValueError(f"each secret has to have {SHORTEST} characters at least")
    if len(found) > _MOST:
        raise ValueError(f"no more than {_MOST} secrets, one in a line")
    return found


def readSecrets(path: Path, option: str = "--secret-file") -> tuple[bytes, ...]:
    """
    Read a file of secrets.

    @param option: which one names it.
    @raise ConfigurationError: it cannot be read, or is no such file.
    """
    try:
        content = readPrivate(path)
        if content is None:
            raise ValueError("there is no such file")
        return parseSecrets(content)
    except StateError as error:
        raise ConfigurationError(f"{option}={path}: {error}") from error
    except ValueError as error:
        raise ConfigurationError(f"{option}={path}: {error}") from None


def makeSecret(directory: StateDirectory, name: str) -> Path:
    """
    Draw a secret at the first start, and keep it.

    @return: the file.
    @raise StateError: it cannot be written.
    """
    path = directory.path / name
    if directory.read(name) is None:
        directory.write(name, secrets.token_urlsafe(32).encode("ascii") + b"\n")
    return path


@define(eq=False)
class SecretFile:
    """
    The secrets of a relay, read again when their file has changed.
    """

    _log = Logger()

    _path: Path
    _shared: SharedSecrets = field(factory=lambda: SharedSecrets(()), init=False)
    _seen: tuple[int, int] = field(default=(0, 0), init=False)

    def load(self) -> None:
        """
        Read the file.

        @raise ConfigurationError: see L{readSecrets}.
        """
        self._seen = self._stamp()
        self._shared = SharedSecrets(readSecrets(self._path))

    def refresh(self) -> None:
        """
        Read the file again if it has changed; with one that cannot be read, the secrets stay.
        """
        if self._stamp() == self._seen:
            return
        try:
            self.load()
        except ConfigurationError as error:
            self._log.warn("the secrets stay as they were: {error}", error=error)
        else:
            self._log.info("the secrets were read again")

    def _stamp(self) -> tuple[int, int]:
        try:
            status = self._path.stat()
        except OSError:
            return 0, 0
        return status.st_mtime_ns, status.st_ino

    def passwords(self, username: str, wall: float | None) -> Sequence[str]:
        """
        See L{vnet.protocols.machine.relaycredentials.CredentialSource}.
        """
        return self._shared.passwords(username, wall)
