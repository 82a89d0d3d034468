"""
One side of a tunnel as a command in the foreground, for harnesses that start two commands in two namespaces and measure
between them.

    python bench/side.py SIDE WORK DEVICE OUTER PEER_OUTER INNER PEER_INNER [--device=tun] [--relayed] [--wireguard-go]

SIDE is C{a} or C{b}; WORK a directory that both share; DEVICE the name of the interface to be made; then come the addresses of
the link below, and those in the tunnel, which lie in one /24 of 100.64.0.0/10.

The process becomes the node, and nothing but the node is in its session, so that what is measured of the session is the
node's.  The mediator, and what else a node needs, is minded by a L{steward} of its own session, which ends with the node.
Nothing is touched outside of the namespace.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import attrs
from reserved import reserve

from vnet.client.identity import loadIdentity, tunnelKey
from vnet.errors import ConfigurationError, VnetError
from vnet.server.addresses import Pool
from vnet.test.priv.daemons import environment, waitUntil

__all__ = ["Side", "main", "parse"]

NAMESPACES = Path("/run/netns")
PREPARED = "prepared"
WG_PORT = 51820
NODE_PORT = 51821
_START = 40.0


@attrs.frozen
class Side:
    """
    What one side is.

    @ivar name: C{"a"} or C{"b"}.
    @ivar work: the directory that both share.
    @ivar device: the name of the interface.
    @ivar outer: our address on the link below; C{peerOuter} the other side's.
    @ivar inner: our address in the tunnel; C{peerInner} the other side's.
    @ivar options: for our node.
    @ivar relayed: whether no packet may go directly.
    @ivar foreign: whether side B is wireguard-go, and side A our data plane with fixed keys.
    """

    name: str
    work: Path
    device: str
    outer: str
    peerOuter: str
    inner: str
    peerInner: str
    options: tuple[str, ...] = ()
    relayed: bool = False
    foreign: bool = False

    @property
    def state(self) -> Path:
        """
        The directory of our node.
        """
        return self.stateOf(self.name)

    @property
    def mediator(self) -> Path:
        """
        The directory of the mediator.
        """
        return self.work / "mediator"

    @property
    def pool(self) -> IPv4Network:
        """
        The mediator's pool.
        """
        return IPv4Network(f"{self.inner}/24", strict=False)

    def stateOf(self, name: str) -> Path:
        """
        The directory of a side's node.
        """
        return self.work / f"vnet-{name}"


def parse(argv: Sequence[str] | None) -> Side:
    """
    The command line.
    """
    parser = argparse.ArgumentParser(description="One side of a tunnel, in the foreground, in a namespace.")
    parser.add_argument("side", choices=("a", "b"))
    parser.add_argument("work", type=Path, help="a directory that both sides share")
    parser.add_argument("dev", help="the name of the interface")
    for name in ("outer", "peer_outer", "inner", "peer_inner"):
        parser.add_argument(name, type=IPv4Address)
    parser.add_argument(
        "--device", choices=("tap", "tun"), help="what our nodes make (default: what they do)"
    )
    parser.add_argument("--node-option", action="append", default=[], help="for our nodes; may be repeated")
    parser.add_argument("--relayed", action="store_true", help="through a relay of ours in a third namespace")
    parser.add_argument(
        "--wireguard-go",
        action="store_true",
        help="side b is wireguard-go, and side a nothing but our data plane",
    )
    found = parser.parse_args(argv)
    options = [*found.node_option, *([f"--device={found.device}"] if found.device else [])]
    return Side(
        found.side,
        found.work.resolve(),
        found.dev,
        str(found.outer),
        str(found.peer_outer),
        str(found.inner),
        str(found.peer_inner),
        options=tuple(options),
        relayed=found.relayed,
        foreign=found.wireguard_go,
    )


def requireNamespace() -> None:
    """
    @raise ConfigurationError: this is none of the namespaces of C{ip netns}.
    """
    own = os.stat("/proc/self/ns/net")
    if not any(os.path.samestat(own, each.stat()) for each in NAMESPACES.glob("*")):
        raise ConfigurationError("this belongs into a network namespace: ip netns exec NAME ...")


def prepare(side: Side) -> None:
    """
    Make what both sides have to know before they start; side A does, and B waits for it.
    """
    marker = side.work / PREPARED
    if side.name == "a":
        keys = {}
        for name, address in (("a", side.inner), ("b", side.peerInner)):
            state = side.stateOf(name)
            state.mkdir(mode=0o700, parents=True)
            keys[loadIdentity(state / "identity.key").publicKey] = address
        reserve(side.mediator, Pool(side.pool), keys)
        marker.touch()
    waitUntil(marker.exists, _START, "side a has prepared the addresses", 0.02)


def nodeCommand(side: Side) -> list[str]:
    """
    What this process becomes.
    """
    if not side.foreign:
        argv = [str(Path(sys.executable).with_name("twistd")), "-n", "--pidfile=", "vnet-client"]
        argv += [f"--state={side.state}", f"--interface={side.device}", "--no-port-mapping"]
        return [*argv, *side.options]
    if side.name == "b":
        return ["wireguard-go", "--foreground", side.device]
    ours, theirs = (loadIdentity(side.stateOf(name) / "identity.key") for name in "ab")
    number, peer = (address.rpartition(".")[2] for address in (side.inner, side.peerInner))
    argv = [sys.executable, "-m", "vnet.test.priv.dataplanenode", number, str(NODE_PORT)]
    argv += [
        ours.tunnelPrivateKey().hex(),
        peer,
        tunnelKey(theirs.publicKey).hex(),
        side.peerOuter,
        str(WG_PORT),
    ]
    return argv


def startSteward(argv: Sequence[str]) -> None:
    """
    Start what minds the rest.
    """
    program = Path(__file__).resolve().with_name("steward.py")
    subprocess.Popen(
        [sys.executable, str(program), str(os.getpid()), *argv],
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """
    Become the node.

    @return: the exit code, where that is not possible.
    """
    argv = sys.argv[1:] if argv is None else argv
    side = parse(argv)
    try:
        requireNamespace()
        prepare(side)
    except VnetError as error:
        print(f"side: {error}", file=sys.stderr)
        return 1
    startSteward(argv)
    command = nodeCommand(side)
    variables = {**environment(side.state), "WG_PROCESS_FOREGROUND": "1", "LOG_LEVEL": "error"}
    # The data plane's node ends when its standard input does.
    reading, writing = os.pipe()
    os.dup2(reading, 0)
    os.set_inheritable(writing, True)
    os.execvpe(command[0], command, variables)


if __name__ == "__main__":
    sys.exit(main())
