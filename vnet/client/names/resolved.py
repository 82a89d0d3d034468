# -*- test-case-name: vnet.test.test_names_resolved -*-
"""
systemd-resolved: the responder as the server of a domain on this node's interface, and of no other name.

What is set belongs to the interface: it ends when that goes, also where this process is killed.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Sequence
from struct import Struct
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from vnet.protocols.codec.names import displayable

__all__ = ["Resolved"]

_SOCKET = "/run/systemd/resolve/io.systemd.Resolve"
_PROGRAM = "resolvectl"
_PATIENCE = 5.0
_MOST_OUTPUT = 4096
# struct ucred of unix(7): process, user, group.
_UCRED = Struct("3i")


def _networkOf(process: int | str) -> str:
    """
    The network namespace of a process.

    @raise OSError: that is not known.
    """
    return os.readlink(f"/proc/{process}/ns/net")


class _Run(ProcessProtocol):
    """
    One run of a program.

    @ivar done: fires with nothing when it succeeded, and with what it said when not.
    """

    def __init__(self, reactor: Any) -> None:
        self.done: Deferred[str] = Deferred()
        self._reactor = reactor
        self._said = b""

    def connectionMade(self) -> None:
        self._limit = self._reactor.callLater(_PATIENCE, self._kill)

    def _kill(self) -> None:
        if self.transport is not None:
            self.transport.signalProcess("KILL")

    def errReceived(self, data: bytes) -> None:
        self._said = (self._said + data)[:_MOST_OUTPUT]

    outReceived = errReceived

    def processEnded(self, reason: Failure) -> None:
        if self._limit.active():
            self._limit.cancel()
        said = displayable(self._said.decode("utf-8", "replace").strip().partition("\n")[0], 200)
        self.done.callback("" if reason.check(ProcessDone) else said or "it failed without a word")


@define(eq=False, repr=False)
class Resolved:
    """
    The service on this computer.

    @ivar _reactor: for processes and time.
    @ivar _path: where the service listens, as long as it runs.
    """

    _reactor: Any
    _path: str = _SOCKET
    _environ: dict[str, str] = field(factory=lambda: dict(os.environ))

    def runs(self) -> bool:
        """
        @return: whether it runs, knows the same interfaces as this process, and can be told what to do.
        """
        if shutil.which(_PROGRAM, path=self._environ.get("PATH")) is None:
            return False
        with socket.socket(socket.AF_UNIX) as client:
            client.setblocking(False)
            try:
                client.connect(self._path)
                credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
                # To one in another network namespace, the number of our interface is that of another one.
                return _networkOf(_UCRED.unpack(credentials)[0]) == _networkOf("self")
            except OSError:
                return False

    async def configure(self, interface: str, servers: Sequence[str], zones: Sequence[str]) -> str:
        """
        Have names in these zones, and no others, asked from these servers on this interface.

        @return: why that is not possible, one line; empty: it is done.
        """
        # The servers last: until then nothing is asked from them, whatever the zones are.
        for arguments in (
            ("default-route", interface, "no"),
            # The zones are no part of what the root has signed, and the way to the server is within this computer.
            ("dnssec", interface, "no"),
            ("dnsovertls", interface, "no"),
            ("domain", interface, *(f"~{zone}" for zone in zones)),
            ("dns", interface, *servers),
        ):
            problem = await self._run(*arguments)
            if problem:
                return f"{_PROGRAM} {arguments[0]}: {problem}"
        return ""

    def _run(self, *arguments: str) -> Deferred[str]:
        program = shutil.which(_PROGRAM, path=self._environ.get("PATH"))
        if program is None:
            missing: Deferred[str] = Deferred()
            missing.callback("it is not installed any more")
            return missing
        run = _Run(self._reactor)
        self._reactor.spawnProcess(run, program, [_PROGRAM, *arguments], self._environ)
        return run.done
