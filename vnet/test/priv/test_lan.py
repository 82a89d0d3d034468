"""
It is a LAN: what real programs send to groups, and frames of other protocols than IP, between six real nodes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from functools import partial
from typing import Any

import pytest
from twisted.trial.unittest import SynchronousTestCase

from vnet.test.netlab import Home
from vnet.test.netlab._space import ROOT
from vnet.test.priv.cluster import Cluster, Node, waitUntil
from vnet.test.priv.lanprogram import GETINFO, SEARCH
from vnet.test.priv.test_members import endPing, joinAll, startPing

pytestmark = pytest.mark.privileged

INTERFACE = "vnet0"
BROADCAST = "100.127.255.255"
# How long something may take, and how long nothing more may come.
ARRIVES, SETTLE = 20.0, 0.5
RSS_GROWTH = 10_000_000

# Takes frames of other protocols than IP from one MAC address, and prints them as text, until its input ends.
TAKE = """
import select, socket, sys
taker = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
taker.bind(("vnet0", 0))
sender = bytes.fromhex(sys.argv[1])
print("ready", flush=True)
while sys.stdin not in (ready := select.select([sys.stdin, taker], [], [])[0]):
    frame, where = taker.recvfrom(65536)
    if frame[6:12] == sender and frame[12:14] not in (b"\\x08\\x00", b"\\x86\\xdd", b"\\x08\\x06") and where[2] != 4:
        print(frame.hex(), flush=True)
"""

GIVE = """
import socket, sys
giver = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
giver.bind(("vnet0", 0))
for text in sys.argv[1:]:
    giver.send(bytes.fromhex(text))
"""

# What a game does that knows of no interfaces.
ASK = """
import socket, time
asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asker.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
asker.sendto(b"who is there?", ("255.255.255.255", 27015))
asker.settimeout(1.0)
try:
    while True:
        print(asker.recvfrom(100)[1][0], flush=True)
except TimeoutError:
    pass
"""

ANSWER = """
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("", 27015))
print("ready", flush=True)
while True:
    question, asker = server.recvfrom(100)
    print(asker[0], flush=True)
    server.sendto(b"me", asker)
"""

STORM = """
import socket, time
storm = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
storm.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
storm.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"vnet0")
end, sent = time.monotonic() + 2, 0
while time.monotonic() < end:
    for _ in range(100):
        storm.sendto(bytes(60), ("255.255.255.255", 9999))
    sent += 100
