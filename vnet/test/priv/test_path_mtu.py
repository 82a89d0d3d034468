"""
How long packets may be: the real programs, with a link between them that carries less than others, and ICMP that is lost.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from twisted.trial.unittest import SynchronousTestCase

from vnet.test.netlab import Link, Space, stop
from vnet.test.netlab._system import batch
from vnet.test.priv.cluster import Cluster, Node, waitUntil

FOUND = 30.0
TOTAL = 3_000_000
WHOLE = " 0% packet loss"
#: What says that something is too long is lost, and so are fragments, which are counted before anything joins them.
#: The connections to the mediator are helped, as routers of such links do.
BLACK_HOLE = """
    table inet narrow {
        counter fragments { }
        chain before { type filter hook prerouting priority -450; policy accept;
            ip frag-off & 0x3fff != 0 counter name fragments drop
        }
        chain through { type filter hook forward priority 0; policy accept;
            tcp flags syn tcp option maxseg size set 1100
        }
        chain out { type filter hook output priority -450; policy accept;
            icmp type destination-unreachable icmp code frag-needed drop
            icmpv6 type packet-too-big drop
        }
    }"""
#: Sends so many bytes to whoever connects, or gets them, and prints the segment size that TCP uses, and how many there were.
TRANSFER = """
import socket, sys
verb, address, total = sys.argv[1], sys.argv[2], int(sys.argv[3])
family = socket.AF_INET6 if ":" in address else socket.AF_INET
if verb == "serve":
    listener = socket.create_server((address, 9000), family=family)
    print("ready", flush=True)
    link, _ = listener.accept()
    while total > 0 and (data := link.recv(65536)):
        total -= len(data)
    link.sendall(b"x" * int(sys.argv[3]))
    link.shutdown(socket.SHUT_WR)
    link.recv(1)
else:
    link = socket.create_connection((address, 9000), timeout=20)
    if len(sys.argv) > 4:
        print("connected", flush=True)
        sys.stdin.readline()
    link.sendall(b"x" * total)
    got = 0
    while data := link.recv(65536):
        got += len(data)
    print(link.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG), got)
