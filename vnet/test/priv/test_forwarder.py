"""
Two data planes with static keys in two namespaces: the operating systems' own programs through the tunnel.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from nacl.public import PrivateKey, PublicKey
from twisted.trial.unittest import SynchronousTestCase

from vnet.test.netlab import Host, Lab
from vnet.test.netlab._space import ROOT

pytestmark = pytest.mark.privileged

PORT = 5000

# Half a mebibyte each way, so that what is lost or out of order anywhere shows in the digest.
SERVER = """
import hashlib, socket, sys
listener = socket.create_server((sys.argv[1], 7777), family=socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
print("ready", flush=True)
connection = listener.accept()[0]
while data := connection.recv(65536):
    connection.sendall(data)
connection.shutdown(socket.SHUT_WR)
"""

CLIENT = """
import hashlib, os, socket, sys, threading
connection = socket.create_connection((sys.argv[1], 7777), timeout=10)
sent = os.urandom(4 << 20)
def send():
    connection.sendall(sent)
    connection.shutdown(socket.SHUT_WR)
threading.Thread(target=send).start()
received = b"".join(iter(lambda: connection.recv(65536), b""))
print(hashlib.sha256(sent).hexdigest() == hashlib.sha256(received).hexdigest(), len(received))
"""


class DataplaneTests(SynchronousTestCase):
    """
    C{alice} is 100.64.0.1 and C{bob} 100.64.0.2; both are public hosts.
    """

    def setUp(self) -> None:
        self.lab = Lab("dataplane")
        self.lab.__enter__()
        self.addCleanup(self.lab.close)
        self.alice, self.bob = self.lab.addHost("alice"), self.lab.addHost("bob")

    def connect(self, version: int = 4) -> None:
        """Start both data planes, that reach each other by this version of IP."""
        keys = PrivateKey.generate(), PrivateKey.generate()
        hosts = self.alice, self.bob
        addresses = [host.address if version == 4 else host.address6 for host in hosts]
        self.nodes = [
            self.start(hosts[0], 1, keys[0], 2, keys[1].public_key, addresses[1]),
            self.start(hosts[1], 2, keys[1], 1, keys[0].public_key, addresses[0]),
        ]

    def start(
        self, host: Host, number: int, key: PrivateKey, peer: int, peerKey: PublicKey, address: str | None
    ) -> subprocess.Popen[str]:
        arguments = [str(number), str(PORT), bytes(key).hex(), str(peer), bytes(peerKey).hex()]
        node = host.popen(
            [sys.executable, "-m", "vnet.test.priv.dataplanenode", *arguments, str(address), str(PORT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        assert node.stdout is not None
        self.assertEqual(node.stdout.readline(), "ready\n")
        return node

    def transfer(self, address: str) -> str:
        """What a client in C{alice} says of a server at an address in C{bob}."""
        server = self.bob.popen([sys.executable, "-c", SERVER, address], stdout=subprocess.PIPE)
        assert server.stdout is not None
        self.assertEqual(server.stdout.readline(), "ready\n")
        return self.alice.python(CLIENT, address)

    def test_ping(self) -> None:
        """The operating systems answer each other's pings, over IPv4 and over IPv6, in both directions."""
        self.connect()
        self.assertTrue(self.alice.ping("100.64.0.2", count=5, timeout=3))
        self.assertTrue(self.bob.ping("100.64.0.1", count=5))
        self.assertTrue(self.alice.ping("fd76:1:2::2", count=5))
        self.assertTrue(self.bob.ping("fd76:1:2::1", count=5))

    def test_overIpv6(self) -> None:
        """Where the nodes reach each other by IPv6 only, both inner versions pass."""
        self.connect(6)
        self.assertTrue(self.alice.ping("100.64.0.2", count=3, timeout=3))
        self.assertTrue(self.alice.ping("fd76:1:2::2", count=3))

    def test_sizes(self) -> None:
        """A packet as large as the MTU passes unfragmented, and larger ones in fragments."""
        self.connect()
        for size, fragment in ((1400 - 28, "do"), (20000, "dont")):
            line = f"ping -n -c 3 -i 0.05 -W 2 -s {size} -M {fragment} 100.64.0.2"
            self.assertIn(" 0% packet loss", self.alice.run(line.split()).stdout)

    def test_tcp(self) -> None:
        """Four mebibytes of a TCP connection come back unchanged, over IPv4 and over IPv6."""
        self.connect()
        for address in ("100.64.0.2", "fd76:1:2::2"):
            self.assertEqual(self.transfer(address), f"True {4 << 20}\n")

    def test_tcpThroughLoss(self) -> None:
        """The same holds where one datagram of a hundred is lost each way."""
        self.connect()
        self.assertTrue(self.alice.ping("100.64.0.2", timeout=3))
        self.lab.setLoss(self.alice, 1)
        self.assertEqual(self.transfer("100.64.0.2"), f"True {4 << 20}\n")

    def test_nobody(self) -> None:
        """An address that no member has is unreachable, as on any LAN; nothing of that crosses the wire."""
        self.connect()
        self.assertTrue(self.alice.ping("100.64.0.2", timeout=3))
        before = self.outgoing()
        for address in ("100.64.0.77", "fd76:1:2::77"):
            done = self.alice.run(["ping", "-n", "-c", "1", "-W", "5", address], check=False)
            self.assertIn("nreachable", done.stdout)
        self.assertTrue(self.outgoing() - before <= 2, "more than a keepalive went out")

    def test_reachabilityProbes(self) -> None:
        """
        The system's probes of its neighbours are answered: while they run, pings of both versions go on without
        a loss.
        """
        self.connect()
        for key in ("ipv4/neigh/vnet0", "ipv6/neigh/vnet0"):
            script = (
                f"cd /proc/sys/net/{key}; echo 300 > base_reachable_time_ms; echo 0 > delay_first_probe_time"
            )
            self.alice.run(["sh", "-c", script])
        for address in ("100.64.0.2", "fd76:1:2::2"):
            self.assertTrue(self.alice.ping(address, timeout=3))
            self.assertTrue(self.alice.ping(address, count=30, interval=0.1))

    def test_echo(self) -> None:
        """The node's own echo is answered by the other operating system, and ours gets no reply to see."""
        self.connect()
        node = self.nodes[0]
        assert node.stdin is not None and node.stdout is not None
        before = self.echoReplies()
        for _ in range(3):
            node.stdin.write("echo\n")
            node.stdin.flush()
            self.assertTrue(0 < float(node.stdout.readline()) < 3000)
        self.assertEqual(self.echoReplies(), before)

    def test_gone(self) -> None:
        """When the program ends, by SIGKILL too, the interface and its routes are gone."""
        self.connect()
        before = json.loads(self.alice.run(["ip", "-j", "link"]).stdout)
        self.assertIn("vnet0", [link["ifname"] for link in before])
        self.nodes[0].kill()
        self.nodes[0].wait()
        after = json.loads(self.alice.run(["ip", "-j", "link"]).stdout)
        self.assertNotIn("vnet0", [link["ifname"] for link in after])
        self.assertNotIn("vnet0", self.alice.run(["ip", "route"]).stdout)

    def outgoing(self) -> int:
        """How many UDP datagrams alice has sent: only her node sends any."""
        text = self.alice.run(["cat", "/proc/net/snmp"]).stdout
        names, values = (line.split() for line in text.splitlines() if line.startswith("Udp:"))
        return int(values[names.index("OutDatagrams")])

    def echoReplies(self) -> int:
        """How many echo replies alice's operating system has seen."""
        text = self.alice.run(["cat", "/proc/net/snmp"]).stdout
        names, values = (line.split() for line in text.splitlines() if line.startswith("Icmp:"))
        return int(values[names.index("InEchoReps")])
