"""
What is measured: ways from one host of a lab to another, each between two hosts of its own.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import attrs

from vnet.test.netlab import Host, LabError, stop
from vnet.test.priv.cluster import Cluster, CommandFailed, waitUntil

__all__ = ["BUILDERS", "TOOLS", "Way"]

NETWORK = "bench"
PASSPHRASE = "correct horse battery staple"
WG_ADDRESSES = ("10.77.0.1", "10.77.0.2")
WG_PORT = 51820
WG_SOCKETS = Path("/var/run/wireguard")

#: The programs that each way needs beyond those of all.
TOOLS = {"vnet": (), "wireguard-go": ("wg", "wireguard-go"), "veth": ()}


@attrs.frozen
class Way:
    """
    A way that is up.

    @ivar near: the host that measures.
    @ivar far: the host that answers.
    @ivar target: the far host's address on this way.
    @ivar settings: what is to be known of it, for the report.
    @ivar daemons: the process that carries the packets on each host; none where the kernel does.
    """

    name: str
    near: Host
    far: Host
    target: str
    settings: str
    daemons: tuple[int, ...] = ()


def _hosts(cluster: Cluster, name: str) -> tuple[Host, Host]:
    # Without IPv6 all outer packets have headers of the same size.
    return cluster.lab.addHost(f"{name}-a", ipv6=False), cluster.lab.addHost(f"{name}-b", ipv6=False)


@contextmanager
def veth(cluster: Cluster) -> Iterator[Way]:
    """
    No VPN.
    """
    near, far = _hosts(cluster, "veth")
    yield Way("veth", near, far, far.address, "no VPN; trains of segments cross it whole; MTU 1500")


@contextmanager
def vnet(cluster: Cluster) -> Iterator[Way]:
    """
    A mediator and two nodes, one of which joins by the other's link.
    """
    hosts = _hosts(cluster, "vnet")
    mediator = cluster.startMediator(wait=False)
    near, far = (cluster.addNode(host.name, where=host, wait=False) for host in hosts)
    for daemon in (mediator, near, far):
        daemon.waitReady()
    near.login()
    near.create(NETWORK, PASSPHRASE)
    far.join(near.invite(NETWORK))
    near.waitOnline()
    target = far.waitOnline()["address"]
    near.waitPing(target)
    for node, peer in ((near, far), (far, near)):
        seen = node.waitPath(peer)
        if not seen["endpoint"].startswith("198.51.100."):
            raise LabError(f"{node.name} sends to {seen['endpoint']}, which is not the lab's Internet")
    mtu = near.host.interfaces()["vnet0"]["mtu"]
    pids = tuple(node.process.pid for node in (near, far) if node.process is not None)
    yield Way("vnet", near.host, far.host, target, f"TAP; ChaCha20-Poly1305; MTU {mtu}", pids)


def _startWireGuard(host: Host, interface: str, log: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "LOG_LEVEL": "error", "WG_PROCESS_FOREGROUND": "1"}
    with log.open("a") as output:
        return host.popen(
            ["wireguard-go", "--foreground", interface],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
        )


def _configureWireGuard(
    host: Host, interface: str, private: str, peer: Host, peerKey: str, inner: tuple[str, str]
) -> None:
    """
    Give an interface its key, address and peer.

    @param inner: our address and the peer's.
    """
    options = ["private-key", "/dev/stdin", "listen-port", str(WG_PORT), "peer", peerKey]
    options += ["endpoint", f"{peer.address}:{WG_PORT}", "allowed-ips", f"{inner[1]}/32"]
    host.run(["wg", "set", interface, *options], text=private)
    host.run(["ip", "addr", "add", f"{inner[0]}/24", "dev", interface])
    host.run(["ip", "link", "set", interface, "mtu", "1420", "up"])


@contextmanager
def wireguardGo(cluster: Cluster) -> Iterator[Way]:
    """
    wireguard-go at both ends.
    """
    hosts = _hosts(cluster, "wg")
    # The control sockets of all namespaces are in one directory.
    interfaces = [f"wgb{os.getpid()}{side}" for side in "ab"]
    sockets = [WG_SOCKETS / f"{interface}.sock" for interface in interfaces]
    log = cluster.lab.directory / "wireguard-go.log"
    daemons: list[subprocess.Popen[str]] = []
    try:
        for host, interface in zip(hosts, interfaces, strict=True):
            daemons.append(_startWireGuard(host, interface, log))
        waitUntil(lambda: all(path.exists() for path in sockets), 5.0, "wireguard-go is ready")
        private = [hosts[0].run(["wg", "genkey"]).stdout for _ in hosts]
        public = [hosts[0].run(["wg", "pubkey"], text=key).stdout.strip() for key in private]
        for mine, other in ((0, 1), (1, 0)):
            inner = WG_ADDRESSES[mine], WG_ADDRESSES[other]
            _configureWireGuard(
                hosts[mine], interfaces[mine], private[mine], hosts[other], public[other], inner
            )
        waitUntil(
            lambda: hosts[0].ping(WG_ADDRESSES[1], timeout=0.3).millis, 10.0, "wireguard-go answers a ping"
        )
        pids = tuple(daemon.pid for daemon in daemons)
        yield Way("wireguard-go", *hosts, WG_ADDRESSES[1], "TUN; ChaCha20-Poly1305; MTU 1420", pids)
    except (LabError, CommandFailed) as error:
        if log.exists():
            error.add_note(log.read_text(errors="replace"))
        raise
    finally:
        stop(*daemons)
        for path in sockets:
            with suppress(OSError):
                path.unlink()


#: In the order in which they take turns.
BUILDERS = {"vnet": vnet, "wireguard-go": wireguardGo, "veth": veth}
