"""
Tests for L{vnet.client.metrics}, and what L{vnet.client.losses} tells of whole nodes.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.lossreasons import REASONS
from vnet.client.metrics import ClientCollector, listenMetrics
from vnet.client.metricsendpoint import endpointText
from vnet.errors import ConfigurationError
from vnet.test.nodelab import URL, Overlay
from vnet.values import Address


class Busy(MemoryReactorClock):
    """
    A reactor whose ports are all taken.
    """

    def listenTCP(self, port: int, factory: object, *arguments: object, **options: object) -> None:
        raise CannotListenError("127.0.0.1", port, OSError(98, "Address already in use"))


class MetricsTests(SynchronousTestCase):
    """
    Two nodes that share a network; we look at one.
    """

    def setUp(self) -> None:
        self.overlay = Overlay(self.mktemp)
        self.addCleanup(self.overlay.stopAll)
        self.ann = self.overlay.add("ann", "203.0.113.1")
        self.bea = self.overlay.add("bea", "203.0.113.2")
        for node in (self.ann, self.bea):
            node.do(node.node.login(URL))
        self.ann.do(self.ann.node.create("home", "secret"))
        self.bea.do(self.bea.node.join("home", "secret"))
        self.overlay.advance(10)
        self.node = self.ann.node._node

    def samples(self) -> dict[str, float]:
        """What Prometheus reads."""
        registry = CollectorRegistry()
        registry.register(ClientCollector(self.node))
        return {
            " ".join([sample.name, *sample.labels.values()]): sample.value
            for family in text_string_to_metric_families(generate_latest(registry).decode())
            for sample in family.samples
        }

    def test_peers(self) -> None:
        """Peers by path, sessions, and whether the node is online."""
        found = self.samples()
        names = ("peers direct", "peers relayed", "peers none", "sessions", "online")
        self.assertEqual([found[f"vnet_client_{name}"] for name in names], [1, 0, 0, 1, 1])
        self.ann.do(self.ann.node.logout())
        self.assertEqual([self.samples()[f"vnet_client_{name}"] for name in names], [0, 0, 0, 0, 0])

    def test_dropped(self) -> None:
        """What all parts have dropped is in the status and in the metrics, by the same reasons."""
        before = self.ann.do(self.ann.node.status())["dropped"]
        self.node.parts.wireguard.receive(b"\4\0\0\0" + bytes(60), Address("203.0.113.9", 1), 0.0)
        self.node.forwarder.counters["noMember"] += 3
        self.node._paths.counters["noLeg"] += 4
        dropped = self.ann.do(self.ann.node.status())["dropped"]
        grown = {
            key: count - before.get(key, 0) for key, count in dropped.items() if count != before.get(key)
        }
        self.assertEqual(grown, {"tunnelNoSession": 1, "forwardNoMember": 3, "udpNoPath": 4})
        found = self.samples()
        self.assertEqual({key: found[f"vnet_client_dropped_total {key}"] for key in dropped}, dropped)

    def test_bounded(self) -> None:
        """No label has a value that somebody else chose: not even where members are called strange names."""
        self.bea.do(self.bea.node.setNick('x"} 1\nvnet_client_online 7'.replace("\n", " ")))
        self.overlay.advance(2)
        known = {*REASONS, "sent", "received", "direct", "relayed", "none"}
        for name in self.samples():
            self.assertTrue(set(name.split()[1:]) <= known, name)

    def test_endpoint(self) -> None:
        """An endpoint is on this computer alone, if it does not say otherwise."""
        self.assertEqual(endpointText("tcp:9477"), "tcp:9477:interface=127.0.0.1")
        self.assertEqual(endpointText("tcp:9477:interface=192.0.2.1"), "tcp:9477:interface=192.0.2.1")
        self.assertEqual(endpointText("unix:/run/metrics"), "unix:/run/metrics")
        for wrong in ("9477", "tcp", "ssl:1", "systemd:domain=INET:index=0", ":"):
            self.assertRaises(ValueError, endpointText, wrong)

    def test_listen(self) -> None:
        """It listens there; what does not work is said in one line."""
        reactor = MemoryReactorClock()
        listenMetrics(reactor, endpointText("tcp:9477"), self.node)
        ((port, _, _, interface),) = reactor.tcpServers
        self.assertEqual((port, interface), (9477, "127.0.0.1"))
        listenMetrics(reactor, endpointText("tcp6:9478"), self.node)
        self.assertEqual(reactor.tcpServers[1][0:4:3], (9478, "::1"))
        self.assertRaises(ConfigurationError, listenMetrics, reactor, "tcp:port", self.node)
        error = self.assertRaises(ConfigurationError, listenMetrics, Busy(), "tcp:9477", self.node)
        self.assertEqual(str(error), "--metrics=tcp:9477: Address already in use")
