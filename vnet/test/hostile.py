"""
Text that strangers may choose to harm who reads it on a terminal.
"""

from __future__ import annotations

import random
import re

__all__ = ["HARM", "SGR", "hostileTexts"]

SGR = re.compile(r"\x1b\[[0-9;]*m")
"""What colours are made of."""

HARM = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)
"""All that may never reach a terminal: control, bidirectional and invisible characters, halves of surrogate pairs."""

_PIECES = (
    "\x1b]52;c;cm0gLXJm\x07",
    "\x1b]0;title\x1b\\",
    "\x1b[2J",
    "\x1b[31m",
    "\x9b31m",
    "\x9d52;c;AAAA\x9c",
    "\u202e",
    "\u2066",
    "\u200b",
    "\ufeff",
    "\ud83d",
    "\udcff",
    "a" + "\u0301" * 500,
    "\r",
    "\n",
    "\n*  100.64.0.9  fake  direct",
    "\t",
    "\b" * 20,
    "\x7f",
    "[bold]",
    "[/]",
    ":smile:",
    "\N{FULLWIDTH LATIN CAPITAL LETTER A}" * 40,
    "x" * 5000,
)


def hostileTexts(count: int, seed: int = 1) -> list[str]:
    """
    Make texts: each control character alone, and mixtures.
    """
    single = [
        chr(number) for number in (*range(0x20), *range(0x7F, 0xA0), *range(0x2000, 0x2070), 0xFEFF, 0xD800)
    ]
    choose = random.Random(seed)
    mixed = [
        "".join(
            choose.choice(_PIECES) if choose.random() < 0.5 else chr(choose.randrange(0x110000))
            for _ in range(choose.randrange(1, 8))
        )
        for _ in range(count - len(single))
    ]
    return single + mixed
