# -*- test-case-name: vnet.test.test_lanroutes_forwarding -*-
"""
For which interfaces this computer forwards IPv4 packets (Documentation/networking/ip-sysctl.rst, C{conf/*/forwarding}).

Where it does so already, nothing is done.  Where it is turned on here, a file remembers that, so that it is turned off again also
after a crash; until the computer starts anew, which forgets it itself.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from attrs import define, field
from twisted.logger import Logger

from vnet.errors import StateError
from vnet.statedir import readPrivate, writePrivate

__all__ = ["Forwarding", "ProcSysctls", "Sysctls", "thisKernel"]

_ON, _OFF = "1", "0"
_MAXIMUM = 256


class Sysctls(Protocol):
    """
    The switches of the kernel.
    """

    def read(self, version: int, interface: str) -> str:
        """
        @param interface: or C{all}.
        @return: C{"1"} where it forwards; empty: there is no such interface.
        """

    def write(self, version: int, interface: str, value: str) -> None:
        """
        Turn it on or off.

        @raise OSError: the kernel refuses.
        """


class ProcSysctls:
    """
    Those in C{/proc/sys}.
    """

    def read(self, version: int, interface: str) -> str:
        """See L{Sysctls}."""
        try:
            return self._path(version, interface).read_text().strip()
        except OSError:
            return ""

    def write(self, version: int, interface: str, value: str) -> None:
        """See L{Sysctls}."""
        self._path(version, interface).write_text(value)

    def _path(self, version: int, interface: str) -> Path:
        return Path(f"/proc/sys/net/ipv{version}/conf", interface, "forwarding")


def thisKernel() -> str:
    """
    What is another after the computer has started anew, and in another network namespace; empty where that is not told.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.stat('/proc/self/ns/net').st_ino}"
    except OSError:
        return ""


@define(eq=False)
class Forwarding:
    """
    The switches that are on because of this program.

    @ivar _memory: the file.
    @ivar _kernel: see L{thisKernel}.
    """

    _log = Logger()

    _memory: Path
    _sysctls: Sysctls
    _kernel: str
    _held: frozenset[str] = field(default=frozenset(), init=False)

    def recover(self) -> None:
        """
        Turn off what one that died has left on.
        """
        try:
            content = readPrivate(self._memory)
            found = {} if content is None else json.loads(content)
            held = found["interfaces"] if found and found["kernel"] == self._kernel else []
            self._held = frozenset(str(name) for name in held[:_MAXIMUM])
        except (StateError, ValueError, KeyError, TypeError, RecursionError) as error:
            self._log.warn("what was forwarded before is not known: {error}", error=error)
        self.hold(())

    def lacking(self, interfaces: Collection[str]) -> frozenset[str]:
        """
        @return: those of them that forward only if it is turned on here, or do so because it was.
        """
        if self._sysctls.read(4, "all") == _ON:
            # Somebody has turned all of them on since.
            return frozenset()
        return frozenset(
            name for name in interfaces if name in self._held or self._sysctls.read(4, name) != _ON
        )

    def hold(self, interfaces: Collection[str]) -> None:
        """
        Have these forward because of this program, and no others.

        @raise OSError: the kernel refuses, or the disk.
        """
        wanted = self.lacking(interfaces)
        if wanted - self._held:
            self._remember(self._held | wanted)
        if self._sysctls.read(4, "all") != _ON:
            for name in self._held - wanted:
                with suppress(OSError):
                    # It may be gone.
                    self._sysctls.write(4, name, _OFF)
        for name in wanted:
            if self._sysctls.read(4, name) != _ON:
                self._sysctls.write(4, name, _ON)
        self._remember(wanted)

    def _remember(self, held: frozenset[str]) -> None:
        if held == self._held and (held or not self._memory.exists()):
            return
        try:
            if held:
                content = {"kernel": self._kernel, "interfaces": sorted(held)}
                writePrivate(self._memory, json.dumps(content).encode())
            else:
                self._memory.unlink(missing_ok=True)
        except StateError as error:
            raise OSError(str(error)) from error
        self._held = held
