# -*- test-case-name: vnet.test.test_relaymetrics -*-
"""
What a relay does, for Prometheus.  There are no addresses in it, and no names of users.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from attrs import define
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector
from twisted.web.server import Site

from vnet.metricspage import labelled
from vnet.metricspage import metricsSite as siteOf
from vnet.protocols.turn import TurnServer

__all__ = ["RelayCollector", "metricsSite"]

_DATA = {"up": "of clients to peers", "down": "of peers to clients"}


@define(eq=False)
class RelayCollector(Collector):
    """
    Looks at a relay when it is asked.
    """

    _server: TurnServer

    def collect(self) -> Iterator[Metric]:
        """
        The metrics as they are now.
        """
        relaying, forwarding = self._server.relaying, self._server.forwarding
        yield self._allocations()
        yield GaugeMetricFamily("vnet_relay_users", "Users with an allocation.", relaying.users)
        yield GaugeMetricFamily(
            "vnet_relay_strangers", "Connections without an allocation.", len(self._server.crowd)
        )
        yield CounterMetricFamily(
            "vnet_relay_allocated", "Allocations that were made.", relaying.counters["allocated"]
        )
        for unit in ("Bytes", "Packets"):
            yield labelled(
                f"vnet_relay_{unit.lower()}",
                f"{unit} relayed: {', '.join(f'{key} {words}' for key, words in _DATA.items())}.",
                "direction",
                {key: forwarding.counters[f"{key}{unit}"] for key in _DATA},
            )
        yield labelled("vnet_relay_answers", "Errors that were answered, by code.", "code", self._errors())
        yield labelled("vnet_relay_dropped", "What was dropped, by reason.", "reason", self._dropped())

    def _allocations(self) -> GaugeMetricFamily:
        found = Counter(
            (each.service, _transport(each.client.via)) for each in self._server.relaying.clients.values()
        )
        family = GaugeMetricFamily(
            "vnet_relay_allocations", "Allocations there are.", labels=["service", "transport"]
        )
        for labels, count in sorted(found.items()):
            family.add_metric(list(labels), count)
        return family

    def _errors(self) -> dict[str, int]:
        counters = self._server.relaying.counters
        return {key[5:]: count for key, count in counters.items() if key.startswith("error")}

    def _dropped(self) -> Counter[str]:
        server, dropped = self._server, Counter[str]()
        relaying, crowd = server.relaying.counters, server.crowd
        dropped.update({key: relaying[key] for key in ("malformed", "ignored", "limited", "noPermission")})
        moved = {f"{key}{unit}" for key in _DATA for unit in ("Bytes", "Packets")}
        dropped.update({key: n for key, n in server.forwarding.counters.items() if key not in moved})
        dropped.update(server.counters)
        dropped.update(server.socketErrors())
        dropped.update({"tooManyConnections": crowd.refused, "displaced": crowd.displaced})
        return dropped


def _transport(via: str) -> str:
    return via.rstrip("0123456789")


def metricsSite(server: TurnServer) -> Site:
    """
    A web site with the metrics of a relay.
    """
    return siteOf(RelayCollector(server))
