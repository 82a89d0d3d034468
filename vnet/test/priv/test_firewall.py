"""
The firewall of the virtual interface between real nodes: what gets through, from the outside.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

import pytest
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.firewall.policy import PING_ONLY
from vnet.client.state import StateFile
from vnet.errors import Refused
from vnet.test.netlab import Host
from vnet.test.priv.cluster import Cluster, Node, waitUntil
from vnet.test.priv.startcase import Start, StartCase

TCP, UDP, OTHER = 2200, 2300, 2400
HOSTILE = 'a"; flush ruleset #'
OTHERS = """
table inet filter {
chain input { type filter hook input priority 0; policy accept; tcp dport 9999 drop; }
}
table ip nat {
chain prerouting { type nat hook prerouting priority -100; }
}
"""
SERVER = """
import socketserver, sys, threading
class Tcp(socketserver.ThreadingTCPServer):
    address_family, allow_reuse_address, daemon_threads = 10, True, True
class Udp(socketserver.ThreadingUDPServer):
    address_family, daemon_threads = 10, True
class Line(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line)
class Packet(socketserver.BaseRequestHandler):
    def handle(self):
        self.request[1].sendto(self.request[0], self.client_address)
for port in map(int, sys.argv[1:]):
    for server in (Tcp(("::", port), Line), Udp(("::", port), Packet)):
        threading.Thread(target=server.serve_forever).start()
print("ready", flush=True)
"""
CLIENT = """
import json, select, socket, sys
tried = []
for host, kind, port in json.loads(sys.argv[1]):
    each = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
    each.setblocking(False)
    each.connect_ex((host, port))
    tried.append(each)
answered = set()
poller = select.poll()
for number, each in enumerate(tried):
    if each.type == socket.SOCK_DGRAM:
        each.send(b"x\\n")
    poller.register(each, select.POLLOUT if each.type == socket.SOCK_STREAM else select.POLLIN)
for _ in range(100):
    ready = poller.poll(700)
    if not ready:
        break
    for number, _ in ready:
        each = next(each for each in tried if each.fileno() == number)
        poller.unregister(each)
        if not each.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            answered.add(tried.index(each))
print(json.dumps([number in answered for number in range(len(tried))]))
"""
HOLD = """
import socket, sys
held = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=1.5)
print("held", flush=True)
for line in sys.stdin:
    held.sendall(line.encode())
    try:
        print(held.recv(100).decode().strip() or "closed", flush=True)
    except TimeoutError:
        print("silent", flush=True)
"""


FLOOD = """
import json, select, socket, sys
sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in sys.argv[2:]]
answers = [0 for _ in sockets]
for each, port in zip(sockets, sys.argv[2:]):
    each.setblocking(False)
    each.connect((sys.argv[1], int(port)))
while not select.select([sys.stdin], [], [], 0.005)[0]:
    for number, each in enumerate(sockets):
        try:
            each.send(b"x")
            answers[number] += each.recv(100) == b"x"
        except OSError:
            pass
