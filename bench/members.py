"""
What a network of thousands costs one of its members::

    python bench/members.py [--members N] [--cold N] [--json FILE]

A real mediator, and a real node behind a NAT, in network namespaces (needs root); the others are control connections of
one process, each of which answers when it is called (C{vnet.test.priv.crowd}).  Measured are the time from the node's
request to join until it is in step with all, its memory, and the time of the first packet to members to whom it has no path,
one after the other: no packet is sent twice.  The exit code is 1 when a figure of the goals is missed.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from attrs import asdict, frozen
from machine import machineFacts

from vnet.test.netlab import Interrupted, guard, unavailable
from vnet.test.priv.cluster import Cluster, Node
from vnet.test.priv.crowdhost import startCrowd

__all__ = ["Figures", "main", "measure"]

NETWORK = "crowd"
SYNCHRONISED, MEMORY, FIRST = 5.0, 150.0, 2.0
_WARM = 15.0


@frozen
class Figures:
    """
    What was measured.

    @ivar gathered: seconds until all others were members.
    @ivar synchronised: seconds from the request to join until the node listed all others.
    @ivar before: MiB of the node before it joined; C{joined}, C{after} and C{most}: when it was in step, at the end, and at most.
    @ivar processor: seconds of processor time that the node took for all.
    @ivar paths: members to whom it had a path after a while without traffic.
    @ivar stayed: members that were online all the same at the end: fewer than all means that the machine was too busy for them.
    @ivar first: milliseconds to the answer of the first packet to each member to whom there was no path; L{None}: none came.
    """

    members: int
    gathered: float
    synchronised: float
    before: float
    joined: float
    after: float
    most: float
    processor: float
    paths: int
    stayed: int
    first: tuple[float | None, ...]

    @property
    def misses(self) -> list[str]:
        """The goals that are missed."""
        answered = [each for each in self.first if each is not None]
        goals = {
            f"synchronised within {SYNCHRONISED:.0f} s": self.synchronised <= SYNCHRONISED,
            f"below {MEMORY:.0f} MiB": self.most < MEMORY,
            "all members online at the end (is the machine busy?)": self.stayed == self.members,
            "every first packet answered": len(answered) == len(self.first),
            f"within {FIRST:.0f} s": max(answered, default=0.0) <= FIRST * 1000,
        }
        return [goal for goal, reached in goals.items() if not reached]

    def lines(self) -> list[str]:
        """Sentences for a person."""
        answered = sorted(each for each in self.first if each is not None)
        times = f"{median(answered):.0f} ms in the median, {answered[-1]:.0f} ms at most" if answered else "-"
        return [
            f"members                   {self.members:,}, gathered in {self.gathered:.0f} s",
            f"join to synchronised      {self.synchronised:.2f} s",
            f"memory of the node        {self.before:.1f} MiB before, {self.joined:.1f} joined, {self.after:.1f} at the end, "
            f"{self.most:.1f} at most",
            f"processor time            {self.processor:.1f} s",
            f"paths without traffic     {self.paths}",
            f"online at the end         {self.stayed:,}",
            f"first packets             {len(answered)} of {len(self.first)} answered: {times}",
        ]


def measure(members: int, cold: int) -> Figures:
    """
    @param cold: to how many members without a path a first packet is sent.
    """
    with Cluster("members") as cluster:
        mediator = cluster.startMediator()
        began = time.monotonic()
        crowd = startCrowd(cluster, NETWORK, members)
        gathered = time.monotonic() - began
        node = cluster.addNode("node")
        node.login()
        before, spent = _memory(node, "VmRSS"), _processor(node)
        began = time.monotonic()
        node.ask("join", network=NETWORK, password=None)
        while len(_listed(node)) < members:
            time.sleep(0.02)
        synchronised = time.monotonic() - began
        joined = _memory(node, "VmRSS")
        time.sleep(_WARM)
        paths = sum(each["path"] != "none" for each in _listed(node))
        strangers = [each["address"] for each in _listed(node) if each["path"] == "none"][:cold]
        first = tuple(_answer(node, address) for address in strangers)
        figures = Figures(
            members,
            gathered,
            synchronised,
            before,
            joined,
            _memory(node, "VmRSS"),
            _memory(node, "VmHWM"),
            _processor(node) - spent,
            paths,
            sum(each["state"] == "online" for each in _listed(node)),
            first,
        )
        # In this order, that nobody hears of everybody's end.
        node.stop()
        mediator.stop()
        crowd.stop()
    return figures


def _answer(node: Node, address: str) -> float | None:
    """
    Send one packet.
    """
    answers = node.host.ping(address, timeout=2 * FIRST).millis
    return answers[0] if answers else None


def _listed(node: Node) -> list[dict[str, Any]]:
    return [member for network in node.ask("list")["networks"] for member in network["members"]]


def _pid(node: Node) -> int:
    if node.process is None:
        raise RuntimeError("the node has not been started")
    return node.process.pid


def _memory(node: Node, which: str) -> float:
    status = Path(f"/proc/{_pid(node)}/status").read_text()
    found = re.search(rf"{which}:\s+(\d+) kB", status)
    if found is None:
        raise RuntimeError("the node has ended")
    return int(found[1]) / 1024


def _processor(node: Node) -> float:
    fields = Path(f"/proc/{_pid(node)}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def main(argv: Sequence[str] | None = None) -> int:
    """
    The program.
    """
    parser = argparse.ArgumentParser(
        description="Measure what a network of thousands costs one of its members."
    )
    parser.add_argument("--members", type=int, default=2000, help="other members (default %(default)s)")
    parser.add_argument("--cold", type=int, default=20, help="first packets (default %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    chosen = parser.parse_args(argv)
    reason = unavailable()
    if reason:
        print(f"members: {reason}", file=sys.stderr)
        return 1
    with guard():
        try:
            figures = measure(chosen.members, chosen.cold)
        except Interrupted:
            return 130
    print("\n".join(figures.lines()))
    for miss in figures.misses:
        print(f"missed: {miss}", file=sys.stderr)
    if chosen.json is not None:
        chosen.json.write_text(json.dumps({**machineFacts(), **asdict(figures)}, indent=2) + "\n")
    return 1 if figures.misses else 0


if __name__ == "__main__":
    sys.exit(main())
