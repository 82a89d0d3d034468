"""
Who gets what is sent to multicast groups: real programs join and leave them, on real nodes.
"""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import time

import pytest
from nacl.public import PrivateKey
from twisted.trial.unittest import SynchronousTestCase

from vnet.test.netlab import Host, Lab
from vnet.test.netlab._space import ROOT
from vnet.test.priv.cluster import Cluster, Node, waitUntil
from vnet.test.priv.test_lan import ipxFrames, mac
from vnet.test.priv.test_members import joinAll

pytestmark = [pytest.mark.privileged, pytest.mark.commands("wireguard-go", "wg")]

GAME, GAME6, SSDP, MDNS, MDNS6 = "239.1.2.3", "ff15::99", "239.255.255.250", "224.0.0.251", "ff02::fb"
PORT, STATIC_PORT = 4555, 5000
COUNT, SIZE = 40, 500
QUIET = COUNT * SIZE // 4

# Joins and leaves groups, and counts what comes, until its input ends: "join GROUP", "leave GROUP", "show".
LISTEN = """
import select, socket, struct, sys
interface = sys.argv[1]
index = socket.if_nametoindex(interface)
sockets = {}
for family in (socket.AF_INET, socket.AF_INET6):
    made = sockets[family] = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
    made.bind(("", 4555))
received = 0
print("ready", flush=True)
while True:
    for ready in select.select([sys.stdin, *sockets.values()], [], [])[0]:
        if ready is not sys.stdin:
            received += len(ready.recv(65536)) == 500
            continue
        word, _, group = sys.stdin.readline().strip().partition(" ")
        if word == "show":
            received = print(received, flush=True) or 0
        elif word in ("join", "leave"):
            family = socket.AF_INET6 if ":" in group else socket.AF_INET
            packed = socket.inet_pton(family, group)
            if family == socket.AF_INET6:
                option = socket.IPV6_JOIN_GROUP if word == "join" else socket.IPV6_LEAVE_GROUP
                sockets[family].setsockopt(socket.IPPROTO_IPV6, option, packed + struct.pack("@I", index))
            else:
                option = socket.IP_ADD_MEMBERSHIP if word == "join" else socket.IP_DROP_MEMBERSHIP
                sockets[family].setsockopt(socket.IPPROTO_IP, option, packed + struct.pack("@4si", bytes(4), index))
            print("done", flush=True)
        else:
            sys.exit()
"""

# Sends so many packets to each of some groups.
SEND = """
import socket, sys, time
index = socket.if_nametoindex("vnet0")
for group in sys.argv[2:]:
    family = socket.AF_INET6 if ":" in group else socket.AF_INET
    made = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 4)
    else:
        made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, bytes(8) + index.to_bytes(4, sys.byteorder))
        made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 4)
    for _ in range(int(sys.argv[1])):
        made.sendto(bytes(500), (group, 4555))
"""

# Counts the frames of a game with IPX, until something that always passes has come, and nothing more for a while.
TAKE = """
import socket
taker = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
taker.bind(("vnet0", 0))
taker.settimeout(15)
print("ready", flush=True)
found = 0
try:
    while True:
        frame = taker.recv(2000)
        found += b"a game here!" in frame
        if b"that was all" in frame:
            taker.settimeout(0.5)
except TimeoutError:
    print(found if taker.gettimeout() == 0.5 else -1)
"""

GIVE = """
import socket, sys, time
giver = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
giver.bind(("vnet0", 0))
for text in sys.argv[1:]:
    giver.send(bytes.fromhex(text))
time.sleep(0.1)
last = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
last.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
last.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"vnet0")
last.sendto(b"that was all", ("255.255.255.255", 9))
"""