"""


def setMtu(link: Link, mtu: int) -> None:
    """
    Let a link carry so much.
    """
    batch([f"link set {link.device} mtu {mtu}"], link.namespace)
    batch([f"link set {link.upDevice} mtu {mtu}"], link.upNamespace)


def fragments(*spaces: Space) -> int:
    """
    How many fragments these have received.
    """
    listed = [each.run(["nft", "list", "counter", "inet", "narrow", "fragments"]).stdout for each in spaces]
    return sum(int(re.findall(r"packets (\d+)", text)[0]) for text in listed)


def pingWhole(node: Node, address: str, size: int) -> str:
    """
    What C{ping -M do} says of a packet of this size.
    """
    payload = size - (48 if ":" in address else 28)
    argv = ["ping", "-n", "-M", "do", "-c", "2", "-i", "0.2", "-W", "1", "-s", str(payload), address]
    done = node.host.run(argv, check=False)
    return done.stdout + done.stderr


@contextmanager
def serving(server: Node, address: str, total: int = TOTAL) -> Iterator[None]:
    """
    Somebody there who gets so many bytes, and sends as many.
    """
    argv = [sys.executable, "-c", TRANSFER, "serve", address, str(total)]
    process = server.host.popen(argv, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield
        process.wait(20)
    finally:
        stop(process)


def transfer(client: Node, server: Node, address: str, total: int = TOTAL) -> tuple[int, int]:
    """
    Send so many bytes there, and as many back.

    @return: the size of segments that TCP uses, and how many bytes came back.
    """
    with serving(server, address, total):
        out = client.host.python(TRANSFER, "send", address, str(total))
    segment, got = out.split()
    return int(segment), int(got)


@pytest.mark.timeout(180)
class PathMtuTests(SynchronousTestCase):
    """
    Two nodes, one of them behind a router whose link is narrow.
    """

    def start(self, cluster: Cluster, mtu: int, *options: str) -> None:
        """Two nodes that know each other; alice is in the Internet itself, bob at home."""
        cluster.startMediator()
        self.home, other = cluster.lab.addHome("bob"), cluster.lab.addHost("alice")
        self.link = self.home.router.link
        # All others carry 1,500 bytes at least.
        setMtu(self.link, mtu)
        for link in (self.home.host.link, other.link):
            setMtu(link, max(mtu, 1500))
        for space in (self.home.router, cluster.lab.internet):
            space.run(["nft", "-f", "-"], text=BLACK_HOLE)
        self.spaces = (self.home.router, cluster.lab.internet)
        self.alice = cluster.addNode("alice", *options, where=other)
        self.bob = cluster.addNode("bob", *options, where=self.home)
        self.alice.login()
        self.bob.login()
        self.alice.create("lan")
        self.bob.join("lan", None)
        self.alice.waitPath(self.bob)
        self.bob.waitPath(self.alice)

    def expect(self, mtu: int) -> None:
        """Wait until both nodes know what the path carries."""
        for one, other in ((self.alice, self.bob), (self.bob, self.alice)):
            address = other.address
            waitUntil(lambda: one.peer(address)["mtu"] == mtu, FOUND, f"{one.name} finds {mtu}")  # noqa: B023

    def whole(self, mtu: int, segments: int | None = None) -> None:
        """
        Packets of this size pass either way, and TCP makes no fragments.

        @param segments: bytes of a packet of TCP, if that is less.
        """
        for one, address, other, headers in (
            (self.alice, self.bob.address, self.bob, 40),
            (self.bob, self.alice.address6, self.alice, 60),
        ):
            # Time stamps take 12 bytes of each segment.
            expected = (segments or mtu) - headers - 12
            if segments is not None:
                # Until both know that it is less than what is always sent.
                waitUntil(lambda: transfer(one, other, address, 100)[0] == expected, FOUND, "it fits")  # noqa: B023
                waitUntil(lambda: WHOLE in pingWhole(one, address, mtu), FOUND, "both ways")  # noqa: B023
            self.assertIn(WHOLE, pingWhole(one, address, mtu))
            before = fragments(*self.spaces)
            self.assertEqual(transfer(one, other, address), (expected, TOTAL))
            self.assertEqual(fragments(*self.spaces), before)

    def shrink(self, mtu: int) -> None:
        """Let the link carry less while there is a connection: it goes on."""
        with serving(self.bob, self.bob.address):
            argv = [sys.executable, "-c", TRANSFER, "send", self.bob.address, str(TOTAL), "wait"]
            client = self.alice.host.popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            assert client.stdout is not None
            client.stdout.readline()
            setMtu(self.link, mtu)
            out, _ = client.communicate("go\n", timeout=40)
        self.assertEqual(int(out.split()[1]), TOTAL)

    def change(self, mtu: int) -> None:
        """Let the link carry another size, and the network seem to have changed, so that the size is asked for at once."""
        setMtu(self.link, mtu)
        for node in (self.alice, self.bob):
            batch(["addr add 192.0.2.77/32 dev eth0"], node.host.namespace)

    def test_narrow(self) -> None:
        """
        A link of PPPoE, and one of 1,400 bytes: what it carries is found, passes whole, and TCP fits, although ICMP and
        fragments are lost; a transfer that is under way goes on when the path becomes narrower.  One of 1,280 bytes carries
        packets of 1,280 bytes all the same.
        """
        with Cluster("narrow") as cluster:
            self.start(cluster, 1492)
            self.expect(1424)
            self.whole(1424)
            self.shrink(1400)
            self.expect(1328)
            self.whole(1328)
            # Before the search has ended nobody is told.
            waitUntil(
                lambda: re.search("mtu ?= ?1328", pingWhole(self.alice, self.bob.address, 1400)) is not None,
                15,
                "ping is told the path's MTU",
            )
            self.change(1280)
            self.expect(1280)
            self.whole(1280, 1216)

    def test_jumbo(self) -> None:
        """Where links carry jumbo frames, packets may be so long, and fit a usual link when one is between."""
        with Cluster("jumbo") as cluster:
            self.start(cluster, 9000, "--mtu=8940")
            self.expect(8940)
            self.whole(8940)
            self.change(1500)
            self.expect(1440)
            self.whole(1440)
