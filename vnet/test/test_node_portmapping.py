"""
Whole nodes with a router, in memory: what becomes of a port mapping.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from vnet.client.clienttap import Options
from vnet.client.portmapping.pcp import nonceOf
from vnet.test.fakerouter import LOCAL, OUTSIDE, FakeRouter
from vnet.test.nodelab import URL, Overlay, TestNode
from vnet.values import Address, PortMapping


class NodeTests(SynchronousTestCase):
    """
    Tests of L{vnet.client.node.Node}.
    """

    def setUp(self) -> None:
        self.overlay = Overlay(self.mktemp)
        self.addCleanup(self.overlay.stopAll)
        clock: Any = self.overlay.lab.clock
        self.router = FakeRouter(clock)

    def start(self) -> TestNode:
        node = self.overlay.add("ann", LOCAL, routerNetwork=self.router)
        self.overlay.advance(1)
        return node

    def reflexive(self, node: TestNode) -> list[Address]:
        return [each.address for each in node.core.puncher.candidates if each.kind == "srflx"]

    def test_candidate(self) -> None:
        """
        What the router forwards is a candidate, and the status says so; it is removed when the node ends.
        """
        node = self.start()
        external = Address(OUTSIDE, node.port.port)
        self.assertEqual(self.reflexive(node), [external])
        self.assertEqual(node.core.front.portMapping, PortMapping("pcp", external, 7200))
        self.assertEqual(list(self.router.held), [node.port.port])
        self.overlay.stopAll()
        self.assertEqual((self.router.held, self.router.open), ({}, []))

    def test_contradicted(self) -> None:
        """
        An address that STUN servers do not see is no candidate, and a sign of another NAT.
        """
        node = self.start()
        node.do(node.node.login(URL))
        self.overlay.advance(3)
        self.assertNotIn(OUTSIDE, [each.host for each in self.reflexive(node)])
        self.assertTrue(node.core.front.portMapping.behindCarrier)
        self.assertEqual(node.core.front.portMapping.protocol, "pcp")

    def test_private(self) -> None:
        """
        A private address outside is none of the candidates.
        """
        self.router.outside = "100.64.0.9"
        node = self.start()
        self.assertEqual(self.reflexive(node), [])
        self.assertTrue(node.core.front.portMapping.behindCarrier)

    def test_network(self) -> None:
        """
        Another network is asked; without a router the candidate is gone.
        """
        node = self.start()
        self.router.route = None
        node.core.linksChanged()
        self.assertEqual(self.reflexive(node), [])
        self.assertIn("no default route", node.core.front.portMapping.reason)

    def test_none(self) -> None:
        """
        A node without this says that it is turned off.
        """
        node = self.overlay.add("ann", LOCAL)
        self.assertEqual(node.core.front.portMapping, PortMapping(reason="turned off by --no-port-mapping"))

    def test_nonce(self) -> None:
        """
        A nonce is the same for a key, a router and a port, and another one for each other.
        """
        keys, routers, ports = (b"a" * 32, b"b" * 32), ("192.168.1.1", "192.168.1.2"), (1, 2)
        made = [nonceOf(key, router, port) for key in keys for router in routers for port in ports]
        self.assertEqual((len(set(made)), {len(each) for each in made}), (8, {12}))
        self.assertEqual(made[0], nonceOf(b"a" * 32, "192.168.1.1", 1))

    def test_option(self) -> None:
        """
        The option turns it off.
        """
        options = Options()
        options.parseOptions([])
        self.assertFalse(options["no-port-mapping"])
        options.parseOptions(["--no-port-mapping"])
        self.assertTrue(options["no-port-mapping"])
