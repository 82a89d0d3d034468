"""
A node in a network of hundreds: the real programs, but for the crowd.
"""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Sequence
from typing import Any

import pytest
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.warmth import CAPACITY
from vnet.test.priv.cluster import Cluster, Node, waitUntil
from vnet.test.priv.crowdhost import startCrowd

COUNT = 150
# How long things may take where other tests keep the processors busy.
SYNCHRONISED, PATHS, FIRST = 20.0, 40.0, 15.0
COLD = 4


def listed(node: Node, **selection: Any) -> dict[str, Any]:
    """
    @return: the crowd, as a node lists it.
    """
    [network] = node.ask("list", **selection)["networks"]
    return dict(network)


def reached(node: Node) -> set[str]:
    """
    @return: the addresses of the members to whom a node has a path.
    """
    return {each["address"] for each in listed(node)["members"] if each["path"] != "none"}


@pytest.mark.timeout(120)
class CrowdTests(SynchronousTestCase):
    """
    One real node among simulated ones.
    """

    def test_onDemand(self) -> None:
        """
        A node is in step with the whole network at once, keeps paths to 64 members and no more, has its first packet to another
        one answered, and a path to it then; lists have pages, and who watches sees each of these things happen.
        """
        with Cluster("crowd") as cluster:
            mediator = cluster.startMediator()
            crowd = startCrowd(cluster, "crowd", COUNT)
            node = cluster.addNode("node")
            node.login()
            watching, first = self.watch(node)
            self.assertEqual((first["event"], first["networks"]), ("watching", 0))
            node.ask("join", network="crowd", password=None)
            waitUntil(lambda: listed(node)["onlineCount"] == COUNT, SYNCHRONISED, "the node knows all")
            self.assertEqual({each["address"] for each in listed(node)["members"]}, set(crowd.addresses))
            self.assertLess(len(reached(node)), CAPACITY + 1)
            waitUntil(lambda: len(reached(node)) == CAPACITY, PATHS, "there are paths to some")
            cold = sorted(set(crowd.addresses) - reached(node))[:COLD]
            self.firstPackets(node, cold)
            self.assertLessEqual(set(cold), reached(node))
            self.assertEqual(len(reached(node)), CAPACITY + COLD)
            self.pages(node)
            self.happened(self.watched(watching), cold)
            node.stop()
            mediator.stop()
            crowd.stop()

    def firstPackets(self, node: Node, addresses: Sequence[str]) -> None:
        """
        One packet to each, and none again.
        """
        times = [node.host.ping(address, count=1, timeout=FIRST).millis for address in addresses]
        print("first packets, ms:", times)
        self.assertEqual([len(each) for each in times], [1] * len(addresses))

    def pages(self, node: Node) -> None:
        """
        The list, as a person reads it and as a program does.
        """
        lines = node.text("list", "crowd", "--per-page", "100", "--page", "2").splitlines()
        self.assertIn(f"{COUNT}/{COUNT} online", lines[0])
        self.assertEqual(lines[-1], f"members 101-{COUNT} of {COUNT}")
        self.assertEqual(len(lines), COUNT - 100 + 2)
        first = node.text("list", "--page", "1").splitlines()
        self.assertEqual(first[-1], f"members 1-100 of {COUNT}: vnet list --page 2 crowd")
        found = node.vnet("list", "--search", "MEMBER 149")["networks"][0]
        self.assertEqual([each["nick"] for each in found["members"]], ["member 149"])

    def watch(self, node: Node) -> tuple[subprocess.Popen[str], dict[str, Any]]:
        """
        Start C{vnet watch}.

        @return: it, and the first line.
        """
        watching = node.host.popen(
            node._argv(("--json", "watch")), stdout=subprocess.PIPE, cwd=node.state, text=True
        )
        self.addCleanup(watching.wait)
        self.addCleanup(watching.kill)
        line = watching.stdout.readline() if watching.stdout is not None else ""
        return watching, json.loads(line)

    def watched(self, watching: subprocess.Popen[str]) -> list[dict[str, Any]]:
        """
        @return: all that was told.
        """
        watching.send_signal(signal.SIGINT)
        out = watching.communicate(timeout=10)[0]
        self.assertEqual(watching.returncode, 0)
        return [json.loads(line) for line in out.splitlines()]

    def happened(self, events: list[dict[str, Any]], cold: Sequence[str]) -> None:
        """
        Look at what was told.
        """
        [joined] = [each for each in events if each["event"] == "network"]
        self.assertEqual((joined["state"], joined["members"], joined["online"]), ("joined", COUNT, COUNT))
        paths = [each["address"] for each in events if each["event"] == "memberPath"]
        self.assertLessEqual(set(cold), set(paths))
        self.assertEqual(len(set(paths)), CAPACITY + COLD)
        self.assertNotIn("memberJoined", [each["event"] for each in events])
