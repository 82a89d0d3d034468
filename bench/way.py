"""
What is measured: a way from one host of a lab to another.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from vnet.test.netlab import Host

__all__ = ["Way"]


@attrs.frozen
class Way:
    """
    A way that is up.

    @ivar near: the host that measures.
    @ivar far: the host that answers.
    @ivar target: the far host's address on this way.
    @ivar settings: what is to be known of it, for the report.
    @ivar daemons: the process that carries the packets on each host; none where the kernel does.
    @ivar second: the address of another peer of the near host, on a third host; empty: there is none.
    @ivar others: more hosts whose links are part of it.
    @ivar askMediator: asks the mediator something over the near node's control connection, and returns when
        the answer is there; L{None}: there is no mediator.
    """

    name: str
    near: Host
    far: Host
    target: str
    settings: str
    daemons: tuple[int, ...] = ()
    second: str = ""
    others: tuple[Host, ...] = ()
    askMediator: Callable[[], object] | None = None
