# -*- test-case-name: vnet.test.test_run -*-
"""
The main job on one computer: a mediator, this computer's node, and a network that others join by a link::

    python -m vnet.run

Runs until Ctrl-C, and leaves nothing running; what has to last (keys, addresses, networks) is in C{--state}.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

import click

from vnet.client.render import harmless
from vnet.errors import ConfigurationError, DecodeError, VnetError
from vnet.protocols.codec.names import validateName
from vnet.running import Died, Run, Settings, Watch

__all__ = ["main", "outwardAddress"]

_NEED = "vnet needs root (or CAP_NET_ADMIN) for its network interface: sudo make run"
_CAP_NET_ADMIN = 12


class Stopped(BaseException):
    """
    The user wants it to end.
    """


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
    host: str | None, listen: Sequence[str], stun: Sequence[str], pool: str | None, relay: bool
) -> list[str]:
    options = {"host": host, "pool": pool}
    chosen = [f"--{name}={value}" for name, value in options.items() if value]
    chosen += [f"--listen={endpoint}" for endpoint in listen]
    chosen += [f"--stun={address}" for address in stun]
    return [*chosen, "--with-relay"] if relay else chosen


def _nodeOptions(interface: str | None, port: int | None, pool: str | None) -> list[str]:
    options = {"interface": interface, "port": port, "accept-pool": pool}
    return [f"--{name}={value}" for name, value in options.items() if value]


def _canRelay(stun: Sequence[str]) -> bool:
    """
    Whether this computer has an address that relays: not without a network, unless one is named.
    """
    return outwardAddress() is not None or any(not each.startswith(":") for each in stun)


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
            "TCP port 7443, and port 3478 of TCP and UDP, to it, and use --host=PUBLIC_ADDRESS_OR_NAME."
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
@click.option(
    "--listen", multiple=True, metavar="ENDPOINT", help="Where the mediator listens (default: tcp:7443)."
)
@click.option("--stun", multiple=True, metavar="IP:PORT", help="Where to serve STUN (default: port 3478).")
@click.option("--pool", metavar="CIDR", help="Block of the nodes' addresses (default: 100.64.0.0/10).")
@click.option("--interface", metavar="NAME", help="Name of the network interface (default: vnet0).")
@click.option(
    "--port", type=click.IntRange(1, 65535), help="UDP port that a router forwards to this computer."
)
@click.option(
    "--relay/--no-relay", default=True, help="Relay for those without a direct path (default: yes)."
)
@click.option("--network", help="Name of the network to found (default: from this computer's name).")
def cli(
    state: Path,
    host: str | None,
    listen: tuple[str, ...],
    stun: tuple[str, ...],
    pool: str | None,
    interface: str | None,
    port: int | None,
    relay: bool,
    network: str | None,
) -> None:
    """Run a mediator, a relay and this computer's node, and show how others join."""
    say = _say
    if not mayMakeInterfaces():
        raise _failure(_NEED)
    chosen = host or outwardAddress() or "127.0.0.1"
    settings = Settings(
        state.absolute(),
        _mediatorOptions(chosen, listen, stun, pool, relay and _canRelay(stun)),
        _nodeOptions(interface, port, pool),
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
