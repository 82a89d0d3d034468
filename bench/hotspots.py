"""
Where the time goes in the two nodes while TCP flows from one to the other: the sampling profiler py-spy looks at
both, from outside.

    .venv/bin/python -m pip install py-spy
    .venv/bin/python bench/hotspots.py [--seconds N] [--lines]

Needs root; leaves nothing behind.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from contenders import vnet
from rich.console import Console
from rich.table import Table
from streams import iperfServer
from way import Way

from vnet.errors import ConfigurationError, VnetError
from vnet.test.netlab import Interrupted, guard, stop, unavailable
from vnet.test.priv.cluster import Cluster

__all__ = ["main"]

SHOWN = 28
_TICKS = os.sysconf("SC_CLK_TCK")


def profiler() -> str:
    """
    Where py-spy is.

    @raise ConfigurationError: nowhere.
    """
    found = shutil.which("py-spy") or shutil.which("py-spy", path=str(Path(sys.executable).parent))
    if found is None:
        raise ConfigurationError(f"py-spy is not installed: {sys.executable} -m pip install py-spy")
    return found


def spentSeconds(pid: int) -> tuple[float, float]:
    """
    What a process has spent in itself and in the kernel.
    """
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) / _TICKS, int(fields[12]) / _TICKS


def sample(way: Way, seconds: int, lines: bool, directory: Path) -> list[Path]:
    """
    Profile both daemons under one TCP stream.

    @return: a file of stacks for each.
    """
    files = [directory / f"stacks-{pid}" for pid in way.daemons]
    argv = ["iperf3", "-c", way.target, "-t", str(seconds + 2)]
    stream = way.near.popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    watchers = []
    try:
        for pid, path in zip(way.daemons, files, strict=True):
            options = ["-p", str(pid), "-d", str(seconds), "-r", "250", "-f", "raw", "-o", str(path)]
            options += ["--function"] * (not lines)
            # Without stopping the node for each sample it goes on at its own pace.
            options += ["--nonblocking"]
            watchers.append(
                subprocess.Popen(
                    [profiler(), "record", *options],
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    text=True,
                    start_new_session=True,
                )
            )
        for watcher in watchers:
            watcher.wait(seconds + 60)
        stream.wait(60)
    finally:
        stop(stream, *watchers)
    return files


def count(path: Path) -> tuple[Counter[str], Counter[str], int]:
    """
    Read a file of stacks.

    @return: how often each function was the innermost one, how often it was on the stack, and how many samples
        there are.
    """
    own: Counter[str] = Counter()
    within: Counter[str] = Counter()
    total = 0
    for line in path.read_text().splitlines():
        stack, _, times = line.rpartition(" ")
        frames = stack.split(";")
        total += int(times)
        own[frames[-1]] += int(times)
        for frame in set(frames):
            within[frame] += int(times)
    return own, within, total


def show(console: Console, title: str, path: Path, spent: tuple[float, float]) -> None:
    """
    The functions that take the most time.
    """
    own, within, total = count(path)
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("itself", "with callees", "function"):
        table.add_column(name, justify="left" if name == "function" else "right", no_wrap=True)
    for frame, times in own.most_common(SHOWN):
        table.add_row(f"{times / total:.1%}", f"{within[frame] / total:.1%}", frame)
    console.print(table, markup=False)
    console.print(f"CPU: {spent[0]:.1f} s in the program, {spent[1]:.1f} s in the kernel\n")


def perform(chosen: argparse.Namespace, console: Console) -> None:
    """
    Build, profile and show.
    """
    profiler()
    with Cluster("hotspots") as cluster, vnet(cluster) as way, iperfServer(way.far):
        before = [spentSeconds(pid) for pid in way.daemons]
        files = sample(way, chosen.seconds, chosen.lines, cluster.lab.directory)
        after = [spentSeconds(pid) for pid in way.daemons]
        titles = ("the node that sends the stream", "the node that receives it")
        for title, path, start, end in zip(titles, files, before, after, strict=True):
            show(console, title, path, (end[0] - start[0], end[1] - start[1]))


def main() -> int:
    """
    Run the profile.

    @return: the exit code: 0 done, 1 failed, 128 and more for a signal.
    """
    parser = argparse.ArgumentParser(description="Show where a node spends its time while TCP flows.")
    parser.add_argument("--seconds", type=int, default=5, help="how long (default 5)")
    parser.add_argument("--lines", action="store_true", help="lines in place of functions")
    chosen = parser.parse_args()
    if reason := unavailable("iperf3", "ping"):
        print(f"vnet: the profile cannot be taken here: {reason}", file=sys.stderr)
        return 1
    console = Console(highlight=False)
    try:
        with guard():
            perform(chosen, Console(highlight=False, width=None if console.is_terminal else 140))
    except Interrupted as interrupted:
        return 128 + interrupted.signal
    except VnetError as error:
        print(*getattr(error, "__notes__", []), f"vnet: {error}", sep="\n", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
