# -*- test-case-name: vnet.test.test_cli -*-
"""
The blocking side of the local control socket, for programs that ask and end.  It does without Twisted, so
that they start at once.  L{vnet.client.localcontrol} describes what is spoken.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from attrs import define, field

from vnet.errors import Refused, Unreachable

__all__ = ["LocalClient", "NotRunning", "defaultSocket"]

NOT_RUNNING = (
    "the vnet client is not running: start it with 'sudo twistd -n vnet-client', or with 'sudo make run'"
)
NOT_PERMITTED = "not permitted: use sudo, or become a member of the group vnet"

_SYSTEM_STATE = "/var/lib/vnet"
_SOCKET = "control.sock"
_PATH_LIMIT = 107
_CHUNK = 65536
_MAXIMUM_ANSWER = 64 * 2**20
_TIMEOUT = 150.0


def defaultSocket(environ: Mapping[str, str], uid: int) -> str:
    """
    Where the client's socket is when nobody says: C{VNET_SOCKET}; that of the system for root; otherwise the
    user's own in C{XDG_STATE_HOME}, or that of the system when the user has none.
    """
    chosen = environ.get("VNET_SOCKET")
    if chosen:
        return chosen
    system = os.path.join(_SYSTEM_STATE, _SOCKET)
    if uid == 0:
        return system
    state = environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    own = os.path.join(state, "vnet", _SOCKET)
    return system if not os.path.lexists(own) and os.path.exists(system) else own


class NotRunning(Unreachable):
    """
    The client itself does not answer.
    """


@define
class LocalClient:
    """
    One connection to the running client, made when it is first needed.

    @ivar timeout: seconds without a word from the client after which it counts as dead.
    """

    path: str
    timeout: float = _TIMEOUT
    _socket: socket.socket | None = field(default=None, init=False)
    _buffer: bytearray = field(factory=bytearray, init=False)
    _lastId: int = field(default=0, init=False)

    def call(
        self, verb: str, progress: Callable[[str], None] | None = None, **arguments: str | int | None
    ) -> dict[str, Any]:
        """
        Ask, and wait for the answer.

        @param progress: called with each line of progress.
        @raise Refused: the client says no.
        @raise NotRunning: there is no client.
        @raise Unreachable: it cannot reach the mediator or the peer.
        """
        try:
            return self._answer(self._ask(verb, arguments), progress)
        except TimeoutError:
            self.close()
            raise NotRunning("the vnet client does not answer") from None
        except (OSError, ValueError):
            self.close()
            raise NotRunning("the vnet client broke the connection: its log says why") from None

    def watch(self) -> Iterator[dict[str, Any]]:
        """
        Be told of events, without end.

        @raise Refused: the client says no.
        @raise NotRunning: there is no client, or it has ended.
        """
        try:
            connection = self._ask("watch", {})
            while True:
                message = self._message(connection)
                connection.settimeout(None)  # from now on it says something when something happens
                if isinstance(message.get("event"), dict):
                    yield message["event"]
        except TimeoutError:
            raise NotRunning("the vnet client does not answer") from None
        except (OSError, ValueError):
            raise NotRunning("the vnet client has ended, or it broke the connection") from None
        finally:
            self.close()

    def close(self) -> None:
        """
        End the connection.  May be called twice.
        """
        if self._socket is not None:
            self._socket.close()
        self._socket = None
        self._buffer.clear()

    def _connection(self) -> socket.socket:
        if self._socket is None:
            made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            made.settimeout(self.timeout)
            try:
                _connect(made, self.path)
            except OSError as error:
                made.close()
                raise _connectError(error, self.path) from None
            self._socket = made
        return self._socket

    def _ask(self, verb: str, arguments: Mapping[str, str | int | None]) -> socket.socket:
        self._lastId += 1
        request = {"id": self._lastId, "verb": verb, "arguments": arguments}
        connection = self._connection()
        with suppress(BrokenPipeError):  # then the reason is perhaps still to be read
            connection.sendall(json.dumps(request).encode("ascii") + b"\n")
        return connection

    def _answer(self, connection: socket.socket, progress: Callable[[str], None] | None) -> dict[str, Any]:
        while True:
            message = self._message(connection)
            if "progress" in message:
                if progress is not None:
                    progress(str(message["progress"]))
                continue
            result = message.get("result")
            if not isinstance(result, dict):
                raise ValueError("no result")
            return result

    def _message(self, connection: socket.socket) -> dict[str, Any]:
        """
        The next line about the last request.
        """
        while True:
            message = json.loads(self._line(connection))
            if not isinstance(message, dict):
                raise ValueError("not an object")
            error = message.get("error")
            if isinstance(error, dict) and message.get("id") in (self._lastId, None):
                text = str(error.get("message"))
                raise (Unreachable if error.get("code") == 3 else Refused)(text)
            if message.get("id") == self._lastId:
                return message

    def _line(self, connection: socket.socket) -> bytes:
        searched = 0
        while True:
            end = self._buffer.find(b"\n", searched)
            if end >= 0:
                line = bytes(self._buffer[:end])
                del self._buffer[: end + 1]
                return line
            searched = len(self._buffer)
            chunk = connection.recv(_CHUNK)
            if not chunk or searched > _MAXIMUM_ANSWER:
                raise ConnectionResetError
            self._buffer += chunk


def _connect(connection: socket.socket, path: str) -> None:
    if len(os.fsencode(path)) <= _PATH_LIMIT:
        connection.connect(path)
        return
    directory = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY)
    try:
        connection.connect(f"/proc/self/fd/{directory}/{os.path.basename(path)}")
    finally:
        os.close(directory)


def _connectError(error: OSError, path: str) -> Exception:
    if isinstance(error, PermissionError):
        return Refused(f"{NOT_PERMITTED} ({path})")
    if isinstance(error, (FileNotFoundError, ConnectionRefusedError, NotADirectoryError)):
        return NotRunning(f"{NOT_RUNNING} ({path})")
    if isinstance(error, TimeoutError):
        return NotRunning(f"the vnet client does not answer ({path})")
    return NotRunning(f"the vnet client cannot be reached: {error.strerror} ({path})")
