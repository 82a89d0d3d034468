"""
Processes that never outlive the lab that started them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import attrs

from vnet.test.netlab._interrupt import deferred

__all__ = ["Processes", "stop"]


def _signalGroup(process: subprocess.Popen[str], signum: int) -> None:
    # Until it is reaped, the number of the leader belongs to nobody else.
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signum)


def stop(*processes: subprocess.Popen[str], timeout: float = 3.0) -> None:
    """
    End processes and their groups together: SIGTERM, and SIGKILL to those that still run C{timeout}
    seconds later.
    """
    for process in processes:
        _signalGroup(process, signal.SIGTERM)
    deadline = time.monotonic() + timeout
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            _signalGroup(process, signal.SIGKILL)
            process.wait()
    for process in processes:
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with suppress(OSError):
                    stream.close()


@attrs.define
class Processes:
    """
    The processes of one lab, which several threads may start; each is the leader of its own group.
    """

    _running: list[subprocess.Popen[str]] = attrs.field(factory=list)
    _lock: threading.Lock = attrs.field(factory=threading.Lock)

    def start(self, argv: Iterable[str], **options: Any) -> subprocess.Popen[str]:
        """
        As L{subprocess.Popen} in text mode, without standard input unless asked for.
        """
        options = {"stdin": subprocess.DEVNULL, "text": True, **options}
        with deferred():
            process = subprocess.Popen(list(argv), start_new_session=True, **options)
            with self._lock:
                self._running = [each for each in self._running if each.poll() is None]
                self._running.append(process)
        return process

    def stopAll(self) -> None:
        """
        End them all.
        """
        stop(*self._running)
        self._running.clear()
