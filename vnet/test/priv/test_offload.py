"""
Two data planes with whatever the kernels leave to them, and a data plane with wireguard-go: what programs send arrives as it was.
"""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from pathlib import Path

import pytest
from nacl.public import PrivateKey, PublicKey
from twisted.trial.unittest import SynchronousTestCase

from vnet.test.netlab import Host, Lab, stop
from vnet.test.netlab._space import ROOT
from vnet.test.priv.cluster import Cluster, Node

pytestmark = [pytest.mark.privileged, pytest.mark.commands("wireguard-go", "wg")]

PORT = 5000
ADDRESSES = ("100.64.0.2", "fd76:1:2::2")
#: Bytes of each connection, each way.
SIZE = 1 << 20

MISSING = {
    "checksum": "this system has no offload of checksums of TCP and UDP: they are done here",
    "tcp": "this system has no offload of segment trains of TCP (TSO): they are done here",
    "udp": "this system has no offload of segment trains of UDP (USO): they are done here",
    "segment": "this system does not cut trains of datagrams (UDP_SEGMENT): each is sent alone",
    "gro": "this system does not join datagrams to trains (UDP_GRO): each comes alone",
}


class OffloadTests(SynchronousTestCase):
    """
    C{alice} is 100.64.0.1 and C{bob} 100.64.0.2; both are public hosts.
    """

    def setUp(self) -> None:
        self.lab = Lab("offload")
        self.lab.__enter__()
        self.addCleanup(self.lab.close)
        self.alice, self.bob = self.lab.addHost("alice"), self.lab.addHost("bob")
        self.processes: list[subprocess.Popen[str]] = []

    def start(
        self, host: Host, number: int, key: PrivateKey, peerKey: PublicKey, other: Host, *options: str
    ) -> Path:
        """
        Start a data plane.

        @return: its log.
        """
        log = self.lab.directory / f"{host.name}.log"
        arguments = [str(number), str(PORT), bytes(key).hex(), str(3 - number), bytes(peerKey).hex()]
        with log.open("w") as writing:
            node = host.popen(
                [
                    sys.executable,
                    "-m",
                    "vnet.test.priv.dataplanenode",
                    *arguments,
                    other.address,
                    str(PORT),
                    *options,
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=writing,
                cwd=ROOT,
            )
        self.processes.append(node)
        return log

    def ready(self) -> None:
        """
        Wait until all that was started says so.
        """
        for process in self.processes:
            assert process.stdout is not None
            self.assertEqual(process.stdout.readline(), "ready\n")

    def connect(self, first: str, second: str, interface: str = "vnet0") -> list[str]:
        """
        Start both data planes, each with these options, and the program that answers.

        @return: their logs.
        """
        keys = PrivateKey.generate(), PrivateKey.generate()
        logs = [
            self.start(self.alice, 1, keys[0], keys[1].public_key, self.bob, *first.split()),
            self.start(self.bob, 2, keys[1], keys[0].public_key, self.alice, *second.split()),
        ]
        self.ready()
        self.serve(interface)
        return [log.read_text() for log in logs]

    def serve(self, interface: str) -> None:
        """
        Answer in C{bob}.
        """
        argv = [sys.executable, "-m", "vnet.test.priv.echoing", "serve", interface]
        server = self.bob.popen(argv, stdout=subprocess.PIPE, cwd=ROOT)
        assert server.stdout is not None
        self.assertEqual(server.stdout.readline(), "ready\n")
        self.processes.append(server)

    def disconnect(self) -> None:
        """
        End all that was started.
        """
        stop(*self.processes)
        self.processes = []

    def program(self, *arguments: str) -> str:
        """
        What the program in C{alice} says.
        """
        argv = [sys.executable, "-m", "vnet.test.priv.echoing", *arguments]
        return self.alice.popen(argv, stdout=subprocess.PIPE, cwd=ROOT).communicate(timeout=60)[0].strip()

    def check(self) -> None:
        """
        All that goes through the tunnel arrives as it was; TCP also where one of 100 packets is lost, each way.
        """
        for address in ADDRESSES:
            line = f"ping -n -c 3 -i 0.05 -W 3 -s 3000 {address}"
            self.assertIn(" 0% packet loss", self.alice.run(line.split(), check=False).stdout)
        self.assertEqual(self.program("ask", *ADDRESSES), "ok")
        self.lab.setLoss(self.alice, 1)
        self.assertEqual(self.program("move", str(SIZE), *ADDRESSES), "ok")
        self.lab.setLoss(self.alice, 0)

    def between(self, first: str, second: str, missing: str = "") -> None:
        """
        Two data planes with these options.

        @param missing: what the first one has to say that it misses.
        """
        logs = self.connect(first, second)
        self.check()
        said = [line.split("] ", 1)[-1] for line in logs[0].splitlines() if "this system" in line]
        self.assertEqual(sorted(said), sorted(MISSING[word] for word in missing.split()))
        self.disconnect()

    def test_all(self) -> None:
        """All offloads on both sides, with unfinished checksums, and finished ones."""
        self.between("partial", "partial")
        self.between("", "")

    def test_some(self) -> None:
        """Each has others: checksums only, those and TCP, none; TUN here and TAP there."""
        self.between("tun partial", "offload=checksum,tcp partial")
        self.between("offload= partial", "partial")
        self.between("offload=checksum", "tun offload= partial")

    def test_unknown(self) -> None:
        """What the kernel does not know is done here, and there is one line in the log for each."""
        self.between("partial unknown=tcp,segment,gro", "partial unknown=udp", "tcp udp segment gro")
        self.between("unknown=checksum,tcp,udp", "partial unknown=udp,gro", "checksum tcp udp")

    def test_wireguardGo(self) -> None:
        """wireguard-go gets finished checksums, of TCP, and of UDP in trains and alone; and we take what it sends."""
        for options in ("", "tun"):
            mine, theirs = PrivateKey.generate(), PrivateKey.generate()
            # Its control socket is where all namespaces see it; a name that is used again meets the dead one's.
            host, name = self.bob, f"wg{os.getpid()}{options}"
            self.processes.append(
                host.popen(["wireguard-go", "-f", name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            )
            host.run(
                ["sh", "-c", f"for i in $(seq 400); do wg show {name} && exit; sleep 0.05; done; exit 1"]
            )
            encoded = [base64.b64encode(bytes(key)).decode() for key in (theirs, mine.public_key)]
            peer = f"peer {encoded[1]} allowed-ips 100.64.0.1/32,fd76:1:2::1/128 endpoint {self.alice.address}:{PORT}"
            configure = f"echo {encoded[0]} | wg set {name} private-key /dev/stdin listen-port {PORT} {peer}"
            setUp = f"ip addr add 100.64.0.2/10 dev {name}; ip addr add fd76:1:2::2/48 dev {name} nodad"
            setUp += f"; ip link set {name} mtu 1400 up"
            host.run(["sh", "-c", f"{configure}; {setUp}"])
            started = len(self.processes)
            self.start(self.alice, 1, mine, theirs.public_key, host, *options.split())
            waiting, self.processes = self.processes, self.processes[started:]
            self.ready()
            self.processes = waiting
            self.serve(name)
            self.check()
            self.disconnect()


# Prints what comes to groups from two addresses, until nothing more does.
LISTEN = """
import select, socket, struct, sys
index = socket.if_nametoindex("vnet0")
four = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
four.bind(("", 27015))
group4 = struct.pack("=4s4si", socket.inet_aton("239.7.7.7"), bytes(4), index)
four.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group4)
six = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
six.bind(("::", 27016))
group6 = socket.inet_pton(socket.AF_INET6, "ff05::77") + struct.pack("=I", index)
six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group6)
print("ready", flush=True)
wait = 20
while found := select.select([four, six], [], [], wait)[0]:
    for each in found:
        data, source = each.recvfrom(100)
        if source[0] in sys.argv:
            print(data.decode(), flush=True)
            wait = 1
"""

TELL = """
import socket
index = socket.if_nametoindex("vnet0")
four = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
four.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
four.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"vnet0")
six = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
for group in ("255.255.255.255", "100.127.255.255", "239.7.7.7"):
    four.sendto(group.encode(), (group, 27015))
six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
six.sendto(b"ff05::77", ("ff05::77", 27016))
"""


class NodeTests(SynchronousTestCase):
    """
    Whole nodes.
    """

    def test_tun(self) -> None:
        """A node with a TUN and another with a TAP and no offload reach each other, both ways, by both versions of IP."""
        with Cluster("tun") as cluster:
            cluster.startMediator()
            alice = cluster.addNode("alice", "--device=tun", where=cluster.lab.addHost("alice"))
            bob = cluster.addNode("bob", "--offload=none", where=cluster.lab.addHost("bob"))
            for node in (alice, bob):
                node.login()
            alice.create("family")
            bob.vnet("join", alice.invite("family"))
            alice.waitPath(bob)
            link = alice.host.run(["ip", "-d", "link", "show", "vnet0"]).stdout
            self.assertIn("POINTOPOINT", link)
            self.assertIn("tun type tun", link)
            for one, other in ((alice, bob), (bob, alice)):
                for address in (other.address, other.address6):
                    self.assertTrue(one.host.ping(address, count=2, timeout=5), (one.name, address))
            server = [sys.executable, "-m", "vnet.test.priv.echoing", "serve", "vnet0"]
            answering = bob.host.popen(server, stdout=subprocess.PIPE, cwd=ROOT)
            assert answering.stdout is not None
            self.assertEqual(answering.stdout.readline(), "ready\n")
            argv = [
                sys.executable,
                "-m",
                "vnet.test.priv.echoing",
                "move",
                str(SIZE),
                bob.address,
                bob.address6,
            ]
            said = alice.host.popen(argv, stdout=subprocess.PIPE, cwd=ROOT).communicate(timeout=60)[0]
            self.assertEqual(said, "ok\n")
            for one, other in ((alice, bob), (bob, alice)):
                self.groups(one, other)
            # Nobody has asked for what is not there.
            self.assertNotIn("this system", alice.log.read_text() + bob.log.read_text())

    def groups(self, sender: Node, receiver: Node) -> None:
        """
        What is sent to everybody and to groups arrives, once, by a TUN as by a TAP.
        """
        listening = receiver.host.popen(
            [sys.executable, "-c", LISTEN, sender.address, sender.address6], stdout=subprocess.PIPE, cwd=ROOT
        )
        assert listening.stdout is not None
        self.assertEqual(listening.stdout.readline(), "ready\n")
        sender.host.run([sys.executable, "-c", TELL])
        said, _ = listening.communicate(timeout=30)
        self.assertEqual(
            sorted(said.split()), ["100.127.255.255", "239.7.7.7", "255.255.255.255", "ff05::77"]
        )
