"""
What a storm of broadcasts from one member does to a pair of others.

    python bench/storm.py [--rate 50000] [--rounds N] [--seconds N] [--json [FILE]]

Three nodes in one network; the first one's operating system sends so many broadcasts a second.  TCP between the other two is
measured in turns, with the storm and without.  Without it the first node has as much to do: it gets packets of DHCP then, which
it drops.  Once the first node is as it is, and once its own bound is taken away, as by a member that wants to harm: it sends then
what it can.  Its programs have the first core, the pair the second, if there are two, so that they do not take each other's time.
Needs root; leaves nothing behind.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import attrs
from measures import memory
from rich.console import Console
from rich.table import Table

from vnet.errors import VnetError
from vnet.test.netlab import Interrupted, guard, stop, unavailable
from vnet.test.priv.cluster import Cluster, Node, waitUntil

__all__ = ["Storm", "main"]

TARGET, RATE = 0.9, 50_000
STORM, DHCP = 9999, 67

# Every few milliseconds as many as are due; prints how many a second it sent.
SEND = """
import signal, socket, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(print(round(sent / (time.monotonic() - start)), flush=True)))
storm = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
storm.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
storm.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"vnet0")
start, sent, rate = time.monotonic(), 0, int(sys.argv[1])
print("ready", flush=True)
while True:
    due = int((time.monotonic() - start) * rate) - sent
    for _ in range(min(due, 500)):
        storm.sendto(bytes(60), ("255.255.255.255", int(sys.argv[2])))
    sent += min(due, 500)
    time.sleep(0.001)
"""

# Prints how many came.
COUNT = """
import signal, socket, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(print(count, flush=True)))
taker, count = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), 0
taker.bind(("", 9999))
print("ready", flush=True)
while True:
    taker.recv(2048)
    count += 1
"""

# A client whose own bound is taken away.
UNBOUND = """
import sys
from vnet.client.dataplane import groups
make = groups.Groups.__attrs_post_init__
def unbound(self):
    make(self)
    self._sent = groups.KeyedLimit(10**9, 10**9, 1)
