"""
What the links of a lab do with the trains of segments that programs give to the kernel.
"""

from __future__ import annotations

from collections.abc import Sequence

from vnet.test.netlab import Host, Space

__all__ = ["LINKS", "setLinks"]

LINKS = {
    "veth": "trains of datagrams cross the links whole, which flatters",
    "nic": "trains are cut on sending and joined on receiving, as most network cards and their drivers have it",
    "wire": "trains are cut on sending and never joined",
}
"""What there is."""

_SENT_WHOLE = ("gso", "tso", "tx-udp-segmentation")


def setLinks(internet: Space, hosts: Sequence[Host], kind: str) -> None:
    """
    Let both ends of the links of these hosts be so.

    @param kind: one of L{LINKS}.
    """
    options = [word for each in _SENT_WHOLE for word in (each, "on" if kind == "veth" else "off")]
    options += ["gro", "on" if kind == "nic" else "off"]
    for host in hosts:
        for space, device in ((host, host.link.device), (internet, host.link.upDevice)):
            space.run(["ethtool", "-K", device, *options])
