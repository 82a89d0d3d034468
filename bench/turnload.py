"""
What one TURN server is made to do in one turn.  One process is all its clients and their peer: it has sockets in two network
namespaces, so it sees by one clock what it sends and what arrives.

    python turnload.py < PLAN

It runs in the namespace of the clients.  PLAN and what it prints are JSON: see L{Plan}, and L{measureFlows} and
L{measureAllocations}.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import socket
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import attrs
from batches import Arrivals, Datagram, Departures, sleepExactly
from spent import cpuSeconds, p99, residentBytes
from turnclients import LoadError, TurnClient, allocate, bindChannels, openSocket, release

from vnet.errors import VnetError
from vnet.values import Address

__all__ = ["MANY", "Plan", "measureAllocations", "measureFlows"]

LARGE, SMALL = 1400, 100
MANY = 50
"""Clients that send small datagrams."""

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
#: Datagrams of a train: what fits in one IP packet.
_TRAIN = 46
_HEADER = 4
#: Messages of one call.
_BATCH = 64
#: Datagrams that may be underway.
_LARGE_WINDOW, _SMALL_WINDOW = 8 * _TRAIN, 8 * MANY
#: What has not arrived in so long is lost, seconds.
_LOST = 0.05
_REST, _PAUSE = 0.00002, 0.002
#: The port of the clients that have an address each.
_PORT = 40_000
_PER_NETWORK = 250
_FIRST = 32
_SPARE_FILES = 256
#: A peer to whom nothing is sent; servers bind a channel to it nevertheless.
_ANYBODY = Address("198.51.100.200", 9)


@attrs.frozen
class Plan:
    """
    What to do.

    @ivar server: its address; C{port} and C{pid} are its, too.
    @ivar client: an address of the clients; they have all of 198.18.0.0/15, too.
    @ivar peer: the address of their peer; C{peers} is its namespace.
    @ivar seconds: of each flow; C{warmUp}: before it.
    @ivar pings: round trips.
    @ivar allocations: so many are made and weighed, and nothing else is done; 0: all the other things.
    """

    server: str
    port: int
    pid: int
    secret: str = attrs.field(repr=False)
    client: str
    peer: str
    peers: str
    seconds: float
    warmUp: float
    pings: int
    allocations: int = 0

    def clientsAt(self, count: int, first: int = 0) -> list[TurnClient]:
        """
        Clients with an address each: what a server allows one address to do is not what is to be measured.
        """
        places = [divmod(number, _PER_NETWORK) for number in range(first, first + count)]
        return [self.clientAt(f"198.18.{net}.{place + 1}", _PORT) for net, place in places]

    def clientAt(self, host: str, port: int = 0) -> TurnClient:
        """
        A client.
        """
        return TurnClient(Address(self.server, self.port), self.secret.encode(), host, port)


@attrs.frozen
class Flowed:
    """
    What became of the datagrams of one flow.

    @ivar rate: datagrams that arrived a second.
    @ivar loss: the share that did not arrive.
    @ivar server: CPUs that the server used.
    @ivar load: CPUs that this program used, waiting included.
    @ivar waited: the share of the time in which this program had nothing to do but to wait for the server.
    """

    rate: float
    loss: float
    server: float
    load: float
    waited: float


def _setns(descriptor: int) -> None:
    # Python has it from 3.12 on.
    if _libc.setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """
    Sockets that are opened in this block are in that namespace.
    """
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        with open(f"/run/netns/{namespace}") as other:
            _setns(other.fileno())
        yield
    finally:
        _setns(home)
        os.close(home)


@attrs.define
class Flow:
    """
    Datagrams from one end to the other.  As in TCP, never more than a window of them are underway: so the server always has
    some to do, and seldom too many.  What it loses makes the window smaller, until nothing arrives any more.

    @ivar size: bytes of each as it arrives.
    @ivar waited: seconds in which nothing could be sent, and nothing came.
    """

    departures: Departures
    arrivals: Arrivals
    size: int
    window: int
    sent: int = 0
    arrived: int = 0
    waited: float = 0.0
    _forgotten: int = 0
    _heard: float = 0.0

    def run(self, seconds: float) -> None:
        """
        Go on for so long.
        """
        self._heard = now = time.perf_counter()
        end = now + seconds
        while now < end:
            before, isIdle = now, not self._step(now)
            now = time.perf_counter()
            if isIdle:
                self.waited += now - before

    def _step(self, now: float) -> bool:
        """
        @return: whether there was something to do.
        """
        room = self.window - (self.sent - self.arrived - self._forgotten)
        self.sent += self.departures.send(room)
        if self._take():
            self._heard = now
            return True
        if room >= self.departures.train:
            return True
        if now - self._heard > _LOST:
            self._forgotten, self._heard = self.sent - self.arrived, now
        # Nobody waits in a system call, so it costs the server nothing to wake us.
        time.sleep(_REST)
        return False

    def _take(self) -> int:
        came = self.arrivals.take() // self.size
        self.arrived += came
        return came

    def drain(self) -> None:
        """
        Wait for what is underway.
        """
        now = time.perf_counter()
        end = now + _LOST
        while now < end and self.arrived < self.sent:
            if self._take():
                end = now + _LOST
            else:
                time.sleep(_REST)
            now = time.perf_counter()

    def measure(self, plan: Plan) -> Flowed:
        """
        Warm up, and measure.
        """
        self.run(plan.warmUp)
        self.drain()
        sent, arrived, self.waited = self.sent, self.arrived, 0.0
        own, server, start = time.process_time(), cpuSeconds(plan.pid), time.perf_counter()
        self.run(plan.seconds)
        took, came = time.perf_counter() - start, self.arrived - arrived
        own, server = time.process_time() - own, cpuSeconds(plan.pid) - server
        self.drain()
        loss = 1 - (self.arrived - arrived) / (self.sent - sent)
        return Flowed(came / took, max(0.0, loss), server / took, own / took, self.waited / took)


def measureLarge(plan: Plan, client: TurnClient, peer: socket.socket, head: bytes) -> dict[str, Flowed]:
    """
    One flow, in each direction, as trains and as datagrams that the client and the peer send one by one.

    @param head: of what the client sends.
    """
    payload = bytes(LARGE)
    found = {}
    for name, train in (("Trains", _TRAIN), ("Single", 1)):
        count = _BATCH // train
        up = Departures(client.socket, [Datagram(head + payload, train)] * count)
        down = Departures(peer, [Datagram(payload, train, client.relayed)] * count)
        found[f"up{name}"] = Flow(up, Arrivals(peer), LARGE, _LARGE_WINDOW).measure(plan)
        arrivals = Arrivals(client.socket)
        found[f"down{name}"] = Flow(down, arrivals, LARGE + _HEADER, _LARGE_WINDOW).measure(plan)
    return found


def roundTrips(once: Sequence[Callable[[], float]], count: int) -> list[list[float]]:
    """
    Round trips on several ways, which take turns, while nothing else is done.

    @return: the seconds of those on each way.
    """
    found: list[list[float]] = [[] for _ in once]
    for _ in range(count):
        for each, times in zip(once, found, strict=True):
            time.sleep(_PAUSE)
            times.append(each())
    return found


def measureLatency(plan: Plan, client: TurnClient, peer: socket.socket, head: bytes) -> dict[str, float]:
    """
    What the relay adds to a round trip, seconds.
    """
    ask, answer = head[:2] + SMALL.to_bytes(2, "big") + bytes(SMALL), bytes(SMALL)
    with openSocket(plan.client) as direct:
        for each in (direct, peer, client.socket):
            each.settimeout(1.0)

        def trip(
            near: socket.socket, data: bytes, out: tuple[str, int] | None, back: tuple[str, int]
        ) -> float:
            start = time.perf_counter()
            near.sendto(data, out) if out else near.send(data)
            peer.recv(2 * SMALL)
            peer.sendto(answer, back)
            near.recv(2 * SMALL)
            return time.perf_counter() - start

        def straight() -> float:
            return trip(direct, answer, peer.getsockname(), direct.getsockname())

        def relayed() -> float:
            return trip(client.socket, ask, None, client.relayed)

        roundTrips((straight, relayed), 3)
        plain, long = roundTrips((straight, relayed), plan.pings)
    return {
        "direct": statistics.median(plain),
        "latency": statistics.median(long) - statistics.median(plain),
        "latencyP99": p99(long) - p99(plain),
    }


def measureSmall(plan: Plan, peer: socket.socket) -> dict[str, Flowed]:
    """
    Small datagrams, one of each client after the other.
    """
    clients = plan.clientsAt(MANY)
    allocate(clients)
    heads = bindChannels(clients, Address(*peer.getsockname()), SMALL)
    # One socket for all is what the load can afford.
    for client in clients:
        client.close()
    with openSocket(port=_PORT) as everybody:
        found = _measureSmall(plan, clients, heads, everybody, peer)
    for client in clients:
        client.open()
    release(clients)
    return found


def _measureSmall(
    plan: Plan,
    clients: Sequence[TurnClient],
    heads: list[bytes],
    everybody: socket.socket,
    peer: socket.socket,
) -> dict[str, Flowed]:
    payload, server = bytes(SMALL), (plan.server, plan.port)
    up = Departures(
        everybody,
        [
            Datagram(head + payload, to=server, source=client.host)
            for head, client in zip(heads, clients, strict=True)
        ],
    )
    down = Departures(peer, [Datagram(payload, to=client.relayed) for client in clients])
    return {
        "upSmall": Flow(up, Arrivals(peer), SMALL, _SMALL_WINDOW).measure(plan),
        "downSmall": Flow(down, Arrivals(everybody), SMALL + _HEADER, _SMALL_WINDOW).measure(plan),
    }


def measureFlows(plan: Plan) -> dict[str, object]:
    """
    All that is measured of a server but its allocations.

    @return: L{Flowed} by what flowed, C{downSmall}, say, and the numbers of L{measureLatency}.
    """
    with inside(plan.peers):
        peer = openSocket(plan.peer)
    client = plan.clientAt(plan.client)
    allocate([client])
    head = bindChannels([client], Address(*peer.getsockname()), LARGE)[0]
    flows = measureLarge(plan, client, peer, head)
    latency = measureLatency(plan, client, peer, head)
    release([client])
    flows.update(measureSmall(plan, peer))
    return {**latency, **{name: attrs.asdict(flowed) for name, flowed in flows.items()}}


def measureAllocations(plan: Plan) -> dict[str, object]:
    """
    What allocations cost a server that has been started for this.

    @return: C{seconds}: that all took; C{server} and C{load}: CPU seconds of the server and of this program meanwhile;
        C{memory}: bytes of each; C{bound}: of each that has a channel.
    """
    # What a server needs once, it has after these.
    first = plan.clientsAt(_FIRST)
    allocate(first)
    bindChannels(first, _ANYBODY, LARGE)
    clients = plan.clientsAt(plan.allocations, _FIRST)
    before, server = residentBytes(plan.pid), cpuSeconds(plan.pid)
    start, own = time.perf_counter(), time.process_time()
    allocate(clients)
    found = {
        "seconds": time.perf_counter() - start,
        "server": cpuSeconds(plan.pid) - server,
        "load": time.process_time() - own,
        "memory": (residentBytes(plan.pid) - before) / plan.allocations,
    }
    bindChannels(clients, _ANYBODY, LARGE)
    return {**found, "bound": (residentBytes(plan.pid) - before) / plan.allocations}


def raiseFileLimit(needed: int) -> None:
    """
    Let this process have so many sockets.

    @raise LoadError: the system does not permit it.
    """
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if most != resource.RLIM_INFINITY and most < needed:
        raise LoadError(
            f"only {most} files may be open here, and {needed} are needed: raise the limit (ulimit -Hn)"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main() -> int:
    """
    Do what the plan on standard input says.

    @return: the exit code.
    """
    plan = Plan(**json.load(sys.stdin))
    try:
        raiseFileLimit(plan.allocations + _SPARE_FILES)
        sleepExactly()
        found = measureAllocations(plan) if plan.allocations else measureFlows(plan)
    except VnetError as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
