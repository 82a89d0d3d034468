"""
The tunnel's benchmark: vnet beside wireguard-go and the bare link, in one run.

    python bench/tunnel.py [--quick] [--rounds N] [--only vnet,veth] [--json [FILE]]

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
from contenders import BUILDERS, TOOLS, Way
from measures import Effort, Result, measure
from report import asJson, show, tunnelFacts
from rich.console import Console

from vnet.errors import VnetError
from vnet.test.netlab import Interrupted, guard, unavailable
from vnet.test.priv.cluster import Cluster

__all__ = ["main"]

#: A table that is not for a terminal is as wide as it needs.
WIDTH = 160


def options(argv: Sequence[str] | None) -> argparse.Namespace:
    """
    The command line.
    """
    parser = argparse.ArgumentParser(
        description="Measure vnet's tunnel beside wireguard-go and the bare link."
    )
    parser.add_argument("--rounds", type=int, help="how often each way has its turn (default 3)")
    parser.add_argument("--quick", action="store_true", help="one short round, below 40 s")
    parser.add_argument("--seconds", type=int, help="of each TCP stream (default 3)")
    parser.add_argument("--pings", type=int, help="how many, idle and under load (default 100)")
    parser.add_argument(
        "--steps", type=int, help="at most, of the search for the rate of packets (default 6)"
    )
    parser.add_argument("--only", default=",".join(BUILDERS), help="ways, with commas (default %(default)s)")
    parser.add_argument(
        "--json",
        nargs="?",
        const="-",
        metavar="FILE",
        help="print JSON instead of the table, or write it too",
    )
    found = parser.parse_args(argv)
    found.only = found.only.split(",")
    if unknown := set(found.only) - set(BUILDERS):
        parser.error(f"no such way: {', '.join(sorted(unknown))}; there are {', '.join(BUILDERS)}")
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


def perform(chosen: argparse.Namespace, progress: Console) -> None:
    """
    Build, measure and show.
    """
    facts, effort = tunnelFacts(), effortOf(chosen)
    rounds = chosen.rounds or (1 if chosen.quick else 3)
    with Cluster("bench") as cluster, ExitStack() as stack:
        with progress.status("building the lab and starting the programs"):
            ways = [
                stack.enter_context(build(cluster)) for name, build in BUILDERS.items() if name in chosen.only
            ]
        results = takeTurns(progress, ways, effort, rounds)
        settings = {way.name: way.settings for way in ways}
    if chosen.json:
        text = json.dumps(asJson(facts, effort, settings, results), indent=2)
        if chosen.json == "-":
            print(text)
            return
        Path(chosen.json).write_text(text + "\n")
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDTH)
    show(console, facts, settings, results)


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the benchmark.

    @return: the exit code: 0 done, 1 failed, 128 and more for a signal.
    """
    chosen = options(argv)
    tools = [tool for name in chosen.only for tool in TOOLS[name]]
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
