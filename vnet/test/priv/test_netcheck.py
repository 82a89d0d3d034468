"""
C{vnet netcheck} of real nodes behind NATs of every kind: it says what is there.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, ClassVar

import pytest
from twisted.trial.unittest import SynchronousTestCase

from vnet.test.priv.cluster import Cluster, Node, waitUntil

pytestmark = pytest.mark.timeout(120)

EI, AD, APD = "endpoint-independent", "address-dependent", "address-and-port-dependent"

MAGIC = 17000
BLOCK = range(50000, 50512)
SEQUENCE = range(40000, 42000)

KINDS: dict[str, dict[str, Any]] = {
    "public": {"natted": False, "mapping": EI, "filtering": EI, "allocation": None, "shared": False},
    "port-restricted": {"mapping": EI, "filtering": APD, "allocation": "preserving", "hairpin": False},
    "address-restricted": {"mapping": EI, "filtering": AD, "allocation": "preserving", "hairpin": False},
    "full-cone": {"mapping": EI, "filtering": EI, "allocation": "preserving", "hairpin": False},
    "hairpin": {"mapping": EI, "filtering": EI, "allocation": "preserving", "hairpin": True},
    "eim-block": {"mapping": EI, "filtering": APD, "allocation": "block", "shared": True},
    "address-dependent": {"mapping": AD, "filtering": APD, "allocation": "block"},
    "symmetric-random": {"mapping": APD, "filtering": APD, "allocation": "random"},
    "symmetric-sequential": {"mapping": APD, "filtering": APD, "allocation": "sequential", "step": 1},
    "symmetric-sequential2": {"mapping": APD, "filtering": APD, "allocation": "sequential", "step": 2},
    "symmetric-block": {"mapping": APD, "filtering": APD, "allocation": "block", "shared": True},
    "pooling": {"mapping": APD, "filtering": APD, "allocation": "random", "shared": True},
    "double": {"mapping": EI, "filtering": APD, "allocation": "preserving"},
    "udp-blocked": {"udp": False, "natted": None, "mapping": None},
}


class NetcheckTests(SynchronousTestCase):
    """
    A mediator on two addresses, and a node behind each kind.
    """

    _cleanup: ClassVar[ExitStack]
    nodes: ClassVar[dict[str, Node]]
    reports: ClassVar[dict[str, dict[str, Any]]]

    @classmethod
    def setUpClass(cls) -> None:
        """
        Start all at once, and ask each.
        """
        cls._cleanup = ExitStack()
        try:
            cluster = cls._cleanup.enter_context(Cluster("netcheck"))
            host = cluster.lab.addHost("mediator")
            host.addAddress()
            cluster.startMediator(host=host)
            homes = {kind: cluster.lab.addHome(f"n{number}", nat=kind) for number, kind in enumerate(KINDS)}
            cls.nodes = {
                kind: cluster.addNode(home.host.name, "--no-port-mapping", where=home, wait=False)
                for kind, home in homes.items()
            }
            # The user forwards the port that he names, or does not.
            for name, forwarded in (("forwarded", True), ("named", False)):
                home = cluster.lab.addHome(name, nat="symmetric-random")
                if forwarded:
                    rule = f"iifname wan udp dport {MAGIC} dnat to {home.host.address}"
                    home.router.run(["nft", "add", "rule", "ip", "nat", "prerouting", *rule.split()])
                options = (f"--port={MAGIC}", "--no-port-mapping")
                cls.nodes[name] = cluster.addNode(name, *options, where=home, wait=False)
            for node in cls.nodes.values():
                node.waitReady()
            pool = cls._cleanup.enter_context(ThreadPoolExecutor(len(cls.nodes)))
            cls.reports = dict(zip(cls.nodes, pool.map(cls._check, cls.nodes.values()), strict=True))
        except BaseException:
            cls._cleanup.close()
            raise

    @staticmethod
    def _check(node: Node) -> dict[str, Any]:
        """
        The answer waits for the discovery, for 3 s; a computer that has too much to do may need more.
        """
        assert node.mediator is not None
        node.ask("login", url=node.mediator.url)
        report = node.ask("netcheck")
        for _ in range(4):
            if report["udp"] is False or report["filtering"] is not None:
                break
            report = node.ask("netcheck")
        return report

    @classmethod
    def tearDownClass(cls) -> None:
        """
        End all.
        """
        cls._cleanup.close()

    def test_kinds(self) -> None:
        """The report of each node names what the NAT in front of it does."""
        usual = {"udp": True, "natted": True}
        wrong = {
            kind: {key: self.reports[kind][key] for key in expected}
            for kind, expected in KINDS.items()
            if any(self.reports[kind][key] != value for key, value in {**usual, **expected}.items())
        }
        self.assertEqual(wrong, {})

    def test_ports(self) -> None:
        """The block that a report names holds most of the real one, and not much more."""
        for kind, real in (("eim-block", BLOCK), ("symmetric-block", BLOCK), ("address-dependent", SEQUENCE)):
            low, high = self.reports[kind]["ports"]
            inside = len(range(max(low, real.start), min(high, real.stop - 1) + 1))
            self.assertGreater(inside, len(real) // 3, kind)
            self.assertLess(high - low, 2 * len(real), kind)

    def test_hosts(self) -> None:
        """The public address is that of the router, or all those that it pools."""
        for kind, node in self.nodes.items():
            hosts = set(self.reports[kind]["hosts"])
            if kind == "pooling":
                self.assertGreater(len(hosts), 1)
            elif kind in KINDS and kind not in ("udp-blocked", "double"):
                assert node.home is not None
                public = node.host.address if kind == "public" else node.home.router.address
                self.assertEqual(hosts, {public}, kind)

    def test_forwarded(self) -> None:
        """The port that the user named is tested from outside; where it is forwarded a hard NAT is none."""
        named, forwarded = self.nodes["named"], self.nodes["forwarded"]
        waitUntil(lambda: forwarded.ask("netcheck")["forwardedPort"] == "open", 30, "the port to be tested")
        report = forwarded.ask("netcheck")
        self.assertEqual(report["mapping"], APD)
        self.assertIn("nearly everyone", report["summary"])
        self.assertNotEqual(named.ask("netcheck")["forwardedPort"], "open")
        self.assertIn("Forwarding a UDP port", named.ask("netcheck")["summary"])

    def test_text(self) -> None:
        """A person reads it as a table that ends in what it means."""
        text = self.nodes["symmetric-sequential2"].text("netcheck")
        self.assertIn("one after the other, in steps of 2", text)
        self.assertIn("vnet predicts it", text.splitlines()[-1])
        self.assertIn("Allow outgoing UDP", self.nodes["udp-blocked"].text("netcheck").splitlines()[-1])
