"""
Real nodes behind pairs of NATs: whether they find a direct path, and when.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any, TypeVar

import attrs

from vnet.client.localclient import LocalClient
from vnet.errors import Refused, Unreachable, VnetError
from vnet.test.lab import MEDIATOR
from vnet.test.natcells import Cell, figure
from vnet.test.netlab import Host, LabError, stop
from vnet.test.priv.cluster import Cluster, Node, waitUntil

__all__ = ["LONG", "SHORT", "GivenUp", "Meeting", "Outcome", "Pinging", "cellOf", "inTurn", "measure"]

NETWORK = "pair"

#: Seconds to wait for a direct path: where there should be one, and where there should be none.
LONG, SHORT = 30.0, 6.0
ONLINE = 30.0
#: Seconds after which two nodes that are online and have no path at all have failed.
CONNECTED = 20.0
POLL = 0.02

T = TypeVar("T")


class GivenUp(VnetError):
    """
    Another pair failed, or somebody interrupts: this one is not finished.
    """


@attrs.frozen
class Outcome:
    """
    What became of one attempt.

    @ivar path: C{"direct"}, C{"relayed"} or C{"none"}.
    @ivar online: seconds from the start of both programs until both were online.
    @ivar direct: seconds from then until both sides had a direct path.
    @ivar ping: seconds from then until the first packet came back through the tunnel.
    @ivar why: what the first node says of why the path is not direct.
    """

    path: str
    online: float
    direct: float | None = None
    ping: float | None = None
    why: str | None = None


@attrs.define(eq=False)
class Pinging:
    """
    C{ping} in a host, and how many answers there are.

    @ivar interval: seconds from one to the next.
    """

    _host: Host
    _address: str
    interval: float = 0.05
    _process: subprocess.Popen[str] | None = None
    answers: int = 0

    def look(self) -> int:
        """
        @return: how many answers there were.
        """
        if self._process is None or self._process.poll() is not None:
            # It ends where there is no route yet.
            self._start()
        if self._process is not None and self._process.stdout is not None:
            with suppress(BlockingIOError):
                self.answers += os.read(self._process.stdout.fileno(), 65536).count(b" bytes from ")
        return self.answers

    def _start(self) -> None:
        self.end()
        argv = ["ping", "-n", "-i", str(self.interval), self._address]
        self._process = self._host.popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        if self._process is not None and self._process.stdout is not None:
            os.set_blocking(self._process.stdout.fileno(), False)

    def end(self) -> None:
        """
        End it.
        """
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._process.stdout is not None:
                self._process.stdout.close()
        self._process = None


@attrs.define(eq=False)
class Meeting:
    """
    Two nodes in homes of their own, that meet again and again.

    @ivar ended: set by whoever wants no more of it.
    """

    one: Node
    other: Node
    ended: threading.Event

    @classmethod
    def arrange(
        cls, cluster: Cluster, names: tuple[str, str], kinds: tuple[str, str], ended: threading.Event
    ) -> Meeting:
        """
        Build the homes, start the nodes and put them into a network of their own.
        """
        homes = [cluster.lab.addHome(name, nat=kind) for name, kind in zip(names, kinds, strict=True)]
        one, other = (cluster.addNode(home.name, where=home, wait=False) for home in homes)
        meeting = cls(one, other, ended)
        for node in (one, other):
            meeting.check()
            node.waitReady()
            node.ask("login", url=node.mediator.url if node.mediator else None)
        # Each pair is a network: without a password it takes no time to derive a key from one.
        network = f"{NETWORK}-{names[0]}"
        one.ask("create", network=network, password=None)
        other.ask("join", network=network, password=None)
        return meeting

    def meet(self, patience: float) -> Outcome:
        """
        Start both nodes anew, so that nothing is left of an earlier path, and see what they find.

        @param patience: seconds to wait for a direct path.
        """
        nodes = (self.one, self.other)
        self.end()
        start = time.monotonic()
        for node in nodes:
            node.spawn()
        try:
            what = f"{self.one.name} and {self.other.name} are online"
            waitUntil(lambda: self._online(nodes), ONLINE, what, POLL / 2)
        except LabError as error:
            # The others go on: it is one failure among many attempts.
            return Outcome("none", time.monotonic() - start, why=str(error))
        begin = time.monotonic()
        with _clients(nodes) as clients:
            return self._watch(clients, begin - start, begin, patience)

    def _online(self, nodes: Iterable[Node]) -> bool:
        self.check()
        for node in nodes:
            if not node.running:
                raise LabError(f"{node.name} ended: {node.tail(1)}")
        return all(node.ask("status")["state"] == "online" for node in nodes)

    def check(self) -> None:
        """
        @raise GivenUp: it is to end.
        """
        if self.ended.is_set():
            raise GivenUp("ended before it was done")

    def _watch(self, clients: list[LocalClient], online: float, begin: float, patience: float) -> Outcome:
        addresses = [str(client.call("status")["address"]) for client in clients]
        ping = Pinging(self.one.host, addresses[1])
        direct: float | None = None
        pinged: float | None = None
        seen: dict[str, Any] = {}
        try:
            while direct is None or pinged is None:
                self.check()
                if time.monotonic() - begin > (patience if pinged is not None else max(patience, CONNECTED)):
                    break
                if pinged is None and ping.look():
                    pinged = time.monotonic() - begin
                    ping.end()
                if direct is None:
                    seen = _peer(clients[0], addresses[1])
                    if seen["path"] == "direct" == _peer(clients[1], addresses[0])["path"]:
                        direct = time.monotonic() - begin
                time.sleep(POLL)
        finally:
            ping.end()
        if pinged is None:
            return Outcome("none", online, direct, None, seen.get("why"))
        if direct is None:
            return Outcome("relayed", online, None, pinged, seen.get("why"))
        return Outcome("direct", online, direct, pinged)

    def end(self) -> None:
        """
        End the nodes.
        """
        stop(*(node.process for node in (self.one, self.other) if node.process is not None), timeout=10.0)


@contextmanager
def _clients(nodes: Iterable[Node]) -> Iterator[list[LocalClient]]:
    clients = [LocalClient(str(node.socket), timeout=20.0) for node in nodes]
    try:
        yield clients
    finally:
        for client in clients:
            client.close()


def _peer(client: LocalClient, address: str) -> dict[str, Any]:
    try:
        return client.call("peer", name=address)
    except (Refused, Unreachable) as error:
        # A peer that is not yet known.
        return {"path": "none", "why": str(error)}


def cellOf(kinds: tuple[str, str], outcomes: Iterable[Outcome]) -> Cell:
    """
    All attempts of one pair together.
    """
    found = list(outcomes)
    paths = [each.path for each in found]
    return Cell(
        *kinds,
        direct=paths.count("direct"),
        relayed=paths.count("relayed"),
        failed=paths.count("none"),
        directSeconds=tuple(round(each.direct, 3) for each in found if each.direct is not None),
        pingSeconds=tuple(round(each.ping, 3) for each in found if each.ping is not None),
    )


def inTurn(
    jobs: int,
    tasks: Iterable[T],
    do: Callable[[T, threading.Event], object],
    abandon: Callable[[], object] = lambda: None,
) -> None:
    """
    Do a task for each of these, some at a time.  When one fails, or the process is interrupted, the others are asked to
    end, and waited for.

    @param jobs: how many at a time.
    @param do: gets the task, and an event that is set when it is to end.
    @param abandon: called then, to make what they wait for end.
    """
    ended = threading.Event()
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(do, task, ended) for task in tasks]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:
            ended.set()
            pool.shutdown(wait=False, cancel_futures=True)
            abandon()
            raise


def patienceOf(pair: tuple[str, str]) -> float:
    """
    How long to wait for a direct path.
    """
    return LONG if figure(*pair) else SHORT


def measure(
    chosen: Iterable[tuple[str, str]],
    runs: int,
    jobs: int = 2,
    progress: Callable[[Cell, list[Outcome]], None] = lambda cell, outcomes: None,
    patience: Callable[[tuple[str, str]], float] = patienceOf,
) -> dict[tuple[str, str], list[Outcome]]:
    """
    Let each pair of kinds meet so often, in one lab with one mediator, which is the relay too.

    @param jobs: pairs at a time: they share the processor, so more of them make each slower.
    @param progress: called after each attempt with the cell as it is then.
    @param patience: how many seconds to wait for a direct path.
    """
    found: dict[tuple[str, str], list[Outcome]] = {pair: [] for pair in chosen}
    numbers = count()

    with Cluster("matrix") as cluster:
        host = cluster.lab.addHost("mediator")
        host.addAddress()
        cluster.startMediator(*MEDIATOR, host=host)

        def one(pair: tuple[str, str], ended: threading.Event) -> None:
            number = next(numbers)
            meeting = Meeting.arrange(cluster, (f"a{number}", f"b{number}"), pair, ended)
            for _ in range(runs):
                found[pair].append(meeting.meet(patience(pair)))
                progress(cellOf(pair, found[pair]), found[pair])
            meeting.end()

        def abandon() -> None:
            for daemon in cluster.daemons:
                daemon.kill()

        inTurn(jobs, list(found), one, abandon)
    return found
