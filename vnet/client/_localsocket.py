# -*- test-case-name: vnet.test.test_localcontrol -*-
"""
The file of the control socket: who holds it, who may open it.

A lock beside the socket, held for as long as its holder lives, tells a socket that a dead process left
behind from one that is served: no process id to misjudge, and no race between two that start at once.
"""

from __future__ import annotations

import fcntl
import grp
import os
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from attrs import define, field

from vnet.errors import ConfigurationError

__all__ = ["GROUP", "MODE", "Credentials", "SocketFile", "bindablePath", "credentialsOf"]

GROUP = "vnet"
"""The group whose members may use the socket, where the system has it."""

MODE = 0o660

_PATH_LIMIT = 107
_GROUPS_SIZE = 1024  # the most that getsockopt takes
_PEERGROUPS = 59  # SO_PEERGROUPS of asm-generic/socket.h, which the socket module does not name


@define
class Credentials:
    """
    Who is at the other end of a UNIX socket, as the kernel says.

    @ivar groups: primary and supplementary.
    """

    pid: int
    uid: int
    groups: frozenset[int]

    def mayUse(self, ownUid: int, socketGid: int) -> bool:
        """
        Whether the file's mode lets them in: root, the owner, the members of its group.
        """
        return self.uid in (0, ownUid) or socketGid in self.groups


def credentialsOf(connection: socket.socket) -> Credentials:
    """
    Ask the kernel (C{SO_PEERCRED}, C{SO_PEERGROUPS}) who connected.

    @raise OSError: the system does not say.
    """
    form = struct.Struct("3i")
    pid, uid, gid = form.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, form.size))
    groups = {gid}
    try:
        raw = connection.getsockopt(socket.SOL_SOCKET, _PEERGROUPS, _GROUPS_SIZE)
    except OSError:
        raw = b""  # Linux before 4.13, or more than 256 groups: the primary group alone counts
    groups.update(struct.unpack(f"{len(raw) // 4}I", raw[: len(raw) // 4 * 4]))
    return Credentials(pid, uid, frozenset(groups))


def bindablePath(path: str, directory: int | None) -> str:
    """
    A name for C{path} that fits in a socket address (108 bytes).

    @param directory: a file descriptor of its directory, that stays open while the name is used.
    """
    if directory is None or len(os.fsencode(path)) <= _PATH_LIMIT:
        return path
    return f"/proc/self/fd/{directory}/{os.path.basename(path)}"


@define
class SocketFile:
    """
    One control socket in the file system.  L{claim} it, bind under L{creating}, and L{release} it.
    """

    path: str
    _lock: int | None = field(default=None, init=False)
    _directory: int | None = field(default=None, init=False)

    @property
    def bindable(self) -> str:
        """
        The name to bind to, while the file is claimed.
        """
        return bindablePath(self.path, self._directory)

    def claim(self) -> None:
        """
        Become the only one who may bind here, and remove what a dead process left.

        @raise ConfigurationError: another process serves it, or the file system says no.
        """
        try:
            self._claim()
        except BlockingIOError:
            self.release()
            raise ConfigurationError(
                f"another vnet client is running on {self.path}: stop it first, or use another --state"
            ) from None
        except OSError as error:
            self.release()
            raise ConfigurationError(f"no control socket at {self.path}: {error.strerror}") from error
        except ConfigurationError:
            self.release()
            raise

    def _claim(self) -> None:
        parent = os.path.dirname(self.path) or "."
        os.makedirs(parent, 0o750, exist_ok=True)
        self._directory = os.open(parent, os.O_PATH | os.O_DIRECTORY)
        self._lock = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            kind = os.lstat(self.path).st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(kind):
            raise ConfigurationError(f"{self.path} is in the way: it is not a socket; move it elsewhere")
        if self._answers():
            raise BlockingIOError
        os.unlink(self.path)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1)
            try:
                probe.connect(self.bindable)
            except (ConnectionRefusedError, FileNotFoundError):
                return False
        return True

    @contextmanager
    def creating(self) -> Iterator[None]:
        """
        While this lasts, a socket that is made has L{MODE} from its first moment; afterwards it belongs to
        L{GROUP}, if there is one.
        """
        before = os.umask(0o777 & ~MODE)
        try:
            yield
        finally:
            os.umask(before)
        try:
            os.chown(self.path, -1, grp.getgrnam(GROUP).gr_gid)
        except (KeyError, PermissionError):
            return  # no such group, or we are not in it: the owner's own group, then

    def gid(self) -> int:
        """
        The group that the socket belongs to; -1 when it is gone.
        """
        try:
            return os.lstat(self.path).st_gid
        except OSError:
            return -1

    def hold(self) -> bool:
        """
        See to it that there is a file to remove.

        @return: whether there is.
        """
        try:
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            return True
        except OSError:
            return False
        return True

    def release(self) -> None:
        """
        Let others claim the socket.  May be called in any state, and twice.
        """
        for descriptor in (self._lock, self._directory):
            if descriptor is not None:
                os.close(descriptor)
        self._lock = self._directory = None
