"""
The relay's benchmark: vnet-relay beside coturn, in one run.

    python bench/relay.py [--quick] [--rounds N] [--links veth,nic,wire] [--json [FILE]]

Both are up all the time and take turns, round by round, on the same links: namespaces joined by veths.  Of each is measured how
much one large flow carries, how many small packets many clients send, what is added to a round trip, and what allocations
cost.  Needs root; leaves nothing behind.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import attrs
from links import LINKS, setLinks
from relayreport import Findings, Found, relayFacts, show
from relays import PORT, RELAYS, SECRET, TOOLS, Field, Server
from rich.console import Console
from spent import cpuSeconds, machineSeconds

from vnet.errors import VnetError
from vnet.test.netlab import Interrupted, Lab, guard, unavailable

__all__ = ["main"]

#: A table that is not for a terminal is as wide as it needs.
WIDTH = 160
_LOAD = str(Path(__file__).resolve().with_name("turnload.py"))
_PATIENCE = 150.0


@attrs.frozen
class Effort:
    """
    How long a turn takes.

    @ivar seconds: of each flow; C{warmUp}: before it.
    @ivar pings: round trips through the server, and as many past it.
    @ivar allocations: that are made and weighed; 0: none.
    """

    seconds: float = 1.5
    warmUp: float = 0.3
    pings: int = 400
    allocations: int = 5000


QUICK = Effort(seconds=0.4, warmUp=0.1, pings=60, allocations=500)


def options(argv: Sequence[str] | None) -> argparse.Namespace:
    """
    The command line.
    """
    parser = argparse.ArgumentParser(description="Measure vnet-relay beside coturn.")
    parser.add_argument("--rounds", type=int, help="how often each server has its turn (default 3)")
    parser.add_argument("--quick", action="store_true", help="one short round, below 40 s")
    parser.add_argument("--seconds", type=float, help="of each flow (default 1.5)")
    parser.add_argument("--pings", type=int, help="how many round trips (default 400)")
    parser.add_argument("--allocations", type=int, help="how many are weighed (default 5000; 0: none)")
    kinds = "; ".join(f"{name}: {text}" for name, text in LINKS.items())
    parser.add_argument("--links", default="veth,nic", help=f"{kinds} (default %(default)s)")
    parser.add_argument("--only", default=",".join(RELAYS), help="servers, with commas (default %(default)s)")
    parser.add_argument(
        "--json",
        nargs="?",
        const="-",
        metavar="FILE",
        help="print JSON instead of the table, or write it too",
    )
    found = parser.parse_args(argv)
    _splitNames(parser, found, "links", LINKS)
    _splitNames(parser, found, "only", RELAYS)
    for name, least in (("rounds", 1), ("pings", 1), ("seconds", 0.1), ("allocations", 0)):
        if (value := getattr(found, name)) is not None and value < least:
            parser.error(f"--{name} is at least {least}")
    return found


def _splitNames(
    parser: argparse.ArgumentParser, found: argparse.Namespace, option: str, names: Sequence[str]
) -> None:
    chosen = getattr(found, option).split(",")
    if unknown := set(chosen) - set(names):
        parser.error(f"--{option}: no such thing: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    setattr(found, option, chosen)


def effortOf(chosen: argparse.Namespace) -> Effort:
    """
    How long a turn takes, from the command line.
    """
    usual = QUICK if chosen.quick else Effort()
    given = {name: getattr(chosen, name) for name in ("seconds", "pings", "allocations")}
    return attrs.evolve(usual, **{name: value for name, value in given.items() if value is not None})


@attrs.define
class Turns:
    """
    Lets servers take turns.

    @ivar field: where they stand.
    @ivar rounds: how many.
    """

    field: Field
    effort: Effort
    rounds: int
    progress: Console

    def take(self, servers: Sequence[Server], links: Sequence[str]) -> Findings:
        """
        All rounds.  Each begins one server further on, so that none always follows the same other.
        """
        names = [server.name for server in servers]
        found = Findings({link: {name: [] for name in names} for link in links}, {name: [] for name in names})
        for turn in range(self.rounds):
            first = turn % len(servers)
            order = (*servers[first:], *servers[:first])
            for link in links:
                setLinks(self.field.lab.internet, (self.field.clients, self.field.peer), link)
                for server in order:
                    found.flows[link][server.name].append(self._flows(turn, link, server))
            for server in order if self.effort.allocations else ():
                found.allocations[server.name].append(self._allocations(turn, server.name))
        return found

    def _flows(self, turn: int, link: str, server: Server) -> Found:
        with self._shown(turn, f"{link}: {server.name}") as said:
            result = self._load(server, 0)
            rates = [result[name]["rate"] * 0.0112 for name in ("upTrains", "downTrains")]
            said.append(
                f"{rates[0]:,.0f} and {rates[1]:,.0f} Mbit/s, {result['upSmall']['rate']:,.0f} packets/s"
            )
        return result

    def _allocations(self, turn: int, name: str) -> Found:
        # Memory that was used before would be used again: so it takes a server that is new.
        with self._shown(turn, f"allocations: {name}") as said, self.field.serve(name) as server:
            result = self._load(server, self.effort.allocations)
            said.append(f"{result['memory'] / 1024:,.1f} KiB each")
        return result

    def _load(self, server: Server, allocations: int) -> dict[str, Any]:
        field, effort = self.field, attrs.asdict(self.effort)
        plan = {
            **effort,
            "allocations": allocations,
            "server": server.address,
            "port": PORT,
            "pid": server.pid,
            "secret": SECRET,
            "client": field.clients.address,
            "peer": field.peer.address,
            "peers": field.peer.namespace,
        }
        start, everything, own = time.monotonic(), machineSeconds(), _ownSeconds(server)
        out = field.clients.run([sys.executable, _LOAD], timeout=_PATIENCE, text=json.dumps(plan)).stdout
        others = machineSeconds() - everything - (_ownSeconds(server) - own)
        percent = max(0.0, others) / (time.monotonic() - start) / (os.cpu_count() or 1) * 100
        return {**json.loads(out), "count": allocations, "others": percent}

    @contextmanager
    def _shown(self, turn: int, what: str) -> Iterator[list[str]]:
        """
        Show the progress; what is put in the list is shown at the end.
        """
        said: list[str] = []
        start, title = time.monotonic(), f"round {turn + 1} of {self.rounds}: {what}"
        with self.progress.status(title):
            yield said
        self.progress.print(f"{title}: {', '.join(said)} ({time.monotonic() - start:.0f} s)", style="dim")


def _ownSeconds(server: Server) -> float:
    """
    CPU that this program, those that it has ended, and a server have used so far.
    """
    return sum(os.times()[:4]) + cpuSeconds(server.pid)


def perform(chosen: argparse.Namespace, progress: Console) -> None:
    """
    Build, measure and show.
    """
    facts, effort = relayFacts(), effortOf(chosen)
    rounds = chosen.rounds or (1 if chosen.quick else 3)
    with Lab("relay") as lab, ExitStack() as stack:
        with progress.status("building the lab and starting the servers"):
            field = Field.build(lab)
            servers = [stack.enter_context(field.serve(name)) for name in RELAYS if name in chosen.only]
        findings = Turns(field, effort, rounds, progress).take(servers, chosen.links)
    if chosen.json:
        text = json.dumps(findings.asJson(facts, attrs.asdict(effort)), indent=2)
        if chosen.json == "-":
            print(text)
            return
        Path(chosen.json).write_text(text + "\n")
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDTH)
    show(console, facts, findings)


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the benchmark.

    @return: the exit code: 0 done, 1 failed, 128 and more for a signal.
    """
    chosen = options(argv)
    if reason := unavailable(*TOOLS):
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
