"""
The engines, and the child process that runs one on one target: C{python -m vnet.test.fuzz.engine}.

A child says C{#COUNT} on standard error now and then, and where it has written an input that it found.  It ends
with 0 when there was nothing, otherwise with L{FOUND} or whatever libFuzzer gives for a hang or for memory.
"""

from __future__ import annotations

import argparse
import hashlib
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vnet.test.fuzz.target import Target

__all__ = ["FOUND", "SECONDS_PER_INPUT", "WRITTEN", "main"]

FOUND = 77
WRITTEN = "Test unit written to "
SECONDS_PER_INPUT = 10
_PROGRESS = 5.0
_MEGABYTES = 1024


class Hang(BaseException):
    """
    One input took too long.
    """


def _hang(number: int, frame: FrameType | None) -> None:
    raise Hang("one input took too long")


class _Progress:
    """
    Says how far it is.
    """

    def __init__(self, check: Callable[[bytes], None]) -> None:
        self._check = check
        self._next = time.monotonic() + _PROGRESS
        self.count = 0

    def __call__(self, data: bytes) -> None:
        self.count += 1
        if not self.count & 63 and time.monotonic() >= self._next:
            self._next += _PROGRESS
            print(f"#{self.count}", file=sys.stderr, flush=True)
        self._check(data)


def runPlain(
    target: Target, runs: int, seconds: float, directory: Path, seed: int, patience: int = SECONDS_PER_INPUT
) -> int:
    """
    Feed mutations of the seeds, whatever they do.

    @return: the exit code.
    """
    random, seeds = Random(seed), target.seeds()
    check = _Progress(target.checker())
    end = time.monotonic() + seconds if seconds else float("inf")
    signal.signal(signal.SIGALRM, _hang)
    while check.count < runs and time.monotonic() < end:
        data = seeds[check.count] if check.count < len(seeds) else target.input(random, seeds)
        signal.alarm(patience)
        try:
            check(data)
        except (Exception, Hang):
            traceback.print_exc()
            path = directory / f"crash-{hashlib.sha1(data).hexdigest()}"
            path.write_bytes(data)
            print(f"{WRITTEN}{path}", file=sys.stderr)
            return FOUND
        finally:
            signal.alarm(0)
    print(f"#{check.count}", file=sys.stderr)
    return 0


def runAtheris(
    target: Target, runs: int, seconds: float, directory: Path, seed: int, patience: int = SECONDS_PER_INPUT
) -> int:
    """
    Let libFuzzer follow the coverage.  What it learns stays in C{corpus/} for the next time.

    @return: never: libFuzzer ends the process.
    """
    import atheris

    seeds = target.seeds()
    corpus, given = directory / "corpus", directory / "seeds"
    for each in (corpus, given):
        each.mkdir(exist_ok=True)
    for seedInput in seeds:
        (given / hashlib.sha1(seedInput).hexdigest()).write_bytes(seedInput)

    def mutated(data: bytes, maximum: int, number: int) -> bytes:
        random = Random(number)
        if random.random() < 0.2:
            return target.input(random, seeds)[:maximum]
        return target.mended(bytes(atheris.Mutate(data, maximum)), random)[:maximum]

    options = {
        "runs": runs,
        "max_total_time": int(seconds),
        "seed": seed,
        "max_len": target.maximum,
        "timeout": patience,
        "rss_limit_mb": _MEGABYTES,
        "artifact_prefix": f"{directory}/",
        "reload": 0,
    }
    arguments = [f"-{name}={value}" for name, value in options.items()]
    atheris.Setup(
        [sys.argv[0], *arguments, str(corpus), str(given)],
        _Progress(target.checker()),
        custom_mutator=mutated,
    )
    atheris.Fuzz()
    return 0


def _find(name: str, engine: str) -> Target:
    """
    Import the target, and all that it reads with, after the engine had its chance to instrument it.
    """
    if engine == "atheris":
        import atheris

        with atheris.instrument_imports(include=["vnet", "twisted.protocols.amp", "twisted.protocols.basic"]):
            from vnet.test.fuzz.registry import findTarget

            return findTarget(name)
    from vnet.test.fuzz.registry import findTarget

    return findTarget(name)


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run one target.
    """
    parser = argparse.ArgumentParser(prog="python -m vnet.test.fuzz.engine")
    parser.add_argument("engine", choices=("atheris", "plain"))
    parser.add_argument("target")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--runs", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--patience", type=int, default=SECONDS_PER_INPUT)
    options = parser.parse_args(arguments)
    target = _find(options.target, options.engine)
    run = runAtheris if options.engine == "atheris" else runPlain
    return run(target, options.runs, options.seconds, options.directory, options.seed, options.patience)


if __name__ == "__main__":
    sys.exit(main())
