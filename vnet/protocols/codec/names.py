# -*- test-case-name: vnet.test.test_names -*-
"""
Names that people give to networks and nodes, and how hostile text is shown.

A name is 1 to 64 characters of Unicode normalisation form C (UAX #15) that all leave a mark or a plain
space: no control or bidirectional characters, nothing invisible, no more than L{MAXIMUM_MARKS} combining
marks in a row, no space at either end. What other nodes and the mediator send was perhaps never validated,
so it goes through L{displayable} before a terminal sees it.
"""

from __future__ import annotations

import unicodedata

from vnet.errors import DecodeError

__all__ = ["MAXIMUM_LENGTH", "MAXIMUM_MARKS", "displayable", "validateName", "validateNick"]

MAXIMUM_LENGTH = 64
"""Characters of a name."""

MAXIMUM_MARKS = 3
"""Combining marks in a row: more are no script but a flood that spills over the lines around it."""

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"

# Default_Ignorable_Code_Point (and the Braille blank) as far as str.isprintable lets them pass: letters and
# marks without a glyph.
_INVISIBLE = frozenset(
    (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180B, 0x180C, 0x180D, 0x180F, 0x2800, 0x3164, 0xFFA0)
) | frozenset((*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)))


def validateName(text: str) -> str:
    """
    Check the name of a network.

    @return: the name in normalisation form C.
    @raise DecodeError: it is no valid name; the text says why, in one line.
    """
    return _validate(text, "the network's name")


def validateNick(text: str) -> str:
    """
    Check a nickname.

    @return: the nickname in normalisation form C.
    @raise DecodeError: it is no valid nickname; the text says why, in one line.
    """
    return _validate(text, "the nickname")


def displayable(text: str, width: int = MAXIMUM_LENGTH) -> str:
    """
    Make any text harmless for a terminal: one line of visible characters that encodes to UTF-8.

    Characters that may not be shown become U+FFFD, spaces of other widths a plain one, marks beyond
    L{MAXIMUM_MARKS} vanish.

    @param width: how many terminal cells the result fills at most, at least 1; longer text ends with an
        ellipsis.
    """
    shown: list[str] = []
    cells = marks = 0
    # A cell holds at most 1 + MAXIMUM_MARKS characters, so what lies beyond this is not reached by ordinary
    # text.
    examined = unicodedata.normalize("NFC", text[: 16 * width + 16])
    cut = len(text) > 16 * width + 16
    for character in examined:
        if unicodedata.category(character) == "Zs":
            character = " "
        elif not _visible(character):
            character = _REPLACEMENT
        if unicodedata.category(character)[0] == "M":
            marks += 1
            if marks > MAXIMUM_MARKS:
                continue
            if shown and shown[-1] != " ":
                shown.append(character)
                continue
            character = _REPLACEMENT
        marks = 0
        cells += _cells(character)
        if cells > width:
            cut = True
            break
        shown.append(character)
    return _shortened(shown, width) if cut else "".join(shown)


def _validate(text: str, what: str) -> str:
    try:
        name = unicodedata.normalize("NFC", text[: 16 * MAXIMUM_LENGTH])
    except (TypeError, ValueError) as error:
        raise DecodeError(f"{what} is not text") from error
    if not name:
        raise DecodeError(f"{what} is empty")
    if len(name) > MAXIMUM_LENGTH or len(text) > 16 * MAXIMUM_LENGTH:
        raise DecodeError(f"{what} is longer than {MAXIMUM_LENGTH} characters")
    if name != name.strip():
        raise DecodeError(f"{what} begins or ends with a space")
    marks = MAXIMUM_MARKS  # none at the beginning or after a space, where there is nothing to combine with
    for character in name:
        if not _visible(character):
            raise DecodeError(f"{what} holds a character that cannot be seen: U+{ord(character):04X}")
        if unicodedata.category(character)[0] == "M":
            marks += 1
        else:
            marks = MAXIMUM_MARKS if character == " " else 0
        if marks > MAXIMUM_MARKS:
            raise DecodeError(f"{what} holds combining marks without a letter, or too many on one")
    return name


def _visible(character: str) -> bool:
    return character.isprintable() and ord(character) not in _INVISIBLE


def _cells(character: str) -> int:
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _shortened(shown: list[str], width: int) -> str:
    cells = sum(_cells(c) for c in shown if unicodedata.category(c)[0] != "M")
    while shown and cells > width - 1:
        dropped = shown.pop()
        if unicodedata.category(dropped)[0] != "M":
            cells -= _cells(dropped)
    return "".join(shown) + _ELLIPSIS
