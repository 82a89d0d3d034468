"""
A mediator and nodes as real programs in a L{Lab}, steered by the commands that users have.

    with Cluster("join") as cluster:
        cluster.startMediator()
        alice, bob = cluster.addNode("alice"), cluster.addNode("bob")
        alice.login()
        alice.create("family", "secret")
        ...

Each program writes a log of its own; an exception that leaves the block carries the ends of all of them.  A block
that ends well ends the programs, and fails when any of them logged a traceback while it ran or ended.
"""

from __future__ import annotations

from signal import SIGKILL
from types import TracebackType
from typing import Self

import attrs

from vnet.test.netlab import Home, Host, Lab, LabError, stop
from vnet.test.priv.daemons import CommandFailed, Daemon, Mediator, Node, listens, waitUntil

_END = 15.0
_MOST = 1_000_000
COMPLAINTS = ("Traceback", "Unhandled")

__all__ = ["Cluster", "CommandFailed", "Daemon", "Mediator", "Node", "listens", "waitUntil"]


@attrs.define(eq=False)
class Cluster:
    """
    A lab with programs of vnet in it, their states and logs in its directory: a context manager.

    @ivar lab: where homes and hosts are added.
    @ivar tolerated: why tracebacks in the logs of this cluster are right; empty: they are not.
    """

    name: str
    tolerated: str = ""
    lab: Lab = attrs.field(init=False)
    mediator: Mediator | None = attrs.field(default=None, init=False)
    daemons: list[Daemon] = attrs.field(factory=list, init=False)

    def __enter__(self) -> Self:
        self.lab = Lab(self.name).__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if isinstance(value, Exception):
                value.add_note(self.logs())
            elif value is None:
                self._endAll()
        finally:
            self.lab.close()

    def _endAll(self) -> None:
        """
        End all programs.

        @raise LabError: one of them has complained in its log, or did not end by itself.
        """
        running = [daemon for daemon in self.daemons if daemon.running]
        stop(*(daemon.process for daemon in running if daemon.process is not None), timeout=_END)
        stuck = [
            daemon.name for daemon in running if daemon.process and daemon.process.returncode == -SIGKILL
        ]
        if stuck:
            raise LabError(f"did not end within {_END:.0f} s: {', '.join(stuck)}\n{self.logs()}")
        complaints = "" if self.tolerated else self.complaints()
        if complaints:
            raise LabError(f"there are tracebacks in the logs:\n{complaints}")

    def complaints(self) -> str:
        """
        The parts of all logs that programs without faults do not write: empty, it should be.
        """
        found = []
        for daemon in self.daemons:
            lines = daemon.tail(_MOST).splitlines()
            hits = [n for n, line in enumerate(lines) if any(word in line for word in COMPLAINTS)]
            if hits:
                found.append("\n".join([f"--- {daemon.name}", *lines[max(hits[0] - 3, 0) : hits[0] + 60]]))
        return "\n".join(found)

    def startMediator(
        self, *options: str, host: Host | None = None, name: str = "mediator", wait: bool = True
    ) -> Mediator:
        """
        Start a mediator on a host, by default on a new public one; nodes added later log in to it.

        @param wait: whether to return only when it is ready.
        """
        host = host or self.lab.addHost(name)
        options = (f"--host={host.address}", *options)
        mediator = Mediator(name, host, self.lab.directory / name, "vnet-mediator", list(options))
        self.daemons.append(mediator)
        self.mediator = mediator
        mediator.spawn()
        if wait:
            mediator.waitReady()
        return mediator

    def addNode(
        self,
        name: str,
        *options: str,
        where: Home | Host | None = None,
        wait: bool = True,
        variables: dict[str, str] | None = None,
    ) -> Node:
        """
        Start a node on a host, by default on the host of a new home behind a port-restricted NAT.

        @param options: for C{vnet-client}.
        @param variables: for its environment.
        @param wait: whether to return only when it is ready.
        """
        where = where or self.lab.addHome(name)
        host = where.host if isinstance(where, Home) else where
        home = where if isinstance(where, Home) else None
        state = self.lab.directory / name
        options = (f"--socket={state / 'control.sock'}", *options)
        node = Node(
            name,
            host,
            state,
            "vnet-client",
            list(options),
            self.mediator,
            home,
            variables=variables or {},
        )
        self.daemons.append(node)
        node.spawn()
        if wait:
            node.waitReady()
        return node

    def logs(self) -> str:
        """
        The ends of all logs.
        """
        return "\n".join(f"--- {daemon.name}\n{daemon.tail()}" for daemon in self.daemons)
