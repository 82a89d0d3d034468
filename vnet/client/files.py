# -*- test-case-name: vnet.test.test_client_state -*-
"""
Files that hold secrets: readable by their owner alone from the moment that they exist, and replaced as a whole.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from vnet.errors import StateError

__all__ = ["StateLock", "makeStateDirectory", "readPrivate", "writePrivate"]

_MAXIMUM = 16 << 20


def makeStateDirectory(path: Path) -> None:
    """
    Make the state directory, 0700, if it is not there.

    @raise StateError: it cannot be made.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StateError(f"cannot make the state directory {path}: {error.strerror}") from error


def readPrivate(path: Path) -> bytes | None:
    """
    @return: the file's content, or L{None} when there is no such file.
    @raise StateError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(_MAXIMUM)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateError(f"cannot read {path}: {error.strerror}") from error


def writePrivate(path: Path, content: bytes) -> None:
    """
    Replace a file as a whole: after a crash it holds the old content or the new.

    @raise StateError: it cannot be written; the old content is still there.
    """
    temporary = path.with_name(f".{path.name}.new")
    try:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        temporary.replace(path)
        _syncDirectory(path.parent)
    except OSError as error:
        raise StateError(f"cannot write {path}: {error.strerror}") from error


def _syncDirectory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class StateLock:
    """
    The right of one process to use a state directory; the kernel takes it back when the process ends.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """
        @raise StateError: another process holds it.
        """
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateError(f"cannot open {self._path}: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise StateError(
                f"the state directory {self._path.parent} is in use by another vnet-client: stop it, or choose another --state"
            ) from error
        self._descriptor = descriptor

    def release(self) -> None:
        """
        Give it back; harmless when it is not held.
        """
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
