# -*- test-case-name: vnet.test.test_client_metrics -*-
"""
Where metrics are served.  Apart from what serves them, which takes memory, and most nodes do not need it.
"""

from __future__ import annotations

__all__ = ["endpointText"]


def endpointText(text: str) -> str:
    """
    An endpoint that listens on this computer alone, unless it names an interface.

    @raise ValueError: it is none of C{tcp:}, C{tcp6:} and C{unix:}.
    """
    kind = text.partition(":")[0]
    if kind not in ("tcp", "tcp6", "unix") or ":" not in text:
        raise ValueError(f"{text!r} is no endpoint: use one such as tcp:9477")
    if kind == "unix" or ":interface=" in text:
        return text
    return f"{text}:interface=" + ("127.0.0.1" if kind == "tcp" else "\\:\\:1")
