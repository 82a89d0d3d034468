# -*- test-case-name: vnet.test.test_client_traits -*-
"""
What peers are told of the NAT in front of this node.
"""

from __future__ import annotations

from vnet.protocols.codec.natsignal import Traits
from vnet.values import NatReport

__all__ = ["traitsOf"]

_LARGEST_STEP = 32767


def traitsOf(report: NatReport) -> Traits:
    """
    The part of a report that peers have to know.
    """
    public = report.publicAddress
    step = report.step or 0
    low, high = report.ports or (0, 0)
    # One mapping serves all of an endpoint-independent NAT's, so that a block of ports alone is no limit.
    isEasy = report.mapping == "endpoint-independent"
    return Traits(
        mapping=report.mapping or "",
        filtering=report.filtering or "",
        allocation=report.allocation or "",
        limited=bool(report.shared) and not (isEasy and report.allocation == "block"),
        step=step if abs(step) <= _LARGEST_STEP else 0,
        low=low,
        high=high,
        host="" if public is None or ":" in public.host else public.host,
        blocked=report.udp is False,
        natless=report.natted is False,
    )
