"""
The demonstration: an Internet with two homes behind NATs, in network namespaces of this computer::

    python -m vnet.demo

A mediator and two nodes start, one node joins the other's network by a link, and their operating systems
exchange traffic.  Needs root, C{ip}, C{nft}, C{ping} and C{iperf3}; leaves nothing behind.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from subprocess import DEVNULL

import attrs
from rich.console import Console
from rich.text import Text

from vnet.errors import VnetError
from vnet.test.netlab import Home, Host, Interrupted, LabError, guard, unavailable
from vnet.test.priv.cluster import Cluster, Node, listens, waitUntil

__all__ = ["NETWORK", "Show", "buildInternet", "join", "main", "startPrograms"]

NAT = "port-restricted"
NETWORK = "family"
PASSPHRASE = "correct horse battery staple"
PINGS = 4
STREAM_SECONDS = 3
IPERF_PORT = 5201


@attrs.define
class Show:
    """
    What the person sees: one line for each step when it is done, with how long it took and what came of it.
    On a terminal the step that runs is shown too.
    """

    console: Console
    started: float = attrs.field(factory=time.monotonic)

    @contextmanager
    def step(self, title: str) -> Iterator[list[str]]:
        """
        Do a step in this block; the lines appended to the list are printed below its title.
        """
        lines: list[str] = []
        start = time.monotonic()
        try:
            # Without a terminal rich shows no status at all.
            with self.console.status(title):
                yield lines
        except BaseException as error:
            word = "stopped" if isinstance(error, Interrupted) else "FAILED"
            self.console.print(Text.assemble((f"{word} ", "bold red"), title))
            raise
        took = f"{time.monotonic() - start:.1f} s"
        self.console.print(Text.assemble(("done ", "bold green"), (title, "bold"), (f"  {took}", "dim")))
        for line in lines:
            self.console.print(Text("     " + line), soft_wrap=True)

    def say(self, line: str, style: str = "") -> None:
        """
        Print a line.
        """
        self.console.print(Text(line, style))


def buildInternet(
    show: Show, cluster: Cluster, nats: Sequence[str] = (NAT, NAT), options: Sequence[str] = ()
) -> tuple[Host, Home, Home]:
    """
    The mediator's host and the homes.

    @param nats: the kinds of NAT of alice's home and of bob's.
    @param options: for the mediator.
    """
    with show.step("Two homes behind NATs, and a public host for the mediator") as lines:
        host = cluster.lab.addHost("mediator")
        # With two addresses it tells nodes all about their NATs (RFC 5780).
        host.addAddress()
        alice, bob = (
            cluster.lab.addHome(name, nat=nat) for name, nat in zip(("alice", "bob"), nats, strict=True)
        )
        for home in (alice, bob):
            lines.append(
                f"{home.name:<9} {home.host.address:<14} NAT {home.nat}, seen at {home.publicAddress}"
            )
        lines.append(f"mediator  {host.address}")
        cluster.startMediator(*options, host=host, wait=False)
    return host, alice, bob


def checkApart(show: Show, alice: Home, bob: Home) -> None:
    """
    See that no packet gets from one home to the other without vnet.
    """
    with show.step(
        "Without vnet alice cannot reach bob: neither at the private address nor at the public one"
    ):
        if alice.host.ping(bob.host.address, timeout=0.2) or alice.host.ping(bob.publicAddress, timeout=0.2):
            raise LabError("the homes reach each other without vnet")


def startPrograms(show: Show, cluster: Cluster, homes: Sequence[Home]) -> tuple[Node, Node]:
    """
    The mediator and the nodes.
    """
    with show.step("The mediator and two nodes start") as lines:
        alice, bob = (cluster.addNode(home.name, where=home, wait=False) for home in homes)
        for daemon in cluster.daemons:
            daemon.waitReady()
        if cluster.mediator is not None:
            lines.append(cluster.mediator.url)
    return alice, bob


def join(show: Show, alice: Node, bob: Node) -> tuple[str, str]:
    """
    One network for both.

    @return: their virtual addresses.
    """
    with show.step(f"alice logs in and creates the network {NETWORK!r}") as lines:
        alice.login()
        alice.create(NETWORK, PASSPHRASE)
        first = alice.waitOnline()
        lines.append(f"alice is {first['address']} and {first['address6']}, for life")
    with show.step("bob joins with the link that alice's vnet invite prints") as lines:
        link = alice.invite(NETWORK)
        lines.append(f"vnet join '{link}'")
        bob.join(link)
        second = bob.waitOnline()
        lines.append(f"bob is {second['address']} and {second['address6']}")
    return first["address"], second["address"]


def connect(show: Show, alice: Node, bob: Node, address: str) -> None:
    """
    The tunnel, and what passes through it.

    @param address: of bob.
    """
    with show.step("The nodes punch through both NATs") as lines:
        alice.waitPing(address)
        toBob, toAlice = alice.waitPath(bob), bob.waitPath(alice)
        lines.append(f"path: {toBob['path']}, no relay; the tunnel is WireGuard over UDP")
        lines.append(f"alice sends to {toBob['endpoint']}, bob sends to {toAlice['endpoint']}")
    with show.step(f"alice: ping {address}") as lines:
        ping = alice.host.run(["ping", "-n", "-c", str(PINGS), "-i", "0.2", "-W", "2", address]).stdout
        lines += [line for line in ping.splitlines() if " bytes from " in line or " packet" in line]


def throughput(show: Show, mediator: Host, alice: Node, bob: Node, address: str) -> None:
    """
    TCP through the tunnel, and proof that the mediator's host carries none of it.

    @param address: of bob.
    """
    with show.step(f"alice: iperf3 to bob for {STREAM_SECONDS} s") as lines:
        server = bob.host.popen(["iperf3", "-s", "-1", "-B", address], stdout=DEVNULL, stderr=DEVNULL)
        waitUntil(lambda: listens(server, IPERF_PORT), 5.0, "iperf3 listens")
        before = mediator.rxBytes("eth0")
        argv = ["iperf3", "-J", "-t", str(STREAM_SECONDS), "--connect-timeout", "3000", "-c", address]
        report = json.loads(alice.host.run(argv, check=False, timeout=STREAM_SECONDS + 10).stdout)
        if "error" in report:
            raise LabError(f"iperf3: {report['error']}")
        received = report["end"]["sum_received"]
        speed, amount = received["bits_per_second"] / 1e6, received["bytes"] / 2**20
        lines.append(f"{speed:,.0f} Mbit/s: {amount:,.0f} MiB of TCP through the tunnel")
        lines.append(f"the mediator received {(mediator.rxBytes('eth0') - before) / 1024:,.1f} KiB meanwhile")


def perform(show: Show) -> None:
    """
    All steps, in a lab that is gone afterwards.
    """
    with Cluster("demo") as cluster:
        mediator, *homes = buildInternet(show, cluster)
        checkApart(show, *homes)
        alice, bob = startPrograms(show, cluster, homes)
        _, address = join(show, alice, bob)
        connect(show, alice, bob, address)
        throughput(show, mediator, alice, bob, address)


def main() -> int:
    """
    Run the demonstration.

    @return: the exit code: 0 done, 1 failed, 128 and more for a signal.
    """
    if reason := unavailable("ping", "iperf3"):
        print(f"vnet: the demonstration cannot run here: {reason}", file=sys.stderr)
        return 1
    show = Show(Console(highlight=False))
    try:
        with guard():
            show.say("vnet: two computers behind NATs become one private network", "bold")
            perform(show)
    except Interrupted as interrupted:
        show.say(f"Interrupted by {interrupted}; everything is removed.", "yellow")
        return 128 + interrupted.signal
    except VnetError as error:
        show.say("Everything is removed.")
        print(*getattr(error, "__notes__", []), f"vnet: {error}", sep="\n", file=sys.stderr)
        return 1
    show.say(f"All in {time.monotonic() - show.started:.1f} s; everything is removed.", "bold green")
    return 0


if __name__ == "__main__":
    sys.exit(main())
