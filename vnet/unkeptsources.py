# -*- test-case-name: vnet.test.test_unkeptsources -*-
"""
Source text that nobody will read.

attrs puts the source of each method that it makes into L{linecache}, for debuggers: half a megabyte in a node.
"""

from __future__ import annotations

import linecache
from typing import Any

__all__ = ["Sources", "keepNone"]


class Sources(dict[str, Any]):
    """
    A cache of L{linecache} without what attrs has made.
    """

    def setdefault(self, name: str, entry: Any = None) -> Any:
        """
        Keep the source of a file.

        @return: what is kept; for a source of attrs C{entry}, as if it were.
        """
        return entry if name.startswith("<attrs generated ") else super().setdefault(name, entry)


def keepNone() -> None:
    """
    Keep no sources that attrs makes from now on.
    """
    linecache.cache = Sources(linecache.cache)
