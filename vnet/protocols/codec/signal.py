# -*- test-case-name: vnet.test.test_signal -*-
"""
The plaintext of a sealed signal: the ICE credentials and candidates that one peer tells another::

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |  Version = 1  | Flags |C|P|T|F|     Count     | Ufrag length  |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |                                                               |
    +                        Start (64 bits)                        +
    |                                                               |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    | Password len. |  Ufrag, password, then Count candidates, traits, a prediction ...

    A candidate:
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    | Type  | Family|  Found. len.  |             Port              |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |                            Priority                           |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |  Address, 4 bytes (family 4) or 16 (family 6), then foundation...

All numbers are big-endian.  Flag F (value 1) says that no more candidates follow for this start, T (value 2) that the
traits of the sender's NAT are there, P (value 4) that a prediction is, see L{vnet.protocols.codec.natsignal}, C (value 8) that
the sender takes inner packets whose checksum of TCP or UDP holds the sum of the pseudo-header only: the tunnel authenticates
them; the other flags are zero when sent and ignored when read.  Type is 1 host, 2 server-reflexive, 3 peer-reflexive, 4
relay.  Start is the C{start} of the rendezvous that the signal answers, so that the candidates of an older
attempt are told from those of this one; each signal of one start holds the same credentials, and candidates
that add to those of the signals before.  Text is ASCII of the characters that RFC 8445 calls ice-char:
letters, digits, "+" and "/".
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TypeVar

import attrs

from vnet.errors import DecodeError
from vnet.protocols.codec.natsignal import (
    PREDICTION_SIZE,
    TRAITS_SIZE,
    Prediction,
    Traits,
    decodePrediction,
    decodeTraits,
    encodePrediction,
    encodeTraits,
)
from vnet.values import Address, Candidate

__all__ = ["MAXIMUM_CANDIDATES", "MAXIMUM_SIZE", "Credentials", "Signal", "decode", "encode"]

MAXIMUM_CANDIDATES = 32
"""Candidates in one signal."""

MAXIMUM_SIZE = 1500
"""Bytes of one signal before it is sealed."""

T = TypeVar("T")

_VERSION = 1
_FINAL, _TRAITS, _PREDICTION, _PARTIAL = 1, 2, 4, 8
_HEAD = struct.Struct("!BBBBQB")
_CANDIDATE = struct.Struct("!BBHI")
_KINDS = ("host", "srflx", "prflx", "relay")
_ICE_CHARS = re.compile(rb"[A-Za-z0-9+/]*\Z")


def _iceText(minimum: int, maximum: int) -> Callable[[object, attrs.Attribute[str], str], None]:
    def check(instance: object, attribute: attrs.Attribute[str], value: str) -> None:
        if not minimum <= len(value) <= maximum or not _ICE_CHARS.match(value.encode()):
            raise ValueError(f"{attribute.name} is not {minimum} to {maximum} ice-chars")

    return check


@attrs.frozen
class Credentials:
    """
    What the checks of one side are signed with (RFC 8445 section 5.3).

    @ivar ufrag: 4 to 32 ice-chars.
    @ivar password: 22 to 64 ice-chars.
    """

    ufrag: str = attrs.field(validator=_iceText(4, 32))
    password: str = attrs.field(validator=_iceText(22, 64), repr=False)


@attrs.frozen
class Signal:
    """
    One signal.

    @ivar start: microseconds of the mediator's clock, 0 to 2**64 - 1.
    @ivar candidates: at most L{MAXIMUM_CANDIDATES}.
    @ivar final: whether these are the last candidates for this start.
    @ivar partial: whether the sender takes inner packets with unfinished checksums.
    @ivar traits: the NAT in front of the sender, if it knows; C{prediction} the ports of its mappings there.
    """

    start: int
    credentials: Credentials
    candidates: tuple[Candidate, ...] = ()
    final: bool = False
    traits: Traits | None = None
    prediction: Prediction | None = None
    partial: bool = False


def encode(signal: Signal) -> bytes:
    """
    Write a signal.

    @raise ValueError: it has too many candidates, does not fit L{MAXIMUM_SIZE}, or holds what is out of range.
    """
    if len(signal.candidates) > MAXIMUM_CANDIDATES or not 0 <= signal.start < 1 << 64:
        raise ValueError("too many candidates in a signal, or a start out of range")
    ufrag, password = signal.credentials.ufrag.encode(), signal.credentials.password.encode()
    flags = _FINAL * signal.final | _PARTIAL * signal.partial
    tail = b""
    if signal.traits is not None:
        flags |= _TRAITS
        tail += encodeTraits(signal.traits)
    if signal.prediction is not None:
        flags |= _PREDICTION
        tail += encodePrediction(signal.prediction)
    head = _HEAD.pack(_VERSION, flags, len(signal.candidates), len(ufrag), signal.start, len(password))
    data = head + ufrag + password + b"".join(map(_encodeCandidate, signal.candidates)) + tail
    if len(data) > MAXIMUM_SIZE:
        raise ValueError(f"a signal of {len(data)} bytes, above {MAXIMUM_SIZE}")
    return data


def decode(data: bytes) -> Signal:
    """
    Read a signal.

    @raise DecodeError: it is none.
    """
    if not _HEAD.size <= len(data) <= MAXIMUM_SIZE:
        raise DecodeError("a signal of impossible size")
    version, flags, count, ufragSize, start, passwordSize = _HEAD.unpack_from(data)
    if version != _VERSION:
        raise DecodeError("a signal of another version")
    if count > MAXIMUM_CANDIDATES:
        raise DecodeError("too many candidates in a signal")
    reader = _Reader(data, _HEAD.size)
    try:
        credentials = Credentials(reader.text(ufragSize), reader.text(passwordSize))
    except ValueError as error:
        raise DecodeError("malformed ICE credentials") from error
    candidates = tuple(_decodeCandidate(reader) for _ in range(count))
    traits = _known(decodeTraits, reader.take(TRAITS_SIZE)) if flags & _TRAITS else None
    prediction = _known(decodePrediction, reader.take(PREDICTION_SIZE)) if flags & _PREDICTION else None
    if reader.offset != len(data):
        raise DecodeError("a signal with bytes after its end")
    final, partial = bool(flags & _FINAL), bool(flags & _PARTIAL)
    return Signal(start, credentials, candidates, final, traits, prediction, partial)


def _known(read: Callable[[bytes], T], data: bytes) -> T | None:
    """
    What a newer peer tells of its NAT in words that are not known here is left out, and no reason to do without the rest.
    """
    try:
        return read(data)
    except DecodeError:
        return None


@attrs.define
class _Reader:
    data: bytes
    offset: int

    def take(self, size: int) -> bytes:
        taken = self.data[self.offset : self.offset + size]
        if len(taken) != size:
            raise DecodeError("a truncated signal")
        self.offset += size
        return taken

    def text(self, size: int) -> str:
        taken = self.take(size)
        if not _ICE_CHARS.match(taken):
            raise DecodeError("a text that is not made of ice-chars")
        return taken.decode("ascii")


def _encodeCandidate(candidate: Candidate) -> bytes:
    host = ip_address(candidate.address.host)
    foundation = candidate.foundation.encode()
    if not 1 <= len(foundation) <= 32 or not _ICE_CHARS.match(foundation):
        raise ValueError("a foundation is not 1 to 32 ice-chars")
    if candidate.kind not in _KINDS or not 1 <= candidate.priority < 1 << 31:
        raise ValueError("a candidate of unknown kind or impossible priority")
    if not 1 <= candidate.address.port <= 65535:
        raise ValueError("a candidate without a port")
    kind = _KINDS.index(candidate.kind) + 1
    kindAndFamily = kind << 4 | host.version
    head = _CANDIDATE.pack(kindAndFamily, len(foundation), candidate.address.port, candidate.priority)
    return head + host.packed + foundation


def _decodeCandidate(reader: _Reader) -> Candidate:
    kindAndFamily, foundationSize, port, priority = _CANDIDATE.unpack(reader.take(_CANDIDATE.size))
    kind, family = divmod(kindAndFamily, 16)
    if not 1 <= kind <= len(_KINDS) or family not in (4, 6):
        raise DecodeError("a candidate of unknown type or family")
    if not port or not 1 <= priority < 1 << 31 or not 1 <= foundationSize <= 32:
        raise DecodeError("a candidate without a port, a priority or a foundation")
    host = _host(reader.take(4 if family == 4 else 16))
    return Candidate(_KINDS[kind - 1], Address(host, port), priority, reader.text(foundationSize))


def _host(packed: bytes) -> str:
    if len(packed) == 4:
        return str(IPv4Address(packed))
    address = IPv6Address(packed)
    return str(address.ipv4_mapped or address)
