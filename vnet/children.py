# -*- test-case-name: vnet.test.test_run -*-
"""
Child processes that never outlive the process that started them.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from attrs import define, field

__all__ = ["Child", "twistd"]

_PR_SET_PDEATHSIG = 1
_TAIL = 16384


def twistd(*arguments: str) -> list[str]:
    """
    The command that runs a service of C{twistd} with this interpreter, in the foreground.
    """
    script = Path(sys.executable).with_name("twistd")
    program = [str(script)] if script.exists() else ["-c", "from twisted.scripts.twistd import run; run()"]
    return [sys.executable, *program, "--nodaemon", "--pidfile=", *arguments]


def _endWithParent() -> None:
    # Also when the parent is killed: nobody is left then who could stop the child.
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


@define(eq=False, repr=False)
class Child:
    """
    One child process.

    @ivar name: for messages.
    @ivar variables: for its environment, beside those of this process.
    @ivar log: gets what the process writes; that of the run before is kept beside it, with C{.1} at its end.
    """

    name: str
    command: Sequence[str]
    log: Path
    variables: Mapping[str, str] = field(factory=dict)
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self) -> None:
        """
        Start the process.

        @raise OSError: that is not possible.
        """
        with suppress(FileNotFoundError):
            self.log.replace(self.log.with_name(self.log.name + ".1"))
        descriptor = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                env={**os.environ, **self.variables},
                # A session of its own: Ctrl-C reaches the parent alone, which stops the children in order.
                start_new_session=True,
                preexec_fn=_endWithParent,
            )
        finally:
            os.close(descriptor)

    @property
    def pid(self) -> int | None:
        """
        The process id; L{None} before the start.
        """
        return None if self._process is None else self._process.pid

    @property
    def running(self) -> bool:
        """
        Whether the process lives.
        """
        return self._process is not None and self._process.poll() is None

    def stop(self, grace: float) -> None:
        """
        End the process: ask, and after C{grace} seconds kill it.  May be called in any state.
        """
        if self._process is None or not self.running:
            return
        self._process.terminate()
        try:
            self._process.wait(grace)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()

    def kill(self) -> None:
        """
        Kill the process, without waiting for its end: a signal handler may do this.
        """
        if self._process is not None:
            self._process.kill()

    def lastLines(self, count: int) -> list[str]:
        """
        The end of what the process wrote.
        """
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
                lines = file.read().decode("utf-8", "replace").splitlines()
        except OSError:
            return []
        return [line for line in lines if line.strip()][-count:]