groups.Groups.__attrs_post_init__ = unbound
sys.argv = sys.argv[1:]
from twisted.scripts.twistd import run
run()
"""


@attrs.frozen
class Storm:
    """
    What was measured.

    @ivar kind: C{bounded} or C{unbounded}: the first node's own bound.
    @ivar sent: broadcasts a second of its operating system.
    @ivar taken: broadcasts a second that the operating system of one of the pair got.
    @ivar calm: Mbit/s between the pair without the storm, and C{stormy} with it, the median of all rounds.
    @ivar ratio: the median of the ratios of the rounds.
    @ivar growth: by how much the resident memory of the pair's nodes grew, MB, the larger one.
    """

    kind: str
    sent: int
    taken: float
    calm: float
    stormy: float
    ratio: float
    growth: float


def pin(nodes: Sequence[Node], core: int) -> None:
    """
    Let nodes run on one core, if there are several.
    """
    for node in nodes:
        if node.process is not None and (os.cpu_count() or 1) > 1:
            subprocess.run(
                ["taskset", "-acp", str(core), str(node.process.pid)], check=True, capture_output=True
            )


def throughput(one: Node, other: Node, seconds: float, core: int) -> float:
    """
    @return: Mbit/s of TCP.
    """
    prefix = ["taskset", "-c", str(core)] if (os.cpu_count() or 1) > 1 else []
    server = other.host.popen(
        [*prefix, "iperf3", "-s", "-1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    argv = [*prefix, "iperf3", "-J", "-t", str(seconds), "-c", other.address]
    try:
        waitUntil(lambda: not one.host.run(["true"]).returncode and _listens(other), 5.0, "iperf3 listens")
        report = json.loads(one.host.run(argv, timeout=seconds + 20).stdout)
    finally:
        stop(server)
    return float(report["end"]["sum_received"]["bits_per_second"]) / 1e6


def _listens(node: Node) -> bool:
    return "5201" in node.host.run(["ss", "-ltn"]).stdout


def said(process: subprocess.Popen[str]) -> int:
    """
    End a program, and read the number that it prints.
    """
    process.terminate()
    return int(process.communicate(timeout=10)[0].split()[-1])


def measure(kind: str, rate: int, rounds: int, seconds: float) -> Storm:
    """
    Measure one kind of storm.
    """
    with Cluster("storm", tolerated="programs of the bench end nodes as they like") as cluster:
        cluster.startMediator()
        first, one, other = (
            cluster.addNode(name, where=cluster.lab.addHost(name), wait=name != "first" or kind == "bounded")
            for name in ("first", "one", "other")
        )
        if kind == "unbounded":
            first.kill()
            first.prefix = (sys.executable, "-c", UNBOUND)
            first.start()
        nodes = (first, one, other)
        first.login()
        first.create("net", "correct horse")
        for node in nodes[1:]:
            node.join(first.invite("net"))
        for node in nodes:
            for peer in nodes:
                if node is not peer:
                    node.waitPath(peer)
        cores = (0, 1) if (os.cpu_count() or 1) > 1 else (0, 0)
        pin([first], cores[0])
        pin([one, other], cores[1])
        return _rounds(kind, nodes, rate, rounds, seconds, cores)


def _rounds(
    kind: str, nodes: Sequence[Node], rate: int, rounds: int, seconds: float, cores: tuple[int, int]
) -> Storm:
    first, one, other = nodes
    throughput(one, other, seconds, cores[1])
    before = [memory(node.process.pid, "Rss") for node in nodes[1:] if node.process]
    calm, stormy, sent, taken = [], [], [], []
    for _ in range(rounds):
        with _sending(first, rate, DHCP, cores[0]):
            calm.append(throughput(one, other, seconds, cores[1]))
        counter = other.host.popen([sys.executable, "-c", COUNT], stdout=subprocess.PIPE)
        assert counter.stdout is not None
        counter.stdout.readline()
        with _sending(first, rate, STORM, cores[0]) as rates:
            stormy.append(throughput(one, other, seconds, cores[1]))
        sent += rates
        taken.append(said(counter) / seconds)
    after = [memory(node.process.pid, "Rss") for node in nodes[1:] if node.process]
    ratios = [with_ / without for with_, without in zip(stormy, calm, strict=True)]
    growth = max(new - old for new, old in zip(after, before, strict=True))
    return Storm(
        kind, round(median(sent)), median(taken), median(calm), median(stormy), median(ratios), growth
    )


@contextmanager
def _sending(node: Node, rate: int, port: int, core: int) -> Iterator[list[int]]:
    """
    The operating system of a node sends broadcasts.

    @return: gets how many a second.
    """
    rates: list[int] = []
    sender = ["taskset", "-c", str(core), sys.executable, "-c", SEND, str(rate), str(port)]
    process = node.host.popen(sender, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield rates
    finally:
        rates.append(said(process))


def table(storms: Sequence[Storm]) -> Table:
    """
    The figures for a person.
    """
    made = Table("the first node", "sent/s", "taken/s", "calm Mbit/s", "in the storm", "ratio", "memory MB")
    for each in storms:
        made.add_row(
            each.kind,
            f"{each.sent:,}",
            f"{each.taken:.0f}",
            f"{each.calm:.0f}",
            f"{each.stormy:.0f}",
            f"{each.ratio:.1%}",
            f"{each.growth:+.1f}",
        )
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """
    @return: the exit code: 1 when the pair kept less than 90 % in the storm of an honest node.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rate", type=int, default=RATE)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--only", choices=("bounded", "unbounded"))
    parser.add_argument("--json", nargs="?", const="-", metavar="FILE")
    options = parser.parse_args(argv)
    if reason := unavailable("iperf3", "taskset"):
        print(f"vnet: {reason}", file=sys.stderr)
        return 1
    kinds = [options.only] if options.only else ["bounded", "unbounded"]
    try:
        with guard():
            storms = [measure(kind, options.rate, options.rounds, options.seconds) for kind in kinds]
    except Interrupted as interrupted:
        return 128 + interrupted.signal
    except VnetError as error:
        print(*getattr(error, "__notes__", []), f"vnet: {error}", sep="\n", file=sys.stderr)
        return 1
    found: list[dict[str, Any]] = [attrs.asdict(each) for each in storms]
    if options.json == "-":
        print(json.dumps(found))
    else:
        Console(highlight=False).print(table(storms))
        if options.json:
            Path(options.json).write_text(json.dumps(found))
    return int(any(each.kind == "bounded" and each.ratio < TARGET for each in storms))


if __name__ == "__main__":
    sys.exit(main())
