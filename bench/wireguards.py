"""
wireguard-go on hosts of a lab.
"""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self

import attrs

from vnet.errors import VnetError
from vnet.test.netlab import Host, stop
from vnet.test.priv.cluster import waitUntil

__all__ = ["WG_PORT", "WireGuards"]

WG_PORT = 51820
# The control sockets of all namespaces are in one directory.
_SOCKETS = Path("/var/run/wireguard")
_NUMBERS = count()


@attrs.define(eq=False)
class WireGuards:
    """
    Some processes of wireguard-go, which end with the block.

    @ivar directory: for their log.
    """

    directory: Path
    _daemons: list[subprocess.Popen[str]] = attrs.field(factory=list, init=False)
    _sockets: list[Path] = attrs.field(factory=list, init=False)

    @property
    def pids(self) -> tuple[int, ...]:
        """
        The processes, in the order in which they were started.
        """
        return tuple(daemon.pid for daemon in self._daemons)

    def start(self, host: Host) -> str:
        """
        Start one.

        @return: the name of its interface.
        """
        interface = f"wgb{os.getpid()}x{next(_NUMBERS)}"
        environment = {**os.environ, "LOG_LEVEL": "error", "WG_PROCESS_FOREGROUND": "1"}
        self._sockets.append(_SOCKETS / f"{interface}.sock")
        with (self.directory / "wireguard-go.log").open("a") as output:
            argv = ["wireguard-go", "--foreground", interface]
            self._daemons.append(host.popen(argv, stdout=output, stderr=subprocess.STDOUT, env=environment))
        waitUntil(self._sockets[-1].exists, 5.0, "wireguard-go is ready")
        return interface

    def configure(
        self,
        host: Host,
        interface: str,
        private: bytes,
        address: str,
        peers: Mapping[str, tuple[bytes, str]],
    ) -> None:
        """
        Give an interface its key, address and peers.

        @param peers: by their addresses in the tunnel: the public key, and where it is; empty: it will come to us.
        """
        options = ["private-key", "/dev/stdin", "listen-port", str(WG_PORT)]
        for inner, (key, outer) in peers.items():
            options += ["peer", _text(key), "allowed-ips", f"{inner}/32"]
            options += ["endpoint", f"{outer}:{WG_PORT}"] if outer else []
        host.run(["wg", "set", interface, *options], text=_text(private))
        host.run(["ip", "addr", "add", f"{address}/24", "dev", interface])
        host.run(["ip", "link", "set", interface, "mtu", "1420", "up"])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        stop(*self._daemons)
        for path in self._sockets:
            with suppress(OSError):
                path.unlink()
        log = self.directory / "wireguard-go.log"
        if isinstance(value, VnetError) and log.exists():
            value.add_note(log.read_text(errors="replace"))


def _text(key: bytes) -> str:
    return base64.b64encode(key).decode()