class Listener:
    """
    The program on one host.
    """

    def __init__(self, host: Host, interface: str = "vnet0") -> None:
        argv = [sys.executable, "-c", LISTEN, interface]
        self._process = host.popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._expect("ready")

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def _expect(self, word: str) -> None:
        found = self._line()
        if found != word:
            raise AssertionError(found)

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def join(self, *groups: str) -> None:
        for group in groups:
            self._say(f"join {group}")
            self._expect("done")

    def leave(self, *groups: str) -> None:
        for group in groups:
            self._say(f"leave {group}")
            self._expect("done")

    def received(self) -> int:
        """How many packets have come since the last time."""
        self._say("show")
        return int(self._line())

    def waitReceived(self, count: int) -> None:
        """Wait until so many packets have come."""
        found = 0

        def isEnough() -> bool:
            nonlocal found
            found += self.received()
            return found >= count

        waitUntil(isEnough, 10.0, f"{count} packets come")

    def end(self) -> None:
        self._process.communicate(timeout=5)


class SnoopingTests(SynchronousTestCase):
    """
    Ann, Bob and Cid are in one network; Cid's interface is a TUN.
    """

    @pytest.mark.timeout(120)
    def test_groups(self) -> None:
        """
        A group's packets go through the tunnel to the node where a program has joined it, and to no other, over leaving and
        C{kill -9} of both sides; mDNS and SSDP go to all.  Which protocols beside IP pass is chosen for the network.
        """
        with Cluster("snooping") as cluster:
            cluster.startMediator()
            self.nodes = [
                cluster.addNode(
                    name, "--group-rate=1000", *options, where=cluster.lab.addHost(name), wait=False
                )
                for name, *options in (("ann",), ("bob",), ("cid", "--device=tun"))
            ]
            for node in self.nodes:
                node.waitReady()
            ann, bob, cid = self.nodes
            ann.login()
            ann.create("family")
            joinAll([bob, cid], "family", ann.invite("family"))
            self.addresses = [str(node.ask("status")["address"]) for node in self.nodes]
            self._waitPaths()
            self._joinAndLeave(bob, cid)
            self._restarts(ann, bob)
            self._nonIp(ann, bob)

    def _waitPaths(self) -> None:
        for node in self.nodes:
            for address in self.addresses:
                if address != self.addresses[self.nodes.index(node)]:
                    waitUntil(
                        lambda node=node, address=address: node.ask("peer", name=address)["path"] == "direct",  # type: ignore[misc]
                        15.0,
                        f"{node.name} reaches {address}",
                    )

    def _carried(self) -> list[int]:
        """Bytes that came to Bob and Cid through the tunnel from Ann."""
        return [int(node.ask("peer", name=self.addresses[0])["rxBytes"]) for node in self.nodes[1:]]

    def _settled(self) -> list[int]:
        """The same, when nothing is on its way any more."""
        carried = self._carried()
        while True:
            time.sleep(0.05)
            before, carried = carried, self._carried()
            # The question itself is followed by a few.
            if all(new - old < QUIET // 4 for new, old in zip(carried, before, strict=True)):
                return carried

    def _reached(self, *groups: str) -> list[bool | None]:
        """Whom Ann's packets to groups reach through the tunnel; L{None}: some do."""
        before = self._carried()
        self.nodes[0].host.python(SEND, str(COUNT), *groups)
        found: list[bool | None] = []
        for new, old in zip(self._settled(), before, strict=True):
            isAll = new - old >= COUNT * SIZE * len(groups)
            found.append(isAll if isAll or new - old < QUIET else None)
        return found

    def _waitReached(self, wanted: list[bool], *groups: str) -> None:
        waitUntil(lambda: self._reached(*groups) == wanted, 10.0, f"{groups} reach {wanted}")

    def _joinAndLeave(self, bob: Node, cid: Node) -> None:
        self.listeners = [Listener(node.host) for node in (bob, cid)]
        self._waitReached([False, False], GAME, GAME6)
        for there, (listener, group) in enumerate(
            ((self.listeners[0], GAME), (self.listeners[1], GAME6), (self.listeners[1], GAME))
        ):
            listener.join(group)
            self._waitReached([there != 1, there != 0], group)
        self.assertEqual(self._reached(SSDP, MDNS, MDNS6), [True, True])
        for listener in self.listeners:
            self.assertEqual(listener.received() % COUNT, 0)
        self.listeners[1].leave(GAME, GAME6)
        self._waitReached([True, False], GAME)
        self._waitReached([False, False], GAME6)

    def _restarts(self, ann: Node, bob: Node) -> None:
        ann.kill()
        ann.start()
        self._waitPaths()
        self._waitReached([True, False], GAME)
        bob.kill()
        bob.start()
        self._waitPaths()
        # The interface that the program was in a group on is gone.
        self._waitReached([False, False], GAME)
        self.listeners[0].end()
        again = Listener(bob.host)
        again.join(GAME)
        self._waitReached([True, False], GAME)
        again.received()
        ann.host.python(SEND, str(COUNT), GAME)
        again.waitReceived(COUNT)
        again.end()
        self.listeners[1].end()

    def _nonIp(self, ann: Node, bob: Node) -> None:
        frames = [frame.hex() for frame in ipxFrames(b"\xff" * 6, mac(self.addresses[0]))]

        def passes() -> int:
            taker = bob.host.popen([sys.executable, "-c", TAKE], stdout=subprocess.PIPE)
            assert taker.stdout is not None
            self.assertEqual(taker.stdout.readline(), "ready\n")
            ann.host.python(GIVE, *frames)
            return int(taker.communicate(timeout=20)[0])

        self.assertEqual(passes(), 4)
        shown = bob.vnet("lan", "family", "--non-ip=off")["networks"]
        self.assertEqual([(each["name"], each["nonIp"]) for each in shown], [("family", False)])
        self.assertEqual(passes(), 0)
        dropped = int(bob.ask("status")["dropped"]["forwardEtherType"])
        self.assertGreaterEqual(dropped, 4)
        bob.vnet("lan", "family", "--non-ip=on", "--ether-types=0x8137")
        # SNAP and Ethernet II have that EtherType.
        self.assertEqual(passes(), 2)


class StaticTests(SynchronousTestCase):
    """
    Our data plane and wireguard-go, which knows of none of this.
    """

    def test_wireguardGo(self) -> None:
        """It gets the packets of all groups, whatever its operating system reports into the tunnel of what changes."""
        with Lab("snoopedgo") as lab:
            ours, theirs = lab.addHost("ours"), lab.addHost("theirs")
            mine, other = PrivateKey.generate(), PrivateKey.generate()
            name = f"wgs{os.getpid()}"
            theirs.popen(["wireguard-go", "-f", name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            theirs.run(
                ["sh", "-c", f"for i in $(seq 400); do wg show {name} && exit; sleep 0.05; done; exit 1"]
            )
            encoded = [base64.b64encode(bytes(key)).decode() for key in (other, mine.public_key)]
            allowed = "100.64.0.1/32,fd76:1:2::1/128,224.0.0.0/4,ff00::/8"
            peer = f"peer {encoded[1]} allowed-ips {allowed} endpoint {ours.address}:{STATIC_PORT}"
            configure = (
                f"echo {encoded[0]} | wg set {name} private-key /dev/stdin listen-port {STATIC_PORT} {peer}"
            )
            setUp = f"ip addr add 100.64.0.2/10 dev {name}; ip addr add fd76:1:2::2/48 dev {name} nodad"
            theirs.run(["sh", "-c", f"{configure}; {setUp}; ip link set {name} mtu 1400 up"])
            arguments = [
                *("1", str(STATIC_PORT), bytes(mine).hex(), "2", bytes(other.public_key).hex()),
                *(theirs.address, str(STATIC_PORT), "live"),
            ]
            node = ours.popen(
                [sys.executable, "-m", "vnet.test.priv.dataplanenode", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=ROOT,
            )
            assert node.stdout is not None
            self.assertEqual(node.stdout.readline(), "ready\n")
            self.assertTrue(ours.ping("100.64.0.2", count=1, timeout=5))
            listener = Listener(theirs, name)
            # What is reported first is all that a wrong reader would let pass.
            listener.join("239.9.9.9", GAME, GAME6)
            for group in (GAME, GAME6):
                ours.python(SEND, str(COUNT), group)
                listener.waitReceived(COUNT)
            listener.end()
