"""
What Debian has in packages, each between hosts of its own, with the settings that suit its speed.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from contenders import bareHosts
from way import Way
from wireguards import WireGuards

from vnet.client.identity import Identity, tunnelKey
from vnet.errors import VnetError
from vnet.test.netlab import Host
from vnet.test.priv.cluster import Cluster, waitUntil

__all__ = ["BUILDERS", "TOOLS"]

_BLOCK = "10.77.{}.{}"
_PATIENCE = 15.0
_BUFFER = "1048576"

#: The programs that each way needs beyond those of all.
TOOLS = {
    "wireguard-go": ("wg", "wireguard-go"),
    "vnet-wireguard-go": ("wg", "wireguard-go"),
    "fastd": ("fastd",),
    "tinc": ("tincd",),
    "openvpn": ("openvpn", "openssl"),
}


def _start(host: Host, directory: Path, argv: Sequence[str]) -> int:
    """
    @return: the process, which ends with the lab.
    """
    with (directory / "log").open("a") as log:
        return host.popen(argv, stdout=log, stderr=subprocess.STDOUT, cwd=directory).pid


@contextmanager
def _place(cluster: Cluster, name: str) -> Iterator[Path]:
    """
    A directory; an error that leaves the block has the log in it.
    """
    directory = cluster.lab.directory / name
    directory.mkdir()
    try:
        yield directory
    except VnetError as error:
        if (directory / "log").exists():
            error.add_note((directory / "log").read_text(errors="replace")[-2000:])
        raise


def _answers(near: Host, target: str, name: str) -> None:
    waitUntil(lambda: near.ping(target, timeout=0.3).millis, _PATIENCE, f"{name} answers a ping")


def _address(host: Host, device: str, address: str, mtu: int | None = None) -> None:
    waitUntil(lambda: device in host.interfaces(), _PATIENCE, f"there is an interface {device}", 0.02)
    host.run(["ip", "addr", "replace", f"{address}/24", "dev", device])
    host.run(["ip", "link", "set", device, *(["mtu", str(mtu)] if mtu else []), "up"])


@contextmanager
def wireguardGo(cluster: Cluster) -> Iterator[Way]:
    """
    wireguard-go on three hosts.
    """
    hosts = bareHosts(cluster, "wg", "abc")
    inner = [_BLOCK.format(0, number) for number in (1, 2, 3)]
    keys = [Identity(os.urandom(32)) for _ in hosts]
    with WireGuards(cluster.lab.directory) as guards:
        interfaces = [guards.start(host) for host in hosts]
        places = [
            (address, (tunnelKey(key.publicKey), host.address))
            for address, key, host in zip(inner, keys, hosts, strict=True)
        ]
        for number, (host, interface, key) in enumerate(zip(hosts, interfaces, keys, strict=True)):
            peers = dict(places[1:] if number == 0 else places[:1])
            guards.configure(host, interface, key.tunnelPrivateKey(), inner[number], peers)
        for target in inner[1:]:
            _answers(hosts[0], target, "wireguard-go")
        settings = "TUN; ChaCha20-Poly1305; MTU 1420"
        near, far, third = hosts
        yield Way("wireguard-go", near, far, inner[1], settings, guards.pids[:2], inner[2], (third,))


FASTD = """
mode tun;
interface "fastd0";
method "salsa2012+umac";
bind {own}:10000;
mtu 1426;
secret "{secret}";
log level warn;
peer "other" {{ key "{key}"; {remote} }}
"""


@contextmanager
def fastd(cluster: Cluster) -> Iterator[Way]:
    """
    fastd, with the method that its manual recommends for speed.
    """
    hosts, inner = bareHosts(cluster, "fastd"), [_BLOCK.format(1, number) for number in (1, 2)]
    with _place(cluster, "fastd") as directory:
        made = [hosts[0].run(["fastd", "--generate-key"]).stdout for _ in hosts]
        keys = [dict(line.lower().split(": ") for line in each.splitlines() if ": " in line) for each in made]
        pids = []
        for own, other in ((0, 1), (1, 0)):
            # One alone begins: of two handshakes that cross each other neither may count.
            remote = f"remote {hosts[other].address}:10000;" if own else ""
            text = FASTD.format(
                own=hosts[own].address, secret=keys[own]["secret"], key=keys[other]["public"], remote=remote
            )
            path = directory / f"{own}.conf"
            path.write_text(text)
            pids.append(_start(hosts[own], directory, ["fastd", "--config", str(path)]))
            _address(hosts[own], "fastd0", inner[own], 1426)
        _answers(hosts[0], inner[1], "fastd")
        yield Way("fastd", *hosts, inner[1], "TUN; salsa2012+umac; MTU 1426", tuple(pids))


TINC = """
Name = {name}
Interface = tinc0
DeviceType = tun
AddressFamily = ipv4
UDPRcvBuf = {buffer}
UDPSndBuf = {buffer}
{connect}
"""


@contextmanager
def tinc(cluster: Cluster) -> Iterator[Way]:
    """
    tinc 1.0 with its own choice of ciphers.
    """
    hosts, inner = bareHosts(cluster, "tinc"), [_BLOCK.format(2, number) for number in (1, 2)]
    with _place(cluster, "tinc") as directory:
        public = []
        for name, host, address in zip("ab", hosts, inner, strict=True):
            (directory / name / "hosts").mkdir(parents=True)
            connect = "ConnectTo = a" if name == "b" else ""
            text = TINC.format(name=name, connect=connect, buffer=_BUFFER)
            (directory / name / "tinc.conf").write_text(text)
            own = directory / name / "hosts" / name
            own.write_text(f"Address = {host.address}\nSubnet = {address}/32\n")
            host.run(["tincd", "-c", str(directory / name), "-K2048"])
            public.append(own.read_text())
        pids = []
        for name, other, text in (("a", "b", public[1]), ("b", "a", public[0])):
            (directory / name / "hosts" / other).write_text(text)
        for name, host, address in zip("ab", hosts, inner, strict=True):
            options = ["-c", str(directory / name), "-D", f"--pidfile={directory / name / 'pid'}"]
            pids.append(_start(host, directory, ["tincd", *options]))
            _address(host, "tinc0", address)
        _answers(hosts[0], inner[1], "tinc")
        yield Way("tinc", *hosts, inner[1], "TUN; AES-256-CBC and SHA-256, its defaults", tuple(pids))


@contextmanager
def openvpn(cluster: Cluster) -> Iterator[Way]:
    """
    OpenVPN over UDP, without the kernel's module.
    """
    hosts, inner = bareHosts(cluster, "ovpn"), [_BLOCK.format(3, number) for number in (1, 2)]
    with _place(cluster, "openvpn") as directory:
        prints = [_certificate(host, directory / host.name) for host in hosts]
        pids = []
        for own, other in ((0, 1), (1, 0)):
            argv = ["openvpn", "--dev", "ovpn0", "--dev-type", "tun", "--proto", "udp4", "--disable-dco"]
            argv += ["--local", hosts[own].address, "--lport", "1194"]
            argv += ["--remote", hosts[other].address, "--rport", "1194", "--ping", "10"]
            argv += ["--ifconfig", inner[own], inner[other], "--data-ciphers", "AES-256-GCM"]
            argv += [
                "--cert",
                f"{directory / hosts[own].name}.crt",
                "--key",
                f"{directory / hosts[own].name}.key",
            ]
            argv += ["--peer-fingerprint", prints[other], "--fast-io", "--txqueuelen", "1000"]
            argv += ["--sndbuf", _BUFFER, "--rcvbuf", _BUFFER]
            argv += ["--tls-client"] if own else ["--tls-server", "--dh", "none"]
            pids.append(_start(hosts[own], directory, argv))
        _answers(hosts[0], inner[1], "openvpn")
        yield Way("openvpn", *hosts, inner[1], "TUN; AES-256-GCM; MTU 1500", tuple(pids))


def _certificate(host: Host, path: Path) -> str:
    """
    Make a certificate that signs itself.

    @return: its fingerprint.
    """
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    argv += ["-days", "30", "-subj", f"/CN={path.name}", "-keyout", f"{path}.key", "-out", f"{path}.crt"]
    host.run(argv)
    shown = host.run(["openssl", "x509", "-in", f"{path}.crt", "-noout", "-fingerprint", "-sha256"]).stdout
    return shown.strip().partition("=")[2]


#: In the order in which they take turns.
BUILDERS = {"wireguard-go": wireguardGo, "fastd": fastd, "tinc": tinc, "openvpn": openvpn}
