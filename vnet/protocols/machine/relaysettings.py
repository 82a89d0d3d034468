# -*- test-case-name: vnet.test.test_relaying -*-
"""
What the operator of a relay chooses.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from vnet.protocols.machine.peerpolicy import PeerPolicy

__all__ = ["EPHEMERAL", "RelayLimits", "RelaySettings", "Service", "usualServices"]

EPHEMERAL = range(49152, 65536)
"""The ports that a relay may use beside other programs (RFC 8656 section 7.2)."""

_LOW = 256_000 // 8


@frozen
class Service:
    """
    A class of service.

    @ivar allocation: bytes a second of one allocation, in each direction; L{None}: no limit.
    @ivar user: the same of all of one user.
    """

    allocation: float | None = None
    user: float | None = None


def usualServices() -> dict[str, Service]:
    """
    C{low}: 256 kbit/s; C{high}: no limit.
    """
    return {"low": Service(_LOW, _LOW), "high": Service()}


@frozen
class RelayLimits:
    """
    How much there may be of everything.

    @ivar total: allocations.
    @ivar perUser: allocations of one user.
    @ivar permissions: of one allocation; C{channels} too.
    @ivar challenges: answers a second to one source that has not shown that it knows a password; each connection is a source
        of its own.
    @ivar bindings: the same for a source that asks for its address.
    """

    total: int = 16_384
    perUser: int = 32
    permissions: int = 4096
    channels: int = 1024
    challenges: int = 10
    bindings: int = 100


@frozen
class RelaySettings:
    """
    A relay.

    @ivar realm: the REALM of its challenges.
    @ivar hosts: the address of this host that relays, for each family (4, 6).
    @ivar external: as what peers see such an address, where a NAT is in front of the relay.
    @ivar ports: of relayed addresses.
    @ivar services: by the name that usernames have for them.
    @ivar defaultLifetime: seconds of an allocation whose client asks for no more; C{maximumLifetime}: at most.
    """

    realm: str
    hosts: Mapping[int, str]
    external: Mapping[str, str] = field(factory=dict)
    ports: range = EPHEMERAL
    policy: PeerPolicy = field(factory=PeerPolicy)
    limits: RelayLimits = field(factory=RelayLimits)
    services: Mapping[str, Service] = field(factory=usualServices)
    defaultLifetime: int = 600
    maximumLifetime: int = 3600