print(sent)
"""


def ipxFrames(to: bytes, source: bytes) -> list[bytes]:
    """
    IPX as 802.3 raw, 802.2 LLC, SNAP and Ethernet II.
    """
    ipx = (
        bytes.fromhex("ffff002a0014")
        + bytes(4)
        + to
        + b"\x04\x52"
        + bytes(4)
        + source
        + b"\x40\x03"
        + b"a game here!"
    )
    payloads = (ipx, b"\xe0\xe0\x03" + ipx, b"\xaa\xaa\x03\0\0\0\x81\x37" + ipx)
    frames = [to + source + len(payload).to_bytes(2, "big") + payload for payload in payloads]
    return [*frames, to + source + b"\x81\x37" + ipx]


def mac(address: str) -> bytes:
    """
    The MAC address of a member.
    """
    return b"\x02\x76" + bytes(map(int, address.split(".")))


@pytest.mark.timeout(180)
class LanTests(SynchronousTestCase):
    """
    Ann, Bob, Cid and Dan are in one network; Cid, Dan, Eve and Fay in another.  Ann, Bob and Eve are behind NATs.
    """

    def test_lan(self) -> None:
        """
        Broadcast, multicast and IPX reach exactly the right members, once; a storm harms nobody; C{--lan-priority} lets a game find
        another that knows of no interfaces, and leaves nothing behind.
        """
        with Cluster("lan") as cluster:
            cluster.startMediator()
            home = cluster.lab.addHome("ann")
            # They run C{ip} each: not at once.
            self.ann = cluster.addNode("ann", "--lan-priority", where=home, wait=False)
            others = [
                cluster.addNode(
                    name, where=None if name in ("bob", "eve") else cluster.lab.addHost(name), wait=False
                )
                for name in ("bob", "cid", "dan", "eve", "fay")
            ]
            self.nodes = [self.ann, *others]
            for node in self.nodes:
                node.waitReady()
            self._join()
            self._programs()
            self._ipx(cluster)
            self._storm()
            self._priority(home)

    def _join(self) -> None:
        ann, bob, cid, dan, eve, fay = self.nodes
        ann.login()
        eve.login()
        ann.create("blue", "correct horse")
        eve.create("green", "battery staple")
        joinAll([bob, cid, dan], "blue", ann.invite("blue"))
        joinAll([cid, dan, fay], "green", eve.invite("green"))
        statuses = {node.name: node.ask("status") for node in self.nodes}
        self.addresses = {name: str(status["address"]) for name, status in statuses.items()}
        self.addresses6 = {name: str(status["address6"]) for name, status in statuses.items()}
        groups = ([ann, bob, cid, dan], [cid, dan, eve, fay])
        self.friends = {
            node.name: sorted(
                {other.name for group in groups if node in group for other in group} - {node.name}
            )
            for node in self.nodes
        }
        for node in self.nodes:
            for friend in self.friends[node.name]:
                self._waitPath(node, self.addresses[friend])

    def _waitPath(self, node: Node, address: str) -> None:
        waitUntil(
            lambda: node.ask("peer", name=address)["path"] == "direct",
            15.0,
            f"{node.name} reaches {address}",
        )

    def _startAll(self, *argv: str) -> dict[str, subprocess.Popen[str]]:
        """
        Start a program on each node, with the node's name and addresses.
        """
        started = {}
        for node in self.nodes:
            own = (node.name, self.addresses[node.name], self.addresses6[node.name])
            command = [sys.executable, *(each.format(*own) for each in argv)]
            started[node.name] = node.host.popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
            )
        for process in started.values():
            self.assertEqual(self._line(process), "ready")
        return started

    def _line(self, process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        return process.stdout.readline().strip()

    def _programs(self) -> None:
        names = ("{0}", INTERFACE, "{1}", "{2}", BROADCAST)
        programs = self._startAll("-m", "vnet.test.priv.lanprogram", *names)
        for name, program in programs.items():
            self._tell(program, f"send {name}")
        for name, program in programs.items():
            waitUntil(partial(self._hasAll, name, program), ARRIVES, f"all reaches {name}")
        self._netBios()
        time.sleep(SETTLE)
        for name, program in programs.items():
            self._exactly(name, self._shown(program))
            program.communicate(timeout=ARRIVES)

    def _tell(self, program: subprocess.Popen[str], line: str) -> None:
        assert program.stdin is not None
        program.stdin.write(f"{line}\n")
        program.stdin.flush()

    def _shown(self, program: subprocess.Popen[str]) -> dict[str, Any]:
        self._tell(program, "show")
        found: dict[str, Any] = json.loads(self._line(program))
        return found

    def _hasAll(self, name: str, program: subprocess.Popen[str]) -> bool:
        """
        Whether as many as have to come have come, whatever they are.
        """
        found, friends = self._shown(program), self.friends[name]
        if not set(friends) <= set(found["services"]):
            return False
        counts = [sum(found[kind].values()) for kind in ("received", "answered")]
        return bool(counts[0] >= 6 * len(friends) and counts[1] >= 2 * len(friends))

    def _exactly(self, name: str, found: dict[str, Any]) -> None:
        expected: dict[str, int] = {}
        answers: dict[str, int] = {}
        for friend in self.friends[name]:
            address, address6 = self.addresses[friend], self.addresses6[friend]
            search = SEARCH + f"X-WORD: {friend}\r\n\r\n".encode()
            words = [f"0 {friend}", f"1 {friend}", f"[MOTD]{friend}[/MOTD][AD]25565[/AD]"]
            words += [(GETINFO + friend.encode()).decode("latin-1"), search.decode()[-60:]]
            expected |= {f"{word} {address}": 1 for word in words} | {f"six {friend} {address6}": 1}
            answers |= {f"infoResponse {address}": 1, f"HTTP/1.1 {address}": 1}
        self.assertEqual(found["received"], expected, name)
        self.assertEqual(found["answered"], answers, name)
        self.assertEqual(set(found["services"]) - {name}, set(self.friends[name]), name)

    def _netBios(self) -> None:
        """
        The program from Samba finds the names of members, and of no other nodes.
        """
        found = f"{self.addresses['dan']} dan<00>"
        waitUntil(lambda: found in self._lookUp("dan"), 10.0, "nmblookup finds dan")
        self.assertIn("failed to find name fay", self._lookUp("fay"))

    def _lookUp(self, name: str) -> str:
        # It waits for an answer for half a second.
        lookup = ["nmblookup", "--configfile=/dev/null", "-B", BROADCAST, name]
        return self.ann.host.run(lookup, check=False).stdout

    def _ipx(self, cluster: Cluster) -> None:
        ann = mac(self.addresses["ann"])
        takers = self._startAll("-c", TAKE, ann.hex())
        toBob, toAll = ipxFrames(mac(self.addresses["bob"]), ann), ipxFrames(b"\xff" * 6, ann)
        pcap = cluster.lab.directory / "outside.pcap"
        bob = self.nodes[1]
        expected = (("bob", 8), ("cid", 4), ("dan", 4))
        with bob.host.capture(pcap, "eth0", "udp"):
            self.ann.host.python(GIVE, *(frame.hex() for frame in [*toBob, *toAll]))
            taken = {name: [self._line(takers[name]) for _ in range(count)] for name, count in expected}
        time.sleep(SETTLE)
        for name, taker in takers.items():
            taken.setdefault(name, []).extend(taker.communicate(timeout=ARRIVES)[0].split())
        # Each kind is a flow of its own: between kinds there is no order.
        frames = {name: sorted(map(bytes.fromhex, lines)) for name, lines in taken.items()}
        self.assertEqual(frames["bob"], sorted([*toBob, *toAll]))
        self.assertEqual((frames["cid"], frames["dan"]), (sorted(toAll), sorted(toAll)))
        self.assertEqual((frames["ann"], frames["eve"], frames["fay"]), ([], [], []))
        self.assertIn(b"a game here!", toAll[0])
        self.assertNotIn(b"a game here!", pcap.read_bytes())
        port = f"udp.port=={bob.ask('status')['udpPort']},wg"
        read = [
            "tshark",
            "-r",
            str(pcap),
            "-d",
            port,
            "-Y",
            "wg.type == 4",
            "-T",
            "fields",
            "-e",
            "wg.counter",
        ]
        seen = subprocess.run(read, capture_output=True, text=True, check=True).stdout.split()
        self.assertGreaterEqual(len(seen), 8)

    def _storm(self) -> None:
        before = [_resident(node) for node in self.nodes]
        ping = startPing(self.ann.host, self.addresses["bob"], 0.1)
        sent = int(self.nodes[2].host.python(STORM))
        requests, answers = endPing(ping)
        self.assertGreater(sent, 20_000)
        self.assertGreaterEqual(answers, requests - 1)
        after = [_resident(node) for node in self.nodes]
        for node, old, new in zip(self.nodes, before, after, strict=True):
            self.assertLess(new - old, RSS_GROWTH, node.name)

    def _priority(self, home: Home) -> None:
        bob, cousin = self.nodes[1], home.addHost("cousin")
        servers = [
            host.popen([sys.executable, "-c", ANSWER], stdout=subprocess.PIPE) for host in (bob.host, cousin)
        ]
        for server in servers:
            self.assertEqual(self._line(server), "ready")
        route = ["ip", "route", "show", "default"]
        before = self.ann.host.run(route).stdout
        found = self.ann.host.python(ASK).split()
        self.assertEqual(sorted(found), sorted((self.addresses["bob"], cousin.address)))
        self.assertEqual(self._line(servers[0]), self.addresses["ann"])
        self.assertEqual(self._line(servers[1]), self.ann.host.address)
        self.assertEqual(self.ann.host.run(route).stdout, before)
        tables = ["nft", "list", "tables"]
        self.assertIn("vnet-lan-vnet0", self.ann.host.run(tables).stdout)
        self.ann.kill()
        waitUntil(lambda: self.ann.host.run(tables).stdout == "", 20.0, "the table is gone")
        self.assertEqual(self.ann.host.python(ASK).split(), [cousin.address])


def _resident(node: Node) -> int:
    assert node.process is not None
    with open(f"/proc/{node.process.pid}/statm") as file:
        return int(file.read().split()[1]) * 4096
