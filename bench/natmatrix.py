"""
Which pairs of NATs get a direct path, and how soon::

    python bench/natmatrix.py [--memory] [--namespaces] [--peers] [--runs N] [--trials N] [--out DIR]

C{--memory} is the client's logic in a simulated Internet, with loss and delay, a great many times
(C{vnet.test.natmatrix}, whose C{measure(trials, progress)} gives one L{Cell} for each pair).  C{--namespaces} is
real programs in network namespaces (needs root); C{--peers} does the same with n2n, nebula and tinc.  Without any of
the three it is the first two.  Each writes a table, a picture and JSON to C{--out}.  The exit code is 1 when a cell is
below its figure.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from machine import machineFacts
from matrixtable import cellText, markdownRows, write
from rich.console import Console
from rivalreport import compare
from rivals import RIVALS, missing

from vnet.errors import VnetError
from vnet.test.natcells import KINDS, Cell, figure, pairs
from vnet.test.natkinds import KINDS as KINDS_IN_MEMORY
from vnet.test.natsummary import scoreRows, timeRows
from vnet.test.netlab import Interrupted, guard, unavailable
from vnet.test.priv.natpairs import Outcome, cellOf, measure

__all__ = ["main", "memory", "namespaces"]

OUT = Path(__file__).resolve().parents[1] / "docs" / "natmatrix"


def options(argv: Sequence[str] | None) -> argparse.Namespace:
    """
    The command line.
    """
    parser = argparse.ArgumentParser(
        description="Measure which pairs of NATs get a direct path, and how soon."
    )
    parser.add_argument("--memory", action="store_true", help="the logic, in a simulated Internet")
    parser.add_argument("--namespaces", action="store_true", help="real programs, in network namespaces")
    parser.add_argument("--peers", action="store_true", help=f"{', '.join(RIVALS)} in the same namespaces")
    parser.add_argument(
        "--runs", type=int, default=3, help="of each pair in namespaces (default %(default)s)"
    )
    parser.add_argument(
        "--trials", type=int, default=200, help="of each pair in memory (default %(default)s)"
    )
    parser.add_argument(
        "--jobs", type=int, default=2, help="pairs at a time in namespaces (default %(default)s)"
    )
    parser.add_argument(
        "--kinds", default=",".join(KINDS), help="some of the kinds, with commas (default: %(default)s)"
    )
    parser.add_argument(
        "--out", type=Path, default=OUT, metavar="DIR", help="where results go (default %(default)s)"
    )
    found = parser.parse_args(argv)
    found.kinds = found.kinds.split(",")
    if unknown := [kind for kind in found.kinds if kind not in KINDS]:
        parser.error(f"no such kind: {', '.join(unknown)}; there are {', '.join(KINDS)}")
    for name in ("runs", "trials", "jobs"):
        if getattr(found, name) < 1:
            parser.error(f"--{name} is at least 1")
    if not (found.memory or found.namespaces or found.peers):
        found.memory = found.namespaces = True
    return found


def kindsOf(cells: Sequence[Cell]) -> list[str]:
    """
    The kinds of some cells, each once.
    """
    return list(dict.fromkeys(kind for cell in cells for kind in (cell.one, cell.other)))


def memory(chosen: argparse.Namespace, console: Console) -> list[Cell]:
    """
    The half in memory.
    """
    module = importlib.import_module("vnet.test.natmatrix")
    cells = list(
        module.measure(
            chosen.trials, lambda line: console.print(line, style="dim", markup=False, soft_wrap=True)
        )
    )
    notes = [
        f"{chosen.trials} trials of each pair of kinds: the share of direct paths, and the median time from when both nodes "
        "were online. 2 % of all datagrams are lost on each way; a round trip between the two takes 50 to 150 ms, one to the "
        "mediator 50 ms. Each trial runs two whole nodes, with mediator and relay, for up to 40 seconds of simulated time.",
        "",
        markdownRows(
            ("", "behind"), [(kind, KINDS_IN_MEMORY[kind].title) for kind in kindsOf(cells)]
        ).replace("---:", "---"),
        "## Times",
        "",
        markdownRows(("", "times", "median / 95th percentile", "aimed at"), timeRows(cells)),
        "## Users",
        "",
        "Weighted by who is behind which kind of NAT (the weights are in `vnet/test/natfigures.py`):",
        "",
        markdownRows(
            (
                "users",
                "direct over IPv4",
                "with IPv6 at 45 % of them",
                "aimed at",
                "beyond anyone's reach over IPv4",
            ),
            scoreRows(cells),
        ),
    ]
    say(console, write(chosen.out, "memory", "Direct paths, in memory", cells, machineFacts(), notes))
    return cells


def namespaces(chosen: argparse.Namespace, console: Console) -> list[Cell]:
    """
    The half with real programs.
    """
    facts, wanted, start = machineFacts(), pairs(chosen.kinds), time.monotonic()
    done = 0

    def progress(cell: Cell, outcomes: list[Outcome]) -> None:
        nonlocal done
        done += 1
        last = outcomes[-1]
        times = ", ".join(
            f"{name} {value:.2f} s"
            for name, value in (("path after", last.direct), ("ping after", last.ping))
            if value is not None
        )
        console.print(
            f"{done}/{len(wanted) * chosen.runs} {cell.one} - {cell.other}: {last.path}; {times}",
            style="dim",
            markup=False,
            soft_wrap=True,
        )

    found = measure(wanted, chosen.runs, chosen.jobs, progress)
    cells = [cellOf(pair, outcomes) for pair, outcomes in found.items()]
    took = time.monotonic() - start
    notes = [
        f"{chosen.runs} runs of each pair, with programs started anew for each, in network namespaces of one computer "
        f"({facts['processor']}, {facts['cores']} cores, load average {facts['loadAverage']} at the beginning), "
        f"{chosen.jobs} pairs at a time, in {took:.0f} s.",
        "The time is the median from when both nodes were online until both had the direct path; of relayed pairs until the "
        "first ping through the tunnel. Bold: below the figure that is asked for.",
    ]
    record = {
        **facts,
        "seconds": round(took),
        "runs": chosen.runs,
        "startToPing": {
            f"{one} {other}": [
                round(each.online + each.ping, 3) for each in outcomes if each.ping is not None
            ]
            for (one, other), outcomes in found.items()
        },
    }
    say(console, write(chosen.out, "namespaces", "Direct paths, with real programs", cells, record, notes))
    return cells


def peers(chosen: argparse.Namespace, console: Console) -> None:
    """
    The other programs, in one table beside what the last run of L{namespaces} found.
    """
    file = chosen.out / "namespaces.json"
    ours = json.loads(file.read_text()) if file.exists() else {}
    # These wait far more than they compute.
    paths = compare(pairs(chosen.kinds), 3 * chosen.jobs, ours, chosen.out, machineFacts(), console)
    say(console, paths)


def say(console: Console, paths: Sequence[Path]) -> None:
    """
    Tell where the results are.
    """
    for path in paths:
        console.print(f"wrote {path}", style="dim", markup=False, soft_wrap=True)


def judge(cells: Sequence[Cell]) -> int:
    """
    Say what is below its figure.

    @return: the exit code.
    """
    bad = [cell for cell in cells if cell.below]
    for cell in bad:
        wanted = figure(cell.one, cell.other)
        asked = f"{100 * wanted:g} % direct" if wanted else "a path in each attempt"
        print(
            f"vnet: {cell.one} - {cell.other}: {cellText(cell).strip('*')}, asked for: {asked}",
            file=sys.stderr,
        )
    return 1 if bad else 0


def main(argv: Sequence[str] | None = None) -> int:
    """
    Measure.

    @return: the exit code: 0 done, 1 failed or below a figure, 128 and more for a signal.
    """
    chosen = options(argv)
    console = Console(stderr=True, highlight=False)
    reason = unavailable("ping", "conntrack") if chosen.namespaces or chosen.peers else None
    reason = reason or (missing() if chosen.peers else None)
    if reason:
        print(f"vnet: the matrix cannot be measured here: {reason}", file=sys.stderr)
        return 1
    cells: list[Cell] = []
    code = 0
    try:
        with guard():
            if chosen.memory and importlib.util.find_spec("vnet.test.natmatrix") is None:
                print("vnet: --memory: there is no vnet.test.natmatrix", file=sys.stderr)
                code = 1
            elif chosen.memory:
                cells += memory(chosen, console)
            if chosen.namespaces:
                cells += namespaces(chosen, console)
            if chosen.peers:
                peers(chosen, console)
    except Interrupted as interrupted:
        console.print(f"Interrupted by {interrupted}; everything is removed.", style="yellow")
        return 128 + interrupted.signal
    except VnetError as error:
        print(*getattr(error, "__notes__", []), f"vnet: {error}", sep="\n", file=sys.stderr)
        return 1
    return max(code, judge(cells))


if __name__ == "__main__":
    sys.exit(main())