print(json.dumps(answers))
"""


def serve(host: Host) -> subprocess.Popen[str]:
    """
    Echo over TCP and UDP on three ports, IPv4 and IPv6.
    """
    argv = [sys.executable, "-c", SERVER, *map(str, (TCP, UDP, OTHER))]
    process = host.popen(argv, stdout=subprocess.PIPE)
    assert process.stdout is not None
    if process.stdout.readline() != "ready\n":
        raise AssertionError("the servers do not start")
    return process


class Prober:
    """
    Tries what a node lets in from another.
    """

    def __init__(self, source: Node, target: Node) -> None:
        self.source, self.addresses = source, (target.address, target.address6)

    def __call__(self, expected: dict[str, bool]) -> dict[str, bool]:
        """
        Try again, as long as only answers are missing: a busy machine may give them late.

        @return: for each kind whether it is let in; IPv4 and IPv6 are let in alike.
        """
        for _ in range(TRIES):
            four, six = found = self._try()
            if found == (expected, expected) or any(
                each[kind] > expected[kind] for each in found for kind in each
            ):
                break
        if four != six:
            raise AssertionError(f"IPv4: {four}, IPv6: {six}")
        return four

    def _try(self) -> tuple[dict[str, bool], dict[str, bool]]:
        kinds = {"tcp": (1, TCP), "tcpOther": (1, OTHER), "udp": (2, UDP), "udpOther": (2, OTHER)}
        wanted = [(host, *kind) for host in self.addresses for kind in kinds.values()]
        done = self.source.host.run([sys.executable, "-c", CLIENT, json.dumps(wanted)])
        found = json.loads(done.stdout)
        pings = [bool(self.source.host.ping(host)) for host in self.addresses]
        four, six = (
            {**dict(zip(kinds, half, strict=True)), "ping": ping}
            for half, ping in zip((found[: len(kinds)], found[len(kinds) :]), pings, strict=True)
        )
        return four, six


def ruleset(host: Host, without: str = "vnet-vnet0") -> list[Any]:
    """
    All rules of a host but those of one table, without what counts.
    """
    listed = json.loads(host.run(["nft", "-j", "list", "ruleset"]).stdout)["nftables"]
    return [
        each
        for each in listed
        for kind, value in each.items()
        if kind != "metainfo" and without not in (value.get("table"), value.get("name"))
    ]


def hasTable(host: Host) -> bool:
    """
    Whether the table of the firewall is there.
    """
    return "table inet vnet-vnet0" in host.run(["nft", "list", "tables"]).stdout


ALL = {"tcp": True, "tcpOther": True, "udp": True, "udpOther": True, "ping": True}
PINGS = {**dict.fromkeys(ALL, False), "ping": True}
PORTS = {**PINGS, "tcp": True, "udp": True}
TRIES = 4
LIST = f"tcp/{TCP},udp/{UDP - 1}-{UDP}"


@pytest.mark.timeout(100)
class FirewallTests(SynchronousTestCase):
    """
    Two nodes in networks together.
    """

    def test_policies(self) -> None:
        """
        What is let in is what the policy says, at once when it changes, over restarts and C{kill -9}, also for connections
        that were there before; answers always come; the rules of others stay as they are.
        """
        with Cluster("firewall") as cluster:
            cluster.startMediator()
            hosts = [cluster.lab.addHost(name) for name in ("ann", "bea")]
            hosts[0].run(["nft", "-f", "-"], text=OTHERS)
            others = ruleset(hosts[0])
            ann, bea = (cluster.addNode(host.name, where=host, wait=False) for host in hosts)
            for node in (ann, bea):
                node.waitReady()
                node.login()
            ann.create(HOSTILE)
            bea.join(HOSTILE)
            bea.waitPath(ann)
            for host in hosts:
                serve(host)
            self.probe = Prober(bea, ann)
            self._open(ann)
            self._policies(ann, bea)
            self.assertEqual(Prober(ann, bea)(ALL), ALL)
            self._kept(ann, bea)
            self.assertEqual(ruleset(ann.host), others)
            self._removed(ann)
            others = ruleset(ann.host)
            self._union(ann, bea)
            self.assertEqual(ruleset(ann.host), others)
            self._redirected(ann, bea)
            others = ruleset(ann.host)
            ann.stop()
            self.assertFalse(hasTable(ann.host))
            self.assertEqual(ruleset(ann.host), others)

    def _open(self, ann: Node) -> None:
        self.assertEqual(self.probe(ALL), ALL)
        self.assertFalse(hasTable(ann.host))
        self.assertEqual(ann.ask("status")["firewall"], [{"network": HOSTILE, "policy": "open"}])
        self.assertIn("vnet firewall NETWORK ping-only", ann.text("status"))

    def _policies(self, ann: Node, bea: Node) -> None:
        held = self._hold(bea)
        self.assertEqual(self._say(held), "before")
        ann.vnet("firewall", HOSTILE, "ping-only")
        self.assertEqual(self.probe(PINGS), PINGS)
        self.assertEqual(self._say(held), "silent")
        held.kill()
        shown = ann.vnet("firewall")
        self.assertEqual([shown["networks"][0][key] for key in ("name", "policy")], [HOSTILE, "ping-only"])
        self.assertGreaterEqual(shown["networks"][0]["dropped"], 8)
        self.assertEqual(shown["droppedOthers"], 0)
        seen = ann.ask("peer", name=bea.address)
        self.assertEqual(seen["firewall"], "ping-only")
        self.assertIn("this computer's firewall lets in only pings from it", seen["help"][0])
        self.assertEqual(bea.ask("peer", name=ann.address)["firewall"], "open")
        self._set(ann, HOSTILE, LIST)
        self.assertEqual(self.probe(PORTS), PORTS)
        for wrong in ("tcp/0", "tcp/22; flush ruleset"):
            self.assertRaises(Refused, self._set, ann, HOSTILE, wrong)
        self.assertRaises(Refused, self._set, ann, "nothing", "open")

    def _set(self, node: Node, network: str, policy: str) -> None:
        node.ask("firewall", network=network, policy=policy)

    def _hold(self, source: Node) -> subprocess.Popen[str]:
        argv = [sys.executable, "-c", HOLD, self.probe.addresses[0], str(OTHER)]
        held = source.host.popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert held.stdout is not None
        self.assertEqual(held.stdout.readline(), "held\n")
        return held

    def _say(self, held: subprocess.Popen[str]) -> str:
        assert held.stdin is not None and held.stdout is not None
        held.stdin.write("before\n")
        held.stdin.flush()
        return held.stdout.readline().strip()

    def _kept(self, ann: Node, bea: Node) -> None:
        """
        Over an end and a start, and over C{kill -9}: what is closed never answers, and what is open does again.
        """
        argv = [sys.executable, "-c", FLOOD, self.probe.addresses[0], str(UDP), str(OTHER)]
        flood = bea.host.popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        ann.restart()
        self._waitBack(bea)
        ann.kill()
        self.assertTrue(hasTable(ann.host))
        ann.start()
        self.assertTrue(hasTable(ann.host))
        self._waitBack(bea)
        self.assertEqual(self.probe(PORTS), PORTS)
        opened, closed = json.loads(flood.communicate("")[0])
        print(f"over both starts: {opened} answers of the open port, {closed} of the other")
        self.assertGreater(opened, 50)
        self.assertEqual(closed, 0)

    def _waitBack(self, bea: Node) -> None:
        bea.waitPing(self.probe.addresses[0], 15)
        time.sleep(0.5)

    def _removed(self, ann: Node) -> None:
        """
        A table that others flush away is put back; a ruleset that they save is one that nft reads.
        """
        saved = ann.host.run(["nft", "list", "ruleset"]).stdout
        ann.host.run(["nft", "-c", "-f", "-"], text=saved)
        ann.host.run(["nft", "flush", "ruleset"])
        waitUntil(lambda: hasTable(ann.host), 15, "the table is back")
        ann.host.run(["nft", "-f", "-"], text=OTHERS)
        self.assertEqual(self.probe(PORTS), PORTS)

    def _redirected(self, ann: Node, bea: Node) -> None:
        """
        Where the rules of others send a connection to another port, the port counts that it came to.
        """
        ann.host.run(
            [
                "nft",
                "add",
                "rule",
                "ip",
                "nat",
                "prerouting",
                "tcp",
                "dport",
                "2500",
                "redirect",
                f"to :{OTHER}",
            ]
        )
        self._set(ann, HOSTILE, f"{LIST},tcp/2500")
        wanted = [(self.probe.addresses[0], 1, port) for port in (2500, OTHER)]
        done = bea.host.run([sys.executable, "-c", CLIENT, json.dumps(wanted)])
        self.assertEqual(json.loads(done.stdout), [True, False])
        self._set(ann, HOSTILE, LIST)

    def _union(self, ann: Node, bea: Node) -> None:
        """
        A second network that is open opens this computer to those who are in it, while this computer is online there.
        """
        ann.ask("create", network="second", password=None)
        bea.ask("join", network="second", password=None)
        waitUntil(lambda: self.probe(ALL) == ALL, 20, "the second network opens this computer")
        self.assertEqual(ann.ask("peer", name=bea.address)["firewall"], "open")
        ann.ask("go-offline", network="second")
        waitUntil(lambda: self.probe(PORTS) == PORTS, 20, "the second network does not any more")
        self._set(ann, HOSTILE, "open")
        self.assertFalse(hasTable(ann.host))
        self._set(ann, HOSTILE, "ping-only")
        self.assertEqual(self.probe(PINGS), PINGS)


class StartTests(StartCase):
    """
    Starts of a client whose firewall cannot be.
    """

    def test_withoutNft(self) -> None:
        """
        A policy that is not open, and no nft: the client does not start, and says in one line what to install.
        """
        state = StateFile(self.directory() / "state.json")
        state.rememberNetwork(b"n" * 16, HOSTILE, None, b"r" * 16)
        state.setFirewall([b"n" * 16], PING_ONLY)
        hide = 'mount --bind /dev/null "$(command -v nft)" && exec "$@"'
        prefix = ("unshare", "-m", "sh", "-c", hide, "sh")
        self.check(
            Start("vnet-client", state._path.parent, "install nftables", prefix=prefix, unchanged=False)
        )
