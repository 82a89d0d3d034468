"""
C{vnet peer} of real nodes: it says why there is no direct path, and when it is the peer's firewall that is silent.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, ClassVar

import pytest
from twisted.trial.unittest import SynchronousTestCase

from vnet.test.lab import MEDIATOR
from vnet.test.priv.cluster import Cluster, Node, waitUntil

pytestmark = pytest.mark.timeout(120)

KINDS = {
    "rosa": "symmetric-random",
    "rolf": "symmetric-random",
    "paul": "port-restricted",
    "fred": "port-restricted",
    "tina": "udp-blocked",
}
RANDOM = "both NATs give each destination a random port: one of you has to forward a port"
FORWARD = "forward UDP port 17000 on your router to this computer and start vnet-client with --port=17000"
FIREWALL = ["add table inet wall", "add chain inet wall input { type filter hook input priority 0; }"]
DROP = 'add rule inet wall input iifname "vnet0" drop'
PATIENCE = 25.0


class PeerTests(SynchronousTestCase):
    """
    A node behind each, all in one network; the firewall of one lets nothing in from the overlay.
    """

    _cleanup: ClassVar[ExitStack]
    nodes: ClassVar[dict[str, Node]]

    @classmethod
    def setUpClass(cls) -> None:
        """
        Start all at once.
        """
        cls._cleanup = ExitStack()
        try:
            cluster = cls._cleanup.enter_context(Cluster("peerwhy"))
            host = cluster.lab.addHost("mediator")
            host.addAddress()
            cluster.startMediator(*MEDIATOR, host=host)
            homes = {name: cluster.lab.addHome(name, nat=kind) for name, kind in KINDS.items()}
            cls.nodes = {name: cluster.addNode(name, where=home, wait=False) for name, home in homes.items()}
            for command in (*FIREWALL, DROP):
                cls.nodes["fred"].host.run(["nft", command])
            for node in cls.nodes.values():
                node.waitReady()
                assert node.mediator is not None
                node.ask("login", url=node.mediator.url)
                node.ask("set-nick", nick=node.name)
            first, *others = cls.nodes.values()
            first.ask("create", network="family", password=None)
            for node in others:
                node.ask("join", network="family", password=None)
        except BaseException:
            cls._cleanup.close()
            raise

    @classmethod
    def tearDownClass(cls) -> None:
        """
        End all.
        """
        cls._cleanup.close()

    def told(self, asker: str, name: str, isTold: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """
        What one node says of another, when it is what was waited for.
        """
        seen: dict[str, Any] = {}

        def look() -> bool:
            seen.clear()
            seen.update(self.nodes[asker].ask("peer", name=name))
            return isTold(seen)

        try:
            waitUntil(look, PATIENCE, f"{asker} says of {name} what is expected", 0.2)
        except Exception as error:
            error.add_note(str(seen))
            raise
        return seen

    def test_bothRandom(self) -> None:
        """Two NATs that give random ports: relayed, and one has to forward a port, as both are told."""
        for asker, name in (("rosa", "rolf"), ("rolf", "rosa")):
            seen = self.told(
                asker, name, lambda each: each["path"] == "relayed" and RANDOM in (each["why"] or "")
            )
            for side in ("own", "peer"):
                self.assertEqual(
                    [seen["nat"][side][key] for key in ("natted", "mapping", "allocation")],
                    [True, "address-and-port-dependent", "random"],
                )
            self.assertEqual(seen["tried"]["strategy"], "hopeless")
            self.assertTrue(seen["tried"]["addresses"])
            self.assertEqual(seen["help"][0], FORWARD)
            self.assertTrue(any(name in each for each in seen["help"]))
            self.assertTrue(seen["answersPing"])

    def test_udpBlocked(self) -> None:
        """A network that blocks UDP is named on both sides."""
        seen = self.told("paul", "tina", lambda each: "tina's network blocks UDP" in (each["why"] or ""))
        self.assertEqual((seen["path"], seen["nat"]["peer"]["udp"]), ("relayed", False))
        self.assertEqual(seen["help"], ["tina's network blocks UDP: only its administrator can allow it"])
        seen = self.told("tina", "paul", lambda each: "no UDP gets out" in (each["why"] or ""))
        self.assertEqual(seen["transport"], "tcp")

    def test_firewall(self) -> None:
        """A tunnel that works while the peer's firewall drops what comes through it: it says so, and what to allow."""
        seen = self.told(
            "paul", "fred", lambda each: each["path"] == "direct" and each["answersPing"] is False
        )
        self.assertEqual(seen["why"], None)
        [text] = seen["help"]
        self.assertIn("the tunnel works, but fred's operating system does not answer pings", text)
        # The other way round all is well, since echoes of vnet itself need nothing of the own system.
        self.told("fred", "paul", lambda each: each["answersPing"] is True and not each["help"])

    def test_text(self) -> None:
        """A person reads it as lines of a table."""
        self.told("rosa", "rolf", lambda each: RANDOM in (each["why"] or ""))
        lines = [line.strip() for line in self.nodes["rosa"].text("peer", "rolf").splitlines()]
        hard = "gives each destination another port, at random; lets in answers only"
        self.assertIn(f"NAT here   {hard}", lines)
        self.assertIn(f"NAT there  {hard}", lines)
        self.assertIn(f"help       {FORWARD}", lines)
        self.assertIn("pings      are answered", lines)
