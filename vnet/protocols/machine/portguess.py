# -*- test-case-name: vnet.test.test_portguess -*-
"""
Which ports a NAT is likely to have given, or to give next.

Others use a carrier's NAT too.  The mappings that they take between two moments follow a Poisson distribution as far as
measurements go, so a window of C{m + 3 * sqrt(m) + 2} steps, where C{m} are expected, holds the port nearly always.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from math import ceil, sqrt

from vnet.protocols.codec.natsignal import Prediction

__all__ = ["HIGHEST", "LOWEST", "bracket", "guesses", "meetings", "stepOf", "window"]

LOWEST, HIGHEST = 1024, 65535
"""Where ports are expected of a NAT that draws them at random."""

_WIDEST = 64
_LEAST, _MOST = 3, 20


def stepOf(ports: Sequence[int]) -> int:
    """
    The step of a sequential NAT.

    @param ports: samples in the order in which they were taken.
    @return: the difference that is seen most often, the least of them among equals; 0 when there is none.
    """
    differences = Counter(b - a for a, b in pairwise(ports) if b != a)
    if not differences:
        return 0
    most = max(differences.values())
    return min((each for each, count in differences.items() if count == most), key=abs)


def window(expected: float) -> int:
    """
    How many steps hold the port.

    @param expected: mappings of others.
    """
    return ceil(expected + 3 * sqrt(expected) + 2)


def bracket(before: Sequence[int], after: Sequence[int], step: int) -> tuple[int, int] | None:
    """
    The ports that a mapping can have that was made between samples.

    @param before: samples that were taken before it, in order; C{after} those after it.
    @param step: of the NAT, not 0.
    @return: the first and the last one, in the direction of the step; L{None} when the samples do not agree with it.
    """
    if not before or not after:
        return None
    first, last = before[-1] + step, after[0] - step
    between = (last - first) // step
    if between < 0 or between > _WIDEST or not 1 <= min(first, last) <= max(first, last) <= 65535:
        return None
    # Whole steps from the first, whatever the samples are.
    return first, first + between * step


def guesses(prediction: Prediction, random: Callable[[int], bytes], limit: int) -> list[int]:
    """
    The ports to be tried for a prediction, the likely ones first.

    @param random: returns so many unpredictable bytes.
    @param limit: how many at most.
    """
    step = abs(prediction.step)
    ports = list(range(prediction.low, prediction.high + 1, step))
    if len(ports) <= _WIDEST:
        return (ports if prediction.step > 0 else ports[::-1])[:limit]
    for index in range(min(limit, len(ports))):
        other = index + int.from_bytes(random(4), "big") % (len(ports) - index)
        ports[index], ports[other] = ports[other], ports[index]
    return ports[:limit]


def meetings(own: Prediction, peer: Prediction, controlling: bool, at: int, count: int) -> list[int]:
    """
    Where to send, one datagram to each port in this order, when both NATs are sequential.

    Each datagram to another port takes the next port of this side's NAT, so it meets one of the peer only where both have
    guessed each other's port.  With C{e1} and C{e2} for how much the first port of each side is off, in steps, datagram
    C{j} of the controlling side goes from C{e1 + j} to C{j}, and datagram C{n} of the other one from C{e2 + n} to C{d}:
    they meet for C{d - n = e1 + e2}.  So the other one tries all sums that are likely, in turn.

    @param own: this side's prediction, C{peer} the other one's.
    @param at: when both begin, milliseconds after the start.
    @param count: how many.
    """
    base = _expected(peer, at)
    others = _others(own, at) + _others(peer, at)
    places = range(count) if controlling else _shifted(count, min(_MOST, ceil(3 * sqrt(others)) + _LEAST))
    ports = (base + place * peer.step for place in places)
    return [port for port in ports if 1 <= port <= 65535]


def _expected(prediction: Prediction, at: int) -> int:
    first = prediction.low if prediction.step > 0 else prediction.high
    return first + round(_others(prediction, at)) * prediction.step


def _others(prediction: Prediction, at: int) -> float:
    return max(0, at - prediction.sampledAt) / 1000 * prediction.others / 10


def _shifted(count: int, most: int) -> list[int]:
    """
    Places, each once, so that place C{n} less C{n} is each hypothesis about equally often.
    """
    tried = dict.fromkeys([0, *(sign * size for size in range(1, most + 1) for sign in (1, -1))], 0)
    places: dict[int, None] = {}
    for index in range(count):
        free = [each for each in tried if index + each >= 0 and index + each not in places]
        if free:
            shift = min(free, key=lambda each: tried[each])
            tried[shift] += 1
            places[index + shift] = None
    return list(places)
