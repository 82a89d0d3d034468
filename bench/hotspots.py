"""
Where the time goes in the two nodes while TCP flows from one to the other, or small datagrams do: the sampling profiler py-spy
looks at both, from outside.

    .venv/bin/python bench/hotspots.py [--seconds N] [--lines] [--small] [--device=tun] [--document FILE]

Needs root; leaves nothing behind.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
from contenders import vnet, vnetTun
from document import fill
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


@contextmanager
def load(way: Way, seconds: int, small: bool) -> Iterator[None]:
    """
    Something flows from near to far in this block.

    @param small: whether it is datagrams of 100 bytes, as many as one sender sends; else one TCP stream.
    """
    options = ["-u", "-l", "100", "-b", "0"] if small else []
    argv = ["iperf3", "-c", way.target, "-t", str(seconds + 2), *options]
    stream = way.near.popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
        stream.wait(60)
    finally:
        stop(stream)


def sample(way: Way, chosen: argparse.Namespace, directory: Path) -> list[Path]:
    """
    Profile both daemons under a load.

    @return: a file of stacks for each.
    """
    files = [directory / f"stacks-{pid}" for pid in way.daemons]
    watchers = []
    with load(way, chosen.seconds, chosen.small):
        try:
            for pid, path in zip(way.daemons, files, strict=True):
                options = ["-p", str(pid), "-d", str(chosen.seconds), "-r", "250", "-f", "raw"]
                options += ["-o", str(path), *(["--function"] * (not chosen.lines))]
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
                watcher.wait(chosen.seconds + 60)
        finally:
            stop(*watchers)
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


@attrs.frozen
class Profile:
    """
    Where one node spends its time.

    @ivar functions: what each takes itself and with what it calls, of all samples, the most first.
    @ivar spent: seconds of CPU in the program and in the kernel.
    """

    title: str
    functions: list[tuple[float, float, str]]
    spent: tuple[float, float]

    @classmethod
    def read(cls, title: str, path: Path, spent: tuple[float, float]) -> Profile:
        """
        Read a file of stacks.
        """
        own, within, total = count(path)
        functions = [(times / total, within[frame] / total, frame) for frame, times in own.most_common(SHOWN)]
        return cls(title, functions, spent)

    @property
    def cpu(self) -> str:
        """
        What it spent, in words.
        """
        return f"CPU: {self.spent[0]:.1f} s in the program, {self.spent[1]:.1f} s in the kernel"

    def markdown(self) -> str:
        """
        The table for documents.
        """
        lines = [f"{self.title}. {self.cpu}.", "", "| itself | with callees | function |", "|---|---|---|"]
        lines += [f"| {own:.1%} | {within:.1%} | `{frame}` |" for own, within, frame in self.functions]
        return "\n".join(lines) + "\n"

    def show(self, console: Console) -> None:
        """
        The table for people.
        """
        table = Table(title=self.title, title_justify="left", box=None, pad_edge=False)
        for name in ("itself", "with callees", "function"):
            table.add_column(name, justify="left" if name == "function" else "right", no_wrap=True)
        for own, within, frame in self.functions:
            table.add_row(f"{own:.1%}", f"{within:.1%}", frame)
        console.print(table, markup=False)
        console.print(f"{self.cpu}\n")


def perform(chosen: argparse.Namespace, console: Console) -> None:
    """
    Build, profile and show.
    """
    profiler()
    build = vnetTun if chosen.device == "tun" else vnet
    with Cluster("hotspots") as cluster, build(cluster) as way, iperfServer(way.far):
        before = [spentSeconds(pid) for pid in way.daemons]
        files = sample(way, chosen, cluster.lab.directory)
        after = [spentSeconds(pid) for pid in way.daemons]
        what = "datagrams of 100 bytes" if chosen.small else "the stream"
        titles = (f"The node that sends {what}", f"The node that receives {what}")
        profiles = [
            Profile.read(title, path, (end[0] - start[0], end[1] - start[1]))
            for title, path, start, end in zip(titles, files, before, after, strict=True)
        ]
    for profile in profiles:
        profile.show(console)
    if chosen.document:
        name = "profile of small datagrams" if chosen.small else "profile"
        fill(chosen.document, name, "\n".join(profile.markdown() for profile in profiles))


def main() -> int:
    """
    Run the profile.

    @return: the exit code: 0 done, 1 failed, 128 and more for a signal.
    """
    parser = argparse.ArgumentParser(description="Show where a node spends its time while TCP flows.")
    parser.add_argument("--seconds", type=int, default=5, help="how long (default 5)")
    parser.add_argument("--lines", action="store_true", help="lines in place of functions")
    parser.add_argument("--small", action="store_true", help="datagrams of 100 bytes in place of TCP")
    parser.add_argument("--device", choices=("tap", "tun"), default="tap", help="(default tap)")
    parser.add_argument("--document", type=Path, help="a file to write the tables into, docs/performance.md")
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
