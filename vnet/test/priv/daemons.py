"""
The programs of vnet as processes in a lab, and the commands that steer them.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import attrs

from vnet.client.localclient import LocalClient
from vnet.errors import Refused, Unreachable, VnetError
from vnet.protocols.codec.url import parseMediatorUrl
from vnet.test.netlab import Home, Host, LabError, stop
from vnet.test.netlab._space import ROOT

__all__ = ["CommandFailed", "Daemon", "Mediator", "Node", "listens", "waitUntil"]

# How long a program may take to be ready: all of Twisted is imported by several at once on slow machines.
START = 40.0
CLI = "import sys; sys.argv[0] = 'vnet'; from vnet.client.cli import main; sys.exit(main())"

T = TypeVar("T")


class CommandFailed(VnetError):
    """
    A command of C{vnet} did not exit with 0.

    @ivar code: its exit code: 1 refused, 2 usage, 3 daemon or mediator not reached.
    @ivar reason: its standard error.
    """

    def __init__(self, command: str, code: int, reason: str) -> None:
        super().__init__(f"{command}: exit {code}: {reason.strip()}")
        self.code = code
        self.reason = reason


def refusal(command: Callable[..., object], *arguments: object, code: int = 1) -> str:
    """
    Call a command that has to fail.

    @param code: the exit code that it has to have.
    @return: what it wrote on standard error, which is one line.
    """
    try:
        command(*arguments)
    except CommandFailed as error:
        if error.code != code or len(error.reason.strip().splitlines()) != 1:
            raise LabError(f"not one line and exit code {code}: {error.code}: {error.reason}") from error
        return error.reason.strip()
    raise LabError("it was not refused")


def waitUntil(predicate: Callable[[], T], timeout: float, what: str, every: float = 0.05) -> T:
    """
    Ask again until the answer is true; L{CommandFailed}, and a node that refuses or is not there, count as not true.

    @return: the true answer.
    @raise LabError: C{timeout} seconds were not enough for C{what}.
    """
    deadline = time.monotonic() + timeout
    answer: object = None
    while True:
        try:
            found = predicate()
        except (CommandFailed, Refused, Unreachable) as error:
            answer = error
        else:
            if found:
                return found
            answer = found
        if time.monotonic() > deadline:
            raise LabError(f"not within {timeout} s: {what} (last answer: {answer!r})")
        time.sleep(every)


@attrs.define(eq=False)
class Daemon:
    """
    One C{twistd} program in a host, that can be ended and started again on the same state.

    @ivar state: its directory.
    @ivar prefix: a command that runs it.
    @ivar variables: what it finds in its environment beyond L{environment}.
    @ivar log: the file with all that it wrote.
    """

    name: str
    host: Host
    state: Path
    command: str
    options: list[str] = attrs.field(factory=list)
    prefix: tuple[str, ...] = attrs.field(default=(), kw_only=True)
    variables: dict[str, str] = attrs.field(factory=dict, kw_only=True)
    process: subprocess.Popen[str] | None = attrs.field(default=None, init=False)

    @property
    def log(self) -> Path:
        """
        The file with all that it wrote.
        """
        return self.state.with_suffix(".log")

    def spawn(self) -> None:
        """
        Start it, and do not wait.
        """
        self.state.mkdir(mode=0o700, exist_ok=True)
        twistd = str(Path(sys.executable).with_name("twistd"))
        argv = [
            *self.prefix,
            twistd,
            "-n",
            "--pidfile=",
            self.command,
            f"--state={self.state}",
            *self.options,
        ]
        with self.log.open("a") as log:
            self.process = self.host.popen(
                argv,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.state,
                env={**environment(self.state), **self.variables},
            )

    def start(self) -> None:
        """
        Start it, and wait until it is ready.

        @raise LabError: it ended or took too long.
        """
        self.spawn()
        self.waitReady()

    def waitReady(self) -> None:
        """
        Wait until what was spawned is ready.

        @raise LabError: it ended or took too long.
        """
        waitUntil(self._readyOrEnded, START, f"{self.name} is ready")
        if not self.running:
            raise LabError(f"{self.name} did not start: {self.tail(1)}")

    def _readyOrEnded(self) -> bool:
        return not self.running or self.ready()

    @property
    def running(self) -> bool:
        """
        Whether the process lives.
        """
        return self.process is not None and self.process.poll() is None

    def ready(self) -> bool:
        """
        Whether it serves.
        """
        return self.running

    def stop(self) -> None:
        """
        End it as C{systemctl stop} does.
        """
        if self.process is not None:
            stop(self.process, timeout=10.0)

    def kill(self) -> None:
        """
        C{kill -9}.
        """
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def restart(self) -> None:
        """
        End and start it.
        """
        self.stop()
        self.start()

    def tail(self, lines: int = 40) -> str:
        """
        The end of its log.
        """
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def environment(home: Path) -> dict[str, str]:
    """
    What a program finds: this source tree, a home directory of its own, and none of the proxies of this computer.
    """
    return {
        **{name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")},
        "PYTHONPATH": str(ROOT),
        "HOME": str(home),
        "XDG_STATE_HOME": str(home),
        "PYTHONUNBUFFERED": "1",
    }


@attrs.define(eq=False)
class Mediator(Daemon):
    """
    A running C{twistd vnet-mediator}.
    """

    @property
    def url(self) -> str:
        """
        Its URL with the pin.
        """
        return (self.state / "url").read_text().strip()

    def ready(self) -> bool:
        """
        Whether it has its URL and listens for TLS.
        """
        return (self.state / "url").exists() and listens(self.process, parseMediatorUrl(self.url).port)


def listens(process: subprocess.Popen[str] | None, port: int) -> bool:
    """
    Whether somebody in a process's namespace listens on a TCP port.
    """
    if process is None or process.poll() is not None:
        return False
    wanted = f":{port:04X}"
    for family in ("tcp", "tcp6"):
        for line in Path(f"/proc/{process.pid}/net/{family}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[1].endswith(wanted) and fields[3] == "0A":
                return True
    return False


@attrs.define(eq=False)
class Node(Daemon):
    """
    A running C{twistd vnet-client}, and the commands of C{vnet} to it.

    @ivar home: where its host stands, if not in public.
    @ivar mediator: whom L{login} logs in to.
    """

    mediator: Mediator | None = None
    home: Home | None = None

    @property
    def socket(self) -> Path:
        """
        The control socket.
        """
        return self.state / "control.sock"

    def ready(self) -> bool:
        """
        Whether its control socket takes connections.
        """
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(self.socket))
            except OSError:
                return False
        return True

    def vnet(self, *arguments: str, timeout: float = 20.0) -> dict[str, Any]:
        """
        Run C{vnet --json} with a verb and its arguments.

        @return: the JSON that it printed, empty when it printed nothing.
        @raise CommandFailed: it did not exit with 0.
        """
        out = self.text("--json", *arguments, timeout=timeout)
        answer = json.loads(out) if out.strip() else {}
        if not isinstance(answer, dict):
            raise LabError(f"{self.name}: vnet {' '.join(arguments)}: not an object: {out}")
        return answer

    def ask(self, verb: str, **arguments: Any) -> dict[str, Any]:
        """
        Ask over the control socket, without a process: for what is asked again and again.

        @raise VnetError: as L{LocalClient.call}.
        """
        client = LocalClient(str(self.socket), timeout=20.0)
        try:
            return client.call(verb, **arguments)
        finally:
            client.close()

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """
        Start C{vnet}, and do not wait for its end; what it writes goes nowhere.
        """
        return self.host.popen(
            self._argv(arguments),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment(self.state),
            cwd=self.state,
        )

    def _argv(self, arguments: tuple[str, ...]) -> list[str]:
        return [sys.executable, "-c", CLI, f"--socket={self.socket}", *arguments]

    def text(self, *arguments: str, timeout: float = 20.0) -> str:
        """
        Run C{vnet} as a person would.

        @return: what it printed.
        @raise CommandFailed: it did not exit with 0.
        """
        argv = self._argv(arguments)
        done = self.host.run(argv, check=False, timeout=timeout, env=environment(self.state))
        if done.returncode:
            raise CommandFailed(f"{self.name}: vnet {' '.join(arguments)}", done.returncode, done.stderr)
        return done.stdout

    def _withPassword(self, verb: str, network: str, password: str | None) -> dict[str, Any]:
        if password is None:
            return self.vnet(verb, "--no-password", network)
        with tempfile.NamedTemporaryFile("w", dir=self.state, suffix=".password") as file:
            file.write(password)
            file.flush()
            return self.vnet(verb, "--password-file", file.name, network)

    def login(self, url: str | None = None) -> dict[str, Any]:
        """
        C{vnet login}, to the cluster's mediator by default.
        """
        if url is None:
            if self.mediator is None:
                raise LabError(f"{self.name} knows no mediator")
            url = self.mediator.url
        return self.vnet("login", url)

    def create(self, network: str, password: str | None = None) -> dict[str, Any]:
        """
        C{vnet create}.
        """
        return self._withPassword("create", network, password)

    def join(self, network: str, password: str | None = None) -> dict[str, Any]:
        """
        C{vnet join} of a network's name, or of a link.
        """
        if network.startswith("vnet://"):
            return self.vnet("join", network)
        return self._withPassword("join", network, password)

    def invite(self, network: str) -> str:
        """
        The link that C{vnet invite} prints.
        """
        return str(self.vnet("invite", network)["link"])

    def status(self) -> dict[str, Any]:
        """
        C{vnet status}.
        """
        return self.vnet("status")

    def networks(self) -> list[dict[str, Any]]:
        """
        The networks of C{vnet list}.
        """
        found: list[dict[str, Any]] = self.vnet("list")["networks"]
        return found

    def member(self, network: str, address: str) -> dict[str, Any] | None:
        """
        The member with a virtual address, as C{vnet list} shows it.
        """
        for each in self.networks():
            if each["name"] == network:
                for member in each["members"]:
                    if address in (member["address"], member["address6"]):
                        return dict(member)
        return None

    def peer(self, who: str) -> dict[str, Any]:
        """
        C{vnet peer}.
        """
        return self.vnet("peer", who)

    @property
    def address(self) -> str:
        """
        The virtual IPv4 address.
        """
        return str(self.status()["address"])

    @property
    def address6(self) -> str:
        """
        The virtual IPv6 address.
        """
        return str(self.status()["address6"])

    def waitOnline(self, timeout: float = 10.0) -> dict[str, Any]:
        """
        Wait until it is logged in.

        @return: its status.
        """

        def online() -> dict[str, Any] | None:
            status = self.status()
            return status if status["state"] == "online" else None

        found = waitUntil(online, timeout, f"{self.name} is online")
        return found or {}

    def waitPath(self, peer: Node, path: str = "direct", timeout: float = 15.0) -> dict[str, Any]:
        """
        Wait until its traffic to another node takes a kind of path.

        @return: what C{vnet peer} says of it then.
        """
        address = peer.address

        def arrived() -> dict[str, Any] | None:
            seen = self.peer(address)
            return seen if seen["path"] == path else None

        found = waitUntil(arrived, timeout, f"{self.name} has a {path} path to {peer.name}")
        return found or {}

    def waitPing(self, address: str, timeout: float = 10.0) -> float:
        """
        Wait for the first answer to a ping from the host's own C{ping}.

        @return: how many seconds that took.
        """
        start = time.monotonic()
        waitUntil(
            lambda: self.host.ping(address, timeout=0.2).millis, timeout, f"{self.name} pings {address}", 0.02
        )
        return time.monotonic() - start
