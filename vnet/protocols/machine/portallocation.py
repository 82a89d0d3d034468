# -*- test-case-name: vnet.test.test_portallocation -*-
"""
How a NAT chooses external ports, told from some mappings that fresh sockets got one after the other.

B{Preserving}: the external port is the socket's own.  B{Sequential}: each is one C{step} after the one before; what others
behind the same NAT take in between is the C{noise}, to be modelled as Poisson arrivals: a port that was 40,000 a time C{t}
ago is about C{40000 + step * (1 + noise * t)} next.  B{Random}: over the whole range, or within a B{block}, whose borders
follow from the spread: of C{n} random ports the lowest and the highest are each about C{span / (n - 1)} inside of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import ceil, gcd

import attrs

from vnet.values import Address

__all__ = ["PortAllocation", "PortSample", "allocationOf"]

FEWEST = 4
"""Samples without which nothing is said."""

_RANGE = 65536 - 1024
_HIGHEST = 65535
_LOWEST = 1024

# How likely a NAT that chooses from the whole range may seem to have a block.
_DOUBT = 1e-3
# Steps between two samples: more are no sequence.
_FURTHEST = 64
# Mappings of others a second: ports that are further apart are not in sequence.
_LOUDEST = 400.0
# Differences that may be a sequence though none repeats.
_MANY = 6
_NARROW = 4096
_MARGIN = 1.5


@attrs.frozen
class PortSample:
    """
    A mapping of a fresh socket.

    @ivar index: which sample it is, in the order of sending.
    @ivar sentAt: when the request was sent first.
    @ivar local: the socket's own port.
    @ivar mapped: its external address.
    @ivar certain: whether the mapping was made by what was sent at C{sentAt}, not by a repetition.
    """

    index: int
    sentAt: float
    local: int
    mapped: Address
    certain: bool = True


@attrs.frozen
class PortAllocation:
    """
    See L{vnet.values.NatReport}.
    """

    kind: str
    step: int | None = None
    noise: float | None = None
    ports: tuple[int, int] | None = None


@attrs.frozen
class _Difference:
    """
    @ivar ports: from one sample's port to the next's.
    @ivar samples: 1, or more when samples in between are missing.
    @ivar seconds: between them.
    """

    ports: int
    samples: int
    seconds: float


def allocationOf(samples: Sequence[PortSample], others: Iterable[Address] = ()) -> PortAllocation | None:
    """
    @param samples: of fresh sockets, all towards one server.
    @param others: further external addresses, for the range.
    @return: L{None} when too little is known.
    """
    if len(samples) < FEWEST:
        return None
    preserved = sum(each.local == each.mapped.port for each in samples)
    if preserved * 4 >= len(samples) * 3:
        return PortAllocation("preserving")
    everyone = sorted(samples, key=lambda each: each.index)
    # Most of what is lost is lost behind the NAT, when it has made the mapping.
    for ordered in (everyone, [each for each in everyone if each.certain]):
        if len({each.mapped.host for each in ordered}) == 1 and len(ordered) >= FEWEST:
            sequential = _sequential(ordered)
            if sequential is not None:
                return sequential
    return _random({each.mapped.port for each in samples} | {each.port for each in others})


def _sequential(ordered: Sequence[PortSample]) -> PortAllocation | None:
    differences = [
        _Difference(two.mapped.port - one.mapped.port, two.index - one.index, two.sentAt - one.sentAt)
        for one, two in pairwise(ordered)
    ]
    step = _step(differences)
    if step is None:
        return None
    return PortAllocation("sequential", step, round(_noise(differences, step), 1))


def _step(differences: Sequence[_Difference]) -> int | None:
    """
    The step is the mode of the differences, if all others are multiples of it; where the noise is so high that none repeats,
    their greatest common divisor, if all go the same way.  One may be far off: there the sequence has started anew.
    """
    counts = Counter(each.ports for each in differences if each.samples == 1 and each.ports)
    for step, count in sorted(counts.items(), key=lambda item: (-item[1], abs(item[0]))):
        if count >= 2 and _fits(differences, step):
            return step
    if len(differences) >= _MANY:
        for sign in (1, -1):
            step = sign * gcd(*(each.ports for each in differences if 0 < sign * each.ports <= _NARROW))
            if _fits(differences, step):
                return step
    return None


def _fits(differences: Sequence[_Difference], step: int) -> bool:
    if not step:
        return False
    near = [each for each in differences if 0 < each.ports / step <= _FURTHEST]
    missing = len(differences) - len(near)
    # What started anew goes on behind where it was first.
    anew = missing == 1 and sum(each.ports for each in differences) / step < 0
    if (missing and not anew) or len(_fitting(differences, step)) < max(len(near), FEWEST - 2):
        return False
    return _noise(differences, step) <= _LOUDEST


def _noise(differences: Sequence[_Difference], step: int) -> float:
    """
    Mappings of others a second.
    """
    fitting = _fitting(differences, step)
    seconds = sum(each.seconds for each in fitting)
    excess = sum(max(0, each.ports // step - each.samples) for each in fitting)
    return excess / seconds if seconds > 0 else 0.0


def _fitting(differences: Sequence[_Difference], step: int) -> list[_Difference]:
    return [each for each in differences if each.ports % step == 0 and 0 < each.ports // step <= _FURTHEST]


def _random(ports: set[int]) -> PortAllocation | None:
    count, lowest, highest = len(ports), min(ports), max(ports)
    if count < FEWEST:
        return None
    span = highest - lowest
    if count * (span / _RANGE) ** (count - 1) > _DOUBT:
        return PortAllocation("random")
    margin = max(1, ceil(_MARGIN * span / (count - 1)))
    low = max(min(lowest, _LOWEST), lowest - margin)
    return PortAllocation("block", ports=(low, min(_HIGHEST, highest + margin)))
