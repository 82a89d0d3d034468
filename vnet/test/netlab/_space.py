"""
A namespace as a place to run programs in, and the link that connects it.
"""

from __future__ import annotations

import json
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import attrs

from vnet.test.netlab._process import Processes, stop
from vnet.test.netlab._system import LabError, configure, execute, requireTools

__all__ = ["Capture", "Link", "Ping", "Space"]

# What tcpdump has not yet read when it is told to end is lost.
SETTLE = 0.1

ROOT = Path(__file__).resolve().parents[3]


@attrs.frozen
class Ping:
    """
    What C{ping} saw; true where every request was answered.

    @ivar millis: the round trip time of each answer.
    """

    sent: int
    millis: list[float]

    def __bool__(self) -> bool:
        return len(self.millis) == self.sent


@attrs.define
class Link:
    """
    A veth pair between a space and its uplink.  Losses and blocks are rules at the uplink's end, so
    that no program sees an error that a real network would not give it.

    @ivar namespace: where the near end is; C{device} is its name there.
    @ivar upNamespace: where the far end is; C{upDevice} is its name there.
    """

    namespace: str
    device: str
    upNamespace: str
    upDevice: str
    _rules: dict[str, tuple[list[str], list[str]]] = attrs.field(factory=dict)

    def creation(self) -> str:
        """
        The C{ip} line that makes it.
        """
        return (
            f"link add {self.device} netns {self.namespace} type veth"
            f" peer name {self.upDevice} netns {self.upNamespace}"
        )

    def setLoss(self, percent: float) -> None:
        """
        Drop this share of the packets of each direction at random.  A train of segments that the kernel
        carries as one is dropped as one.
        """
        rule = [f"numgen random mod 100000 < {round(percent * 1000)} drop"] if percent else []
        self.setRules("loss", rule, rule)

    def setRules(self, name: str, outward: list[str], inward: list[str]) -> None:
        """
        Replace one named group of nft rules: for packets from the space, and for packets to it.
        """
        self._rules[name] = (outward, inward)
        table = "ctl_" + self.upDevice.replace("-", "_")
        hook = f'device "{self.upDevice}" priority filter; policy accept;'
        out = "\n".join(line for rules in self._rules.values() for line in rules[0])
        back = "\n".join(line for rules in self._rules.values() for line in rules[1])
        text = f"""
            add table netdev {table}
            delete table netdev {table}
            table netdev {table} {{
                chain outward {{ type filter hook ingress {hook}
                    {out}
                }}
                chain inward {{ type filter hook egress {hook}
                    {back}
                }}
            }}"""
        configure(self.upNamespace, rules=text)


@attrs.define
class Capture:
    """
    A running C{tcpdump} and its file.  As a context manager it stops at the end of the block.
    """

    path: Path
    _process: subprocess.Popen[str]

    def stop(self) -> None:
        """
        End it; the file is complete afterwards.
        """
        time.sleep(SETTLE)
        stop(self._process)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


@attrs.define
class Space:
    """
    One namespace of a lab.

    @ivar name: what the lab calls it.
    @ivar namespace: what C{ip netns} calls it.
    """

    name: str
    namespace: str
    _processes: Processes

    def popen(self, argv: Iterable[str], **options: Any) -> subprocess.Popen[str]:
        """
        Start a program; the lab ends it at the latest when the lab closes.

        @param options: as of L{subprocess.Popen}; the standard input is empty by default.
        """
        return self._processes.start(["ip", "netns", "exec", self.namespace, *argv], **options)

    def run(
        self,
        argv: Iterable[str],
        check: bool = True,
        timeout: float = 30.0,
        text: str | None = None,
        env: dict[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """
        Run a program to its end.

        @param text: its standard input.
        @raise LabError: it takes longer than C{timeout} seconds, or C{check} and it fails.
        """
        command = list(argv)
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": env}
        if text is not None:
            pipes["stdin"] = subprocess.PIPE
        process = self.popen(command, **pipes)
        try:
            out, errors = process.communicate(text, timeout)
        except subprocess.TimeoutExpired as late:
            raise LabError(f"{self.name}: {' '.join(command)}: not done after {timeout} s") from late
        finally:
            stop(process)
        if check and process.returncode:
            raise LabError(f"{self.name}: {' '.join(command)}: exit {process.returncode}\n{out}{errors}")
        return subprocess.CompletedProcess(command, process.returncode, out, errors)

    def python(self, code: str, *arguments: str, timeout: float = 30.0) -> str:
        """
        Run a Python program, with vnet importable.

        @return: what it printed.
        @raise LabError: it failed or took too long.
        """
        bootstrap = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        return self.run([sys.executable, "-c", bootstrap + code, *arguments], timeout=timeout).stdout

    def ping(self, address: str, count: int = 1, timeout: float = 1.0, interval: float = 0.05) -> Ping:
        """
        Send ICMP echo requests, and wait C{timeout} seconds for the last answer.
        """
        requireTools("ping")
        argv = ["ping", "-n", "-c", str(count), "-i", str(interval), "-W", str(timeout), address]
        done = self.run(argv, check=False, timeout=timeout + count * (interval + 0.5) + 5)
        if done.returncode > 1 and "unreachable" not in done.stderr:
            raise LabError(f"{self.name}: {' '.join(argv)}: {done.stderr.strip()}")
        return Ping(count, [float(found) for found in re.findall(r" time=([0-9.]+) ms", done.stdout)])

    def interfaces(self) -> dict[str, dict[str, Any]]:
        """
        What C{ip -json -statistics link} says, by interface.
        """
        out = execute(["ip", "-n", self.namespace, "-json", "-statistics", "link", "show"])
        return {each["ifname"]: each for each in json.loads(out)}

    def rxBytes(self, interface: str) -> int:
        """
        Bytes that an interface has received.
        """
        return int(self.interfaces()[interface]["stats64"]["rx"]["bytes"])

    def txBytes(self, interface: str) -> int:
        """
        Bytes that an interface has sent.
        """
        return int(self.interfaces()[interface]["stats64"]["tx"]["bytes"])

    def capture(self, path: Path | str, interface: str = "any", expression: str = "") -> Capture:
        """
        Write packets to a pcap file; when this returns, capturing has begun.

        @param expression: a pcap filter.
        """
        requireTools("tcpdump")
        argv = ["tcpdump", "-n", "-U", "--immediate-mode", "-Z", "root", "-i", interface, "-w", str(path)]
        process = self.popen([*argv, *expression.split()], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
        awaitLine(process, "listening on", 5.0)
        return Capture(Path(path), process)


def awaitLine(process: subprocess.Popen[str], needle: str, timeout: float) -> str:
    """
    The first line on a process's standard error (a pipe) that contains C{needle}.

    @raise LabError: none came in time.
    """
    stream = process.stderr
    if stream is None:
        raise LabError("standard error is not a pipe")
    seen = ""
    deadline = time.monotonic() + timeout
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([stream], [], [], left)[0]:
            break
        line = stream.readline()
        seen += line
        if needle in line:
            return line
        if not line:
            break
    stop(process)
    raise LabError(f"{process.args!r}: no {needle!r} within {timeout} s: {seen}")
