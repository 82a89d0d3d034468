"""
How often, and how soon, n2n, nebula and tinc get direct paths between the homes of the matrix, beside vnet.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matrixtable import markdownMatrix, markdownRows
from rich.console import Console
from rivalpairs import INTERVAL, PATIENCE, measureRivals
from rivals import RIVALS

from vnet.test.natcells import median

__all__ = ["compare"]


def compare(
    chosen: Sequence[tuple[str, str]],
    jobs: int,
    ours: Mapping[str, Any],
    directory: Path,
    facts: Mapping[str, Any],
    console: Console,
) -> list[Path]:
    """
    Measure, and write C{peers.json} and C{peers.md}.

    @param ours: what C{namespaces.json} holds, if there is one.
    @return: the files.
    """
    results = measureRivals(chosen, jobs, console)
    paths = {name: {pair: each.path for pair, each in found.items()} for name, found in results.items()}
    pings = {
        name: {pair: each.ping for pair, each in found.items() if each.ping is not None}
        for name, found in results.items()
    }
    if ours:
        cells = {(cell["one"], cell["other"]): cell for cell in ours["cells"]}
        known = [pair for pair in chosen if pair in cells]
        starts = {pair: median(ours["startToPing"].get(" ".join(pair), ())) for pair in known}
        paths = {"vnet": {pair: cells[pair]["verdict"] for pair in known}, **paths}
        pings = {"vnet": {pair: value for pair, value in starts.items() if value is not None}, **pings}
    directory.mkdir(parents=True, exist_ok=True)
    written = [directory / "peers.json", directory / "peers.md"]
    settings = {name: rival().settings for name, (rival, _) in RIVALS.items()}
    record = {
        **facts,
        "settings": settings,
        "pairs": [
            {
                "one": pair[0],
                "other": pair[1],
                **{name: {"path": paths[name].get(pair), "ping": pings[name].get(pair)} for name in paths},
                **{f"{name}Direct": found[pair].direct for name, found in results.items() if pair in found},
            }
            for pair in chosen
        ],
    }
    written[0].write_text(json.dumps(record, indent=2) + "\n")
    written[1].write_text(_document(chosen, paths, pings, settings, facts, _ownStart(ours)))
    return written


def _ownStart(ours: Mapping[str, Any]) -> str:
    """
    Which part of vnet's time is its start.
    """
    starts = [each for found in ours.get("startToPing", {}).values() for each in found]
    pings = [each for cell in ours.get("cells", ()) for each in cell["pingSeconds"]]
    if not starts or not pings:
        return ""
    return f" From when both are online it takes vnet {median(pings):.1f} s; what comes before is Python's start and the login."


def _document(
    chosen: Sequence[tuple[str, str]],
    paths: Mapping[str, Mapping[tuple[str, str], str]],
    pings: Mapping[str, Mapping[tuple[str, str], float]],
    settings: Mapping[str, str],
    facts: Mapping[str, Any],
    ownStart: str,
) -> str:
    def total(name: str, path: str) -> str:
        return str(sum(each == path for each in paths[name].values()))

    summary = [
        [
            name,
            total(name, "direct"),
            total(name, "relayed"),
            total(name, "none"),
            _seconds(median(pings[name].values())),
        ]
        for name in paths
    ]

    def cell(one: str, other: str) -> str:
        pair = (one, other)
        words = []
        for name in paths:
            path = paths[name].get(pair, "")
            words.append(
                f"{name} {_seconds(pings[name][pair])} {path}" if pair in pings[name] else f"{name} {path}"
            )
        return "<br>".join(words)

    kinds = list(dict.fromkeys(kind for pair in chosen for kind in pair))
    lines = [
        "# Direct paths of other programs",
        "",
        f"Of {len(chosen)} pairs of NATs:",
        "",
        markdownRows(["", "direct", "relayed", "none", "first ping, median"], summary),
        f"The first ping is counted from the start of both programs.{ownStart} Each pair:",
        "",
        markdownMatrix(kinds, cell),
        *[f"* {name}: {text}" for name, text in settings.items()],
        "",
        f"In network namespaces of one computer: {facts['processor']}, {facts['cores']} cores, load average "
        f"{facts['loadAverage']} at the beginning. Of the others a path counts as direct when the packets of its echoes, "
        f"{1 / INTERVAL:.0f} a second, pass between the two homes within {PATIENCE:.0f} s, counted in the middle of the "
        "Internet between them.",
        "",
    ]
    return "\n".join(lines)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} s"
