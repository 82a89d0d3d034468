"""
Tables that programs write into a document, each between two lines that are comments in Markdown::

    <!-- tunnel: make performance -->
    <!-- end of tunnel -->
"""

from __future__ import annotations

import re
from pathlib import Path

from vnet.errors import ConfigurationError

__all__ = ["fill"]


def fill(path: Path, name: str, text: str) -> None:
    """
    Replace what is between the two lines of that name.

    @raise ConfigurationError: the document has no such place.
    """
    before = path.read_text()
    pattern = rf"(<!-- {re.escape(name)}:[^\n]*-->\n).*?(<!-- end of {re.escape(name)} -->\n)"
    after, count = re.subn(
        pattern, lambda found: f"{found[1]}\n{text.strip()}\n\n{found[2]}", before, flags=re.S
    )
    if count != 1:
        raise ConfigurationError(f"{path} has no place for {name!r}, or several")
    path.write_text(after)
