"""
One turn of one way: everything that is measured of it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import attrs
from packetrate import searchRate
from roundtrips import idle, loaded
from spent import cpuSeconds, machineSeconds
from streams import iperfServer, stream
from way import Way

__all__ = ["PARTS", "Effort", "Result", "measure"]

#: What a turn consists of.
PARTS = ("idle", "loaded", "tcp", "packets")

SMALL, LARGE = 100, 1400
#: Where the search for a rate begins, datagrams per second.
_START_RATE, _START_BARE = 30_000.0, 150_000.0


@attrs.frozen
class Effort:
    """
    How long a turn takes.

    @ivar seconds: of each TCP stream.
    @ivar pings: on the idle way; as many under load, at twice the interval.
    @ivar steps: at most, of each search for a rate of packets.
    @ivar stepSeconds: of each of them.
    @ivar parts: of L{PARTS}.
    """

    seconds: int = 3
    pings: int = 100
    steps: int = 6
    stepSeconds: float = 0.8
    parts: Sequence[str] = PARTS


@attrs.define
class Result:
    """
    One turn: L{None} is what was not measured.

    @ivar tcp: Mbit/s from near to far.
    @ivar tcpBack: Mbit/s from far to near.
    @ivar packets: UDP datagrams of 100 bytes that arrive per second, at the highest rate with less than 1 % loss.
    @ivar largePackets: the same of 1,400 bytes.
    @ivar senderLimited: the names of those for which the sender was too slow to find out more.
    @ivar ping: round trip on the idle way, milliseconds; the median, as the next ones, but where it says 99 %.
    @ivar loadedPing: the same while a TCP stream runs.
    @ivar secondPing: to another peer meanwhile.
    @ivar mediator: until the mediator has answered a request meanwhile.
    @ivar cpuPerGB: seconds of CPU of both daemons for 1e9 bytes of TCP from near to far.
    @ivar cpuPerGBBack: the same of the other direction.
    @ivar cpuPerPacket: microseconds of CPU of both daemons for a datagram of 100 bytes.
    @ivar others: what other programs used of all CPUs meanwhile, percent: they disturb.
    @ivar rss: resident memory of the near daemon, MB.
    @ivar pss: the same with shared pages divided among their users.
    """

    way: str
    tcp: float | None = None
    tcpBack: float | None = None
    packets: float | None = None
    largePackets: float | None = None
    senderLimited: list[str] = attrs.field(factory=list)
    ping: float | None = None
    pingP99: float | None = None
    loadedPing: float | None = None
    loadedPingP99: float | None = None
    secondPing: float | None = None
    secondPingP99: float | None = None
    mediator: float | None = None
    mediatorP99: float | None = None
    cpuPerGB: float | None = None
    cpuPerGBBack: float | None = None
    cpuPerPacket: float | None = None
    others: float | None = None
    rss: float | None = None
    pss: float | None = None


def ownSeconds(way: Way) -> float:
    """
    CPU that this program, those that it has ended, and the daemons have used so far.
    """
    times = os.times()
    return sum(times[:4]) + cpuSeconds(*way.daemons)


def memory(pid: int, kind: str) -> float:
    """
    Memory of a process, MB.

    @param kind: C{"Rss"} or C{"Pss"}.
    """
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(kind + ":"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def measureTcp(way: Way, effort: Effort, result: Result) -> None:
    """
    One stream in each direction, and what it costs.
    """
    there, back = stream(way, effort.seconds), stream(way, effort.seconds, back=True)
    result.tcp, result.cpuPerGB = there.mbits, there.cpuPerGB
    result.tcpBack, result.cpuPerGBBack = back.mbits, back.cpuPerGB


def measureIdle(way: Way, effort: Effort, result: Result) -> None:
    """
    Round trips while nothing else happens.
    """
    times = idle(way, effort.pings)
    result.ping, result.pingP99 = times.median, times.p99


def measureLoaded(way: Way, effort: Effort, result: Result) -> None:
    """
    Round trips while a TCP stream runs.
    """
    found = loaded(way, effort.pings)
    result.loadedPing, result.loadedPingP99 = found.same.median, found.same.p99
    result.secondPing, result.secondPingP99 = found.second.median, found.second.p99
    result.mediator, result.mediatorP99 = found.mediator.median, found.mediator.p99


def measurePackets(way: Way, effort: Effort, result: Result, before: Result | None) -> None:
    """
    The rates of datagrams.
    """
    for name, size in (("packets", SMALL), ("largePackets", LARGE)):
        known = getattr(before, name, None)
        start = known or (_START_RATE if way.daemons else _START_BARE)
        found = searchRate(way, size, start, effort.steps, effort.stepSeconds)
        setattr(result, name, found.perSecond)
        if found.senderLimited:
            result.senderLimited.append(name)
        if size == SMALL:
            result.cpuPerPacket = found.cpu


def measure(way: Way, effort: Effort, before: Result | None) -> Result:
    """
    One turn.

    @param before: of the same way in an earlier round; it says where to look for the rate of packets.
    """
    result = Result(way.name)
    start, everything, own = time.monotonic(), machineSeconds(), ownSeconds(way)
    with iperfServer(way.far):
        for part, work in (("idle", measureIdle), ("loaded", measureLoaded), ("tcp", measureTcp)):
            if part in effort.parts:
                work(way, effort, result)
        if "packets" in effort.parts:
            measurePackets(way, effort, result, before)
    others = machineSeconds() - everything - (ownSeconds(way) - own)
    result.others = max(0.0, others) / (time.monotonic() - start) / (os.cpu_count() or 1) * 100
    if way.daemons:
        result.rss, result.pss = (memory(way.daemons[0], kind) for kind in ("Rss", "Pss"))
    return result
