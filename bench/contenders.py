"""
The ways of our own, and the bare link, each between hosts of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import attrs
from way import Way
from wireguards import WG_PORT, WireGuards

from vnet.client.identity import Identity, tunnelKey
from vnet.test.netlab import Host, LabError, stop
from vnet.test.netlab._space import ROOT
from vnet.test.priv.cluster import Cluster, Mediator, Node, waitUntil
from vnet.test.priv.relay import addRelay, relayOptions

__all__ = ["BUILDERS", "bareHosts"]

NETWORK = "bench"
PASSPHRASE = "correct horse battery staple"
_OURS, _THEIRS = "100.64.0.1", "100.64.0.2"
_CIPHER = "ChaCha20-Poly1305"


def bareHosts(cluster: Cluster, name: str, sides: str = "ab") -> tuple[Host, ...]:
    """
    Public hosts of one way.
    """
    # Without IPv6 all outer packets have headers of the same size.
    return tuple(cluster.lab.addHost(f"{name}-{side}", ipv6=False) for side in sides)


@contextmanager
def veth(cluster: Cluster) -> Iterator[Way]:
    """
    No VPN.
    """
    near, far = bareHosts(cluster, "veth")
    yield Way("veth", near, far, far.address, "no VPN; MTU 1500")


def _together(mediator: Mediator, nodes: tuple[Node, ...]) -> list[str]:
    """
    Let nodes meet in a network.

    @return: their addresses.
    """
    for daemon in (mediator, *nodes):
        daemon.waitReady()
    near, *others = nodes
    near.login()
    near.create(NETWORK, PASSPHRASE)
    for node in others:
        node.join(near.invite(NETWORK))
    addresses = [node.waitOnline()["address"] for node in nodes]
    for address in addresses[1:]:
        near.waitPing(address)
    return addresses


def _describe(name: str, nodes: tuple[Node, ...], target: str, second: str, kind: str) -> Way:
    near, far = nodes[:2]
    mtu = near.host.interfaces()["vnet0"]["mtu"]
    nick = near.status()["nick"]
    return Way(
        name,
        near.host,
        far.host,
        target,
        f"{kind}; {_CIPHER}; MTU {mtu}",
        tuple(node.process.pid for node in (near, far) if node.process is not None),
        second,
        tuple(node.host for node in nodes[2:]),
        lambda: near.ask("set-nick", nick=nick),
    )


def _direct(cluster: Cluster, name: str, kind: str, *options: str) -> Way:
    """
    A mediator and three nodes.
    """
    mediator = cluster.startMediator(name=f"{name}-m", wait=False)
    hosts = bareHosts(cluster, name, "abc")
    nodes = tuple(cluster.addNode(host.name, *options, where=host, wait=False) for host in hosts)
    addresses = _together(mediator, nodes)
    for node, peer in ((nodes[0], nodes[1]), (nodes[1], nodes[0])):
        seen = node.waitPath(peer)
        if not seen["endpoint"].startswith("198.51.100."):
            raise LabError(f"{node.name} sends to {seen['endpoint']}, which is not the lab's Internet")
    return _describe(name, nodes, addresses[1], addresses[2], kind)


@contextmanager
def vnet(cluster: Cluster) -> Iterator[Way]:
    """
    A mediator and nodes, as users have them.
    """
    yield _direct(cluster, "vnet", "TAP")


@contextmanager
def vnetTun(cluster: Cluster) -> Iterator[Way]:
    """
    The same, with a TUN.
    """
    yield _direct(cluster, "vnet-tun", "TUN", "--device=tun")


@contextmanager
def vnetRelayed(cluster: Cluster) -> Iterator[Way]:
    """
    Two nodes that reach each other through a relay of ours only, which has a host of its own.
    """
    relay = addRelay(cluster, "relay")
    udp = [uri for uri in relay.uris if "tcp" not in uri and "turns" not in uri]
    mediator = cluster.startMediator(*relayOptions(cluster, udp), name="rel-m", wait=False)
    hosts = bareHosts(cluster, "vnet-rel")
    hosts[0].link.setRules(
        "direct", *([f"ip {way} {hosts[1].address} meta l4proto udp drop"] for way in ("daddr", "saddr"))
    )
    nodes = tuple(cluster.addNode(host.name, where=host, wait=False) for host in hosts)
    addresses = _together(mediator, nodes)
    nodes[0].waitPath(nodes[1], "relayed")
    way = _describe("vnet-relayed", nodes, addresses[1], "", "TAP; through vnet-relay on a third host")
    yield attrs.evolve(way, others=(relay.host,))


@contextmanager
def vnetWireGuard(cluster: Cluster) -> Iterator[Way]:
    """
    Our data plane, with fixed keys, and wireguard-go.
    """
    near, far = bareHosts(cluster, "vnet-wg")
    ours, theirs = Identity(os.urandom(32)), Identity(os.urandom(32))
    argv = [sys.executable, "-m", "vnet.test.priv.dataplanenode", "1", "51821"]
    argv += [ours.tunnelPrivateKey().hex(), "2", tunnelKey(theirs.publicKey).hex(), far.address, str(WG_PORT)]
    with WireGuards(cluster.lab.directory) as guards:
        interface = guards.start(far)
        log = (cluster.lab.directory / "dataplanenode.log").open("a")
        node = near.popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=log)
        try:
            guards.configure(
                far, interface, theirs.tunnelPrivateKey(), _THEIRS, {_OURS: (tunnelKey(ours.publicKey), "")}
            )
            waitUntil(lambda: near.ping(_THEIRS, timeout=0.3).millis, 15.0, "wireguard-go answers our node")
            pids = (node.pid, guards.pids[0])
            settings = f"our data plane (TAP, MTU 1400), and wireguard-go at the other end; {_CIPHER}"
            yield Way("vnet-wireguard-go", near, far, _THEIRS, settings, pids)
        finally:
            stop(node)
            log.close()


#: In the order in which they take turns.
BUILDERS = {
    "vnet": vnet,
    "vnet-tun": vnetTun,
    "vnet-relayed": vnetRelayed,
    "vnet-wireguard-go": vnetWireGuard,
    "veth": veth,
}
