# -*- test-case-name: vnet.test.test_statedir -*-
"""
A state directory: 0700, used by one process at a time, its files 0600 from the moment that they exist.
"""

from __future__ import annotations

import contextlib
import fcntl
import grp
import os
from pathlib import Path

from attrs import define, field

from vnet.errors import StateError

__all__ = ["StateDirectory", "readPrivate", "writePrivate"]

_MAXIMUM = 16 << 20


@define(eq=False, repr=False)
class StateDirectory:
    """
    The directory in which a daemon keeps what it must not lose.
    """

    path: Path
    _lock: int | None = field(default=None, init=False)

    def open(self) -> None:
        """
        Make it if it is not there, and lock it; the kernel gives the lock back when the process ends.

        @raise StateError: it cannot be made, or another process uses it.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateError(f"the state directory {self.path} cannot be used: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise StateError(
                f"the state directory {self.path} is in use by another process: stop it, or choose another --state"
            ) from error
        self._lock = descriptor

    def close(self) -> None:
        """
        Give the lock back.  May be called twice.
        """
        descriptor, self._lock = self._lock, None
        if descriptor is not None:
            os.close(descriptor)

    def read(self, name: str) -> bytes | None:
        """
        See L{readPrivate}.
        """
        return readPrivate(self.path / name)

    def write(self, name: str, content: bytes) -> None:
        """
        See L{writePrivate}.
        """
        writePrivate(self.path / name, content)

    def admit(self, group: str) -> None:
        """
        Let a group reach what is inside and open to it, a socket say, without listing the directory.  Where there is no such
        group, or we may not give it away, nothing changes.
        """
        with contextlib.suppress(KeyError, OSError):
            os.chown(self.path, -1, grp.getgrnam(group).gr_gid)
            os.chmod(self.path, 0o710)


def readPrivate(path: Path) -> bytes | None:
    """
    @return: a file's content, of which at most 16 MiB; L{None}: there is no such file.
    @raise StateError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(_MAXIMUM)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateError(f"the file {path} cannot be read: {error.strerror}") from error


def writePrivate(path: Path, content: bytes) -> None:
    """
    Write a file, 0600, as a whole or not at all.

    @raise StateError: it cannot be written; what was there before still is.
    """
    new = path.with_name(f"{path.name}.new")
    try:
        with contextlib.suppress(FileNotFoundError):
            new.unlink()
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        _sync(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            new.unlink()
        raise StateError(f"the file {path} cannot be written: {error.strerror}") from error


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
