"""
How one way is measured: with iperf3, ping and what the kernel counts for the daemons.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import attrs
from contenders import Way
from spent import cpuSeconds, machineSeconds, p99

from vnet.test.netlab import Host, LabError, stop
from vnet.test.priv.cluster import listens, waitUntil

__all__ = ["Effort", "Result", "measure"]

IPERF_PORT = 5201
DATAGRAM_PORT = 5301
LOSS = 0.01
#: The search for a rate ends when the highest good one and the lowest bad one are so close.
_CLOSE = 1.06
_START_RATE = {"vnet": 30_000.0, "wireguard-go": 20_000.0, "veth": 150_000.0}
#: What the sender must reach of the rate that it was asked for, or it is the sender that is too slow.
_REACHED = 0.93


@attrs.frozen
class Effort:
    """
    How long a turn takes.

    @ivar seconds: of each TCP stream.
    @ivar pings: on the idle way; as many under load, at twice the interval.
    @ivar steps: at most, of the search for the rate of small packets.
    @ivar stepSeconds: of each of them.
    """

    seconds: int = 3
    pings: int = 100
    steps: int = 6
    stepSeconds: float = 0.8


@attrs.define
class Result:
    """
    One turn: L{None} is what was not measured.

    @ivar tcp: Mbit/s from near to far.
    @ivar tcpBack: Mbit/s from far to near.
    @ivar packets: UDP datagrams of 100 bytes that arrive per second, at the highest rate with less than 1 % loss.
    @ivar senderLimited: whether the sender was too slow to find out more.
    @ivar pingAvg: round trip on the idle way, milliseconds.
    @ivar loadedAvg: the same while a TCP stream runs.
    @ivar cpuPerGB: seconds of CPU of both daemons for 1e9 bytes of TCP.
    @ivar others: what other programs used of all CPUs meanwhile, percent: they disturb.
    @ivar rss: resident memory of one daemon, MiB.
    @ivar pss: the same with shared pages divided among their users.
    """

    way: str
    tcp: float | None = None
    tcpBack: float | None = None
    packets: float | None = None
    senderLimited: bool = False
    pingAvg: float | None = None
    pingP99: float | None = None
    loadedAvg: float | None = None
    loadedP99: float | None = None
    cpuPerGB: float | None = None
    others: float | None = None
    rss: float | None = None
    pss: float | None = None


def ownSeconds(way: Way) -> float:
    """
    CPU that this program, those that it has ended, and the daemons have used so far.
    """
    times = os.times()
    return sum(times[:4]) + cpuSeconds(*way.daemons)


def memory(pids: tuple[int, ...], kind: str) -> float | None:
    """
    Memory of one of these processes, their mean.

    @param kind: C{"Rss"} or C{"Pss"}.
    """
    if not pids:
        return None
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(kind + ":"):
                total += int(line.split()[1])
    return total / len(pids) / 1024


@attrs.frozen
class Flow:
    """
    What became of the datagrams of one flow.

    @ivar offered: how many were sent per second.
    @ivar rate: how many arrived per second.
    @ivar loss: the share that did not arrive.
    """

    offered: float
    rate: float
    loss: float


def flow(near: Host, far: Host, target: str, rate: float, seconds: float) -> Flow:
    """
    Send datagrams from one host to another.

    @param target: the far host's address.
    @param rate: datagrams per second.
    """
    program = [sys.executable, str(Path(__file__).resolve().with_name("datagrams.py"))]
    receiver = far.popen([*program, "receive", str(DATAGRAM_PORT)], stdout=subprocess.PIPE)
    try:
        if receiver.stdout is None or "ready" not in receiver.stdout.readline():
            raise LabError(f"{far.name}: the receiver of datagrams did not start")
        arguments = ["send", target, str(DATAGRAM_PORT), str(rate), str(seconds)]
        sent = json.loads(near.run([*program, *arguments], timeout=seconds * 4 + 10).stdout)
        arrived = json.loads(receiver.communicate(timeout=20)[0])
    finally:
        stop(receiver)
    count = min(arrived["count"], sent["count"])
    # What waited in queues arrived after the sender had ended: the receiver's time is the longer one then.
    took = max(sent["seconds"], arrived["seconds"])
    return Flow(sent["count"] / sent["seconds"], count / took, 1 - count / sent["count"])


@contextmanager
def iperfServer(host: Host) -> Iterator[None]:
    """
    iperf3 serves in this block.
    """
    server = host.popen(["iperf3", "-s"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        waitUntil(lambda: listens(server, IPERF_PORT), 5.0, "iperf3 listens", 0.02)
        yield
    finally:
        stop(server)


def iperf(way: Way, seconds: int, *options: str) -> dict[str, Any]:
    """
    One run of iperf3.

    @return: its report.
    @raise LabError: it failed, twice.
    """
    argv = ["iperf3", "-J", "-c", way.target, "-t", str(seconds), "--connect-timeout", "3000", *options]
    error: object = None
    for _ in range(2):
        out = way.near.run(argv, check=False, timeout=seconds + 20).stdout
        report: dict[str, Any] = {}
        with suppress(ValueError):
            report = json.loads(out)
        error = report.get("error") or out[-200:]
        if "error" not in report and report.get("end", {}).get("streams"):
            return report
        # The server may still be busy with the run before.
        time.sleep(0.3)
    raise LabError(f"{way.name}: iperf3: {error}")


def measureTcp(way: Way, effort: Effort, result: Result) -> None:
    """
    One stream in each direction, and what it costs.
    """
    own, amount = cpuSeconds(*way.daemons), 0
    speeds = []
    for options in ((), ("-R",)):
        received = iperf(way, effort.seconds, *options)["end"]["sum_received"]
        speeds.append(received["bits_per_second"] / 1e6)
        amount += received["bytes"]
    result.tcp, result.tcpBack = speeds
    if amount and way.daemons:
        result.cpuPerGB = (cpuSeconds(*way.daemons) - own) / (amount / 1e9)


def measurePing(way: Way, effort: Effort, result: Result) -> None:
    """
    Round trips while nothing else happens, and while a TCP stream runs.
    """
    idle = way.near.ping(way.target, effort.pings, interval=0.01).millis
    if idle:
        result.pingAvg, result.pingP99 = sum(idle) / len(idle), p99(idle)
    # Started a little before the pings, ended after them.
    seconds = math.ceil(effort.pings * 0.02 + 0.8)
    argv = ["iperf3", "-c", way.target, "-t", str(seconds), "--connect-timeout", "3000"]
    stream = way.near.popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(0.5)
        loaded = way.near.ping(way.target, effort.pings, interval=0.02).millis
        with suppress(subprocess.TimeoutExpired):
            stream.wait(seconds + 5)
    finally:
        stop(stream)
    if loaded:
        result.loadedAvg, result.loadedP99 = sum(loaded) / len(loaded), p99(loaded)


def searchRate(way: Way, effort: Effort, start: float, result: Result) -> None:
    """
    Find the highest rate of small packets with less than 1 % loss.

    @param start: where to begin.
    """
    rate, good, bad, limited = start, 0.0, math.inf, 0
    for _ in range(effort.steps):
        found = flow(way.near, way.far, way.target, rate, effort.stepSeconds)
        if found.loss < LOSS:
            good = max(good, rate)
            result.packets = max(result.packets or 0.0, found.rate)
            limited += found.offered < _REACHED * rate
        else:
            bad = min(bad, rate)
        if limited == 2 or bad / max(good, 1.0) < _CLOSE:
            break
        if limited:
            continue
        rate = _nextRate(good, bad, found.rate)
    result.senderLimited = limited > 0


def _nextRate(good: float, bad: float, arrived: float) -> float:
    if not good:
        return max(500.0, min(arrived, bad * 0.8))
    return good * 1.5 if bad == math.inf else math.sqrt(good * bad)


def measure(way: Way, effort: Effort, before: Result | None) -> Result:
    """
    One turn.

    @param before: of the same way in an earlier round; it says where to look for the rate of packets.
    """
    result = Result(way.name)
    start, everything, own = time.monotonic(), machineSeconds(), ownSeconds(way)
    with iperfServer(way.far):
        measurePing(way, effort, result)
        measureTcp(way, effort, result)
        known = before.packets if before is not None else None
        searchRate(way, effort, known or _START_RATE[way.name], result)
    others = machineSeconds() - everything - (ownSeconds(way) - own)
    result.others = max(0.0, others) / (time.monotonic() - start) / (os.cpu_count() or 1) * 100
    result.rss, result.pss = memory(way.daemons, "Rss"), memory(way.daemons, "Pss")
    return result
