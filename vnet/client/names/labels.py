# -*- test-case-name: vnet.test.test_names_labels -*-
"""
Labels of the domain name system (RFC 1035 section 2.3.1) from names that people gave, which are hostile text.

A label is lower case: letters, digits and single hyphens inside.  Letters beyond ASCII are kept by IDNA 2008 (RFC 5891) as an
A-label, C{xn--}; so what only looks like another name is another label, and shows as one.  Everything else becomes a hyphen.
"""

from __future__ import annotations

import re
import unicodedata

import idna

__all__ = ["LONGEST", "RESERVED", "labelOf"]

LONGEST = 56
"""Bytes of a label; what follows to tell it from others fits in the 63 that the domain name system allows."""

RESERVED = frozenset(
    ("autoconfig", "autodiscover", "dns", "isatap", "local", "localdomain", "localhost", "wpad")
)
"""Labels that programs look up by themselves in any domain, or that mean this computer: nobody gets them."""

_LONGEST_TEXT = 64
# Few, since each takes a tenth of a millisecond, and thousands of members may have hostile names.
_CUTS = (_LONGEST_TEXT, 24, 10)
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")


def labelOf(text: str) -> str | None:
    """
    @return: the label of a nickname or of a network's name; L{None} when nothing of it can be kept, or nobody may have it.
    """
    folded = unicodedata.normalize("NFKC", text[:_LONGEST_TEXT].lower()).lower()
    kept = "".join(character if _isKept(character) else "-" for character in folded)
    plain = re.sub("-+", "-", kept).strip("-")
    label = plain[:LONGEST].rstrip("-") if plain.isascii() else _encoded(plain)
    return None if not label or label in RESERVED else label


def _isKept(character: str) -> bool:
    if character.isascii():
        return character in _LETTERS
    return unicodedata.category(character)[0] in "LMN"


def _encoded(plain: str) -> str | None:
    """
    The A-label of as much as fits; L{None} where IDNA allows none.
    """
    for length in _CUTS:
        try:
            label = idna.alabel(plain[:length].rstrip("-")).decode("ascii")
        except idna.IDNAError:
            continue
        if len(label) <= LONGEST:
            return label
    return None
