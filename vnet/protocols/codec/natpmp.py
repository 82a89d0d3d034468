# -*- test-case-name: vnet.test.test_natpmp -*-
"""
NAT-PMP (RFC 6886): what a host asks its router, and what that answers, from UDP port 5351.

A request for the external address is two bytes, version and opcode, both 0.  A request for a mapping of a UDP port::

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    | Version = 0   | OP = 1        | Reserved                      |
    | Internal Port                 | Suggested External Port       |
    | Requested Port Mapping Lifetime in Seconds                    |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+

The answers, to the first and to the second; one that refuses may end after the epoch::

    | Version = 0   | OP = 128      | Result Code                   |
    | Seconds Since Start of Epoch                                  |
    | External IPv4 Address (a.b.c.d)                               |

    | Version = 0   | OP = 129      | Result Code                   |
    | Seconds Since Start of Epoch                                  |
    | Internal Port                 | Mapped External Port          |
    | Port Mapping Lifetime in Seconds                              |
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

import attrs

from vnet.errors import DecodeError

__all__ = [
    "ADDRESS_REQUEST",
    "RESULTS",
    "SUCCESS",
    "ExternalAddress",
    "Mapped",
    "Refusal",
    "decodeAnswer",
    "encodeMapping",
]

ADDRESS_REQUEST = b"\0\0"
"""The request for the external address."""

SUCCESS = 0

RESULTS = {
    1: "it does not know this version of NAT-PMP",
    2: "port mapping is turned off in it",
    3: "it has no connection to the Internet",
    4: "it has no room for one more mapping",
    5: "it does not know the request",
}
"""Why a router refuses (section 3.5)."""

_MAP_UDP, _ANSWER = 1, 128
_REQUEST = struct.Struct("!BBHHHI")
_HEADER = struct.Struct("!BBHI")
_MAPPED = struct.Struct("!HHI")
_LONGEST = 1100


@attrs.frozen
class ExternalAddress:
    """
    The router's address outside.

    @ivar epoch: seconds since the router began to know mappings.
    @ivar host: dotted IPv4.
    """

    epoch: int
    host: str


@attrs.frozen
class Mapped:
    """
    A mapping of a UDP port.

    @ivar epoch: as of L{ExternalAddress}.
    @ivar lifetime: seconds; 0 when the mapping was removed.
    """

    epoch: int
    internalPort: int
    externalPort: int
    lifetime: int


@attrs.frozen
class Refusal:
    """
    The router does not do it.

    @ivar opcode: of the request, 0 to 127.
    @ivar result: the result code, not 0.
    @ivar epoch: as of L{ExternalAddress}.
    """

    opcode: int
    result: int
    epoch: int


def encodeMapping(internalPort: int, externalPort: int, lifetime: int) -> bytes:
    """
    Ask for a mapping of a UDP port, or, with the same ports, for more time.

    @param externalPort: the wish; 0 for any.
    @param lifetime: seconds; 0 removes the mapping.
    """
    return _REQUEST.pack(0, _MAP_UDP, 0, internalPort, externalPort, lifetime)


def decodeAnswer(data: bytes) -> ExternalAddress | Mapped | Refusal:
    """
    Read a router's answer.

    @raise DecodeError: it is none of NAT-PMP, or to no request of ours.
    """
    if not _HEADER.size <= len(data) <= _LONGEST:
        raise DecodeError("no answer of NAT-PMP has this length")
    version, opcode, result, epoch = _HEADER.unpack_from(data)
    if version != 0 or opcode < _ANSWER:
        raise DecodeError("no answer of NAT-PMP")
    if result != SUCCESS:
        return Refusal(opcode - _ANSWER, result, epoch)
    body = data[_HEADER.size :]
    if opcode == _ANSWER and len(body) >= 4:
        return ExternalAddress(epoch, str(IPv4Address(body[:4])))
    if opcode == _ANSWER + _MAP_UDP and len(body) >= _MAPPED.size:
        return Mapped(epoch, *_MAPPED.unpack_from(body))
    raise DecodeError("no answer to a request of ours")
