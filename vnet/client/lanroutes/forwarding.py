# -*- test-case-name: vnet.test.test_lanroutes_forwarding -*-
"""
For which interfaces this computer forwards IPv4 packets (Documentation/networking/ip-sysctl.rst, C{conf/*/forwarding}).

What comes in by an interface is forwarded if the switch of that interface is on; that of C{all} turns all of them on or off when it
changes, and counts no more after that.  Where an interface forwards already, nothing is done.  Where it is turned on here, a file
remembers that, so that it is turned off again also after a crash; until the computer starts anew, which forgets it itself.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
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


@define(eq=False, repr=False)
class Forwarding:
    """
    The switches that are on because of this program.

    @ivar _memory: the file.
    @ivar _kernel: see L{thisKernel}.
    @ivar _held: the interfaces, each with what the switch C{all} was then.
    """

    _log = Logger()

    _memory: Path
    _sysctls: Sysctls
    _kernel: str
    _held: Mapping[str, str] = field(factory=dict, init=False)

    def recover(self) -> None:
        """
        Turn off what one that died has left on.
        """
        try:
            content = readPrivate(self._memory)
            found = {} if content is None else json.loads(content)
            if found and found["kernel"] == self._kernel:
                held = [(str(name), _OFF) for name in found["interfaces"][:_MAXIMUM]]
                held += [(str(name), _ON) for name in found.get("exceptions", [])[:_MAXIMUM]]
                self._held = dict(held)
        except (StateError, ValueError, KeyError, TypeError, RecursionError) as error:
            self._log.warn("what was forwarded before is not known: {error}", error=error)
        self.hold(())

    def lacking(self, interfaces: Collection[str]) -> frozenset[str]:
        """
        @return: those of them that forward only if it is turned on here, or do so because it was.
        """
        return frozenset(
            name for name in interfaces if self._isOurs(name) or self._sysctls.read(4, name) != _ON
        )

    def _isOurs(self, name: str) -> bool:
        """
        Whether an interface is on because of this program; else somebody has turned on all of them since.
        """
        return name in self._held and (self._held[name] == _ON or self._sysctls.read(4, "all") != _ON)

    def hold(self, interfaces: Collection[str]) -> None:
        """
        Have these forward because of this program, and no others.

        @raise OSError: the kernel refuses, or the disk.
        """
        general = _ON if self._sysctls.read(4, "all") == _ON else _OFF
        # Who turns all of them off, and on again, has turned on ours, too.
        wanted = {
            name: min(self._held[name], general) if self._isOurs(name) else general
            for name in self.lacking(interfaces)
        }
        ended = [name for name in self._held if name not in wanted and self._isOurs(name)]
        if wanted.keys() - self._held.keys():
            self._remember({**self._held, **wanted})
        for name in ended:
            with suppress(OSError):
                # It may be gone.
                self._sysctls.write(4, name, _OFF)
        for name in wanted:
            if self._sysctls.read(4, name) != _ON:
                self._sysctls.write(4, name, _ON)
        self._remember(wanted)

    def _remember(self, held: Mapping[str, str]) -> None:
        if held == self._held and (held or not self._memory.exists()):
            return
        try:
            if held:
                names = {kind: sorted(name for name in held if held[name] == kind) for kind in (_OFF, _ON)}
                content = {"kernel": self._kernel, "interfaces": names[_OFF], "exceptions": names[_ON]}
                writePrivate(self._memory, json.dumps(content).encode())
            else:
                self._memory.unlink(missing_ok=True)
        except StateError as error:
            raise OSError(str(error)) from error
        self._held = held
