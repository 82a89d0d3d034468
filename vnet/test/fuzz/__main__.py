"""
The campaign: each target in a child process of its own, at most one on each processor.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from types import FrameType

from attrs import define, field

from vnet.test.fuzz.engine import WRITTEN
from vnet.test.fuzz.registry import TARGETS, findTarget

__all__ = ["main"]

_RUNS = 2_000_000
_DONE = re.compile(r"#(\d+)\b|Done (\d+) runs")
_KEPT_LINES = 60


@define
class Outcome:
    """
    What became of one target.

    @ivar result: empty as long as nothing is wrong.
    @ivar finding: where the input is that was found.
    @ivar last: the last lines that the child wrote, without libFuzzer's chatter.
    """

    name: str
    inputs: int = 0
    seconds: float = 0.0
    result: str = ""
    finding: Path | None = None
    last: deque[str] = field(factory=lambda: deque(maxlen=_KEPT_LINES))


@define
class Campaign:
    """
    Runs targets.

    @ivar seconds: for each target at most; 0 for no limit.
    """

    engine: str
    directory: Path
    runs: int
    seconds: float
    seed: int
    _children: set[subprocess.Popen[str]] = field(factory=set, init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)
    _ended: bool = field(default=False, init=False)

    def run(self, names: Sequence[str], jobs: int) -> list[Outcome]:
        """
        @return: in the order of the names.
        """
        pool = ThreadPoolExecutor(jobs)
        try:
            return list(pool.map(self._runOne, names))
        finally:
            self._end()
            pool.shutdown(cancel_futures=True)

    def _end(self) -> None:
        with self._lock:
            self._ended = True
            for child in self._children:
                child.kill()

    def _runOne(self, name: str) -> Outcome:
        outcome = Outcome(name)
        directory = self.directory / name.replace(":", "-")
        directory.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        with self._lock:
            if self._ended:
                return outcome
            child = self._start(name, directory)
            self._children.add(child)
        with child:
            self._follow(child, outcome)
        with self._lock:
            self._children.discard(child)
        outcome.seconds = time.monotonic() - started
        outcome.result = self._judge(child.returncode, outcome)
        if not self._ended:
            print(
                f"{name}: {outcome.inputs:,} inputs in {outcome.seconds:.0f} s: {outcome.result}", flush=True
            )
        return outcome

    def _start(self, name: str, directory: Path) -> subprocess.Popen[str]:
        options = {"runs": self.runs, "seconds": self.seconds, "seed": self.seed}
        return subprocess.Popen(
            [
                *(sys.executable, "-u", "-m", "vnet.test.fuzz.engine", self.engine, name, str(directory)),
                *(f"--{option}={value}" for option, value in options.items()),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )

    def _follow(self, child: subprocess.Popen[str], outcome: Outcome) -> None:
        shown = time.monotonic()
        for line in child.stdout or ():
            if match := _DONE.match(line):
                outcome.inputs = int(match[1] or match[2])
            elif not line.startswith(("INFO:", "WARNING: Failed to find function")):
                outcome.last.append(line.rstrip("\n"))
            if (place := line.find(WRITTEN)) >= 0:
                outcome.finding = Path(line[place + len(WRITTEN) :].strip())
            if time.monotonic() - shown >= 10:
                shown = time.monotonic()
                print(f"{outcome.name}: {outcome.inputs:,} of {self.runs:,}", flush=True)

    def _judge(self, code: int, outcome: Outcome) -> str:
        if outcome.finding is not None:
            return "FOUND"
        if code:
            return f"the process ended with {code}"
        if not self.seconds and outcome.inputs < self.runs:
            return f"ended after {outcome.inputs:,} of {self.runs:,}"
        return "ok"


def _report(outcomes: Sequence[Outcome]) -> int:
    width = max(len(outcome.name) for outcome in outcomes)
    for outcome in outcomes:
        if outcome.result == "ok":
            continue
        print(f"\n--- {outcome.name}", *outcome.last, sep="\n")
        if outcome.finding is not None:
            command = [
                _python(),
                "-m",
                "vnet.test.fuzz",
                "--target",
                outcome.name,
                "--input",
                str(outcome.finding),
            ]
            print(f"--- again: {shlex.join(command)}")
    print(f"\n{'target':{width}}  {'inputs':>11}  {'seconds':>7}  result")
    for outcome in outcomes:
        print(f"{outcome.name:{width}}  {outcome.inputs:11,}  {outcome.seconds:7.0f}  {outcome.result}")
    return int(any(outcome.result != "ok" for outcome in outcomes))


def _python() -> str:
    try:
        return str(Path(sys.executable).relative_to(Path.cwd()))
    except ValueError:
        return sys.executable


def _again(name: str, path: Path) -> int:
    try:
        findTarget(name).checker()(path.read_bytes())
    except Exception:
        traceback.print_exc()
        return 1
    print(f"{name}: nothing is wrong with this input")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m vnet.test.fuzz", description="Fuzz all that reads bytes from outside."
    )
    parser.add_argument("--runs", type=int, default=_RUNS, help=f"inputs for each target (default {_RUNS:,})")
    parser.add_argument("--seconds", type=float, default=0.0, help="for each target at most")
    parser.add_argument(
        "--target", action="append", metavar="NAME", help=f"only this; may be repeated: {', '.join(TARGETS)}"
    )
    parser.add_argument(
        "--input", type=Path, metavar="FILE", help="give this one input to the target, in this process"
    )
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="processes at once")
    parser.add_argument(
        "--engine", choices=("atheris", "plain"), help="default: atheris where it is installed"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the random numbers")
    parser.add_argument("--directory", type=Path, default=Path(".fuzz"), help="for what was found")
    return parser


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main(arguments: Sequence[str] | None = None) -> int:
    """
    @return: the exit code: 0 when nothing was found.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    names = options.target or list(TARGETS)
    for name in names:
        try:
            findTarget(name)
        except (LookupError, ImportError):
            parser.error(f"no target {name}; there are: {', '.join(TARGETS)}")
    if options.input is not None:
        if len(names) != 1:
            parser.error("--input needs one --target")
        return _again(names[0], options.input)
    engine = options.engine or ("atheris" if find_spec("atheris") else "plain")
    if engine == "plain" and options.engine is None:
        print("atheris is not installed: inputs do not follow the coverage", file=sys.stderr)
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, _interrupt)
    campaign = Campaign(engine, options.directory, options.runs, options.seconds, options.seed)
    try:
        return _report(campaign.run(names, max(1, options.jobs)))
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
