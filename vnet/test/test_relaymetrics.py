"""
Tests for L{vnet.server.relaymetrics}.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.test.requesthelper import DummyRequest

from vnet.protocols.machine.relaycredentials import FixedUsers
from vnet.protocols.machine.relaysettings import RelaySettings
from vnet.protocols.turn import TurnServer
from vnet.server.relaymetrics import RelayCollector, metricsSite


class MetricsTests(SynchronousTestCase):
    """
    L{RelayCollector} and L{metricsSite}.
    """

    def setUp(self) -> None:
        """A relay that nobody has used yet."""
        self.server = TurnServer(Clock(), RelaySettings("test", {4: "192.0.2.1"}), FixedUsers({}))

    def samples(self) -> dict[str, float]:
        """What Prometheus reads."""
        registry = CollectorRegistry()
        registry.register(RelayCollector(self.server))
        text = generate_latest(registry).decode()
        return {
            " ".join([sample.name, *sample.labels.values()]): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def test_counters(self) -> None:
        """Bytes and packets of each direction, answers by code, and what was dropped by reason."""
        self.server.forwarding.counters.update(upBytes=1000, upPackets=2, downBytes=30, overRate=4)
        self.server.relaying.counters.update(error401=5, malformed=6, allocated=7)
        self.server.counters.update(tooLong=8)
        self.server.crowd.refused = 9
        found = self.samples()
        self.assertEqual(
            [1000, 2, 30, 4, 5, 6, 7, 8, 9],
            [
                found["vnet_relay_bytes_total up"],
                found["vnet_relay_packets_total up"],
                found["vnet_relay_bytes_total down"],
                found["vnet_relay_dropped_total overRate"],
                found["vnet_relay_answers_total 401"],
                found["vnet_relay_dropped_total malformed"],
                found["vnet_relay_allocated_total"],
                found["vnet_relay_dropped_total tooLong"],
                found["vnet_relay_dropped_total tooManyConnections"],
            ],
        )

    def test_page(self) -> None:
        """The page is Prometheus's text, wherever it is asked for."""
        site = metricsSite(self.server)
        for path in ([b"metrics"], [b""], [b"a", b"b"]):
            request = DummyRequest(path)
            page = site.getResourceFor(request).render(request)
            self.assertIn(b"vnet_relay_users 0.0", page)
            kinds = request.responseHeaders.getRawHeaders("content-type") or ("",)
            self.assertTrue(kinds[0].startswith("text/plain"))
