# -*- test-case-name: vnet.test.test_relaymetrics -*-
"""
A page of metrics for Prometheus.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from twisted.web.resource import Resource
from twisted.web.server import Site

__all__ = ["labelled", "metricsSite"]

_TIMEOUT = 15.0


def labelled(name: str, words: str, label: str, values: Mapping[str, int]) -> CounterMetricFamily:
    """
    Make a counter with a label.

    @param values: by the label's values, of which there is a bounded number, and none that a stranger chose.
    """
    family = CounterMetricFamily(name, words, labels=[label])
    for key, value in sorted(values.items()):
        family.add_metric([key], value)
    return family


class _Metrics(Resource):
    """
    The page.
    """

    isLeaf = True

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__()
        self._registry = registry

    def render_GET(self, request: Any) -> bytes:
        """
        See L{Resource}.
        """
        request.setHeader("Content-Type", CONTENT_TYPE_LATEST)
        return generate_latest(self._registry)


class _QuietSite(Site):
    """
    A site that does not log who asks.
    """

    noisy = False
    displayTracebacks = False

    def log(self, request: Any) -> None:
        """
        See L{Site.log}.
        """


def metricsSite(collector: Collector) -> Site:
    """
    A web site with one page, whatever path is asked for.
    """
    registry = CollectorRegistry()
    registry.register(collector)
    return _QuietSite(_Metrics(registry), timeout=_TIMEOUT)
