"""
What an idle node costs: memory and processor time with one peer, and with a thousand, each with a path and a tunnel that are kept.

    python bench/idle.py [--peers 1,1000] [--optimized 1] [--seconds N] [--json [FILE]] [--document FILE]

The node is the real program, as C{twistd} starts it, and with C{PYTHONOPTIMIZE=2}; its peers are a L{crowd} on another host.
Needs root; leaves nothing behind.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
from crowd import NETWORK
from document import fill
from machine import machineFacts
from measures import memory
from rich.console import Console
from rich.table import Table
from spent import cpuSeconds

from vnet.errors import VnetError
from vnet.test.netlab import Host, Interrupted, LabError, guard, stop, unavailable
from vnet.test.netlab._space import ROOT
from vnet.test.priv.cluster import Cluster, Node, waitUntil

__all__ = ["Cost", "main"]

#: Seconds for each peer to have its path, and for what a node does after it has found one.
_PATIENCE, _SETTLING = 0.5, 60.0
#: What is asked for: MB for so many peers, and percent of a core.
TARGETS = {1: (45.0, 3.0), 1000: (120.0, 3.0)}


@attrs.frozen
class Cost:
    """
    What a node costs with so many peers.

    @ivar rss: its resident memory, MB.
    @ivar pss: the same with shared pages divided among their users.
    @ivar cpu: percent of one core.
    @ivar arrival: seconds of CPU for each peer, from when it was told of until its path was found.
    @ivar datagrams: UDP datagrams per second, out and in.
    @ivar isOptimized: whether it was started with C{PYTHONOPTIMIZE=2}.
    """

    peers: int
    rss: float
    pss: float
    cpu: float
    arrival: float
    datagrams: float
    isOptimized: bool


def paths(node: Node) -> Counter[str]:
    """
    How many peers are reached how.
    """
    answer = node.ask("list")
    return Counter(str(each["path"]) for network in answer["networks"] for each in network["members"])


def _datagrams(host: Host) -> int:
    shown = host.interfaces()["eth0"]["stats64"]
    return int(shown["rx"]["packets"]) + int(shown["tx"]["packets"])


@attrs.define
class Measurement:
    """
    One node and its crowd.
    """

    cluster: Cluster
    isOptimized: bool
    _crowd: subprocess.Popen[str] = attrs.field(init=False)
    _mediator: subprocess.Popen[str] = attrs.field(init=False)
    _node: Node = attrs.field(init=False)

    def start(self) -> None:
        """
        Start both.
        """
        lab = self.cluster.lab
        far, near = lab.addHost("crowd", ipv6=False), lab.addHost("node", ipv6=False)
        self._mediator = self._spawn(far, "mediator", far.address, str(lab.directory / "mediator"))
        url = self._line(self._mediator)
        self._crowd = self._spawn(far, "peers", url)
        self._node = self.cluster.addNode(
            "idle-node",
            "--no-port-mapping",
            where=near,
            # Compiled modules are kept, as they are for users.
            variables={"PYTHONOPTIMIZE": "2" if self.isOptimized else "", "PYTHONDONTWRITEBYTECODE": ""},
        )
        self._node.login(url)
        self._node.create(NETWORK)

    def _spawn(self, host: Host, *arguments: str) -> subprocess.Popen[str]:
        program = str(Path(__file__).resolve().with_name("crowd.py"))
        return host.popen(
            [sys.executable, program, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log.open("a"),
            cwd=ROOT,
        )

    @property
    def _log(self) -> Path:
        return self.cluster.lab.directory / "crowd.log"

    def stop(self) -> None:
        """
        End the crowd and its mediator.
        """
        stop(self._crowd, self._mediator)

    def _line(self, process: subprocess.Popen[str]) -> str:
        line = process.stdout.readline().strip() if process.stdout else ""
        if not line or line.startswith("failed"):
            raise LabError(f"the crowd: {line}\n{self._log.read_text()[-2000:]}")
        return line

    @property
    def pid(self) -> int:
        """
        The node's process.
        """
        return self._node.process.pid if self._node.process else 0

    def measure(self, peers: int, seconds: float) -> Cost:
        """
        Let peers come until there are so many, and measure.
        """
        more, before = peers - paths(self._node).total(), cpuSeconds(self.pid)
        if self._crowd.stdin and more:
            self._crowd.stdin.write(f"{more}\n")
            self._crowd.stdin.flush()
            self._line(self._crowd)
        self._waitFor(peers)
        arrival = (cpuSeconds(self.pid) - before) / max(more, 1)
        time.sleep(_SETTLING if seconds >= _SETTLING else seconds)
        start, spent, packets = time.monotonic(), cpuSeconds(self.pid), _datagrams(self._node.host)
        time.sleep(seconds)
        took = time.monotonic() - start
        found = Cost(
            peers,
            memory(self.pid, "Rss"),
            memory(self.pid, "Pss"),
            (cpuSeconds(self.pid) - spent) / took * 100,
            arrival,
            (_datagrams(self._node.host) - packets) / took,
            self.isOptimized,
        )
        kept = paths(self._node)["direct"]
        if kept != peers:
            raise LabError(f"of {peers} paths {peers - kept} were lost while nothing happened")
        return found

    def _waitFor(self, peers: int) -> None:
        """
        Wait until so many have a direct path.
        """
        # To be asked costs the node something, too.
        often = 0.2 + peers / 200
        try:
            waitUntil(
                lambda: paths(self._node)["direct"] == peers,
                60 + peers * _PATIENCE,
                f"{peers} direct paths",
                often,
            )
        except LabError as error:
            error.add_note(f"paths: {paths(self._node)}")
            raise


HEAD = (
    "peers",
    "RSS (MB)",
    "PSS (MB)",
    "CPU (% of a core)",
    "CPU to meet one (ms)",
    "datagrams/s",
    "asked",
)


def _cells(cost: Cost) -> list[str]:
    asked = "-"
    if cost.peers in TARGETS:
        memoryLimit, cpuLimit = TARGETS[cost.peers]
        isMet = cost.rss <= memoryLimit and cost.cpu <= cpuLimit
        asked = f"{memoryLimit:g} MB, {cpuLimit:g} %: {'met' if isMet else 'not met'}"
    numbers = (f"{cost.rss:.1f}", f"{cost.pss:.1f}", f"{cost.cpu:.2f}", f"{cost.arrival * 1000:.1f}")
    peers = f"{cost.peers:,}" + (", PYTHONOPTIMIZE=2" if cost.isOptimized else "")
    return [peers, *numbers, f"{cost.datagrams:.1f}", asked]


def markdown(facts: dict[str, Any], costs: Sequence[Cost]) -> str:
    """
    The table for documents.
    """
    lines = [list(HEAD), ["---"] * len(HEAD), *map(_cells, costs)]
    text = "".join("| " + " | ".join(cells) + " |\n" for cells in lines)
    return text + f"\n{facts['processor']}, {facts['cores']} cores, Python {facts['python']}.\n"


def costsOf(isOptimized: bool, numbers: Iterable[int], seconds: float, progress: Console) -> Iterator[Cost]:
    """
    Measure one node with ever more peers.
    """
    with Cluster("idle") as cluster:
        measurement = Measurement(cluster, isOptimized)
        measurement.start()
        try:
            for peers in numbers:
                with progress.status(f"{peers} peers"):
                    cost = measurement.measure(peers, seconds)
                progress.print("  ".join(_cells(cost)), style="dim")
                yield cost
        finally:
            measurement.stop()


def perform(chosen: argparse.Namespace, progress: Console) -> None:
    """
    Measure and show.
    """
    facts, costs = machineFacts(), [*costsOf(False, chosen.peers, chosen.seconds, progress)]
    if chosen.optimized:
        costs += costsOf(True, chosen.optimized, chosen.seconds, progress)
    costs.sort(key=lambda cost: cost.peers)
    if chosen.json:
        text = json.dumps({"machine": facts, "costs": [attrs.asdict(cost) for cost in costs]}, indent=2)
        if chosen.json == "-":
            print(text)
            return
        Path(chosen.json).write_text(text + "\n")
    if chosen.document:
        fill(chosen.document, "idle", markdown(facts, costs))
    table = Table(*HEAD, box=None, pad_edge=False)
    for cost in costs:
        table.add_row(*_cells(cost))
    console = Console(highlight=False)
    (console if console.is_terminal else Console(highlight=False, width=140)).print(table, markup=False)


def _numbers(text: str) -> list[int]:
    return sorted(int(each) for each in text.split(",") if each)


def options(argv: Sequence[str] | None) -> argparse.Namespace:
    """
    The command line.
    """
    parser = argparse.ArgumentParser(description="Measure what an idle node costs.")
    parser.add_argument("--peers", default="1,1000", help="how many, with commas (default %(default)s)")
    parser.add_argument(
        "--optimized",
        default="1",
        metavar="PEERS",
        help="with how many of these once more, with PYTHONOPTIMIZE=2 (default %(default)s)",
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="how long (default 60)")
    parser.add_argument("--json", nargs="?", const="-", metavar="FILE", help="print JSON, or write it too")
    parser.add_argument("--document", type=Path, help="a file to write the table into, docs/performance.md")
    found = parser.parse_args(argv)
    try:
        found.peers = _numbers(found.peers)
        found.optimized = [each for each in _numbers(found.optimized) if each in found.peers]
    except ValueError as error:
        parser.error(f"--peers and --optimized have numbers with commas: {error}")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the measurement.

    @return: the exit code: 0 done, 1 failed, 128 and more for a signal.
    """
    chosen = options(argv)
    if reason := unavailable("ping"):
        print(f"vnet: this cannot be measured here: {reason}", file=sys.stderr)
        return 1
    try:
        with guard():
            perform(chosen, Console(stderr=True, highlight=False))
    except Interrupted as interrupted:
        return 128 + interrupted.signal
    except VnetError as error:
        print(*getattr(error, "__notes__", []), f"vnet: {error}", sep="\n", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
