"""
A network namespace of a test's own, in the test's process, and a reactor small enough to turn by hand.
"""

from __future__ import annotations

import ctypes
import os
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import attrs
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.task import Clock
from twisted.python.failure import Failure

__all__ = ["HandReactor", "addInterface", "command", "ownSpace"]

_CLONE_NEWNET = 0x40000000


def _check(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@contextmanager
def ownSpace() -> Iterator[None]:
    """
    This thread is in a new network namespace; its loopback is up.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net", "rb") as home:
        _check(libc.unshare(_CLONE_NEWNET))
        try:
            command("ip link set lo up")
            yield
        finally:
            _check(libc.setns(home.fileno(), _CLONE_NEWNET))


def command(line: str) -> str:
    """
    Run a command; its standard output.
    """
    done = subprocess.run(line.split(), capture_output=True, text=True, timeout=20)
    if done.returncode:
        raise AssertionError(f"{line}: {done.stderr}")
    return done.stdout


def addInterface(name: str, up: bool = True) -> None:
    """
    Make an Ethernet interface with a carrier and no address.
    """
    command(f"ip link add {name} type veth peer name {name}-far")
    for each in (f"{name}-far", name):
        command(f"ip link set {each} addrgenmode none")
        if up:
            command(f"ip link set {each} up")


@attrs.define(eq=False)
class HandReactor(Clock):
    """
    The clock of a test with the readers of a reactor.
    """

    readers: list[IReadDescriptor] = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        super().__init__()

    def addReader(self, reader: IReadDescriptor) -> None:
        if reader not in self.readers:
            self.readers.append(reader)

    def removeReader(self, reader: IReadDescriptor) -> None:
        if reader in self.readers:
            self.readers.remove(reader)

    def turn(self, quiet: float = 0.05, limit: float = 5.0) -> None:
        """
        Read until nothing has come for C{quiet} seconds.
        """
        end = time.monotonic() + limit
        while time.monotonic() < end:
            poll = select.poll()
            byNumber = {reader.fileno(): reader for reader in self.readers}
            for number in byNumber:
                poll.register(number, select.POLLIN)
            ready = poll.poll(quiet * 1000)
            if not ready:
                return
            for number, _ in ready:
                reader = byNumber[number]
                lost = reader.doRead()
                if lost is not None:
                    self.removeReader(reader)
                    reader.connectionLost(lost if isinstance(lost, Failure) else Failure(lost))
        raise AssertionError("it never becomes quiet")
