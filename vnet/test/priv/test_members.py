"""
Who sees and reaches whom while members come, go and die: the real programs, from the outside.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterable
from typing import Any

import pytest
from twisted.trial.unittest import SynchronousTestCase

from vnet.test.netlab import Host
from vnet.test.priv.cluster import Cluster, Node, waitUntil

AT_ONCE = 2.0
LOST = 45.0
OFFLINE = 60.0
JOINED = 40.0


def memberOf(node: Node, network: str, address: str) -> dict[str, Any]:
    """
    @return: a member as a node lists it now; empty when it does not.
    """
    for each in node.ask("list")["networks"]:
        if each["name"] == network:
            for member in each["members"]:
                if member["address"] == address:
                    return dict(member)
    return {}


def shown(node: Node, network: str) -> set[str]:
    """
    @return: the addresses of the members of a network, as a node lists them now.
    """
    networks = [each for each in node.ask("list")["networks"] if each["name"] == network]
    return {member["address"] for each in networks for member in each["members"]}


def waitShown(node: Node, network: str, expected: set[str], timeout: float = 5.0) -> None:
    """
    Wait until a node lists exactly these members.
    """
    waitUntil(lambda: shown(node, network) == expected, timeout, f"{node.name} lists {expected} in {network}")


def isState(nodes: Iterable[Node], network: str, address: str, *states: str) -> bool:
    """
    Whether all these nodes list a member in one of these states.
    """
    return all(memberOf(node, network, address).get("state") in states for node in nodes)


def reaches(pairs: Iterable[tuple[Host, str]], count: int = 2) -> list[bool]:
    """
    Ping, all at once, with one C{ping} each.

    @return: for each pair whether any answer came within a second.
    """
    running = [
        host.popen(
            ["ping", "-n", "-c", str(count), "-i", "0.2", "-W", "1", address],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        for host, address in pairs
    ]
    return [" time=" in process.communicate()[0] for process in running]


def endPing(process: subprocess.Popen[str]) -> tuple[int, int]:
    """
    Interrupt a running C{ping}.

    @return: how many requests it sent, and how many were answered; without the last one, if its answer was under way.
    """
    process.send_signal(2)
    out = process.communicate(timeout=10)[0]
    found = re.search(r"(\d+) packets transmitted, (\d+) received", out)
    if found is None:
        raise AssertionError(f"ping said: {out}")
    sent, answered = int(found[1]), int(found[2])
    isLastOpen = f"icmp_seq={sent} " not in out
    return sent - isLastOpen, answered


def startPing(host: Host, address: str, interval: float = 0.2) -> subprocess.Popen[str]:
    """
    Ping until L{endPing}.
    """
    return host.popen(
        ["ping", "-n", "-i", str(interval), "-W", "1", address],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


def joinAll(nodes: Iterable[Node], network: str, link: str) -> None:
    """
    Let nodes join by a link, at the same time.
    """
    running = [(node, node.begin("join", link)) for node in nodes]
    for node, process in running:
        if process.wait(JOINED):
            raise AssertionError(f"{node.name} did not join {network}")


@pytest.mark.timeout(150)
class MemberTests(SynchronousTestCase):
    """
    Five nodes behind five NATs.
    """

    def test_twoNetworks(self) -> None:
        """
        Each node lists and reaches exactly the members with whom it shares a network; one that leaves vanishes from the
        others' lists, one that logs out is offline for them, and one that goes offline in one network is so there only, each
        within 2 s.
        """
        with Cluster("members") as cluster:
            cluster.startMediator()
            names = ("alice", "bob", "carol", "dave", "erin")
            nodes = [cluster.addNode(name, wait=False) for name in names]
            for node in nodes:
                node.waitReady()
            alice, bob, carol, dave, erin = nodes
            groups = {"family": [alice, bob, carol], "work": [bob, carol, dave, erin]}
            alice.login()
            erin.login()
            alice.create("family", "correct horse")
            erin.create("work", "battery staple")
            joinAll([bob, carol], "family", alice.invite("family"))
            joinAll([bob, carol, dave], "work", erin.invite("work"))
            self.addresses = {node.name: node.address for node in nodes}
            self._exactly(nodes, groups)
            self._leave(dave, [bob, carol, erin])
            self._logout(erin, [bob, carol])
            self._offlineInOne(bob, alice, carol)

    def _exactly(self, nodes: list[Node], groups: dict[str, list[Node]]) -> None:
        shares = {
            (one.name, other.name)
            for group in groups.values()
            for one in group
            for other in group
            if one is not other
        }
        for one in nodes:
            for network, group in groups.items():
                expected = {self.addresses[each.name] for each in group if each is not one}
                waitShown(one, network, expected if one in group else set())
            listed = {each["name"] for each in one.networks()}
            self.assertEqual(listed, {name for name, group in groups.items() if one in group})
        for one in nodes:
            for other in nodes:
                if (one.name, other.name) in shares:
                    one.waitPath(other)
        pairs = [(one, other) for one in nodes for other in nodes if one is not other]
        answered = reaches([(one.host, self.addresses[other.name]) for one, other in pairs])
        reached = {(one.name, other.name) for (one, other), seen in zip(pairs, answered, strict=True) if seen}
        self.assertEqual(reached, shares)

    def _leave(self, leaver: Node, others: list[Node]) -> None:
        address, began = self.addresses[leaver.name], time.monotonic()
        leaver.vnet("leave", "work")
        for other in others:
            waitShown(other, "work", shown(other, "work") - {address}, AT_ONCE)
        print(f"leave: gone for all after {time.monotonic() - began:.2f} s")
        self.assertLess(time.monotonic() - began, AT_ONCE)
        self.assertEqual(leaver.networks(), [])
        pairs = [(other.host, address) for other in others]
        pairs += [(leaver.host, self.addresses[other.name]) for other in others]
        self.assertNotIn(True, reaches(pairs))

    def _logout(self, leaver: Node, others: list[Node]) -> None:
        address, began = self.addresses[leaver.name], time.monotonic()
        leaver.vnet("logout")
        waitUntil(
            lambda: isState(others, "work", address, "offline"), AT_ONCE, f"{leaver.name} is offline for all"
        )
        print(f"logout: offline for all after {time.monotonic() - began:.2f} s")
        self.assertLess(time.monotonic() - began, AT_ONCE)
        self.assertEqual(leaver.status()["state"], "offline")
        pairs = [(other.host, address) for other in others]
        pairs += [(leaver.host, self.addresses[other.name]) for other in others]
        self.assertNotIn(True, reaches(pairs))

    def _offlineInOne(self, bob: Node, alice: Node, carol: Node) -> None:
        address = self.addresses["bob"]
        bob.vnet("go-offline", "family")
        waitUntil(lambda: isState([alice], "family", address, "offline"), AT_ONCE, "bob is offline for alice")
        waitUntil(lambda: isState([carol], "family", address, "offline"), AT_ONCE, "and for carol, there")
        self.assertTrue(isState([carol], "work", address, "online"))
        pairs = [(alice.host, address), (bob.host, self.addresses["alice"]), (carol.host, address)]
        self.assertEqual(reaches(pairs), [False, False, True])
        began = time.monotonic()
        bob.vnet("go-online", "family")
        bob.waitPing(self.addresses["alice"], 15)
        print(f"go-online: first answer after {time.monotonic() - began:.2f} s")
        self.assertTrue(isState([alice, carol], "family", address, "online"))

    def test_lost(self) -> None:
        """
        Who is killed, or loses its power, is lost for the others within 45 s and offline within 60 s; who loses only the
        mediator is lost too, but keeps its tunnel: no ping is lost, nothing is torn down, and it is online again afterwards
        on the same path.
        """
        with Cluster("lost") as cluster:
            mediator = cluster.startMediator()
            nodes = [cluster.addNode(name, wait=False) for name in ("alice", "bob", "carol", "dave")]
            for node in nodes:
                node.waitReady()
            alice, bob, carol, dave = nodes
            alice.login()
            alice.create("family", "correct horse")
            joinAll([bob, carol, dave], "family", alice.invite("family"))
            self.addresses = {node.name: node.address for node in nodes}
            for node in nodes[1:]:
                alice.waitPath(node)
                node.waitPath(alice)
            dave.waitPath(carol)
            before = alice.ask("peer", name=self.addresses["dave"])
            pings = [
                startPing(alice.host, self.addresses["dave"]),
                startPing(dave.host, self.addresses["alice"]),
            ]
            began = time.monotonic()
            bob.kill()
            carol.host.linkDown()
            carol.kill()
            dave.host.dropPeer(mediator.host.address)
            seen = self._watch(alice, began)
            print("after s:", {key: round(value, 1) for key, value in sorted(seen.items())})
            for name in ("bob", "carol"):
                self.assertLess(seen[name, "lost"], LOST)
                self.assertLess(seen[name, "offline"], OFFLINE)
            self.assertLess(seen["dave", "lost"], LOST)
            self.assertEqual(dave.status()["state"], "connecting")
            self.assertEqual(memberOf(dave, "family", self.addresses["alice"])["path"], "direct")
            dave.host.restorePeer(mediator.host.address)
            waitUntil(
                lambda: isState([alice], "family", self.addresses["dave"], "online"),
                35,
                "dave is online again",
            )
            dave.waitOnline(5)
            after = alice.ask("peer", name=self.addresses["dave"])
            self.assertEqual(after["endpoint"], before["endpoint"])
            self.assertGreater(after["rxBytes"], before["rxBytes"])
            for process in pings:
                sent, answered = endPing(process)
                self.assertGreater(sent, 100)
                self.assertEqual(answered, sent)

    def _watch(self, observer: Node, began: float) -> dict[tuple[str, str], float]:
        """
        @return: the seconds after which each node was first seen not online (C{"lost"}) and offline.
        """
        seen: dict[tuple[str, str], float] = {}
        carried = 0

        def settled() -> bool:
            nonlocal carried
            for name in ("bob", "carol", "dave"):
                state = memberOf(observer, "family", self.addresses[name])["state"]
                after = time.monotonic() - began
                if state != "online":
                    seen.setdefault((name, "lost"), after)
                if state == "offline":
                    seen.setdefault((name, "offline"), after)
            dave = observer.ask("peer", name=self.addresses["dave"])
            # A tunnel that is torn down counts from nothing.
            self.assertGreaterEqual(dave["rxBytes"], carried)
            self.assertEqual(dave["path"], "direct")
            carried = dave["rxBytes"]
            wanted = {("bob", "offline"), ("carol", "offline"), ("dave", "lost")}
            return wanted <= seen.keys()

        waitUntil(settled, OFFLINE, "bob and carol offline, dave lost", 0.2)
        self.assertNotIn(("dave", "offline"), seen)
        return seen
