"""
What must not change when something is refused: files, sessions, networks, tunnels.
"""

from __future__ import annotations

import hashlib
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import attrs

import vnet
from vnet.test.netlab import Host, LabError
from vnet.test.priv.daemons import CommandFailed, Node

__all__ = ["Pinging", "fullDisk", "hashed", "onTmpfs", "othersReach", "refused", "unharmed"]

_LONGEST_LINE = 400
# The timestamp is written now and then by itself, and who has which name some seconds after it has changed.
_FLEETING = ("control.sock", "lock", "timestamp", "names.json")


def hashed(directory: Path) -> dict[str, tuple[int, str]]:
    """
    Mode and SHA-256 of each file, by its name.
    """
    found = {}
    for path in sorted(directory.rglob("*")):
        # SQLite makes these beside what it only reads.
        fleeting = path.name.endswith("-shm") or (path.name.endswith("-wal") and not path.stat().st_size)
        if path.is_file() and path.name not in _FLEETING and not fleeting:
            digest = hashlib.sha256(_lasting(path)).hexdigest()
            found[str(path.relative_to(directory))] = path.stat().st_mode & 0o7777, digest
    return found


def othersReach() -> bool:
    """
    Whether other users than root may run the programs of this checkout: not where it lies in root's own directory, say.
    """
    places = [
        Path(sys.prefix).resolve(),
        Path(sys.base_prefix).resolve(),
        Path(vnet.__file__).resolve().parent,
    ]
    return all(path.stat().st_mode & 0o001 for place in places for path in (place, *place.parents))


def _lasting(path: Path) -> bytes:
    """
    A file's content, but for the keys of peers in C{state.json}: they are written some seconds after the meeting.
    """
    content = path.read_bytes()
    if path.name != "state.json":
        return content
    try:
        state = json.loads(content)
        state.pop("pins", None)
    except (ValueError, AttributeError, RecursionError):
        return content
    return json.dumps(state).encode()


def refused(node: Node, code: int, *arguments: str) -> str:
    """
    Run C{vnet} with arguments that have to be refused.

    @return: the one line on its standard error.
    """
    try:
        printed = node.text(*arguments, timeout=40.0)
    except CommandFailed as error:
        line = error.reason.removesuffix("\n")
        if error.code != code or not line.isprintable() or len(line) > _LONGEST_LINE:
            raise LabError(f"vnet {arguments}: not one line and exit code {code}: {error}") from error
        if not line.startswith("vnet: "):
            raise LabError(f"vnet {arguments}: who says this? {line}") from error
        print(line)
        return line.removeprefix("vnet: ")
    raise LabError(f"vnet {arguments}: it was not refused: {printed}")


def _picture(node: Node) -> dict[str, Any]:
    status = node.ask("status")
    networks = node.ask("list")["networks"]
    return {
        "files": hashed(node.state),
        "status": {name: status[name] for name in ("state", "address", "address6", "nick", "mediator")},
        "networks": [
            (each["name"], sorted((member["clientId"], member["path"]) for member in each["members"]))
            for each in networks
        ],
    }


@contextmanager
def unharmed(node: Node) -> Iterator[None]:
    """
    After the block, files, session, networks and paths of a node are as they were before.
    """
    before = _picture(node)
    yield
    after = _picture(node)
    if before != after:
        raise LabError(f"{node.name} is not as it was:\n{before}\n{after}")


@attrs.define
class Pinging:
    """
    A C{ping} that goes on while things are refused.
    """

    _process: subprocess.Popen[str]

    @classmethod
    def start(cls, host: Host, address: str) -> Pinging:
        """
        Begin, five times a second.
        """
        argv = ["ping", "-n", "-q", "-i", "0.2", address]
        return cls(host.popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT))

    def stop(self) -> tuple[int, int]:
        """
        End.

        @return: how many were sent, and how many answers came.
        """
        self._process.send_signal(signal.SIGINT)
        out = self._process.communicate(timeout=5)[0]
        found = re.search(r"(\d+) packets transmitted, (\d+) received", out)
        if found is None:
            raise LabError(f"ping said: {out}")
        return int(found[1]), int(found[2])


def onTmpfs(directory: Path, size: str) -> Callable[[], None]:
    """
    Mount a file system of that size.

    @return: call this to have it unmounted; nothing may run in it.
    """
    directory.mkdir(mode=0o700)
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "vnet", str(directory)]
    subprocess.run(mounting, check=True, timeout=20)

    def unmount() -> None:
        subprocess.run(["umount", "-l", str(directory)], check=True, timeout=20)
        # A lab that closed before could not remove them.
        for path in (directory, directory.parent):
            with suppress(OSError):
                path.rmdir()

    return unmount


@contextmanager
def fullDisk(directory: Path) -> Iterator[None]:
    """
    In this block the file system of a directory is full.
    """
    filler = directory / "filler"
    try:
        with filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 4096)
            except OSError:
                pass
        yield
    finally:
        filler.unlink()
