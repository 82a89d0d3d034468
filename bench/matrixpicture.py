"""
A matrix of pairs as a picture: one cell for each pair, coloured by its share, with numbers in it.  SVG, that
follows the reader's choice of light or dark.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape, quoteattr

import attrs

__all__ = ["Field", "picture"]

WIDTH, HEIGHT, GAP = 72, 44, 3
LEFT, TOP, MARGIN = 170, 130, 16
LEGEND = 64

#: From which share on a cell has a colour, and what the legend says of it.
STEPS = (
    (0.0, "relayed"),
    (0.005, "below 50 %"),
    (0.5, "50 to 75 %"),
    (0.75, "75 to 90 %"),
    (0.9, "90 % and more"),
)

STYLE = """
text { font: 13px system-ui, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1c2329 }
.title { font-size: 16px; font-weight: 600 } .small { font-size: 11px } .mid { text-anchor: middle } .end { text-anchor: end }
.page { fill: #ffffff }
.s0 { fill: #e6e9ec } .s1 { fill: #cfe2f4 } .s2 { fill: #94c1e8 } .s3 { fill: #2f7cbd } .s4 { fill: #15609f }
.none { fill: #f6c7c2 } .t3, .t4 { fill: #ffffff }
.below { stroke: #c5221f; stroke-width: 3 }
@media (prefers-color-scheme: dark) {
  text { fill: #e3e7ea } .page { fill: #14181c }
  .s0 { fill: #2b3137 } .s1 { fill: #173750 } .s2 { fill: #1d5687 } .s3 { fill: #3c8fd4 } .s4 { fill: #8ac6f7 }
  .none { fill: #6d2320 } .t3, .t4 { fill: #0b1015 }
  .below { stroke: #ff8a80 }
}
"""


@attrs.frozen
class Field:
    """
    What a cell shows.

    @ivar share: 0 to 1; it gives the colour.
    @ivar lines: one or two short texts.
    @ivar hint: a sentence for who points at it.
    @ivar below: whether it is less than was asked for: it gets a frame.
    @ivar failed: whether there was an attempt without any path: it has a colour of its own.
    """

    share: float
    lines: tuple[str, ...]
    hint: str = ""
    below: bool = False
    failed: bool = False

    @property
    def step(self) -> int:
        """
        The place of its colour in L{STEPS}.
        """
        return max(index for index, (least, _) in enumerate(STEPS) if self.share >= least)


def picture(
    title: str, rows: Sequence[str], columns: Sequence[str], fields: Mapping[tuple[str, str], Field]
) -> str:
    """
    The picture.  Above the first cell of each column stands its name, so that half a matrix reads as well as a whole one.

    @param fields: by row and column; where there is none the place is empty.
    @return: the text of an SVG file.
    """
    width = max(LEFT + len(columns) * (WIDTH + GAP) + TOP, LEFT + 620)
    height = TOP + len(rows) * (HEIGHT + GAP) + LEGEND
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label={quoteattr(title)}>',
        f"<style>{STYLE}</style>",
        f'<rect class="page" width="{width}" height="{height}"/>',
        _text(MARGIN, 28, title, "title"),
    ]
    for index, row in enumerate(rows):
        parts.append(_text(LEFT - 10, _y(index) + HEIGHT / 2 + 5, row, "end"))
    for index, column in enumerate(columns):
        first = next((number for number, row in enumerate(rows) if (row, column) in fields), 0)
        x, y = _x(index) + WIDTH / 2 - 8, _y(first) - 8
        parts.append(f'<g transform="translate({x} {y}) rotate(-32)">{_text(0, 0, column)}</g>')
    for (row, column), field in fields.items():
        parts.append(_cell(_x(columns.index(column)), _y(rows.index(row)), field))
    parts += [_legend(_y(len(rows)) + 18), "</svg>"]
    return "\n".join(parts) + "\n"


def _x(index: int) -> int:
    return LEFT + index * (WIDTH + GAP)


def _y(index: int) -> int:
    return TOP + index * (HEIGHT + GAP)


def _text(x: float, y: float, text: str, style: str = "") -> str:
    return f'<text x="{x:g}" y="{y:g}"' + (f' class="{style}"' if style else "") + f">{escape(text)}</text>"


def _cell(x: int, y: int, field: Field) -> str:
    colour = "none" if field.failed else f"s{field.step}"
    frame = " below" if field.below else ""
    ink = "" if field.failed else f" t{field.step}"
    parts = [f'<rect class="{colour}{frame}" x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="4"/>']
    for index, line in enumerate(field.lines):
        offset = HEIGHT / 2 + 5 + (index - (len(field.lines) - 1) / 2) * 15
        parts.append(_text(x + WIDTH / 2, y + offset, line, f"mid{ink}" + (" small" if index else "")))
    if field.hint:
        parts.append(f"<title>{escape(field.hint)}</title>")
    return f"<g>{''.join(parts)}</g>"


def _legend(y: float) -> str:
    parts, x = [_text(MARGIN, y + 14, "direct paths", "small")], MARGIN + 80.0
    entries = [(f"s{index}", text) for index, (_, text) in enumerate(STEPS)]
    for colour, text in [*entries, ("none", "no path"), ("page below", "below its figure")]:
        parts.append(f'<rect class="{colour}" x="{x:g}" y="{y:g}" width="18" height="18" rx="3"/>')
        parts.append(_text(x + 24, y + 14, text, "small"))
        x += 40 + 6.2 * len(text)
    return "".join(parts)
