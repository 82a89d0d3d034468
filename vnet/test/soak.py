"""
C{make soak}: two homes behind NATs, real programs through the tunnel for ten minutes, and not one lost connection.

It prints what it sees as it goes, and ends with exit code 1 if a connection broke, a second passed without traffic, or there were
fewer rekeyings than there should have been.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from typing import Any

from attrs import define, field

from vnet.test.netlab import guard
from vnet.test.priv.cluster import Cluster, Node, waitUntil

__all__ = ["main"]

REKEY = 120.0
_BASE_PORT = 5300
_RATE = "5M"
_MOST_LOST = 0.001


@define
class Flow:
    """
    One program that sends from one node to another for the whole time.

    @ivar failure: what went wrong; empty when nothing did.
    """

    name: str
    process: subprocess.Popen[str]
    failure: str = ""
    summary: str = ""

    def finish(self) -> None:
        """
        Wait for its end and read its report.
        """
        out, err = self.process.communicate(timeout=60)
        if self.name.startswith("ping"):
            self._readPing(out + err)
        else:
            self._readIperf(out, err)

    def _readPing(self, out: str) -> None:
        found = re.search(r"(\d+) packets transmitted, (\d+) received", out)
        if found is None:
            self.failure = f"no report: {out[-200:]}"
            return
        sent, received = int(found[1]), int(found[2])
        self.summary = f"{received} of {sent} answered"
        if sent - received > max(1, sent * _MOST_LOST):
            self.failure = f"{sent - received} of {sent} echoes were lost"

    def _readIperf(self, out: str, err: str) -> None:
        try:
            report: dict[str, Any] = json.loads(out)
        except ValueError:
            self.failure = f"no report: {out[-200:]}{err[-200:]}"
            return
        if "error" in report:
            self.failure = report["error"]
            return
        silent = sum(each["sum"]["bytes"] == 0 for each in report["intervals"][:-1])
        end = report["end"]
        total = end["sum"] if "udp" in self.name else end["sum_received"]
        self.summary = f"{total['bytes'] / 1e6:.0f} MB"
        if silent:
            self.failure = f"{silent} seconds without traffic"
        if "udp" in self.name and end["sum"]["lost_percent"] > 100 * _MOST_LOST * 10:
            self.failure = f"{end['sum']['lost_percent']:.2f} % of the datagrams were lost"


@define
class Soak:
    """
    The whole run.
    """

    seconds: int
    flows: list[Flow] = field(factory=list)
    handshakes: int = 0

    def start(self, alice: Node, bob: Node) -> None:
        """
        Start all flows: TCP and UDP each way, and pings, over IPv4 and IPv6.
        """
        port = _BASE_PORT
        for source, target in ((alice, bob), (bob, alice)):
            for address in (target.address, target.address6):
                version = 6 if ":" in address else 4
                name = f"{source.name}->{target.name} IPv{version}"
                ping = ["ping", "-q", "-i", "0.2", "-c", str(self.seconds * 5), address]
                self.flows.append(Flow(f"ping {name}", source.host.popen(ping, stdout=-1, stderr=-1)))
                for options in ([], ["-u"]):
                    port += 1
                    target.host.popen(["iperf3", "-s", "-1", "-p", str(port)], stdout=-3, stderr=-3)
                    _awaitListening(target, port)
                    argv = [
                        "iperf3",
                        "-J",
                        "-c",
                        address,
                        "-p",
                        str(port),
                        "-t",
                        str(self.seconds),
                        "-b",
                        _RATE,
                        *options,
                    ]
                    kind = "udp" if options else "tcp"
                    self.flows.append(Flow(f"{kind} {name}", source.host.popen(argv, stdout=-1, stderr=-1)))

    def watch(self, alice: Node, bob: Node) -> None:
        """
        Count handshakes until the time is over.
        """
        began, last = time.monotonic(), float("inf")
        while time.monotonic() - began < self.seconds:
            time.sleep(5)
            peer = alice.peer(bob.address)
            age = peer["lastHandshake"]
            if age is not None and age < last:
                self.handshakes += 1
            last = age if age is not None else last
            broken = [flow.name for flow in self.flows if flow.process.poll() not in (None, 0)]
            print(
                f"{time.monotonic() - began:6.0f} s  path {peer['path']}, {peer['latencyMs']} ms, "
                f"{self.handshakes} handshakes, {peer['rxBytes'] / 1e6:.0f} MB in, {peer['txBytes'] / 1e6:.0f} MB out"
                + (f"  BROKEN: {', '.join(broken)}" if broken else ""),
                flush=True,
            )

    def report(self) -> int:
        """
        @return: the exit code.
        """
        for flow in self.flows:
            flow.finish()
            print(f"{flow.name:28} {flow.failure or 'ok'}  {flow.summary}")
        wanted = int(self.seconds / REKEY)
        enough = self.handshakes >= wanted
        print(f"handshakes: {self.handshakes}, at least {wanted} were due")
        return 0 if enough and not any(flow.failure for flow in self.flows) else 1


def _awaitListening(node: Node, port: int) -> None:
    waitUntil(lambda: f":{port} " in node.host.run(["ss", "-Hltn"]).stdout, 5, "iperf3 to listen")


def main(arguments: list[str] | None = None) -> int:
    """
    Run it.
    """
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--seconds", type=int, default=600)
    options = parser.parse_args(arguments)
    soak = Soak(options.seconds)
    with guard(), Cluster("soak") as cluster:
        cluster.startMediator()
        alice, bob = cluster.addNode("alice"), cluster.addNode("bob")
        alice.login()
        alice.create("family", "correct horse")
        bob.vnet("join", alice.invite("family"))
        bob.waitPath(alice)
        soak.start(alice, bob)
        soak.watch(alice, bob)
        return soak.report()


if __name__ == "__main__":
    sys.exit(main())
