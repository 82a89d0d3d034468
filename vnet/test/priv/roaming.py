"""
What happens to TCP through the tunnel when a node moves: between networks, addresses and mappings of its NAT.

    python -m vnet.test.priv.roaming [--runs N] [--course NAME]... [--json FILE]

C{alice} sends to C{bob} with iperf3, one connection for the whole course, and moves; all of this is in the namespaces
of a L{Lab}.  Traffic counts as back when both sides receive again, and go on to: what is shown is the time from the
event, for a link that was down from its end, to the end of the last gap of more than 0.25 s.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import attrs

from vnet.test.netlab import Home, LabError, stop, unavailable
from vnet.test.netlab._sites import Uplink
from vnet.test.netlab._space import Link
from vnet.test.netlab._system import batch
from vnet.test.priv.cluster import Cluster, Node, waitUntil

__all__ = ["COURSES", "Course", "main", "measure"]

_SAMPLE = 0.01
_GAP = 0.25
_SETTLE = 3.0
_OBSERVED = 5.0
_PATIENCE = 30.0


class Meter:
    """
    Notes when the tunnel of a node brings something, from the counters of its interface.
    """

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._files = [Path(f"/proc/{node.process.pid}/net/dev") for node in nodes if node.process]
        self._times: list[list[float]] = [[] for _ in self._files]
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        last = [-1] * len(self._files)
        while not self._ended.wait(_SAMPLE):
            for index, file in enumerate(self._files):
                with suppress(OSError):
                    count = _received(file.read_text())
                    if count != last[index]:
                        last[index] = count
                        self._times[index].append(time.monotonic())

    def backAfter(self, since: float, settled: float) -> float:
        """
        Seconds from C{since} to the end of the last gap on either side; infinite if nothing came after it.

        @param settled: what came until then counts.
        """
        return max(_lastGapEnd(times, since, settled) for times in self._times) - since

    def stop(self) -> None:
        """
        Count no more.
        """
        self._ended.set()
        self._thread.join()


def _received(table: str) -> int:
    line = next(line for line in table.splitlines() if line.strip().startswith("vnet0:"))
    return int(line.split(":", 1)[1].split()[1])


def _lastGapEnd(times: Sequence[float], since: float, settled: float) -> float:
    seen = [each for each in times if each <= settled]
    end = since
    for before, after in pairwise(seen):
        if after > since and after - max(before, since) > _GAP:
            end = after
    return end if seen and settled - seen[-1] <= _GAP else float("inf")


@attrs.define(eq=False)
class Stage:
    """
    The lab of one course.

    @ivar other: the router of another network, as of a mobile carrier, to which alice has a second link.
    """

    cluster: Cluster
    alice: Node
    bob: Node
    home: Home
    other: Home
    second: Uplink
    isAway: bool = False
    count: int = 0

    @property
    def here(self) -> Home:
        """The network whose default route alice has."""
        return self.other if self.isAway else self.home

    @property
    def uplink(self) -> Uplink:
        """Her link to it."""
        return self.second if self.isAway else self.alice.host.uplink

    def moveInside(self) -> float:
        """The host gets another address on its LAN."""
        self.count += 1
        # Of a public home the network is small.
        number = 3 + self.count % 2 if self.here.nat == "public" else 20 + self.count % 200
        now = time.monotonic()
        self.uplink.renumber(str(self.here.network[number]))
        return now

    def linkDown(self) -> float:
        """The link is down for 3 s."""
        self.uplink.down()
        time.sleep(3.0)
        now = time.monotonic()
        self.uplink.up()
        return now

    def otherNetwork(self) -> float:
        """An interface to another network takes the default route, or gives it back and goes."""
        now = time.monotonic()
        if self.isAway:
            batch(self.alice.host.uplink.commands(), self.alice.host.namespace)
            self.second.down()
        else:
            self.second.up()
            batch([f"link set {self.second.link.upDevice} master lan0 up"], self.other.router.namespace)
        self.isAway = not self.isAway
        return now

    def rebind(self) -> float:
        """The NAT forgets all, and maps to other ports from now on."""
        now = time.monotonic()
        self.here.setNat("eim-block" if self.here.nat == "port-restricted" else "port-restricted")
        self.here.flushConntrack()
        return now

    def publicAddress(self) -> float:
        """The NAT gets another public address."""
        self.count += 1
        now = time.monotonic()
        self.here.changeAddress(f"198.51.100.{230 + self.count % 20}")
        return now


Event = Callable[[Stage], float]

EVENTS: dict[str, Event] = {
    "address": Stage.moveInside,
    "link": Stage.linkDown,
    "network": Stage.otherNetwork,
    "rebinding": Stage.rebind,
    "public": Stage.publicAddress,
}


@attrs.frozen
class Course:
    """
    Who moves, and what is there.

    @ivar mover: the NAT of who moves; C{other} that of the other side.
    @ivar mediator: whether the mediator lives; C{relay}: whether it relays.
    @ivar events: what may happen.
    """

    mover: str
    other: str
    mediator: bool
    relay: bool
    events: tuple[str, ...]


_ALL = tuple(EVENTS)
COURSES = {
    "natted": Course("port-restricted", "port-restricted", True, False, _ALL),
    "relay": Course("port-restricted", "port-restricted", True, True, _ALL),
    "public": Course("public", "port-restricted", True, False, ("address", "link", "network")),
    "alone": Course("port-restricted", "public", False, False, _ALL),
}


@attrs.define
class Outcome:
    """
    What was measured.

    @ivar back: seconds until traffic was back, by event; C{direct}: until both sides had a direct path again, too.
    @ivar broken: what became of the connection when it did not survive.
    """

    back: dict[str, list[float]] = attrs.field(factory=dict)
    direct: dict[str, list[float]] = attrs.field(factory=dict)
    broken: list[str] = attrs.field(factory=list)


def build(cluster: Cluster, course: Course) -> Stage:
    """
    Two nodes with a direct path, and a second network for one of them.
    """
    mediator = cluster.startMediator(*(["--with-relay"] if course.relay else []))
    homes = [cluster.lab.addHome("alice", nat=course.mover), cluster.lab.addHome("bob", nat=course.other)]
    other = cluster.lab.addHome("mobile")
    alice, bob = (cluster.addNode(home.name, where=home, wait=False) for home in homes)
    for node in (alice, bob):
        node.waitReady()
        node.login()
    alice.create("family", "correct horse")
    bob.join(alice.invite("family"))
    link = Link(alice.host.namespace, "eth1", other.router.namespace, "roamer")
    batch([link.creation()])
    second = Uplink(link, str(other.network[99]), other.network.prefixlen, other.gateway)
    waitDirect(alice, bob)
    if not course.mediator:
        mediator.kill()
    return Stage(cluster, alice, bob, homes[0], other, second)


def waitDirect(alice: Node, bob: Node) -> None:
    """
    Wait until both have a direct path.
    """
    addresses = [str(node.ask("status")["address"]) for node in (alice, bob)]
    for node, address in ((alice, addresses[1]), (bob, addresses[0])):

        def direct(node: Node = node, address: str = address) -> bool:
            return str(node.ask("peer", name=address)["path"]) == "direct"

        waitUntil(direct, _PATIENCE, f"{node.name} has a direct path")


def measure(
    name: str,
    course: Course,
    runs: int,
    rate: str = "20M",
    told: Callable[[str], None] = lambda line: None,
    limit: float = float("inf"),
) -> Outcome:
    """
    Go through the events of a course so many times.

    @param rate: bits a second of the connection, as iperf3 takes it; C{0}: as many as there are.
    @param told: gets a line for each event.
    @param limit: the logs are shown when it takes longer than so many seconds.
    """
    outcome = Outcome()
    with Cluster(name) as cluster:
        stage = build(cluster, course)
        alice, bob = stage.alice, stage.bob
        address = str(bob.ask("status")["address"])
        server = bob.host.popen(["iperf3", "-s", "-1", "-B", address], stdout=subprocess.DEVNULL)
        waitUntil(lambda: ":5201 " in bob.host.run(["ss", "-Hltn"]).stdout, 20, "iperf3 listens")
        argv = ["iperf3", "-i", "10", "-t", "86400", "-b", rate, "-c", address]
        client = alice.host.popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        meter = Meter([alice, bob])
        try:
            for run in range(runs):
                for event in course.events:
                    back, direct = _happen(stage, meter, EVENTS[event])
                    outcome.back.setdefault(event, []).append(back)
                    outcome.direct.setdefault(event, []).append(direct)
                    told(f"{name} {run + 1}/{runs} {event}: back {back:.2f} s, direct {direct:.2f} s")
                    if client.poll() is not None:
                        assert client.stderr is not None
                        outcome.broken.append(f"{event}: {client.stderr.read().strip()}")
                        return outcome
                    if max(back, direct) > limit:
                        told(f"{_described(stage)}\n{cluster.logs()}")
        finally:
            meter.stop()
            stop(client, server)
    return outcome


def _described(stage: Stage) -> str:
    seen = []
    for node, other in ((stage.alice, stage.bob), (stage.bob, stage.alice)):
        seen.append(json.dumps(node.ask("peer", name=other.ask("status")["address"])))
    return "\n".join(seen)


def _happen(stage: Stage, meter: Meter, event: Event) -> tuple[float, float]:
    """
    @return: seconds until traffic was back, and until both had a direct path.
    """
    time.sleep(_SETTLE)
    at = event(stage)
    # What the control socket says may be older than the event.
    time.sleep(1.0)
    try:
        waitDirect(stage.alice, stage.bob)
        direct = time.monotonic() - at
    except LabError:
        direct = float("inf")
    deadline = time.monotonic() + _PATIENCE
    while True:
        time.sleep(max(0.5, at + _OBSERVED - time.monotonic()))
        back = meter.backAfter(at, time.monotonic())
        if back != float("inf") or time.monotonic() >= deadline:
            return back, direct


def table(outcomes: dict[str, Outcome]) -> str:
    """
    The figures as lines of text.
    """
    lines = ["course     event       runs  median   95 %  worst  direct again (median, worst)"]
    for name, outcome in outcomes.items():
        for event, back in outcome.back.items():
            direct = outcome.direct[event]
            lines.append(
                f"{name:<10} {event:<10} {len(back):5} {statistics.median(back):7.2f} {_share(back, 0.95):6.2f}"
                f" {max(back):6.2f}  {statistics.median(direct):6.2f} {max(direct):6.2f}"
            )
        lines += [f"{name}: the connection broke: {broken}" for broken in outcome.broken]
    return "\n".join(lines)


def _share(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def main(argv: Sequence[str] | None = None) -> int:
    """
    The program.

    @return: 1 if a connection broke.
    """
    parser = argparse.ArgumentParser(description="Measure how soon TCP goes on when a node moves.")
    parser.add_argument("--runs", type=int, default=5, help="of each event (default 5)")
    parser.add_argument("--course", action="append", choices=[*COURSES], help="which (default all)")
    parser.add_argument("--event", action="append", choices=[*EVENTS], help="which (default all)")
    parser.add_argument("--rate", default="20M", help="of iperf3 (default 20M; 0: without a limit)")
    parser.add_argument(
        "--limit", type=float, default=float("inf"), help="show the logs beyond so many seconds"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there too")
    chosen = parser.parse_args(argv)
    if reason := unavailable("iperf3", "conntrack", "ss"):
        print(f"vnet: this cannot be measured here: {reason}", file=sys.stderr)
        return 2
    outcomes = {}
    for name in chosen.course or COURSES:
        course = COURSES[name]
        if chosen.event:
            course = attrs.evolve(course, events=tuple(e for e in course.events if e in chosen.event))
        outcomes[name] = measure(
            name,
            course,
            chosen.runs,
            chosen.rate,
            lambda line: print(line, file=sys.stderr, flush=True),
            chosen.limit,
        )
    print(table(outcomes))
    if chosen.json:
        chosen.json.write_text(
            json.dumps({name: attrs.asdict(each) for name, each in outcomes.items()}, indent=1)
        )
    return 1 if any(each.broken for each in outcomes.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
