"""
The tunnel's benchmark: vnet beside what Debian has in packages, and beside the bare link, in one run.

    python bench/tunnel.py [--quick] [--rounds N] [--links veth,nic,wire] [--only vnet,veth] [--json [FILE]]

Each way has two hosts of its own on the Internet of a L{Lab}: namespaces joined by veths, with a router between
and without NAT.  All are up all the time and take turns, round by round, since no machine is quiet for long.
Needs root; leaves nothing behind.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import attrs
import contenders
import packaged
from document import fill
from links import LINKS, setLinks
from measures import PARTS, Effort, Result, measure
from report import Findings, asJson, markdown, show, tunnelFacts
from rich.console import Console
from targets import markdownTargets, targets
from way import Way

from vnet.errors import VnetError
from vnet.test.netlab import Interrupted, guard, unavailable
from vnet.test.priv.cluster import Cluster

__all__ = ["main"]

#: A table that is not for a terminal is as wide as it needs.
WIDTH = 260

#: In the order in which they take turns.
BUILDERS = {**contenders.BUILDERS, **packaged.BUILDERS}
USUAL = ("vnet", "wireguard-go", "fastd", "tinc", "openvpn", "veth")


def options(argv: Sequence[str] | None) -> argparse.Namespace:
    """
    The command line.
    """
    parser = argparse.ArgumentParser(
        description="Measure vnet's tunnel beside packaged programs and the bare link."
    )
    parser.add_argument("--rounds", type=int, help="how often each way has its turn (default 3)")
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--seconds", type=int, help="of each TCP stream (default 3)")
    parser.add_argument("--pings", type=int, help="how many, idle and under load (default 100)")
    parser.add_argument(
        "--steps", type=int, help="at most, of the search for the rate of packets (default 6)"
    )
    parser.add_argument(
        "--only",
        default=",".join(USUAL),
        help=f"ways, with commas, of {', '.join(BUILDERS)}; or 'all' (default %(default)s)",
    )
    parser.add_argument(
        "--measure", default=",".join(PARTS), help="parts of a turn, with commas (default %(default)s)"
    )
    parser.add_argument("--links", default="veth", help="kinds of links, with commas, of veth, nic, wire")
    parser.add_argument("--document", type=Path, help="a file to write the tables into, docs/performance.md")
    parser.add_argument(
        "--json",
        nargs="?",
        const="-",
        metavar="FILE",
        help="print JSON instead of the table, or write it too",
    )
    found = parser.parse_args(argv)
    found.only = list(BUILDERS) if found.only == "all" else found.only.split(",")
    found.links, found.measure = found.links.split(","), found.measure.split(",")
    asked = (("way", found.only, BUILDERS), ("link", found.links, LINKS), ("part", found.measure, PARTS))
    for what, names, known in asked:
        if unknown := set(names) - set(known):
            parser.error(f"no such {what}: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    for name in ("rounds", "seconds", "pings", "steps"):
        if (value := getattr(found, name)) is not None and value < 1:
            parser.error(f"--{name} is at least 1")
    return found


def effortOf(chosen: argparse.Namespace) -> Effort:
    """
    How long a turn takes, from the command line.
    """
    usual = Effort(seconds=1, pings=50, steps=4, stepSeconds=0.5) if chosen.quick else Effort()
    return attrs.evolve(
        usual,
        seconds=chosen.seconds or usual.seconds,
        pings=chosen.pings or usual.pings,
        steps=chosen.steps or usual.steps,
        parts=chosen.measure,
    )


def takeTurns(console: Console, ways: Sequence[Way], effort: Effort, rounds: int) -> dict[str, list[Result]]:
    """
    All rounds.  Each begins one way further on, so that none always follows the same other.

    @param console: where the progress is shown.
    """
    results: dict[str, list[Result]] = {way.name: [] for way in ways}
    for turn in range(rounds):
        first = turn % len(ways)
        for way in (*ways[first:], *ways[:first]):
            before = results[way.name][-1] if results[way.name] else None
            start = time.monotonic()
            with console.status(f"round {turn + 1} of {rounds}: {way.name}"):
                result = measure(way, effort, before)
            results[way.name].append(result)
            console.print(
                f"round {turn + 1} of {rounds}: {way.name}: TCP {result.tcp or 0:,.0f} and "
                f"{result.tcpBack or 0:,.0f} Mbit/s, {result.packets or 0:,.0f} packets/s "
                f"({time.monotonic() - start:.0f} s)",
                style="dim",
            )
    return results


def collect(chosen: argparse.Namespace, effort: Effort, progress: Console) -> list[Findings]:
    """
    Build and measure.
    """
    rounds = chosen.rounds or (1 if chosen.quick else 3)
    found = []
    with Cluster("bench") as cluster, ExitStack() as stack:
        with progress.status("building the lab and starting the programs"):
            ways = [
                stack.enter_context(build(cluster)) for name, build in BUILDERS.items() if name in chosen.only
            ]
        settings = {way.name: way.settings for way in ways}
        for link in chosen.links:
            progress.print(f"link {link}: {LINKS[link]}", style="dim")
            if chosen.links != ["veth"]:
                for way in ways:
                    setLinks(cluster.lab.internet, (way.near, way.far, *way.others), link)
            found.append(Findings(link, settings, takeTurns(progress, ways, effort, rounds)))
    return found


def perform(chosen: argparse.Namespace, progress: Console) -> None:
    """
    Build, measure and show.
    """
    facts, effort = tunnelFacts(), effortOf(chosen)
    found = collect(chosen, effort, progress)
    if chosen.json:
        text = json.dumps(asJson(facts, effort, found), indent=2)
        if chosen.json == "-":
            print(text)
            return
        Path(chosen.json).write_text(text + "\n")
    said = targets(found)
    if chosen.document:
        fill(chosen.document, "tunnel", markdown(facts, found) + "\n" + markdownTargets(said))
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDTH)
    show(console, facts, found)
    for target in said:
        console.print("  ".join(target.cells), soft_wrap=True, markup=False)


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the benchmark.

    @return: the exit code: 0 done, 1 failed, 128 and more for a signal.
    """
    chosen = options(argv)
    tools = [tool for name in chosen.only for tool in packaged.TOOLS.get(name, ())]
    tools += [] if chosen.links == ["veth"] else ["ethtool"]
    if reason := unavailable("ping", "iperf3", *tools):
        print(f"vnet: the benchmark cannot run here: {reason}", file=sys.stderr)
        return 1
    progress = Console(stderr=True, highlight=False)
    start = time.monotonic()
    try:
        with guard():
            perform(chosen, progress)
    except Interrupted as interrupted:
        progress.print(f"Interrupted by {interrupted}; everything is removed.", style="yellow")
        return 128 + interrupted.signal
    except VnetError as error:
        print(*getattr(error, "__notes__", []), f"vnet: {error}", sep="\n", file=sys.stderr)
        return 1
    progress.print(f"All in {time.monotonic() - start:.0f} s; everything is removed.", style="dim")
    return 0


if __name__ == "__main__":
    sys.exit(main())
