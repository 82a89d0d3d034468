# -*- test-case-name: vnet.test.priv.test_lan_routes -*-
"""
What routing needs of the operating system.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from attrs import define

__all__ = ["Kernel", "LinuxKernel"]


class Kernel(Protocol):
    """
    Addresses, routes and forwarding of this computer.
    """


@define(eq=False)
class LinuxKernel:
    """
    Those of Linux.

    @ivar _memory: the file that remembers, over a crash, for which interfaces forwarding was turned on: C{forwarding.json} in the
        state directory.
    """

    _memory: Path
