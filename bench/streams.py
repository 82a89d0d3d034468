"""
TCP streams, by iperf3.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import attrs
from spent import cpuSeconds
from way import Way

from vnet.test.netlab import Host, LabError, stop
from vnet.test.priv.cluster import listens, waitUntil

__all__ = ["Stream", "iperf", "iperfServer", "running", "stream"]

IPERF_PORT = 5201


@attrs.frozen
class Stream:
    """
    What became of one stream.

    @ivar mbits: Mbit/s that arrived.
    @ivar cpuPerGB: seconds of CPU of both daemons for 1e9 bytes; L{None}: there are no daemons.
    """

    mbits: float
    cpuPerGB: float | None


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


@contextmanager
def running(way: Way, seconds: int) -> Iterator[subprocess.Popen[str]]:
    """
    A stream is under way in this block, and ends by itself a little after.
    """
    argv = ["iperf3", "-c", way.target, "-t", str(seconds), "--connect-timeout", "3000"]
    process = way.near.popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(0.5)
        yield process
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds + 5)
    finally:
        stop(process)


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


def stream(way: Way, seconds: int, back: bool = False) -> Stream:
    """
    Measure one stream.

    @param back: whether it goes from far to near.
    """
    before = cpuSeconds(*way.daemons)
    received = iperf(way, seconds, *(["-R"] if back else []))["end"]["sum_received"]
    spent, amount = cpuSeconds(*way.daemons) - before, received["bytes"] / 1e9
    return Stream(received["bits_per_second"] / 1e6, spent / amount if amount and way.daemons else None)
