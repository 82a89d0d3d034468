# -*- test-case-name: vnet.test.test_relaying -*-
"""
What a relay has to do, and what has happened on it.
"""

from __future__ import annotations

from typing import TypeAlias

from attrs import field, frozen

from vnet.protocols.machine.served import Served
from vnet.values import Address

__all__ = ["Allocated", "Ended", "RelayingEvent", "SendToPeer"]


@frozen
class Allocated:
    """
    A client has an allocation.
    """

    served: Served


@frozen
class Ended:
    """
    An allocation, all of it, is over.
    """

    served: Served


@frozen
class SendToPeer:
    """
    A datagram is to be sent to a peer.

    @ivar whole: it may not be fragmented.
    """

    served: Served
    peer: Address
    data: bytes = field(repr=False)
    whole: bool


RelayingEvent: TypeAlias = Allocated | Ended | SendToPeer
