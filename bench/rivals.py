"""
n2n, nebula and tinc between the homes of the matrix.

Each has one server on a public host, which all nodes know: n2n's supernode, nebula's lighthouse (which is a relay too),
and a tinc daemon that all connect to.  Which way the packets go is seen in the middle of the Internet, where those between
the two homes are counted.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import attrs
from matrixtable import markdownMatrix, markdownRows
from rich.console import Console

from vnet.test.natcells import median
from vnet.test.netlab import Home, Host, Lab, LabError, stop
from vnet.test.netlab._system import configure
from vnet.test.priv.natpairs import Outcome, Pinging, inTurn

__all__ = ["RIVALS", "compare", "missing"]

#: Seconds: how long a first ping is waited for, and how long a direct path.
PATIENCE = 30.0
#: Seconds from one echo to the next: nebula tries a direct path instead of a relayed one after 1,000 packets.
INTERVAL = 0.01
#: A way is direct when of the echoes of this many seconds so large a share went directly, both ways.
WINDOW, SHARE = 0.6, 0.8
POLL = 0.05


class Rival(Protocol):
    """
    One of the programs.

    @ivar settings: what is to be known of how it ran.
    """

    settings: str

    def serve(self, server: Host, directory: Path) -> None:
        """
        Start what all nodes need.
        """

    def address(self, number: int) -> str:
        """
        The address of a node inside; numbers begin with 2.
        """

    def join(self, host: Host, number: int) -> subprocess.Popen[str]:
        """
        Start a node.
        """


def _start(host: Host, directory: Path, name: str, argv: Sequence[str]) -> subprocess.Popen[str]:
    with (directory / f"{name}.log").open("a") as log:
        return host.popen(argv, stdout=log, stderr=subprocess.STDOUT, cwd=directory)


def _inside(block: int, number: int) -> str:
    return f"10.{block}.{number // 250}.{number % 250 + 1}"


@attrs.define
class N2n:
    """
    n2n 1: one community.
    """

    settings: str = "n2n 1.3 (Debian): edges and one supernode, which relays"
    _server: str = ""
    _directory: Path = Path()

    def serve(self, server: Host, directory: Path) -> None:
        """See L{Rival}."""
        self._server, self._directory = server.address, directory
        _start(server, directory, "supernode", ["supernode", "-l", "7654"])

    def address(self, number: int) -> str:
        """See L{Rival}."""
        return _inside(77, number)

    def join(self, host: Host, number: int) -> subprocess.Popen[str]:
        """See L{Rival}."""
        argv = [
            "edge",
            "-d",
            "n2n0",
            "-a",
            self.address(number),
            "-s",
            "255.255.0.0",
            "-c",
            "lab",
            "-k",
            "secret",
        ]
        hardware = f"02:00:00:00:{number // 256:02x}:{number % 256:02x}"
        argv += ["-m", hardware, "-u", "0", "-g", "0", "-l", f"{self._server}:7654"]
        return _start(host, self._directory, f"edge-{number}", argv)


NEBULA = """
pki: {{ca: {d}/ca.crt, cert: {d}/{name}.crt, key: {d}/{name}.key}}
static_host_map: {{"{inside}": ["{server}:4242"]}}
lighthouse: {{am_lighthouse: {serves}, interval: 10, hosts: [{hosts}]}}
relay: {{am_relay: {serves}, use_relays: true, relays: [{hosts}]}}
listen: {{host: 0.0.0.0, port: {port}}}
punchy: {{punch: true, respond: true}}
tun: {{dev: nebula0, mtu: 1300}}
logging: {{level: info, format: text}}
firewall:
  outbound: [{{port: any, proto: any, host: any}}]
  inbound: [{{port: any, proto: any, host: any}}]
