# -*- test-case-name: vnet.test.test_client_traits -*-
"""
What peers are told of the NAT in front of this node.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address, ip_network

from vnet.protocols.codec.natsignal import Traits
from vnet.values import NatReport

__all__ = ["traitsOf"]

_LARGEST_STEP = 32767
_CARRIER = ip_network("100.64.0.0/10")


def traitsOf(report: NatReport, hosts: Iterable[str] = ()) -> Traits:
    """
    The part of a report that peers have to know.

    @param hosts: this computer's addresses.
    """
    public = report.publicAddress
    step = report.step or 0
    low, high = report.ports or (0, 0)
    # A block of ports is a limit that is known.  A carrier that numbers the computer itself may have others.
    own = [address for address in map(ip_address, hosts) if address.version == 4]
    isSubscriber = bool(own) and all(address in _CARRIER for address in own)
    return Traits(
        mapping=report.mapping or "",
        filtering=report.filtering or "",
        allocation=report.allocation or "",
        limited=isSubscriber or (bool(report.shared) and report.allocation != "block"),
        step=step if abs(step) <= _LARGEST_STEP else 0,
        low=low,
        high=high,
        host="" if public is None or ":" in public.host else public.host,
        blocked=report.udp is False,
        natless=report.natted is False,
    )
