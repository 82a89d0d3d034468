# -*- test-case-name: vnet.test.test_client_metrics -*-
"""
What a node does, for Prometheus.  There are no addresses in it, and no names: what labels may be is known beforehand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from attrs import define
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from twisted.internet.endpoints import serverFromString

from vnet.client.dataplane.linkcounters import LinkCounters
from vnet.client.node import Node
from vnet.client.peerreport import pathOf
from vnet.errors import ConfigurationError
from vnet.metricspage import labelled, metricsSite

__all__ = ["ClientCollector", "listenMetrics"]

_PATHS = ("direct", "relayed", "none")


@define(eq=False, repr=False)
class ClientCollector(Collector):
    """
    Looks at a node when it is asked.
    """

    _node: Node

    def collect(self) -> Iterator[Metric]:
        """
        The metrics as they are now.
        """
        node = self._node
        yield labelled("vnet_client_dropped", "What was dropped, by reason.", "reason", node.losses.dropped())
        traffic = getattr(node.parts.device, "traffic", LinkCounters)()
        words = "of programs: sent into the interface, received from it."
        size = {"sent": traffic.sentBytes, "received": traffic.receivedBytes}
        count = {"sent": traffic.sentPackets, "received": traffic.receivedPackets}
        yield labelled("vnet_client_bytes", f"Bytes {words}", "direction", size)
        yield labelled("vnet_client_packets", f"Packets {words}", "direction", count)
        yield self._peers()
        yield GaugeMetricFamily(
            "vnet_client_sessions", "Peers with a session that can carry packets.", self._sessions()
        )
        yield GaugeMetricFamily(
            "vnet_client_online", "Whether the node is logged in.", int(node.logins.online)
        )

    def _peers(self) -> GaugeMetricFamily:
        found = Counter(map(pathOf, self._node.peers.all()))
        family = GaugeMetricFamily("vnet_client_peers", "Peers by path.", labels=["path"])
        for path in _PATHS:
            family.add_metric([path], found[path])
        return family

    def _sessions(self) -> int:
        return self._node.parts.wireguard.sessionCount


def listenMetrics(reactor: Any, text: str, node: Node) -> Any:
    """
    Serve the metrics.

    @param text: of L{vnet.client.metricsendpoint.endpointText}.
    @return: the port.
    @raise ConfigurationError: it cannot be listened on.
    """
    ports: list[Any] = []
    failures: list[Any] = []
    try:
        endpoint = serverFromString(reactor, text)
    except Exception as error:
        # Whatever the parser says.
        raise ConfigurationError(f"--metrics={text}: {error}") from error
    endpoint.listen(metricsSite(ClientCollector(node))).addCallbacks(ports.append, failures.append)
    if failures:
        cause = failures[0].value
        why = getattr(getattr(cause, "socketError", None), "strerror", None) or cause
        raise ConfigurationError(f"--metrics={text}: {why}") from cause
    return ports[0]