"""


@attrs.define
class Nebula:
    """
    Nebula, with a lighthouse that is the relay of all.
    """

    settings: str = "nebula 1.6 (Debian): a lighthouse that is a relay too; punchy with respond"
    _server: str = ""
    _directory: Path = Path()

    def serve(self, server: Host, directory: Path) -> None:
        """See L{Rival}."""
        self._server, self._directory = server.address, directory
        self._certify("ca", "-name", "lab", "-duration", "24h", ca=True)
        self._node(server, 1, "lighthouse", serves=True)

    def address(self, number: int) -> str:
        """See L{Rival}."""
        return _inside(78, number)

    def join(self, host: Host, number: int) -> subprocess.Popen[str]:
        """See L{Rival}."""
        return self._node(host, number, f"node-{number}", serves=False)

    def _certify(self, name: str, *options: str, ca: bool = False) -> None:
        files = [f"-out-crt={name}.crt", f"-out-key={name}.key"]
        verb = ["ca"] if ca else ["sign", "-ca-crt=ca.crt", "-ca-key=ca.key"]
        subprocess.run(
            ["nebula-cert", *verb, *files, *options],
            cwd=self._directory,
            check=True,
            capture_output=True,
            timeout=30,
        )

    def _node(self, host: Host, number: int, name: str, serves: bool) -> subprocess.Popen[str]:
        self._certify(name, "-name", name, "-ip", f"{self.address(number)}/16")
        text = NEBULA.format(
            d=self._directory,
            name=name,
            inside=self.address(1),
            server=self._server,
            serves=str(serves).lower(),
            hosts="" if serves else f'"{self.address(1)}"',
            port=4242 if serves else 0,
        )
        if serves:
            text = re.sub("static_host_map: .*", "static_host_map: {}", text)
        (self._directory / f"{name}.yml").write_text(text)
        return _start(host, self._directory, name, ["nebula", "-config", f"{name}.yml"])


@attrs.define
class Tinc:
    """
    tinc 1.0.  All nodes have the same RSA key, since making one takes long.
    """

    settings: str = "tinc 1.0 (Debian): all connect to one public daemon, which forwards"
    _server: str = ""
    _directory: Path = Path()
    _public: str = ""

    def serve(self, server: Host, directory: Path) -> None:
        """See L{Rival}."""
        self._server, self._directory = server.address, directory
        for name in ("key", "hub"):
            self._configure(name, self.address(1))
            argv = ["tincd", "-c", str(directory / name), "-K2048"]
            subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
        self._public = self._keyOf("key")
        hub = directory / "hub" / "hosts" / "hub"
        hub.write_text(f"Address = {self._server}\nSubnet = {self.address(1)}/32\n" + self._keyOf("hub"))
        self._run(server, "hub")

    def address(self, number: int) -> str:
        """See L{Rival}."""
        return _inside(79, number)

    def join(self, host: Host, number: int) -> subprocess.Popen[str]:
        """See L{Rival}."""
        name = f"n{number}"
        self._configure(name, self.address(number), "ConnectTo = hub")
        own = f"Subnet = {self.address(number)}/32\n" + self._public
        for place in (name, "hub"):
            (self._directory / place / "hosts" / name).write_text(own)
        shutil.copy(self._directory / "hub" / "hosts" / "hub", self._directory / name / "hosts" / "hub")
        shutil.copy(self._directory / "key" / "rsa_key.priv", self._directory / name / "rsa_key.priv")
        return self._run(host, name)

    def _configure(self, name: str, inside: str, *more: str) -> None:
        place = self._directory / name
        (place / "hosts").mkdir(parents=True)
        lines = [f"Name = {name}", "DeviceType = tun", "Interface = tinc0", "AddressFamily = ipv4", *more]
        (place / "tinc.conf").write_text("\n".join(lines) + "\n")
        up = place / "tinc-up"
        up.write_text(f'#!/bin/sh\nip addr add {inside}/16 dev "$INTERFACE"\nip link set "$INTERFACE" up\n')
        up.chmod(0o700)

    def _keyOf(self, name: str) -> str:
        text = (self._directory / name / "hosts" / name).read_text()
        return text[text.index("-----BEGIN") :]

    def _run(self, host: Host, name: str) -> subprocess.Popen[str]:
        place = self._directory / name
        return _start(
            host, self._directory, name, ["tincd", "-c", str(place), "-D", f"--pidfile={place}/pid"]
        )


#: With the programs that each needs.
RIVALS: dict[str, tuple[Callable[[], Rival], tuple[str, ...]]] = {
    "n2n": (N2n, ("edge", "supernode")),
    "nebula": (Nebula, ("nebula", "nebula-cert")),
    "tinc": (Tinc, ("tincd",)),
}


def missing() -> str | None:
    """
    Which programs are not installed, as a sentence; L{None} when all are.
    """
    needed = [program for _, programs in RIVALS.values() for program in programs]
    absent = [program for program in needed if shutil.which(program) is None]
    return f"not installed, but needed: {', '.join(absent)}" if absent else None


@attrs.define
class Counted:
    """
    Counts, in the middle, the packets from each of two homes to the other.
    """

    _internet: str
    _table: str
    _addresses: tuple[str, str]

    def begin(self) -> None:
        """
        Begin to count.
        """
        one, other = self._addresses
        rules = "\n".join(f"ip saddr {a} ip daddr {b} counter" for a, b in ((one, other), (other, one)))
        hook = "type filter hook forward priority filter + 10; policy accept;"
        configure(self._internet, rules=f"table ip {self._table} {{ chain seen {{ {hook}\n{rules}\n}}\n}}")

    def packets(self) -> tuple[int, int]:
        """
        @return: how many there were so far, one way and the other.
        """
        argv = ["ip", "netns", "exec", self._internet, "nft", "list", "table", "ip", self._table]
        text = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30).stdout
        one, other = (int(found) for found in re.findall(r"packets (\d+)", text))
        return one, other

    def end(self) -> None:
        """
        Count no more.
        """
        configure(self._internet, rules=f"delete table ip {self._table}")


def meet(
    lab: Lab, rival: Rival, homes: Sequence[Home], numbers: Sequence[int], ended: threading.Event
) -> Outcome:
    """
    Start two nodes at the same time, and see what they find.  Seconds are counted from the start.
    """
    counted = Counted(
        lab.internet.namespace, f"pair{numbers[0]}", (homes[0].publicAddress, homes[1].publicAddress)
    )
    counted.begin()
    begin = time.monotonic()
    nodes = [rival.join(home.host, number) for home, number in zip(homes, numbers, strict=True)]
    ping = Pinging(homes[0].host, rival.address(numbers[1]), INTERVAL)
    try:
        return _watch(ping, counted, begin, ended)
    finally:
        ping.end()
        stop(*nodes)
        counted.end()


def _watch(ping: Pinging, counted: Counted, begin: float, ended: threading.Event) -> Outcome:
    pinged: float | None = None
    looked, answers, before = begin, 0, (0, 0)
    while (now := time.monotonic()) - begin < PATIENCE and not ended.is_set():
        found = ping.look()
        if pinged is None and found:
            pinged = now - begin
        if now - looked >= WINDOW:
            packets = counted.packets()
            echoes, ways = (
                found - answers,
                [after - first for after, first in zip(packets, before, strict=True)],
            )
            if echoes > 5 and min(ways) >= SHARE * echoes:
                return Outcome("direct", 0.0, now - WINDOW - begin, pinged)
            looked, answers, before = now, found, packets
        time.sleep(POLL)
    if ended.is_set():
        raise LabError("ended before it was done")
    return Outcome("none" if pinged is None else "relayed", 0.0, None, pinged)


def measureRivals(
    chosen: Sequence[tuple[str, str]], jobs: int, console: Console
) -> dict[str, dict[tuple[str, str], Outcome]]:
    """
    Let each program try each pair, in homes of its own.

    @param jobs: pairs at a time.
    """
    results: dict[str, dict[tuple[str, str], Outcome]] = {name: {} for name in RIVALS}
    done = count(1)
    with Lab("rivals") as lab:
        rivals = {}
        for name, (make, _) in RIVALS.items():
            rivals[name] = make()
            directory = lab.directory / name
            directory.mkdir()
            rivals[name].serve(lab.addHost(name), directory)
        time.sleep(1.0)

        def one(task: tuple[int, tuple[str, str]], ended: threading.Event) -> None:
            index, kinds = task
            homes = [lab.addHome(f"{side}{index}", nat=kind) for side, kind in zip("ab", kinds, strict=True)]
            for name, rival in rivals.items():
                outcome = meet(lab, rival, homes, (2 * index + 2, 2 * index + 3), ended)
                results[name][kinds] = outcome
                for home in homes:
                    home.flushConntrack()
                console.print(
                    f"{next(done)}/{len(chosen) * len(rivals)} {name}: {' - '.join(kinds)}: {_said(outcome)}",
                    style="dim",
                    markup=False,
                    soft_wrap=True,
                )

        inTurn(jobs, list(enumerate(chosen)), one)
    return results


def _said(outcome: Outcome) -> str:
    if outcome.ping is None:
        return "no path"
    return f"{outcome.path} {outcome.ping:.1f} s"


def compare(
    chosen: Sequence[tuple[str, str]],
    jobs: int,
    ours: Mapping[str, Any],
    directory: Path,
    facts: Mapping[str, Any],
    console: Console,
) -> list[Path]:
    """
    Measure, and write C{peers.json} and C{peers.md}.

    @param ours: what C{namespaces.json} holds, if there is one.
    @return: the files.
    """
    results = measureRivals(chosen, jobs, console)
    paths = {name: {pair: each.path for pair, each in found.items()} for name, found in results.items()}
    pings = {
        name: {pair: each.ping for pair, each in found.items() if each.ping is not None}
        for name, found in results.items()
    }
    if ours:
        cells = {(cell["one"], cell["other"]): cell for cell in ours["cells"]}
        known = [pair for pair in chosen if pair in cells]
        starts = {pair: median(ours["startToPing"].get(" ".join(pair), ())) for pair in known}
        paths = {"vnet": {pair: cells[pair]["verdict"] for pair in known}, **paths}
        pings = {"vnet": {pair: value for pair, value in starts.items() if value is not None}, **pings}
    directory.mkdir(parents=True, exist_ok=True)
    written = [directory / "peers.json", directory / "peers.md"]
    settings = {name: rival().settings for name, (rival, _) in RIVALS.items()}
    record = {
        **facts,
        "settings": settings,
        "pairs": [
            {
                "one": pair[0],
                "other": pair[1],
                **{name: {"path": paths[name].get(pair), "ping": pings[name].get(pair)} for name in paths},
                **{f"{name}Direct": found[pair].direct for name, found in results.items() if pair in found},
            }
            for pair in chosen
        ],
    }
    written[0].write_text(json.dumps(record, indent=2) + "\n")
    written[1].write_text(_document(chosen, paths, pings, settings, facts, _ownStart(ours)))
    return written


def _ownStart(ours: Mapping[str, Any]) -> str:
    """
    Which part of vnet's time is its start.
    """
    starts = [each for found in ours.get("startToPing", {}).values() for each in found]
    pings = [each for cell in ours.get("cells", ()) for each in cell["pingSeconds"]]
    if not starts or not pings:
        return ""
    return f" From when both are online it takes vnet {median(pings):.1f} s; what comes before is Python's start and the login."


def _document(
    chosen: Sequence[tuple[str, str]],
    paths: Mapping[str, Mapping[tuple[str, str], str]],
    pings: Mapping[str, Mapping[tuple[str, str], float]],
    settings: Mapping[str, str],
    facts: Mapping[str, Any],
    ownStart: str,
) -> str:
    def total(name: str, path: str) -> str:
        return str(sum(each == path for each in paths[name].values()))

    summary = [
        [
            name,
            total(name, "direct"),
            total(name, "relayed"),
            total(name, "none"),
            _seconds(median(pings[name].values())),
        ]
        for name in paths
    ]

    def cell(one: str, other: str) -> str:
        pair = (one, other)
        words = []
        for name in paths:
            path = paths[name].get(pair, "")
            words.append(
                f"{name} {_seconds(pings[name][pair])} {path}" if pair in pings[name] else f"{name} {path}"
            )
        return "<br>".join(words)

    kinds = list(dict.fromkeys(kind for pair in chosen for kind in pair))
    lines = [
        "# Direct paths of other programs",
        "",
        f"Of {len(chosen)} pairs of NATs:",
        "",
        markdownRows(["", "direct", "relayed", "none", "first ping, median"], summary),
        f"The first ping is counted from the start of both programs.{ownStart} Each pair:",
        "",
        markdownMatrix(kinds, cell),
        *[f"* {name}: {text}" for name, text in settings.items()],
        "",
        f"In network namespaces of one computer: {facts['processor']}, {facts['cores']} cores, load average "
        f"{facts['loadAverage']} at the beginning. Of the others a path counts as direct when the packets of its echoes, "
        f"{1 / INTERVAL:.0f} a second, pass between the two homes within {PATIENCE:.0f} s, counted in the middle of the "
        "Internet between them.",
        "",
    ]
    return "\n".join(lines)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} s"
