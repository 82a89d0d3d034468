"""
TURN servers that take turns: each is a process of its own, with an address of its own, on the router between their clients
and the peer.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from vnet.test.netlab import Host, Lab, LabError, stop
from vnet.test.priv.daemons import environment, waitUntil

__all__ = ["PORT", "RELAYS", "SECRET", "Field", "Server"]

SECRET = "a secret that both servers know"
PORT = 3478
TOOLS = ("turnserver", "ethtool")
#: Addresses of the lab that it gives to nobody.
_FIRST_ADDRESS, _LAST_ADDRESS = 2, 9
_NETWORK = "198.51.100.{}"
_CLIENTS = "198.18.0.0/15"
_START = 20.0


@attrs.frozen
class Server:
    """
    A server that is up.
    """

    name: str
    address: str
    pid: int


@attrs.define(eq=False)
class Field:
    """
    Where the servers stand: clients on one host, their peer on another, and the servers on the router that connects
    these two.

    @ivar clients: the host of the clients, which has all of 198.18.0.0/15 besides its own address.
    """

    lab: Lab
    clients: Host
    peer: Host
    _free: list[int] = attrs.field(factory=lambda: list(range(_FIRST_ADDRESS, _LAST_ADDRESS + 1)))

    @classmethod
    def build(cls, lab: Lab) -> Field:
        """
        Make it, in a lab that has nothing yet.
        """
        clients, peer = (lab.addHost(name, ipv6=False) for name in ("clients", "peer"))
        clients.run(["ip", "route", "add", "local", _CLIENTS, "dev", "lo"])
        lab.internet.run(["ip", "route", "add", _CLIENTS, "via", clients.address, "dev", "clients"])
        return cls(lab, clients, peer)

    @contextmanager
    def address(self) -> Iterator[str]:
        """
        An address of the router for one server.
        """
        number = self._free.pop(0)
        address = _NETWORK.format(number)
        self.lab.internet.run(["ip", "addr", "replace", f"{address}/32", "dev", "lo"])
        try:
            yield address
        finally:
            self._free.append(number)

    @contextmanager
    def serve(self, name: str) -> Iterator[Server]:
        """
        Start a server, and end it after the block.

        @param name: one of L{RELAYS}.
        @raise LabError: it does not start, or it complains.
        """
        with self.address() as address:
            directory = self.lab.directory / f"{name}-{address}"
            directory.mkdir(mode=0o700, exist_ok=True)
            log = directory / "log"
            with log.open("w") as output:
                process = self.lab.internet.popen(
                    RELAYS[name](address, directory),
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    cwd=directory,
                    env=environment(directory),
                )
            try:
                waitUntil(lambda: _serves(process, address), _START, f"{name} is ready")
                yield Server(name, address, process.pid)
            except Exception as error:
                error.add_note(log.read_text(errors="replace"))
                raise
            finally:
                stop(process)
            if "Traceback" in log.read_text(errors="replace"):
                raise LabError(f"{name}: there is a traceback in its log:\n{log.read_text(errors='replace')}")


def _serves(process: subprocess.Popen[str], address: str) -> bool:
    """
    @raise LabError: it has ended.
    """
    if process.poll() is not None:
        raise LabError(f"{process.args!r} has ended")
    wanted = f"{int.from_bytes(socket.inet_aton(address), sys.byteorder):08X}:{PORT:04X}"
    lines = Path(f"/proc/{process.pid}/net/udp").read_text().splitlines()[1:]
    return any(line.split()[1] == wanted for line in lines)


def _vnetRelay(address: str, directory: Path) -> list[str]:
    secret = directory / "secret-file"
    secret.write_text(f"{SECRET}\n")
    secret.chmod(0o600)
    argv = [str(Path(sys.executable).with_name("twistd")), "-n", "--pidfile=", "vnet-relay"]
    argv += [
        f"--state={directory / 'state'}",
        f"--secret-file={secret}",
        f"--listen={address}",
        f"--port={PORT}",
    ]
    return [*argv, f"--allow-peer={_NETWORK.format(0)}/24"]


def _coturn(address: str, directory: Path) -> list[str]:
    argv = ["turnserver", "-n", f"--listening-ip={address}", f"--listening-port={PORT}", "--realm=bench"]
    argv += ["--use-auth-secret", f"--static-auth-secret={SECRET}", "--no-cli", "--no-tls", "--no-dtls"]
    return [*argv, "--log-file=stdout", f"--userdb={directory / 'users'}", f"--pidfile={directory / 'pid'}"]


RELAYS: dict[str, Callable[[str, Path], list[str]]] = {"vnet-relay": _vnetRelay, "coturn": _coturn}
"""The command lines of the servers, in the order in which they take turns."""
