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
    "Unanswered",
    "reasonOf",
]

_REASONS = {
    300: "it sends us to another server",
    400: "it does not understand our request",
    401: "it does not accept our credentials: do mediator and relay share the secret, and are their clocks right?",
    403: "it does not allow it",
    437: "it does not know our allocation, or takes us for someone who has one already",
    440: "it does not serve this address family",
    441: "there is an allocation already that was made with other credentials",
    442: "it does not relay UDP",
    486: "this node has too many allocations on it",
    500: "it has an error",
    508: "it is full",
}


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
    The server does not answer: there is no allocation.
    """


@frozen
class Answered:
    """
    The server is there, and keeps the allocation.
    """


@frozen
class Unanswered:
    """
    The server did not answer in time whether it keeps the allocation.  It is asked again and again: L{Answered} or
    L{AllocationLost} follows.
    """


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
    The server knows our allocation no more, or has not answered for so long that it has ended.
    """

    reason: str


AllocationEvent: TypeAlias = (
    Challenged | Allocated | Refused | Silent | Answered | Unanswered | PeerRefused | AllocationLost
)


def reasonOf(code: int) -> str:
    """
    What an error of the server means, for a person.
    """
    return _REASONS.get(code, "it refuses") + f" ({code})"
