# -*- test-case-name: vnet.test.test_statedir -*-
"""
A state directory: 0700, used by one process at a time, its files 0600 from the moment that they exist.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from attrs import define, field

from vnet.errors import StateError

__all__ = ["StateDirectory"]


@define(eq=False)
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
        @return: a file's content; L{None}: there is no such file.
        @raise StateError: it cannot be read.
        """
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StateError(f"the file {self.path / name} cannot be read: {error.strerror}") from error

    def write(self, name: str, content: bytes) -> None:
        """
        Write a file, 0600, as a whole or not at all.

        @raise StateError: it cannot be written.
        """
        path, new = self.path / name, self.path / f"{name}.new"
        try:
            with contextlib.suppress(FileNotFoundError):
                new.unlink()
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            new.replace(path)
            self._sync()
        except OSError as error:
            with contextlib.suppress(OSError):
                new.unlink()
            raise StateError(f"the file {path} cannot be written: {error.strerror}") from error

    def _sync(self) -> None:
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
