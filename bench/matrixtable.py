"""
Matrices of pairs as tables in Markdown, and what of them goes into files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matrixpicture import Field, picture

from vnet.test.natcells import Cell, asJson, figure, median

__all__ = ["cellText", "fieldOf", "markdownMatrix", "markdownRows", "write"]

#: So many attempts or more are told as a share, fewer are counted.
MANY = 20


def markdownRows(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """
    A table; all columns but the first are to the right.
    """
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def markdownMatrix(kinds: Sequence[str], cell: Callable[[str, str], str]) -> str:
    """
    A table of each kind with itself and with those after it.

    @param cell: the text for two kinds.
    """
    rows = [
        [f"**{one}**", *(cell(one, other) if column >= row else "" for column, other in enumerate(kinds))]
        for row, one in enumerate(kinds)
    ]
    return markdownRows(["", *kinds], rows)


def _share(cell: Cell) -> str:
    if cell.attempts >= MANY:
        return f"{100 * cell.share:.4g} %"
    return f"{cell.direct}/{cell.attempts}"


def _seconds(values: Iterable[float]) -> str:
    found = median(values)
    return "" if found is None else f"{found:.2f} s"


def cellText(cell: Cell) -> str:
    """
    A cell in a table: how many were direct and how fast; what is below its figure is bold.
    """
    if cell.failed:
        text = f"{cell.failed}/{cell.attempts} without a path"
    elif cell.direct:
        text = f"{_share(cell)} {_seconds(cell.directSeconds)}".strip()
    else:
        text = f"relayed {_seconds(cell.pingSeconds)}".strip()
    return f"**{text}**" if cell.below else text


def fieldOf(cell: Cell) -> Field:
    """
    A cell in the picture.
    """
    wanted = figure(cell.one, cell.other)
    hint = (
        f"{cell.one} and {cell.other}: {cell.direct} direct, {cell.relayed} relayed, {cell.failed} without a path; "
        f"asked for: {f'{100 * wanted:g} % direct' if wanted else 'relayed'}"
    )
    if cell.direct:
        lines = (_share(cell), _seconds(cell.directSeconds))
    else:
        lines = ("no path" if cell.failed else "relayed", _seconds(cell.pingSeconds))
    return Field(cell.share, tuple(line for line in lines if line), hint, cell.below, bool(cell.failed))


def write(
    directory: Path,
    name: str,
    title: str,
    cells: Sequence[Cell],
    facts: Mapping[str, Any],
    notes: Sequence[str],
) -> list[Path]:
    """
    Write one half of the matrix: C{NAME.json}, C{NAME.md} and C{NAME.svg}.

    @param facts: of the machine and the run, for the JSON.
    @param notes: sentences below the table.
    """
    kinds = list(dict.fromkeys(kind for cell in cells for kind in (cell.one, cell.other)))
    byPair = {(cell.one, cell.other): cell for cell in cells}
    table = markdownMatrix(
        kinds, lambda one, other: cellText(byPair[one, other]) if (one, other) in byPair else ""
    )
    # Half a matrix, whose rows are its longer side downwards.
    fields = {(cell.other, cell.one): fieldOf(cell) for cell in cells}
    texts = {
        "json": json.dumps({**facts, "cells": asJson(cells)}, indent=2) + "\n",
        "md": "\n".join([f"# {title}", "", f"![{title}]({name}.svg)", "", table, *notes, ""]),
        "svg": picture(title, kinds, kinds, fields),
    }
    directory.mkdir(parents=True, exist_ok=True)
    paths = [directory / f"{name}.{ending}" for ending in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        path.write_text(text)
    return paths
