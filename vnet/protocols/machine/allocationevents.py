# -*- test-case-name: vnet.test.test_allocation -*-
"""
What an allocation tells its owner.
"""

from __future__ import annotations

from typing import TypeAlias

from attrs import frozen

from vnet.values import Address

__all__ = [
    "Allocated",
    "AllocationEvent",
    "AllocationLost",
    "Answered",
    "Challenged",
    "PeerRefused",
    "Refused",
    "Silent",
]


@frozen
class Challenged:
    """
    The server is there, and wants credentials.

    @ivar rtt: seconds that its answer took.
    """

    rtt: float


@frozen
class Allocated:
    """
    The server relays for us.

    @ivar relayed: where peers send to reach us: one address, or one of each family.
    @ivar mapped: where the server sees us.
    """

    relayed: tuple[Address, ...]
    mapped: Address | None
    rtt: float


@frozen
class Refused:
    """
    The server gives no allocation.

    @ivar code: of its answer.
    @ivar reason: for a person.
    """

    code: int
    reason: str


@frozen
class Silent:
    """
    The server does not answer.
    """


@frozen
class Answered:
    """
    The server is there.
    """

    rtt: float


@frozen
class PeerRefused:
    """
    The server does not relay to this peer.
    """

    address: Address
    code: int


@frozen
class AllocationLost:
    """
    The server knows our allocation no more.
    """

    reason: str


AllocationEvent: TypeAlias = (
    Challenged | Allocated | Refused | Silent | Answered | PeerRefused | AllocationLost
)
