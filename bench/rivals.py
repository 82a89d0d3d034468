"""
n2n, nebula and tinc, as nodes on hosts of the laboratory.

Each has one server on a public host, which all nodes know: n2n's supernode, nebula's lighthouse (which is a relay too),
and a tinc daemon that all connect to.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import attrs

from vnet.test.netlab import Host

__all__ = ["RIVALS", "Rival", "missing"]


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
