"""
While one TCP stream takes all that two nodes can carry, nobody else is forgotten: the real programs.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from twisted.trial.unittest import SynchronousTestCase

from vnet.test.netlab import stop
from vnet.test.priv.cluster import Cluster, Node

pytestmark = pytest.mark.privileged

#: Milliseconds.  Without a queue of its own for the stream, others waited for longer; and machines differ.
PATIENCE = 300.0

#: Takes what comes, and says how much it was when the other side ends.
TAKE = """
import socket, sys
listener = socket.create_server((sys.argv[1], 9000))
print("ready", flush=True)
link, got, memory = listener.accept()[0], 0, bytearray(1 << 20)
while size := link.recv_into(memory):
    got += size
print(got)
"""
#: Sends until it is ended.
GIVE = """
import socket, sys
link = socket.create_connection((sys.argv[1], 9000), timeout=20)
print("connected", flush=True)
while True:
    link.sendall(bytes(1 << 20))
"""
#: What Prometheus would read.
SCRAPE = """
import urllib.request
print(urllib.request.urlopen("http://127.0.0.1:9477/metrics", timeout=20).read().decode())
"""


@contextmanager
def stream(giver: Node, taker: Node) -> Iterator[subprocess.Popen[str]]:
    """
    A stream of as much as there is room for.
    """
    target = subprocess.PIPE
    take = taker.host.popen([sys.executable, "-c", TAKE, taker.address], stdout=target)
    assert take.stdout is not None
    take.stdout.readline()
    give = giver.host.popen([sys.executable, "-c", GIVE, taker.address], stdout=target)
    assert give.stdout is not None
    if give.stdout.readline() != "connected\n":
        raise AssertionError("no stream")
    try:
        yield take
    finally:
        stop(give)


@pytest.mark.timeout(120)
class FairnessTests(SynchronousTestCase):
    """
    alice sends bob all that she can; carol is there too.
    """

    def test_stream(self) -> None:
        """
        Meanwhile carol logs in and finds a path to each of them, by handshakes; pings between her and both get all their answers,
        soon; both answer their users; and no path is lost.  What was carried is in the metrics.
        """
        with Cluster("fairness") as cluster:
            cluster.startMediator()
            options = {"alice": ("--metrics=tcp:9477",)}
            alice, bob, carol = (
                cluster.addNode(name, *options.get(name, ()), where=cluster.lab.addHost(name))
                for name in ("alice", "bob", "carol")
            )
            for node in (alice, bob):
                node.login()
            alice.create("lan")
            bob.join("lan")
            alice.waitPath(bob)
            with stream(alice, bob) as taken:
                carol.login()
                carol.join("lan")
                for node in (alice, bob):
                    carol.waitPath(node)
                    carol.waitPing(node.address)
                for one, other in ((alice, carol), (carol, bob)):
                    self.checkPing(one, other)
                for node in (alice, bob):
                    self.checkAnswers(node)
                self.assertEqual([carol.peer(each.address)["path"] for each in (alice, bob)], ["direct"] * 2)
                self.assertEqual(alice.peer(bob.address)["path"], "direct")
                metrics = alice.host.python(SCRAPE)
            out, _ = taken.communicate(timeout=20)
            self.assertGreater(int(out), 5_000_000)
            (sent,) = (line for line in metrics.splitlines() if 'bytes_total{direction="sent"}' in line)
            self.assertGreater(float(sent.split()[1]), 5_000_000)
            self.assertIn('vnet_client_peers{path="direct"} 2.0', metrics)

    def checkPing(self, one: Node, other: Node) -> None:
        """All answers come, and most of them soon."""
        pings = one.host.ping(other.address, count=100, interval=0.01, timeout=2)
        self.assertEqual(len(pings.millis), 100)
        self.assertLess(statistics.median(pings.millis), PATIENCE)

    def checkAnswers(self, node: Node) -> None:
        """The control socket answers, and so does the mediator to what is asked through it."""
        start = time.monotonic()
        for _ in range(3):
            self.assertEqual(node.ask("status")["state"], "online")
        node.ask("set-nick", nick=f"{node.name} the fair")
        self.assertLess(time.monotonic() - start, 4 * PATIENCE / 1000)
