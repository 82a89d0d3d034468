# -*- test-case-name: vnet.test.priv.test_lab -*-
"""
A running pair of nodes behind NATs of chosen kinds, and a shell to look around in::

    python -m vnet.test.lab port-restricted symmetric-random

The Internet is one of network namespaces (L{vnet.test.netlab}), with a mediator that is a relay too.  On a
terminal the shell is interactive; otherwise it reads its commands from the standard input, and the exit code
is that of the last one.  Needs root; leaves nothing behind.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from vnet.demo import Show, buildInternet, join, startPrograms
from vnet.errors import VnetError
from vnet.test.netlab import NAT_KINDS, Home, Interrupted, Space, guard, unavailable
from vnet.test.priv.cluster import Cluster, Node
from vnet.test.priv.daemons import environment
from vnet.test.priv.relay import LAB

__all__ = ["KINDS", "MEDIATOR", "main"]

#: Where only proxies are reached, a node needs one: see docs/proxies.md.
KINDS = tuple(kind for kind in NAT_KINDS if kind != "proxy-only")

#: A relay too, also where UDP is blocked; homes with public addresses are in another block of documentation.
MEDIATOR = ["--with-relay", LAB, "--allow-peer=203.0.113.0/24", "--listen=tcp:7443", "--listen=tcp:443"]

#: Seconds: how long the first ping may take, and how long a direct path is waited for.
FIRST_PING, DIRECT = 30.0, 8.0

GUIDE = """
a vnet peer bob               what alice knows of bob; b vnet peer alice
a ping $bob                   through the tunnel
a vnet netcheck               what alice knows of her NAT
a, b                          a shell in either home
gwa conntrack -L              the router of alice's home, gwb of bob's: nft list ruleset
internet tcpdump -ni any udp  the Internet between them; mediator: the mediator's host
tail -f $logs/alice.log       bob.log, mediator.log
exit                          removes all of it
"""


def findPath(show: Show, alice: Node, bob: Node, address: str) -> None:
    """
    Wait for the tunnel, and say what it is made of.

    @param address: of bob.
    """
    with show.step("The nodes look for a path") as lines:
        took = alice.waitPing(address, FIRST_PING)
        deadline = time.monotonic() + DIRECT
        while (seen := alice.peer(address))["path"] != "direct" and time.monotonic() < deadline:
            time.sleep(0.1)
        relay = f" through the relay {seen['relay']}" if seen["relay"] else ""
        lines.append(
            f"path: {seen['path']}, alice sends over {seen['transport']} to {seen['endpoint']}{relay}"
        )
        lines.append(f"first ping after {took:.1f} s; round trip {seen['latencyMs']} ms")
        if seen["why"]:
            lines.append(f"why: {seen['why']}")
    for node in (alice, bob):
        with show.step(f"{node.name}: vnet netcheck") as lines:
            lines += [line for line in node.text("netcheck").splitlines() if line]


def writeHelpers(cluster: Cluster, nodes: Sequence[Node], homes: Sequence[Home]) -> Path:
    """
    Programs that run their arguments in a namespace, or a shell there.

    @return: the directory with them.
    """
    directory = cluster.lab.directory / "helpers"
    directory.mkdir()
    spaces: dict[str, Space] = {"internet": cluster.lab.internet}
    if cluster.mediator is not None:
        spaces["mediator"] = cluster.mediator.host
    for letter, node, home in zip("ab", nodes, homes, strict=True):
        spaces |= {letter: node.host, f"gw{letter}": home.router}
    sockets = {letter: str(node.socket) for letter, node in zip("ab", nodes, strict=True)}
    for name, space in spaces.items():
        lines = ["#!/bin/sh", '[ $# -gt 0 ] || set -- "${SHELL:-/bin/sh}"']
        if name in sockets:
            lines.append(f"export VNET_SOCKET={shlex.quote(sockets[name])}")
        lines.append(f'exec ip netns exec {space.namespace} "$@"')
        (directory / name).write_text("\n".join(lines) + "\n")
        (directory / name).chmod(0o755)
    return directory


def shell(helpers: Path, variables: Mapping[str, str]) -> int:
    """
    Let a person, or the standard input, look around.

    @param variables: for the shell.
    @return: the exit code of the last command; 0 on a terminal.
    """
    program = shutil.which("bash") or "/bin/sh"
    path = [str(helpers), str(Path(sys.executable).parent), os.environ["PATH"]]
    settings = {**environment(Path.home()), **variables, "SHELL": program, "PATH": ":".join(path)}
    if not sys.stdin.isatty():
        return subprocess.run([program], env=settings).returncode
    prompt = helpers / "rc"
    prompt.write_text("PS1='lab> '\n")
    # A shell that reads no start file but this one: others set PATH anew.
    argv = (
        [program, "--noprofile", "--rcfile", str(prompt), "-i"]
        if program.endswith("bash")
        else [program, "-i"]
    )
    subprocess.run(argv, env={**settings, "ENV": str(prompt)})
    return 0


def perform(show: Show, nats: Sequence[str]) -> int:
    """
    All of it, in a lab that is gone afterwards.

    @return: the exit code.
    """
    with Cluster("lab", tolerated="what a person did here is not known") as cluster:
        _, *homes = buildInternet(show, cluster, nats, MEDIATOR)
        alice, bob = startPrograms(show, cluster, homes)
        addresses = join(show, alice, bob)
        findPath(show, alice, bob, addresses[1])
        for node in (alice, bob):
            node.ask("set-nick", nick=node.name)
        helpers = writeHelpers(cluster, (alice, bob), homes)
        if sys.stdin.isatty():
            show.say(GUIDE)
        logs = str(cluster.lab.directory)
        return shell(helpers, {"alice": addresses[0], "bob": addresses[1], "logs": logs})


def refusal(nats: Sequence[str]) -> str | None:
    """
    Why there is no lab of these kinds here; L{None} where there is one.
    """
    unknown = [f"no such kind: {nat}; " for nat in nats if nat and nat not in KINDS]
    if unknown or len(nats) != 2 or not all(nats):
        return f"{''.join(unknown)}make lab A=KIND B=KIND takes one of {', '.join(KINDS)}"
    if reason := unavailable("ping", "conntrack"):
        return f"the laboratory cannot run here: {reason}"
    return None


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the laboratory.

    @return: the exit code: that of the shell, 1 failed, 2 for kinds that there are not, 128 and more for a signal.
    """
    nats = list(sys.argv[1:] if argv is None else argv)
    if reason := refusal(nats):
        print(f"vnet: {reason}", file=sys.stderr)
        return 1 if reason.startswith("the laboratory") else 2
    show = Show(Console(highlight=False))
    try:
        with guard():
            code = perform(show, nats)
    except Interrupted as interrupted:
        show.say(f"Interrupted by {interrupted}; everything is removed.", "yellow")
        return 128 + interrupted.signal
    except VnetError as error:
        show.say("Everything is removed.")
        print(*getattr(error, "__notes__", []), f"vnet: {error}", sep="\n", file=sys.stderr)
        return 1
    show.say("Everything is removed.", "bold green")
    return code


if __name__ == "__main__":
    sys.exit(main())
