# -*- test-case-name: vnet.test.test_signal -*-
"""
What one peer tells another, in a signal, of the NAT in front of it, and of the ports that its mappings have there::

    Traits, 14 bytes:
     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |    Mapping    |   Filtering   |  Allocation   |  Flags  |N|B|L|
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |         Step (signed)         |              Low              |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |             High              |         IPv4 address ...
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+

    A prediction, 22 bytes:
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |     Round     |     Kind      |         Step (signed)         |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |              Low              |             High              |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |  Others, mappings in 10 s     |      Sampled, ms after start ...
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
      ...                           |      At, ms after start ...
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
      ...                           |  IPv4 address ...
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+

All numbers are big-endian.  Mapping and filtering are 0 unknown, 1 endpoint-independent, 2 address-dependent, 3
address-and-port-dependent; allocation is 0 unknown, 1 preserving, 2 sequential, 3 random, 4 block.  Flag L (value 1)
says that the NAT has few mappings to give, B (2) that no UDP gets out, N (4) that there is no NAT; the other flags are
zero when sent and ignored when read.  Kind is 1 exact, 2 ports, 3 next.
"""

from __future__ import annotations

import struct
from ipaddress import AddressValueError, IPv4Address

import attrs

from vnet.errors import DecodeError

__all__ = [
    "PREDICTION_SIZE",
    "TRAITS_SIZE",
    "Prediction",
    "Traits",
    "decodePrediction",
    "decodeTraits",
    "encodePrediction",
    "encodeTraits",
]

_TRAITS = struct.Struct("!BBBBhHH4s")
_PREDICTION = struct.Struct("!BBhHHHII4s")

TRAITS_SIZE = _TRAITS.size
PREDICTION_SIZE = _PREDICTION.size

_DEPENDENCE = ("", "endpoint-independent", "address-dependent", "address-and-port-dependent")
_ALLOCATIONS = ("", "preserving", "sequential", "random", "block")
_KINDS = ("", "exact", "ports", "next")
_LIMITED, _BLOCKED, _NATLESS = 1, 2, 4


@attrs.frozen
class Traits:
    """
    What a peer has to know of a NAT to get through it; the words are those of L{vnet.values.NatReport}, empty when unknown.

    @ivar limited: whether it has few mappings to give: a carrier's.
    @ivar step: between two ports of a sequential NAT.
    @ivar low: the lowest port to be expected, and C{high} the highest; 0 when unknown.
    @ivar host: its public IPv4 address; empty when unknown.
    @ivar blocked: whether no UDP gets out.
    @ivar natless: whether there is no NAT, and C{host} is the computer's own.
    """

    mapping: str = ""
    filtering: str = ""
    allocation: str = ""
    limited: bool = False
    step: int = 0
    low: int = 0
    high: int = 0
    host: str = ""
    blocked: bool = False
    natless: bool = False


@attrs.frozen
class Prediction:
    """
    Where a mapping of ours is, or will be.

    @ivar round: which try this belongs to, 1 to 255.
    @ivar kind: C{"exact"}: at C{low}; C{"ports"}: at least one is at C{low}, C{low + step} and so on up to C{high}; C{"next"}:
        the next ones will be at C{low}, C{low + step} and so on, if no one else takes them.
    @ivar step: from one port to the next, not 0; for C{"ports"} its sign says where the mapping is likelier.
    @ivar others: mappings of others in 10 seconds.
    @ivar sampledAt: when that was so, and C{at} when both sides are to begin: milliseconds after the start of the
        rendezvous; C{at} is 0 when the other side is to say.
    @ivar host: the public IPv4 address.
    """

    round: int
    kind: str
    host: str
    low: int
    high: int
    step: int = 1
    others: int = 0
    sampledAt: int = 0
    at: int = 0


def encodeTraits(traits: Traits) -> bytes:
    """
    @raise ValueError: it holds a word or a number that is none.
    """
    return _pack(
        _TRAITS,
        _DEPENDENCE.index(traits.mapping),
        _DEPENDENCE.index(traits.filtering),
        _ALLOCATIONS.index(traits.allocation),
        _LIMITED * traits.limited | _BLOCKED * traits.blocked | _NATLESS * traits.natless,
        traits.step,
        traits.low,
        traits.high,
        _packed(traits.host),
    )


def decodeTraits(data: bytes) -> Traits:
    """
    @raise DecodeError: it is not that.
    """
    mapping, filtering, allocation, flags, step, low, high, host = _unpack(_TRAITS, data)
    if max(mapping, filtering) >= len(_DEPENDENCE) or allocation >= len(_ALLOCATIONS) or low > high:
        raise DecodeError("the traits of a NAT that make no sense")
    return Traits(
        _DEPENDENCE[mapping],
        _DEPENDENCE[filtering],
        _ALLOCATIONS[allocation],
        bool(flags & _LIMITED),
        step,
        low,
        high,
        _host(host),
        bool(flags & _BLOCKED),
        bool(flags & _NATLESS),
    )


def encodePrediction(prediction: Prediction) -> bytes:
    """
    @raise ValueError: it holds a word or a number that is none.
    """
    return _pack(
        _PREDICTION,
        prediction.round,
        _KINDS.index(prediction.kind),
        prediction.step,
        prediction.low,
        prediction.high,
        prediction.others,
        prediction.sampledAt,
        prediction.at,
        _packed(prediction.host),
    )


def decodePrediction(data: bytes) -> Prediction:
    """
    @raise DecodeError: it is not that.
    """
    round_, kind, step, low, high, others, sampledAt, at, host = _unpack(_PREDICTION, data)
    if not 0 < kind < len(_KINDS) or not round_ or not step or not 1 <= low <= high:
        raise DecodeError("a prediction that makes no sense")
    return Prediction(round_, _KINDS[kind], _host(host), low, high, step, others, sampledAt, at)


def _pack(layout: struct.Struct, *values: object) -> bytes:
    try:
        return layout.pack(*values)
    except struct.error as error:
        raise ValueError(f"a number of a signal is out of range: {error}") from error


def _unpack(layout: struct.Struct, data: bytes) -> tuple[int, ...]:
    if len(data) != layout.size:
        raise DecodeError("a truncated signal")
    return layout.unpack(data)


def _packed(host: str) -> bytes:
    try:
        return IPv4Address(host or "0.0.0.0").packed
    except AddressValueError:
        raise ValueError(f"{host!r} is no IPv4 address") from None


def _host(packed: object) -> str:
    host = str(IPv4Address(packed))
    return "" if host == "0.0.0.0" else host
