# -*- test-case-name: vnet.test.test_relaying -*-
"""
What an Allocate request asks for (RFC 8656 section 7.2).
"""

from __future__ import annotations

from typing import Any

from attrs import frozen

from vnet.protocols.codec.stun import Authentic
from vnet.protocols.codec.stunattributes import (
    ADDITIONAL_ADDRESS_FAMILY,
    EVEN_PORT,
    REQUESTED_ADDRESS_FAMILY,
    REQUESTED_TRANSPORT,
    RESERVATION_TOKEN,
    Attribute,
)
from vnet.protocols.codec.turn import UDP

__all__ = ["AllocationRequest", "Denial", "readAllocationRequest"]


class Denial(Exception):
    """
    A request is refused.

    @ivar code: the error code.
    @ivar attributes: beside it.
    """

    def __init__(self, code: int, *attributes: Attribute[Any]) -> None:
        super().__init__(code)
        self.code = code
        self.attributes = attributes


@frozen
class AllocationRequest:
    """
    @ivar families: 4, 6 or both.
    @ivar even: an even port.
    @ivar reserve: the port after it has to be reserved.
    @ivar token: of a port that was reserved.
    """

    families: tuple[int, ...]
    even: bool = False
    reserve: bool = False
    token: bytes | None = None


def readAllocationRequest(request: Authentic, supported: frozenset[int]) -> AllocationRequest:
    """
    Check a request, in the order of the RFC.

    @param supported: the families that the relay has.
    @raise Denial: it makes no sense, or asks for what there is not.
    """
    transport = request.get(REQUESTED_TRANSPORT)
    if transport is None:
        raise Denial(400)
    if transport != UDP:
        raise Denial(442)
    token, even = request.get(RESERVATION_TOKEN), request.get(EVEN_PORT)
    requested, additional = request.get(REQUESTED_ADDRESS_FAMILY), request.get(ADDITIONAL_ADDRESS_FAMILY)
    if token is not None and (even is not None or requested is not None or additional is not None):
        raise Denial(400)
    if token is not None:
        return AllocationRequest((), token=token)
    if requested is not None and additional is not None:
        raise Denial(400)
    family = 4 if requested is None else requested
    if additional is None and family not in supported:
        raise Denial(440)
    if additional is not None and (even or additional != 6):
        raise Denial(400)
    families = (4, 6) if additional is not None else (family,)
    return AllocationRequest(families, even is not None, bool(even))
