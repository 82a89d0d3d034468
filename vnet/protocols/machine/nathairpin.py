# -*- test-case-name: vnet.test.test_natdiscovery -*-
"""
Whether two sockets behind a NAT reach each other at their external addresses (RFC 4787 section 6).

Both send, as peers would: a NAT that filters lets in only who was sent to.  What arrives is known by its transaction id, from
wherever it seems to come: a NAT may leave it the internal address.
"""

from __future__ import annotations

from vnet.protocols.machine.natprobe import Probes, reachedFrom
from vnet.values import Address

__all__ = ["HairpinTest"]

_SENDS, _INTERVAL = 3, 0.1


class HairpinTest:
    """
    Sends from the socket itself to a fresh one, and back.
    """

    def __init__(self, own: Address, name: str, mapped: Address, probes: Probes, now: float) -> None:
        """
        @param own: the external address of the socket itself.
        @param name: of the fresh socket, C{mapped} its external address.
        """
        self._probes = (
            probes.add(reachedFrom(mapped, ""), now, _SENDS, _INTERVAL, arrivesAt=name),
            probes.add(reachedFrom(own, name), now, _SENDS, _INTERVAL, arrivesAt=""),
        )

    @property
    def over(self) -> bool:
        """
        Whether nothing is waited for.
        """
        return self.hairpin is not None

    @property
    def hairpin(self) -> bool | None:
        """
        Whether one of them arrived; L{None} while that may still be.
        """
        if any(each.source is not None for each in self._probes):
            return True
        return False if all(each.over for each in self._probes) else None
