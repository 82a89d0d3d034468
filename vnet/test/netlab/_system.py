"""
What the lab asks of the operating system: namespaces by name, and the tools that make them.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from vnet.errors import ConfigurationError, VnetError
from vnet.test.netlab._interrupt import deferred

__all__ = [
    "LabError",
    "batch",
    "configure",
    "execute",
    "namespaces",
    "removeNamespaces",
    "requireTools",
    "sweep",
    "unavailable",
]

NAMESPACES = Path("/run/netns")
PREFIX = re.compile(r"vnl-(\d+)-")
TOOLS = {"ip": "iproute2", "nft": "nftables"}


class LabError(VnetError):
    """
    A command of the lab failed: the text has the command and what it wrote.
    """


def requireTools(*names: str) -> None:
    """
    @raise ConfigurationError: a program is not installed.
    """
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        raise ConfigurationError(f"not installed, but needed: {', '.join(missing)}")


def unavailable(*tools: str) -> str | None:
    """
    Why no lab can be built here, as a reason for a skipped test; L{None} where one can.
    """
    if os.geteuid() != 0:
        return "network namespaces need root"
    try:
        requireTools(*TOOLS, *tools)
    except ConfigurationError as error:
        return str(error)
    return None


def execute(argv: list[str], text: str = "") -> str:
    """
    Run a short command to its end, with C{text} on its standard input.

    @return: its standard output.
    @raise LabError: it failed.
    """
    # Nothing half made, and nothing made after it was cleaned up: signals wait, and Ctrl-C in a terminal does
    # not reach the command, which has a session of its own.
    with deferred():
        done = subprocess.run(
            argv, input=text, capture_output=True, text=True, timeout=30, start_new_session=True
        )
    if done.returncode:
        raise LabError(f"{' '.join(argv)}: {done.stderr.strip() or done.returncode}\n{text}")
    return done.stdout


def batch(commands: Iterable[str], namespace: str | None = None) -> None:
    """
    Run lines of C{ip} commands, in a namespace or in this one.
    """
    where = ["-n", namespace] if namespace else []
    execute(["ip", *where, "-batch", "-"], "\n".join(commands) + "\n")


def configure(
    namespace: str,
    sysctls: dict[str, int] | None = None,
    commands: Iterable[str] = (),
    rules: str = "",
) -> None:
    """
    Set up a namespace in one process: values below C{/proc/sys/net}, then C{ip} lines, then nft rules.
    A C{*} in a sysctl stands for everything there is, if anything.
    """
    script = ["set -e"]
    for key, value in (sysctls or {}).items():
        exists = "[ ! -e $f ] || " if "*" in key else ""
        script.append(f"for f in /proc/sys/net/{key}; do {exists}echo {value} > $f; done")
    lines = list(commands)
    if lines:
        script += ["ip -batch - <<'END'", *lines, "END"]
    if rules:
        script += ["nft -f - <<'END'", rules, "END"]
    execute(["ip", "netns", "exec", namespace, "sh", "-s"], "\n".join(script) + "\n")


def namespaces() -> list[str]:
    """
    The named namespaces there are.
    """
    try:
        return sorted(path.name for path in NAMESPACES.iterdir())
    except FileNotFoundError:
        return []


def _inside(names: Iterable[str]) -> list[int]:
    """
    The processes that live in these namespaces.
    """
    inodes = set()
    for name in names:
        with suppress(OSError):
            inodes.add((NAMESPACES / name).stat().st_ino)
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and (entry / "ns/net").stat().st_ino in inodes:
                found.append(int(entry.name))
    return [pid for pid in found if pid != os.getpid()]


def removeNamespaces(prefix: str) -> None:
    """
    Kill what still runs in the namespaces whose names begin so, and delete them with their interfaces.
    """
    names = [name for name in namespaces() if name.startswith(prefix)]
    if not names:
        return
    deadline = time.monotonic() + 2
    while (pids := _inside(names)) and time.monotonic() < deadline:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
    for name in names:
        with suppress(LabError):
            execute(["ip", "netns", "del", name])


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _directories() -> list[Path]:
    """
    The directories of labs of this user.
    """
    found = []
    for path in Path(tempfile.gettempdir()).glob("vnl-*"):
        with suppress(OSError):
            if path.lstat().st_uid == os.geteuid():
                found.append(path)
    return found


def sweep() -> list[str]:
    """
    Remove the namespaces and directories of labs whose process is dead.

    @return: the prefixes removed.
    """
    dead = set()
    for name in [*namespaces(), *(path.name for path in _directories())]:
        match = PREFIX.match(name)
        if match and not _alive(int(match[1])):
            dead.add(match[0])
    for prefix in dead:
        removeNamespaces(prefix)
        for path in _directories():
            if path.name.startswith(prefix):
                shutil.rmtree(path, ignore_errors=True)
    return sorted(dead)
