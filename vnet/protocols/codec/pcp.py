# -*- test-case-name: vnet.test.test_pcp -*-
"""
PCP, the Port Control Protocol (RFC 6887): its MAP opcode for a UDP port over IPv4, from and to UDP port 5351.

A request, whose first 24 bytes all opcodes have in common (sections 7.1 and 11.1)::

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |  Version = 2  |R=0| Opcode = 1|         Reserved              |
    |                 Requested Lifetime (32 bits)                  |
    |            PCP Client's IP Address (128 bits)                 |
    +---------------------------------------------------------------+
    |                 Mapping Nonce (96 bits)                       |
    |   Protocol    |          Reserved (24 bits)                   |
    |        Internal Port          |    Suggested External Port    |
    |           Suggested External IP Address (128 bits)            |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+

An answer (sections 7.2 and 11.1) has C{R=1}, then Reserved (8 bits) and Result Code (8 bits), Lifetime, Epoch Time (32
bits) and Reserved (96 bits), and then the same as above with what was assigned in place of what was suggested.  IPv4
addresses are mapped ones (C{::ffff:0:0/96}).  Options may follow; here nobody asks for one.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

import attrs

from vnet.errors import DecodeError

__all__ = ["NONCE", "RESULTS", "SUCCESS", "VERSION", "Answer", "Assigned", "decodeAnswer", "encodeMap"]

NONCE = 12
"""Bytes of a nonce."""

VERSION = 2
SUCCESS = 0

RESULTS = {
    1: "it does not know this version of PCP",
    2: "it does not permit a mapping",
    3: "it cannot read the request",
    4: "it does not know the request",
    5: "it does not know an option",
    6: "it cannot read an option",
    7: "it has no connection to the Internet",
    8: "it has no room for one more mapping",
    9: "it does not map UDP",
    10: "this computer has its share of mappings already",
    11: "it does not give this external address",
    12: "there is another NAT between this computer and it",
    13: "it does not let so many peers in",
}
"""Why a router refuses (section 7.4)."""

_MAP, _ANSWER, _UDP = 1, 0x80, 17
_MAPPED = b"\0" * 10 + b"\xff\xff"
_ANY = _MAPPED + bytes(4)
_REQUEST = struct.Struct("!BBHI16s")
_HEADER = struct.Struct("!BBBBII12x")
_BODY = struct.Struct("!12sB3xHH16s")
_LONGEST = 1100


@attrs.frozen
class Assigned:
    """
    A mapping, as the router has it.

    @ivar nonce: of who asked for it.
    @ivar host: the external IPv4 address, dotted.
    """

    nonce: bytes
    internalPort: int
    externalPort: int
    host: str


@attrs.frozen
class Answer:
    """
    What every answer says.

    @ivar result: the result code.
    @ivar lifetime: seconds that the mapping lives or, of a refusal, that another request would be in vain.
    @ivar epoch: seconds since the router began to know mappings.
    @ivar mapping: L{None}: of a refusal that does not repeat the request.
    """

    result: int
    lifetime: int
    epoch: int
    mapping: Assigned | None


def encodeMap(
    client: str, nonce: bytes, internalPort: int, externalPort: int, lifetime: int, host: str = ""
) -> bytes:
    """
    Ask for a mapping of a UDP port, or, with the same nonce, for more time.

    @param client: the IPv4 address that this leaves from.
    @param nonce: L{NONCE} unpredictable bytes.
    @param externalPort: the wish; 0 for any.
    @param lifetime: seconds; 0 removes the mapping.
    @param host: the external IPv4 address that is wished for.
    """
    header = _REQUEST.pack(VERSION, _MAP, 0, lifetime, _MAPPED + IPv4Address(client).packed)
    wish = _MAPPED + IPv4Address(host).packed if host else _ANY
    return header + _BODY.pack(nonce, _UDP, internalPort, externalPort, wish)


def decodeAnswer(data: bytes) -> Answer:
    """
    Read a router's answer to MAP.

    A router that knows NAT-PMP only answers in that protocol: that is read as the refusal of the version, too
    (section 9).

    @raise DecodeError: it is no answer to MAP.
    """
    if 8 <= len(data) <= _LONGEST and data[0] == 0 and data[1] & _ANSWER and data[2:4] == b"\0\1":
        return Answer(1, 0, int.from_bytes(data[4:8], "big"), None)
    if not _HEADER.size <= len(data) <= _LONGEST or len(data) % 4:
        raise DecodeError("no answer of PCP has this length")
    version, opcode, _, result, lifetime, epoch = _HEADER.unpack_from(data)
    if result == 1 and opcode & _ANSWER:
        return Answer(result, lifetime, epoch, None)
    if version != VERSION or opcode != _ANSWER | _MAP:
        raise DecodeError("no answer to MAP")
    if len(data) < _HEADER.size + _BODY.size:
        if result == SUCCESS:
            raise DecodeError("an answer without a mapping")
        return Answer(result, lifetime, epoch, None)
    nonce, protocol, internalPort, externalPort, external = _BODY.unpack_from(data, _HEADER.size)
    if protocol != _UDP:
        raise DecodeError("a mapping of another protocol")
    mapped = IPv6Address(external).ipv4_mapped
    if mapped is None:
        if result == SUCCESS:
            raise DecodeError("the external address is no IPv4 address")
        mapped = IPv4Address(0)
    return Answer(result, lifetime, epoch, Assigned(nonce, internalPort, externalPort, str(mapped)))
