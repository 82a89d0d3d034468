# -*- test-case-name: vnet.test.test_natmatrix -*-
"""
The matrix: which pairs of kinds of NAT get a direct path, how often, and how soon, on L{vnet.test.natsim}.

From the command line::

    python -m vnet.test.natmatrix kinds=P,R,X trials=200 json=matrix.json   # all pairs of these kinds
    python -m vnet.test.natmatrix A=R B=X                                   # one pair
    python -m vnet.test.natmatrix A=R B=X seed=17 log=peers                 # one trial, line by line
    python -m vnet.test.natmatrix A=R B=S1 minutes=10                       # and count changes of the path
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import attrs

from vnet.test import natcells
from vnet.test.natfigures import KINDS_IN_MATRIX, figure
from vnet.test.natkinds import KINDS
from vnet.test.nattrace import Trace
from vnet.test.nattrial import Outcome, Setting, runTrial

__all__ = ["Cell", "main", "measure", "pairs", "runCell", "runMatrix", "runTrial"]

_PORTION = 10


@attrs.frozen
class Cell:
    """
    What became of the trials of one pair of kinds.
    """

    a: str
    b: str
    outcomes: tuple[Outcome, ...]

    @property
    def direct(self) -> float:
        """The share of direct paths, 0 to 1."""
        return self._share(lambda outcome: outcome.direct and outcome.connected)

    @property
    def connected(self) -> float:
        """The share that had any path."""
        return self._share(lambda outcome: outcome.connected)

    def _share(self, holds: Callable[[Outcome], bool]) -> float:
        return sum(map(holds, self.outcomes)) / len(self.outcomes)

    @property
    def below(self) -> bool:
        """Whether it is less than the figure, or someone was not connected."""
        return self.connected < 1.0 or self.direct < figure(self.a, self.b)

    def asCounts(self) -> natcells.Cell:
        """
        What is common to the measurements in memory and in namespaces.
        """
        direct = [each for each in self.outcomes if each.connected and each.direct]
        connected = [each for each in self.outcomes if each.connected]
        return natcells.Cell(
            self.a,
            self.b,
            direct=len(direct),
            relayed=len(connected) - len(direct),
            failed=len(self.outcomes) - len(connected),
            directSeconds=tuple(each.directAfter for each in direct if each.directAfter is not None),
            pingSeconds=tuple(each.connectedAfter for each in connected if each.connectedAfter is not None),
        )

    def asJson(self) -> dict[str, Any]:
        """
        For other programs: shares from 0 to 1, times in seconds, L{None} where there are none.  C{failed} and C{relayed}
        name the seeds, for a look at them.
        """
        path = [each.pathAfter for each in self.outcomes if each.pathAfter is not None]
        connected = [each.connectedAfter for each in self.outcomes if each.connectedAfter is not None]
        direct = [each.directAfter for each in self.outcomes if each.directAfter is not None and each.direct]
        return {
            "a": self.a,
            "b": self.b,
            "trials": len(self.outcomes),
            "figure": figure(self.a, self.b),
            "direct": round(self.direct, 4),
            "connected": round(self.connected, 4),
            "below": self.below,
            "pathP50": _percentile(path, 0.5),
            "pathP95": _percentile(path, 0.95),
            "connectedP50": _percentile(connected, 0.5),
            "connectedP95": _percentile(connected, 0.95),
            "directP50": _percentile(direct, 0.5),
            "directP95": _percentile(direct, 0.95),
            "probesP95": [
                _percentile([each.probes[side] for each in self.outcomes], 0.95) for side in (0, 1)
            ],
            "peaks": [
                [max(found) for found in zip(*(each.peaks[side] for each in self.outcomes), strict=True)]
                for side in (0, 1)
            ],
            "changed": sum(each.changes > 0 for each in self.outcomes),
            "changesP50": _percentile([each.changes for each in self.outcomes], 0.5),
            "errors": sum(bool(each.errors) for each in self.outcomes),
            "failed": [each.seed for each in self.outcomes if not each.connected],
            "relayed": [each.seed for each in self.outcomes if each.connected and not each.direct][:20],
        }


def pairs(kinds: Iterable[str] = KINDS_IN_MATRIX) -> list[tuple[str, str]]:
    """
    Each kind with itself and with each that follows.
    """
    chosen = list(kinds)
    return [(one, other) for index, one in enumerate(chosen) for other in chosen[index:]]


def runCell(a: str, b: str, trials: int = 200, setting: Setting | None = None, seed: int = 1) -> Cell:
    """
    Run the trials of one pair, in this process; the seeds count up from C{seed}.
    """
    return Cell(a, b, tuple(runTrial((a, b), each, setting) for each in range(seed, seed + trials)))


def runMatrix(
    wanted: Sequence[tuple[str, str]],
    trials: int = 200,
    setting: Setting | None = None,
    seed: int = 1,
    jobs: int | None = None,
) -> Iterator[Cell]:
    """
    Run the trials of many pairs on all processors.

    @param jobs: processes; L{None}: as many as there are processors.
    @return: the cells in the order of C{wanted}, each when it is done.
    """
    portions = [
        (pair, range(first, min(first + _PORTION, seed + trials)), setting)
        for pair in wanted
        for first in range(seed, seed + trials, _PORTION)
    ]
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        done = pool.imap(_runPortion, portions)
        for a, b in wanted:
            outcomes: list[Outcome] = []
            while len(outcomes) < trials:
                outcomes += next(done)
            yield Cell(a, b, tuple(outcomes))


def measure(
    trials: int,
    progress: Callable[[str], None],
    kinds: Sequence[str] = KINDS_IN_MATRIX,
    jobs: int | None = None,
) -> Iterator[natcells.Cell]:
    """
    Run the whole matrix.

    @param progress: gets a line after each cell.
    """
    for cell in runMatrix(pairs(kinds), trials, jobs=jobs):
        progress(_line(cell))
        yield cell.asCounts()


def _runPortion(portion: tuple[tuple[str, str], range, Setting | None]) -> list[Outcome]:
    kinds, seeds, setting = portion
    return [runTrial(kinds, seed, setting) for seed in seeds]


def _percentile(values: Iterable[float], share: float) -> float | None:
    found = sorted(values)
    return round(found[min(len(found) - 1, int(share * len(found)))], 3) if found else None


def _replay(kinds: tuple[str, str], seed: int, setting: Setting, log: str) -> None:
    trace = Trace("" if log == "events" else log)
    outcome = runTrial(kinds, seed, setting, trace.begin)
    print()
    for name, value in attrs.asdict(outcome).items():
        if name != "errors":
            print(f"{name:15} {value}")
    for error in outcome.errors:
        print(error)


def _line(cell: Cell) -> str:
    found = cell.asJson()
    mark = "BELOW" if cell.below else "ok"
    return (
        f"{cell.a:>5} x {cell.b:<5} {100 * cell.direct:5.1f} % direct (figure {100 * found['figure']:.0f}), "
        f"{100 * cell.connected:5.1f} % connected, connected {found['connectedP50']} / {found['connectedP95']} s, "
        f"direct {found['directP50']} / {found['directP95']} s, probes {found['probesP95']}, peaks {found['peaks']}, "
        f"changed {found['changed']} (each {found['changesP50']}), errors {found['errors']}, {mark}"
        + (f", not connected {found['failed']}" if found["failed"] else "")
        + (f", relayed {found['relayed']}" if cell.below else "")
    )


def main(arguments: Sequence[str]) -> int:
    """
    See the module.

    @return: 1 when a cell is below its figure.
    """
    options = dict(each.lstrip("-").split("=", 1) for each in arguments)
    trials, seed = int(options.get("trials", "200")), options.get("seed")
    setting = Setting(
        seconds=float(options.get("seconds", "40")),
        loss=float(options.get("loss", "0.02")),
        watch=60 * float(options.get("minutes", "0")),
    )
    if "A" in options and seed is not None and "trials" not in options:
        _replay((options["A"], options["B"]), int(seed), setting, options.get("log", "events"))
        return 0
    wanted = [(options["A"], options["B"])] if "A" in options else pairs(_kindsOf(options))
    jobs = int(options["jobs"]) if "jobs" in options else None
    cells, started = [], time.monotonic()
    for cell in runMatrix(wanted, trials, setting, int(seed or 1), jobs):
        cells.append(cell)
        print(_line(cell), flush=True)
    print(f"{trials * len(cells)} trials in {time.monotonic() - started:.0f} s")
    if "json" in options:
        with open(options["json"], "w", encoding="utf-8") as file:
            json.dump([cell.asJson() for cell in cells], file, indent=1)
    return int(any(cell.below for cell in cells))


def _kindsOf(options: dict[str, str]) -> Sequence[str]:
    chosen = options["kinds"].split(",") if "kinds" in options else KINDS_IN_MATRIX
    for kind in chosen:
        if kind not in KINDS:
            raise SystemExit(f"{kind} is none of {', '.join(KINDS)}")
    return chosen


if __name__ == "__main__":
    if "PYTHONHASHSEED" not in os.environ:
        # The order of sets would differ from run to run.
        environment = {**os.environ, "PYTHONHASHSEED": "0"}
        os.execve(sys.executable, [sys.executable, "-m", "vnet.test.natmatrix", *sys.argv[1:]], environment)
    sys.exit(main(sys.argv[1:]))
