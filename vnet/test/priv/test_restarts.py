"""
What is the same again after a program, a link or an address was gone: the real programs, from the outside.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from twisted.trial.unittest import SynchronousTestCase

from vnet.test.netlab import Host
from vnet.test.priv.cluster import Cluster, Daemon, Mediator, Node, waitUntil
from vnet.test.priv.test_members import endPing, isState, joinAll, memberOf, startPing

BACK = 15.0
RECONNECTED = 40.0
ROAMED = 35.0
OUTAGE = 31.0
FLOW = 34


def startHome(cluster: Cluster, *names: str) -> tuple[Mediator, list[Node]]:
    """
    A mediator, and nodes behind NATs that are members of C{family} with tunnels to each other.
    """
    mediator = cluster.startMediator()
    nodes = [cluster.addNode(name, wait=False) for name in names]
    for node in nodes:
        node.waitReady()
    nodes[0].login()
    nodes[0].create("family", "correct horse")
    joinAll(nodes[1:], "family", nodes[0].invite("family"))
    for one in nodes:
        for other in nodes:
            if one is not other:
                one.waitPath(other)
    return mediator, nodes


def remembered(node: Node) -> dict[str, Any]:
    """
    What of a node has to be the same after each restart.
    """
    status = node.ask("status")
    networks = [
        {
            **{key: each[key] for key in ("name", "owner", "protected", "state")},
            "members": sorted(
                (member["clientId"], member["nick"], member["address"], member["address6"])
                for member in each["members"]
            ),
        }
        for each in node.ask("list")["networks"]
    ]
    own = {key: status[key] for key in ("state", "clientId", "nick", "address", "address6", "mediator")}
    return {**own, "networks": networks}


def waitSame(nodes: Sequence[Node], before: Sequence[dict[str, Any]], timeout: float) -> None:
    """
    Wait until each node is what it was.
    """
    for node, expected in zip(nodes, before, strict=True):
        _waitSame(node, expected, timeout)


def _waitSame(node: Node, expected: dict[str, Any], timeout: float) -> None:
    waitUntil(lambda: remembered(node) == expected, timeout, f"{node.name} is what it was: {expected}")


def _waitState(node: Node, state: str) -> None:
    waitUntil(lambda: node.ask("status")["state"] == state, 15, f"{node.name} is {state}")


def waitTunnels(nodes: Sequence[Node], before: Sequence[dict[str, Any]], timeout: float) -> float:
    """
    Wait until each node's operating system reaches each other's, over IPv4 and IPv6.

    @return: how many seconds that took.
    """
    began = time.monotonic()
    for node in nodes:
        for other, there in zip(nodes, before, strict=True):
            if node is not other:
                for address in (there["address"], there["address6"]):
                    node.waitPing(address, max(began + timeout - time.monotonic(), 0.1))
    return time.monotonic() - began


def copyOf(cluster: Cluster, node: Node, name: str) -> Node:
    """
    A node in a home of its own, with a copy of another's state.
    """
    state = cluster.lab.directory / name
    state.mkdir(mode=0o700)
    for file in ("identity.key", "state.json"):
        shutil.copy2(node.state / file, state / file)
    return cluster.addNode(name)


@pytest.mark.timeout(150)
class RestartTests(SynchronousTestCase):
    """
    A mediator and two nodes behind NATs, ended and started again.
    """

    def test_everyOrder(self) -> None:
        """
        Whichever of the mediator and the nodes is ended or killed, in whichever order they come back: the addresses, the
        networks and the members are the same, and the tunnels are back within 15 s without a command.
        """
        with Cluster("orders") as cluster:
            mediator, (alice, bob) = startHome(cluster, "alice", "bob")
            nodes = [alice, bob]
            self.before = [remembered(node) for node in nodes]
            rounds: list[tuple[list[Daemon], list[Daemon]]] = [
                ([mediator], [mediator]),
                ([alice], [alice]),
                ([bob], [bob]),
                ([alice, bob], [bob, alice]),
                ([mediator, alice], [alice, mediator]),
                ([bob, mediator], [mediator, bob]),
                ([mediator, alice, bob], [alice, bob, mediator]),
                ([bob, alice, mediator], [mediator, alice, bob]),
            ]
            slowest = 0.0
            for ended, started in rounds:
                slowest = max(slowest, self._round(nodes, Daemon.kill, ended, started))
            # Of those that are ended in peace, the ones that have nobody left to tell, or nobody who tells.
            for ended, started in (*rounds[:2], *rounds[3:5], *rounds[6:]):
                slowest = max(slowest, self._round(nodes, Daemon.stop, ended, started))
            print(f"slowest: {slowest:.1f} s")

    def _round(
        self,
        nodes: Sequence[Node],
        end: Callable[[Daemon], None],
        ended: Sequence[Daemon],
        started: Sequence[Daemon],
    ) -> float:
        for daemon in ended:
            end(daemon)
        for node in nodes:
            if node not in ended and len(ended) > len(set(ended) & set(nodes)):
                _waitState(node, "connecting")
        began = time.monotonic()
        for daemon in started:
            daemon.spawn()
        waitTunnels(nodes, self.before, BACK)
        took = time.monotonic() - began
        names = " ".join(daemon.name for daemon in ended), " ".join(daemon.name for daemon in started)
        print(f"{end.__name__} {names[0]}, start {names[1]}: tunnels after {took:.1f} s")
        waitSame(nodes, self.before, BACK)
        self.assertLess(took, BACK)
        return took

    def test_withoutMediator(self) -> None:
        """
        While the mediator is dead for 31 s no ping and no TCP connection is lost and no tunnel goes down; a node that is
        started meanwhile waits for it, and when it is back all are in step again, the tunnels as they were.
        """
        with Cluster("outage") as cluster:
            mediator, nodes = startHome(cluster, "alice", "bob", "carol")
            alice, bob, carol = nodes
            before = [remembered(node) for node in nodes]
            there = before[1]["address"]
            tunnel = alice.ask("peer", name=there)
            pings = [startPing(alice.host, there), startPing(bob.host, before[0]["address6"])]
            flow = self._startFlow(alice.host, bob.host, there)
            mediator.kill()
            carol.kill()
            carol.start()
            ends = time.monotonic() + OUTAGE
            while time.monotonic() < ends:
                time.sleep(0.5)
                self.assertEqual(memberOf(alice, "family", there)["path"], "direct")
                self.assertEqual(memberOf(bob, "family", before[0]["address"])["path"], "direct")
            self.assertEqual(carol.status()["state"], "connecting")
            began = time.monotonic()
            mediator.spawn()
            waitSame(nodes, before, RECONNECTED)
            print(f"all in step {time.monotonic() - began:.1f} s after the mediator's start")
            print(f"all tunnels {waitTunnels(nodes, before, BACK):.1f} s later")
            waitUntil(lambda: isState([alice], "family", there, "online"), 15, "bob is online for alice")
            for process in pings:
                sent, answered = endPing(process)
                self.assertGreater(sent, 100)
                self.assertEqual(answered, sent)
            self._endFlow(flow)
            after = alice.ask("peer", name=there)
            self.assertEqual(after["endpoint"], tunnel["endpoint"])
            self.assertGreater(after["rxBytes"], tunnel["rxBytes"])

    def _startFlow(self, source: Host, target: Host, address: str) -> subprocess.Popen[str]:
        target.popen(["iperf3", "-s", "-1", "-B", address], stdout=subprocess.DEVNULL)
        waitUntil(lambda: ":5201 " in target.run(["ss", "-Hltn"]).stdout, 20, "iperf3 to listen")
        argv = ["iperf3", "-J", "-b", "2M", "-t", str(FLOW), "-c", address]
        return source.popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def _endFlow(self, flow: subprocess.Popen[str]) -> None:
        out = flow.communicate(timeout=FLOW + 20)[0]
        self.assertEqual(flow.returncode, 0, out[-500:])
        report = json.loads(out)
        self.assertGreater(report["end"]["sum_received"]["bytes"], 250_000 * FLOW * 0.9)
        idle = [each["sum"]["start"] for each in report["intervals"] if not each["sum"]["bytes"]]
        self.assertEqual(idle, [])

    def test_secondLogin(self) -> None:
        """
        Of two computers with one key the one that logs in last has it: the other is told so, stops, and does not fight; a
        login by its user takes the key back.
        """
        with Cluster("twins") as cluster:
            _, (alice, bob) = startHome(cluster, "alice", "bob")
            address = alice.address
            twin = copyOf(cluster, alice, "twin")
            twin.waitOnline()
            _waitState(alice, "offline")
            self.assertIn("another computer logged in with this node's key", str(alice.status()["error"]))
            self.assertEqual(twin.address, address)
            twin.waitPath(bob)
            took = bob.waitPing(address, BACK)
            print(f"bob reaches the twin {took:.1f} s after its path")
            for _ in range(20):
                time.sleep(0.2)
                self.assertEqual(alice.ask("status")["state"], "offline")
                self.assertEqual(twin.ask("status")["state"], "online")
            self.assertGreater(twin.peer(bob.address)["rxBytes"], 0)
            alice.login()
            _waitState(twin, "offline")
            alice.waitPath(bob)
            print(f"bob reaches alice {bob.waitPing(address, BACK):.1f} s after her path")
            self.assertEqual(alice.status()["state"], "online")


@pytest.mark.timeout(150)
class RoamingTests(SynchronousTestCase):
    """
    Links that go and addresses that change while a ping runs.
    """

    def test_roaming(self) -> None:
        """
        A home that gets another public address, a computer whose link was down, and one that gets another address in its
        LAN are reached again within 35 s without a command.
        """
        with Cluster("roaming") as cluster:
            _, (alice, bob) = startHome(cluster, "alice", "bob")
            self.there = alice.address
            home = alice.home
            if home is None:
                raise AssertionError("alice is at home")
            self._after("another public address", bob, lambda: home.changeAddress("198.51.100.251"))
            self._after("link down for 3 s", bob, lambda: downFor(alice.host, 3.0))
            network = home.network
            self._after("another address in the LAN", bob, lambda: alice.host.changeAddress(str(network[77])))

    def _after(self, what: str, pinger: Node, happens: Callable[[], None]) -> None:
        ping = startPing(pinger.host, self.there)
        happens()
        took = pinger.waitPing(self.there, ROAMED)
        pinger.host.ping(self.there, count=5)
        sent, answered = endPing(ping)
        print(f"{what}: reached after {took:.1f} s, {answered} of {sent} answered")
        self.assertGreater(answered, 0)
        self.assertLess(took, ROAMED)


def downFor(host: Host, seconds: float) -> None:
    """
    Pull a host's cable, and plug it in again.
    """
    host.linkDown()
    time.sleep(seconds)
    host.linkUp()
