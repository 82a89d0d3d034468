# -*- test-case-name: vnet.test.test_run -*-
"""
The main job on one computer: a mediator, this computer's node, and a network that others join by a link.

    python -m vnet.run

Runs until Ctrl-C, and leaves nothing running; what has to last (keys, addresses, networks) is in C{--state}.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NoReturn

import click
from attrs import define, field

from vnet.children import Child, twistd
from vnet.client.localclient import LocalClient, NotRunning
from vnet.client.render import harmless, renderNetworks, styleOf
from vnet.errors import ConfigurationError, DecodeError, Refused, VnetError
from vnet.protocols.codec.names import validateName

__all__ = ["Run", "Settings", "main", "outwardAddress"]

_START_TIMEOUT = 40.0
_GRACE = 15.0
_POLL = 0.05
_REFRESH = 1.0
_NEED = "vnet needs root (or CAP_NET_ADMIN) for its network interface: sudo make run"
_CAP_NET_ADMIN = 12


class Stopped(BaseException):
    """
    The user wants it to end.
    """


class Died(VnetError):
    """
    A child ended by itself.
    """

    def __init__(self, child: Child) -> None:
        super().__init__(f"the {child.name} ended; the last that it wrote ({child.log}):")
        self.child = child


@define
class Settings:
    """
    What the user may choose.

    @ivar mediatorOptions: for C{vnet-mediator}; C{nodeOptions} for C{vnet-client}.
    @ivar network: the name of the network that is founded, if the node has none of its own.
    """

    state: Path
    mediatorOptions: Sequence[str] = ()
    nodeOptions: Sequence[str] = ()
    network: str = "home"


def outwardAddress() -> str | None:
    """
    This computer's address towards the Internet; L{None} without a route there.  Nothing is sent.
    """
    for family, target in ((socket.AF_INET, "198.51.100.1"), (socket.AF_INET6, "2001:db8::1")):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((target, 9))
                return str(probe.getsockname()[0])
        except OSError:
            continue
    return None


def mayMakeInterfaces() -> bool:
    """
    Whether this process has CAP_NET_ADMIN.
    """
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return os.geteuid() == 0
    effective = next((line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")), "0")
    return bool(int(effective, 16) >> _CAP_NET_ADMIN & 1)


@define(eq=False)
class Run:
    """
    One run: the children, and what is asked of them.

    @ivar say: shows a line to the user.
    """

    settings: Settings
    say: Callable[[str], None]
    sleep: Callable[[float], None] = time.sleep
    _children: list[Child] = field(factory=list, init=False)
    _client: LocalClient = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._client = LocalClient(str(self.settings.state / "node" / "control.sock"))

    @property
    def socketPath(self) -> str:
        """
        The node's control socket.
        """
        return self._client.path

    def start(self) -> str:
        """
        Start the mediator and the node, and found the network if there is none.

        @return: the link of the invitation.
        @raise VnetError: it does not start.
        """
        url = self._startMediator()
        self._startNode()
        self._client.call("login", url=url)
        return str(self._client.call("invite", network=self._network())["link"])

    def _startMediator(self) -> str:
        state = self.settings.state / "mediator"
        file = state / "url"
        file.unlink(missing_ok=True)
        self._startChild("mediator", "vnet-mediator", state, self.settings.mediatorOptions)
        return str(self._wait("the mediator to start", lambda: file.exists() and file.read_text().strip()))

    def _startNode(self) -> None:
        state = self.settings.state / "node"
        self._startChild("node", "vnet-client", state, self.settings.nodeOptions)
        self._wait("the node to start", self._answers)

    def _startChild(self, name: str, service: str, state: Path, options: Sequence[str]) -> None:
        log = self.settings.state / f"{name}.log"
        child = Child(name, twistd(service, f"--state={state}", *options), log)
        self._children.append(child)
        child.start()

    def _answers(self) -> bool:
        try:
            self._client.call("status")
        except NotRunning:
            return False
        return True

    def _network(self) -> str:
        """
        The network of this node, founded if need be.  Its passphrase is used by the node alone: the link holds what
        comes of it.
        """
        ownId = self._client.call("status")["clientId"]
        networks = self._client.call("list")["networks"]
        own = [str(network["name"]) for network in networks if network["owner"] == ownId]
        if own:
            return self.settings.network if self.settings.network in own else own[0]
        self._client.call("create", network=self.settings.network, password=secrets.token_urlsafe(16))
        return self.settings.network

    def _wait(self, what: str, predicate: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + _START_TIMEOUT
        while time.monotonic() < deadline:
            found = predicate()
            if found:
                return found
            self.check()
            self.sleep(_POLL)
        raise Refused(f"waited {_START_TIMEOUT:.0f} s for {what}; see the logs in {self.settings.state}")

    def check(self) -> None:
        """
        See that all children live.

        @raise Died: one does not.
        """
        for child in self._children:
            if not child.running:
                raise Died(child)

    def ask(self, verb: str) -> dict[str, Any]:
        """
        Ask the node.

        @raise Died: it is no more.
        """
        try:
            return self._client.call(verb)
        except NotRunning:
            self.sleep(_POLL)
            self.check()
            raise

    def stop(self) -> None:
        """
        End the children: the node first, so that it can log out.
        """
        self._client.close()
        for child in reversed(self._children):
            child.stop(_GRACE)

    def kill(self) -> None:
        """
        End the children at once.
        """
        for child in self._children:
            child.kill()


@define
class Watch:
    """
    The list of members while the user watches it.
    """

    run: Run
    terminal: bool
    _before: set[str] = field(factory=set, init=False)

    def forever(self) -> NoReturn:
        """
        Show each change.

        @raise Died: a child ended.
        """
        ownId = str(self.run.ask("status")["clientId"])
        if self.terminal:
            self._live(ownId)
        while True:
            self.run.check()
            self._lines(self.run.ask("list"), ownId)
            self.run.sleep(_REFRESH)

    def _live(self, ownId: str) -> NoReturn:
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        console = Console()
        with Live(console=console, auto_refresh=False) as live:
            while True:
                self.run.check()
                style = styleOf(True, os.environ, console.width)
                shown = renderNetworks(self.run.ask("list"), style, ownId)
                live.update(Text.from_ansi(shown.rstrip("\n")), refresh=True)
                self.run.sleep(_REFRESH)

    def _lines(self, answer: dict[str, Any], ownId: str) -> None:
        # A latency is another one each time: that is no change to tell of.
        for network in answer["networks"]:
            for member in network["members"]:
                member.pop("latencyMs", None)
        lines = renderNetworks(answer, styleOf(False, {}, 0), ownId).splitlines()
        for line in lines:
            if line not in self._before:
                self.run.say(line)
        self._before = set(lines)


@contextmanager
def _signals(run: Run) -> Iterator[None]:
    """
    While this lasts a signal raises L{Stopped}; then the children are stopped, and a further signal kills them.
    """

    def stop(number: int, frame: object) -> None:
        raise Stopped

    def hurry(number: int, frame: object) -> None:
        run.kill()

    wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, stop) for number in wanted}
    try:
        yield
    finally:
        for number in wanted:
            signal.signal(number, hurry)
        run.stop()
        for number, handler in before.items():
            signal.signal(number, handler)


def _mediatorOptions(
    host: str | None, listen: str | None, stun: Sequence[str], pool: str | None
) -> list[str]:
    options = {"host": host, "listen": listen, "pool": pool}
    chosen = [f"--{name}={value}" for name, value in options.items() if value]
    return chosen + [f"--stun={address}" for address in stun]


def _nodeOptions(interface: str | None, port: int | None) -> list[str]:
    options = {"interface": interface, "port": port}
    return [f"--{name}={value}" for name, value in options.items() if value]


def _hostNote(host: str) -> str | None:
    """
    What others should know about an address that does not reach them.
    """
    try:
        address = ip_address(host)
    except ValueError:
        return None
    if address.is_loopback:
        return "This computer has no network: only this computer itself can join."
    if address.is_private:
        return (
            f"{host} is reached from the local network only. For computers elsewhere let the router forward "
            "TCP port 7443 and UDP port 3478 to it, and use --host=PUBLIC_ADDRESS_OR_NAME."
        )
    return None


def _defaultNetwork() -> str:
    try:
        return validateName(f"{socket.gethostname().partition('.')[0]}-net")
    except DecodeError:
        return "home"


def _lock(state: Path) -> int:
    """
    Let one run at a time use a state directory.

    @raise ConfigurationError: there is another one, or the directory cannot be used.
    """
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(state / "run.lock", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ConfigurationError(f"vnet is running already with --state={state}") from None
    except OSError as error:
        raise ConfigurationError(f"--state={state}: {error.strerror}") from None
    return descriptor


def _invitation(link: str, socketPath: str) -> str:
    source = Path(__file__).resolve().parent.parent
    get = (
        f"copy or clone {source} and run 'pip install .' in it"
        if (source / "setup.cfg").exists()
        else "pip install vnet"
    )
    return (
        f"\nAnother computer joins with this one line:\n\n    sudo vnet join '{link}'\n\n"
        f"It needs vnet ({get})\nand its client running (sudo twistd vnet-client).  Who has the link can join.\n"
        f"More commands here: vnet --socket={socketPath} --help\nCtrl-C ends it.\n"
    )


def _perform(run: Run, say: Callable[[str], None], host: str) -> None:
    link = run.start()
    say(_invitation(link, run.socketPath))
    note = _hostNote(host)
    if note:
        say(note + "\n")
    Watch(run, sys.stdout.isatty()).forever()


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--state", type=click.Path(path_type=Path), default=Path(".run"), show_default=True, help="Directory."
)
@click.option(
    "--host", help="Name or address at which others reach this computer (default: its outward address)."
)
@click.option("--listen", help="Endpoint of the mediator (default: tcp:7443).")
@click.option("--stun", multiple=True, metavar="IP:PORT", help="Where to serve STUN (default: port 3478).")
@click.option("--pool", metavar="CIDR", help="Block of the nodes' addresses (default: 100.64.0.0/10).")
@click.option("--interface", metavar="NAME", help="Name of the network interface (default: vnet0).")
@click.option(
    "--port", type=click.IntRange(1, 65535), help="UDP port that a router forwards to this computer."
)
@click.option("--network", help="Name of the network to found (default: from this computer's name).")
def cli(
    state: Path,
    host: str | None,
    listen: str | None,
    stun: tuple[str, ...],
    pool: str | None,
    interface: str | None,
    port: int | None,
    network: str | None,
) -> None:
    """Run a mediator and this computer's node, and show how others join."""
    say = _say
    if not mayMakeInterfaces():
        raise _failure(_NEED)
    chosen = host or outwardAddress() or "127.0.0.1"
    settings = Settings(
        state.absolute(),
        _mediatorOptions(chosen, listen, stun, pool),
        _nodeOptions(interface, port),
        network or _defaultNetwork(),
    )
    run = Run(settings, say)
    try:
        lock = _lock(settings.state)
        with _signals(run):
            _perform(run, say, chosen)
    except Stopped:
        say("stopped")
    except Died as error:
        for line in [str(error), *error.child.lastLines(15)]:
            click.echo(harmless(line), err=True)
        sys.exit(1)
    except (VnetError, OSError) as error:
        raise _failure(str(error)) from None
    os.close(lock)


def _say(line: str) -> None:
    click.echo(harmless(line))


def _failure(text: str) -> click.ClickException:
    return click.ClickException(harmless(text))


def main() -> None:
    """
    The entry point of C{make run}.
    """
    cli.main(prog_name="vnet.run")


if __name__ == "__main__":
    main()
