"""
The tunnel through a relay of ours, over UDP, TCP and TLS, beside the direct one, in one run.

    python bench/relayed.py [--rounds N] [--seconds S] [--links veth,nic,wire] [--only direct,udp,tcp,tls] [--json]

Each way has two nodes as users have them, on public hosts of their own; the relay has a host of its own too, and only the
mediator's word makes the ways differ: it names the relay's URI of one transport, or none.  All are up all the time and take
turns, round by round.  Needs root; leaves nothing behind.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import attrs
from links import LINKS, setLinks
from rich.console import Console
from rich.table import Table
from roundtrips import idle
from spent import cpuSeconds
from streams import iperfServer, stream
from way import Way

from vnet.errors import VnetError
from vnet.test.netlab import Interrupted, LabError, guard, unavailable
from vnet.test.priv.cluster import Cluster
from vnet.test.priv.relay import Relay, addRelay, relayOptions

__all__ = ["TRANSPORTS", "main"]

TRANSPORTS = ("direct", "udp", "tcp", "tls")
_WIDTH = 140
_PINGS = 100
#: What is shown of each way, and how many digits after the point.
_ROWS = {
    "there": ("TCP, one stream, A to B (Mbit/s)", 0),
    "back": ("TCP, one stream, B to A (Mbit/s)", 0),
    "ratio": ("of the direct way, the lower of both", 2),
    "nodes": ("CPU of both nodes (s per GB)", 2),
    "relay": ("CPU of the relay (s per GB)", 2),
    "ping": ("ping, idle, median (ms)", 3),
}


@attrs.frozen
class Relayed:
    """
    A way that is up.

    @ivar relay: what it leads through, if it does.
    """

    way: Way
    relay: Relay | None


def options(argv: Sequence[str] | None) -> argparse.Namespace:
    """
    The command line.
    """
    parser = argparse.ArgumentParser(
        description="Measure the tunnel through vnet-relay beside the direct one."
    )
    parser.add_argument("--rounds", type=int, default=3, help="how often each way has its turn (default 3)")
    parser.add_argument("--seconds", type=int, default=3, help="of each TCP stream (default 3)")
    parser.add_argument("--links", default="veth", help=f"with commas, of {', '.join(LINKS)} (default veth)")
    parser.add_argument(
        "--only", default=",".join(TRANSPORTS), help="ways, with commas (default %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of the tables")
    found = parser.parse_args(argv)
    found.links, found.only = found.links.split(","), found.only.split(",")
    for names, known in ((found.links, LINKS), (found.only, TRANSPORTS)):
        if unknown := set(names) - set(known):
            parser.error(f"no such thing: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    if found.rounds < 1 or found.seconds < 1:
        parser.error("rounds and seconds are at least 1")
    return found


def uriOf(relay: Relay, transport: str) -> str:
    """
    The URI of one transport.
    """
    scheme, kind = ("turns:", "tcp") if transport == "tls" else ("turn:", transport)
    for uri in relay.uris:
        if uri.startswith(scheme) and f"?transport={kind}" in uri:
            return uri
    raise LabError(f"the relay has no URI for {transport}: {relay.uris}")


@contextmanager
def build(cluster: Cluster, relay: Relay, transport: str) -> Iterator[Relayed]:
    """
    A mediator and two nodes.
    """
    isRelayed = transport != "direct"
    told = relayOptions(cluster, [uriOf(relay, transport)]) if isRelayed else []
    mediator = cluster.startMediator(*told, name=f"{transport}-m", wait=False)
    near, far = (cluster.lab.addHost(f"{transport}-{side}", ipv6=False) for side in "ab")
    for host, peer in ((near, far), (far, near)) if isRelayed else ():
        # Who gets UDP out reaches the other's relayed address without an allocation of its own.
        to, by = (f"ip {way} {peer.address} " if transport == "udp" else "" for way in ("daddr", "saddr"))
        host.link.setRules("direct", [f"{to}meta l4proto udp drop"], [f"{by}meta l4proto udp drop"])
    one, other = nodes = [cluster.addNode(host.name, where=host, wait=False) for host in (near, far)]
    for daemon in (mediator, *nodes):
        daemon.waitReady()
    one.login()
    one.create("bench", "correct horse battery staple")
    other.join(one.invite("bench"))
    target = str(other.waitOnline()["address"])
    one.waitPing(target)
    for node in nodes:
        seen = node.waitPath(other if node is one else one, "relayed" if isRelayed else "direct")
        if isRelayed and seen["transport"] != transport:
            raise LabError(f"{node.name} uses {seen['transport']} rather than {transport}")
    pids = tuple(node.process.pid for node in nodes if node.process is not None)
    yield Relayed(Way(transport, near, far, target, "", pids), relay if isRelayed else None)


def measure(relayed: Relayed, seconds: int) -> dict[str, float]:
    """
    One turn.
    """
    way, relay = relayed.way, relayed.relay
    pid = relay.process.pid if relay is not None and relay.process is not None else 0
    with iperfServer(way.far):
        ping = idle(way, _PINGS)
        before = cpuSeconds(pid) if pid else 0.0
        there = stream(way, seconds)
        spent = cpuSeconds(pid) - before if pid else 0.0
        back = stream(way, seconds, back=True)
    amount = there.mbits * seconds / 8000
    return {
        "there": there.mbits,
        "back": back.mbits,
        "nodes": there.cpuPerGB or 0.0,
        "relay": spent / amount if amount else 0.0,
        "ping": ping.median or 0.0,
    }


def medians(turns: Sequence[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """
    Of all rounds; and how a way compares with the direct one is the median of what it was in each round.
    """
    found = {
        name: {key: statistics.median(turn[name][key] for turn in turns) for key in turns[0][name]}
        for name in turns[0]
    }
    if "direct" in found:
        for name, each in found.items():
            each["ratio"] = min(
                statistics.median(turn[name][key] / turn["direct"][key] for turn in turns)
                for key in ("there", "back")
            )
    return found


def collect(chosen: argparse.Namespace, progress: Console) -> dict[str, dict[str, dict[str, float]]]:
    """
    Build and measure.

    @return: by link and way.
    """
    found = {}
    with Cluster("relayed") as cluster, ExitStack() as stack:
        with progress.status("building the lab and starting the programs"):
            relay = addRelay(cluster, "relay")
            ways = [stack.enter_context(build(cluster, relay, name)) for name in chosen.only]
        hosts = [relay.host, *(host for each in ways for host in (each.way.near, each.way.far))]
        for link in chosen.links:
            setLinks(cluster.lab.internet, hosts, link)
            turns = []
            for turn in range(chosen.rounds):
                results = {}
                first = turn % len(ways)
                for each in (*ways[first:], *ways[:first]):
                    name = each.way.name
                    results[name] = measure(each, chosen.seconds)
                    said = f"{results[name]['there']:,.0f} and {results[name]['back']:,.0f} Mbit/s"
                    progress.print(f"round {turn + 1}: {link}: {name}: {said}", style="dim")
                turns.append(results)
            found[link] = medians(turns)
    return found


def show(console: Console, link: str, found: dict[str, dict[str, float]]) -> None:
    """
    One table.
    """
    table = Table(title=f"link {link}: {LINKS[link]}", title_justify="left")
    table.add_column("")
    for name in found:
        table.add_column(name, justify="right")
    for key, (title, digits) in _ROWS.items():
        if all(key in each for each in found.values()):
            table.add_row(title, *(f"{each[key]:,.{digits}f}" for each in found.values()))
    console.print(table)


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the benchmark.

    @return: the exit code: 0 done, 1 failed, 128 and more for a signal.
    """
    chosen = options(argv)
    if reason := unavailable("ping", "iperf3", "ethtool"):
        print(f"vnet: the benchmark cannot run here: {reason}", file=sys.stderr)
        return 1
    progress = Console(stderr=True, highlight=False)
    found: dict[str, Any] = {}
    try:
        with guard():
            found = collect(chosen, progress)
    except Interrupted as interrupted:
        return 128 + interrupted.signal
    except VnetError as error:
        print(*getattr(error, "__notes__", []), f"vnet: {error}", sep="\n", file=sys.stderr)
        return 1
    if chosen.json:
        print(json.dumps(found, indent=2))
        return 0
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDTH)
    for link, each in found.items():
        show(console, link, each)
    return 0


if __name__ == "__main__":
    sys.exit(main())
