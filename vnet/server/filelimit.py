# -*- test-case-name: vnet.test.test_mediatortap -*-
"""
How many files this process may have open.
"""

from __future__ import annotations

import contextlib
import resource

__all__ = ["raiseFileLimit"]


def raiseFileLimit() -> int:
    """
    Each connection and each relayed address is an open file: take as many as this process may.

    @return: how many that are.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
