# -*- test-case-name: vnet.test.test_firewall_nft -*-
"""
The program C{nft}, which reads and changes the firewall of the system.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from vnet.client.firewall.ruleset import readCounters, tableName
from vnet.errors import VnetError
from vnet.protocols.codec.names import displayable

if TYPE_CHECKING:
    from vnet.client.firewall.passage import OtherTable

__all__ = ["MISSING", "Nft", "NftError", "NftProgram", "findNft"]

MISSING = "the program nft is not installed: install nftables (on Debian and Ubuntu: apt install nftables)"

_TIMEOUT = 10.0
# Of a listing, bytes, and of tables: more is not read.
_LONGEST = 16 << 20
_MOST_TABLES = 32
_WIDE = 200
# Debian keeps it where a service does not always look.
_FURTHER = ("/usr/local/sbin", "/usr/sbin", "/sbin")


class NftError(VnetError):
    """
    A script was not carried out.
    """


class Nft(Protocol):
    """
    Carries out scripts, each as one transaction.
    """

    def runNow(self, script: str) -> None:
        """
        Carry out a script, and wait for that.

        @raise NftError: it was not carried out.
        """

    def run(self, script: str) -> Deferred[None]:
        """
        Carry out a script.

        @return: fails with L{NftError} when it was not carried out.
        """

    def counters(self, interface: str) -> Deferred[dict[int, int]]:
        """
        @return: how many packets the table of an interface has dropped, as L{readCounters} gives them; fails with
            L{NftError} when there is no such table.
        """

    def others(self, interface: str) -> Deferred[list[OtherTable]]:
        """
        @return: the tables that filter what is forwarded, without that of an interface; fails with L{NftError} when they cannot
            be read.
        """


def _call(program: str | None, arguments: Sequence[str], text: str) -> bytes:
    """
    @param program: the path of C{nft}.
    @param text: for its standard input.
    @return: what it printed.
    """
    if program is None:
        raise NftError(MISSING)
    try:
        done = subprocess.run(
            [program, *arguments],
            input=text.encode("ascii"),
            capture_output=True,
            timeout=_TIMEOUT,
            env={**os.environ, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired as error:
        raise NftError(f"nft did not end within {_TIMEOUT:.0f} s") from error
    except OSError as error:
        raise NftError(f"nft cannot be run: {error.strerror}") from error
    if done.returncode:
        raise NftError(f"nft failed: {_reason(done.stderr)}")
    return done.stdout


def _reason(stderr: bytes) -> str:
    lines = [line for line in stderr.decode(errors="replace").splitlines() if line.strip()]
    line = next((line for line in lines if "Error:" in line), lines[0] if lines else "it says nothing")
    return displayable(
        line[line.find("Error:") + len("Error:") :] if "Error:" in line else line, _WIDE
    ).strip()


def findNft() -> str | None:
    """
    @return: the path of C{nft}; L{None}: it is not installed.
    """
    return shutil.which("nft", path=os.pathsep.join([os.environ.get("PATH", os.defpath), *_FURTHER]))


@define(eq=False, repr=False)
class NftProgram:
    """
    The program of this computer.

    @ivar _locate: gives its path; L{None}: it is not installed.
    @ivar _inThread: calls a function that takes long.
    """

    _locate: Callable[[], str | None] = findNft
    _inThread: Callable[..., Deferred[Any]] = field(default=deferToThread)

    def runNow(self, script: str) -> None:
        """See L{Nft}."""
        _call(self._locate(), ["-f", "-"], script)

    def run(self, script: str) -> Deferred[None]:
        """See L{Nft}."""
        return self._inThread(_call, self._locate(), ["-f", "-"], script).addCallback(lambda _: None)

    def counters(self, interface: str) -> Deferred[dict[int, int]]:
        """See L{Nft}."""
        arguments = ["-j", "list", "counters", "table", "inet", tableName(interface)]
        return self._inThread(_call, self._locate(), arguments, "").addCallback(_counted)

    def others(self, interface: str) -> Deferred[list[OtherTable]]:
        """See L{Nft}."""
        return self._inThread(_others, self._locate(), tableName(interface))


def _counted(output: bytes) -> dict[int, int]:
    try:
        return readCounters(output)
    except ValueError as error:
        raise NftError(str(error)) from error


def _others(program: str | None, own: str) -> list[OtherTable]:
    # In memory only where a LAN is shared.
    from vnet.client.firewall.passage import forwardingTables, readTable

    try:
        found = forwardingTables(_list(program, "chains"), own)[:_MOST_TABLES]
        return [readTable(_list(program, "table", *each), *each) for each in found]
    except ValueError as error:
        raise NftError(str(error)) from error


def _list(program: str | None, *what: str) -> bytes:
    """
    @return: the listing, without the elements of sets that have a name.
    """
    found = _call(program, ["-j", "-t", "list", *what], "")
    if len(found) > _LONGEST:
        raise NftError("there are more rules than are read")
    return found
