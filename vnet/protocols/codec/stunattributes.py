# -*- test-case-name: vnet.test.test_stun_codec -*-
"""
The attributes of STUN messages, one row each (RFC 8489 section 14, RFC 8445 section 16.1,
RFC 5780 section 7, RFC 8656 section 18)::

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |         Type                  |            Length             |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |                         Value (variable), padded to 4 bytes  ...
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+

A row is called with a value to make an L{Attribute}: C{PRIORITY(1234)}.  Types below 0x8000 are
comprehension-required: a request that holds one which the receiver does not understand is refused.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Generic, TypeVar

import attrs

from vnet.errors import DecodeError
from vnet.values import Address

__all__ = [
    "ADDITIONAL_ADDRESS_FAMILY",
    "ADDRESS_ERROR_CODE",
    "ALTERNATE_SERVER",
    "CHANGE_REQUEST",
    "CHANNEL_NUMBER",
    "DATA",
    "DONT_FRAGMENT",
    "ERROR_CODE",
    "EVEN_PORT",
    "FINGERPRINT",
    "ICE_CONTROLLED",
    "ICE_CONTROLLING",
    "ICMP",
    "LIFETIME",
    "MAGIC_COOKIE",
    "MAPPED_ADDRESS",
    "MESSAGE_INTEGRITY",
    "MESSAGE_INTEGRITY_SHA256",
    "NONCE",
    "OTHER_ADDRESS",
    "PADDING",
    "PASSWORD_ALGORITHM",
    "PASSWORD_ALGORITHMS",
    "PATH_PADDING",
    "PRIORITY",
    "REALM",
    "REQUESTED_ADDRESS_FAMILY",
    "REQUESTED_TRANSPORT",
    "RESERVATION_TOKEN",
    "RESPONSE_ORIGIN",
    "RESPONSE_PORT",
    "ROWS",
    "SOFTWARE",
    "UNKNOWN_ATTRIBUTES",
    "USERHASH",
    "USERNAME",
    "USE_CANDIDATE",
    "XOR_MAPPED_ADDRESS",
    "XOR_PEER_ADDRESS",
    "XOR_RELAYED_ADDRESS",
    "AddressErrorCode",
    "Attribute",
    "AttributeType",
    "ChangeRequest",
    "ErrorCode",
    "Icmp",
    "PasswordAlgorithm",
]

T = TypeVar("T")

MAGIC_COOKIE = 0x2112A442
_COOKIE = MAGIC_COOKIE.to_bytes(4, "big")
_MAX_ALGORITHMS = 16


@attrs.frozen
class _Format(Generic[T]):
    """
    How a value is written.  Both functions get the transaction id too, for the XOR forms.  C{read}
    raises only L{DecodeError}, C{write} raises L{ValueError} for a value that cannot be written.
    """

    read: Callable[[bytes, bytes], T]
    write: Callable[[T, bytes], bytes]


@attrs.frozen(eq=False, repr=False)
class AttributeType(Generic[T]):
    """
    One row: a type of attribute.

    @ivar code: its number on the wire.
    @ivar name: its name in the RFC.
    @ivar format: how its values are written.
    """

    code: int
    name: str
    format: _Format[T]

    @property
    def required(self) -> bool:
        """
        Whether a receiver must understand it (RFC 8489 section 14).
        """
        return self.code < 0x8000

    def __call__(self, value: T) -> Attribute[T]:
        return Attribute(self, value)

    def __repr__(self) -> str:
        return self.name


@attrs.frozen
class Attribute(Generic[T]):
    """
    One attribute of a message.
    """

    kind: AttributeType[T]
    value: T


@attrs.frozen
class ErrorCode:
    """
    @ivar code: 300 to 699.
    @ivar reason: a phrase for people, often empty.
    """

    code: int
    reason: str = ""


@attrs.frozen
class ChangeRequest:
    """
    From where a server is asked to answer (RFC 5780 section 7.2).

    @ivar address: from its other IP address.
    @ivar port: from its other port.
    """

    address: bool = False
    port: bool = False


@attrs.frozen
class AddressErrorCode:
    """
    Why there is no relayed address of one family (RFC 8656 section 18.12).

    @ivar family: 4 or 6.
    @ivar code: 300 to 699.
    @ivar reason: a phrase for people, often empty.
    """

    family: int
    code: int
    reason: str = ""


@attrs.frozen
class Icmp:
    """
    What an ICMP message said of a datagram that was relayed (RFC 8656 section 18.13).

    @ivar type: of ICMP or ICMPv6, 0 to 127.
    @ivar code: 0 to 511.
    @ivar data: 4 bytes: the MTU where it is too large, else zero.
    """

    type: int
    code: int
    data: bytes = bytes(4)


@attrs.frozen
class PasswordAlgorithm:
    """
    @ivar number: 1 is MD5, 2 is SHA-256 (RFC 8489 section 18.5.1).
    @ivar parameters: empty for both.
    """

    number: int
    parameters: bytes = b""


def _pad(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _readAddress(data: bytes, transactionId: bytes) -> Address:
    if len(data) == 8 and data[1] == 1:
        host = str(IPv4Address(data[4:]))
    elif len(data) == 20 and data[1] == 2:
        full = IPv6Address(data[4:])
        host = str(full.ipv4_mapped or full)
    else:
        raise DecodeError("an address attribute of unknown family or wrong length")
    return Address(host, int.from_bytes(data[2:4], "big"))


def _writeAddress(value: Address, transactionId: bytes) -> bytes:
    host = ip_address(value.host)
    return struct.pack("!BBH", 0, 1 if host.version == 4 else 2, value.port) + host.packed


def _xor(data: bytes, transactionId: bytes) -> bytes:
    """
    XOR the port and the address with the cookie and the transaction id: its own inverse.
    """
    mask = (bytes(2) + _COOKIE[:2] + _COOKIE + transactionId)[: len(data)]
    mixed = int.from_bytes(data, "big") ^ int.from_bytes(mask, "big")
    return mixed.to_bytes(len(data), "big")


def _readXorAddress(data: bytes, transactionId: bytes) -> Address:
    # The length decides before the XOR: the mask is no longer than an IPv6 address.
    if len(data) not in (8, 20):
        raise DecodeError("an address attribute of wrong length")
    return _readAddress(_xor(data, transactionId), transactionId)


def _writeXorAddress(value: Address, transactionId: bytes) -> bytes:
    return _xor(_writeAddress(value, transactionId), transactionId)


def _readError(data: bytes, transactionId: bytes) -> ErrorCode:
    if len(data) < 4:
        raise DecodeError("an ERROR-CODE shorter than 4 bytes")
    hundreds, rest = data[2] & 7, data[3]
    if not 3 <= hundreds <= 6 or rest > 99:
        raise DecodeError("an ERROR-CODE out of range")
    return ErrorCode(hundreds * 100 + rest, data[4:].decode("utf-8", "replace"))


def _writeError(value: ErrorCode, transactionId: bytes) -> bytes:
    if not 300 <= value.code <= 699:
        raise ValueError(f"error code {value.code} is not in 300 to 699")
    return bytes([0, 0, value.code // 100, value.code % 100]) + value.reason.encode()


_FAMILIES = {1: 4, 2: 6}
_FAMILY_CODES = {4: 1, 6: 2}


def _readFamily(data: bytes, transactionId: bytes) -> int:
    """
    A family that is unknown is read as 0: the one who is asked for it has an error code to say so.
    """
    if len(data) != 4:
        raise DecodeError("an address family that is not 4 bytes")
    return _FAMILIES.get(data[0], 0)


def _writeFamily(value: int, transactionId: bytes) -> bytes:
    if value not in _FAMILY_CODES:
        raise ValueError(f"no address family {value}")
    return bytes([_FAMILY_CODES[value], 0, 0, 0])


def _readAddressError(data: bytes, transactionId: bytes) -> AddressErrorCode:
    error = _readError(data, transactionId)
    if data[0] not in _FAMILIES:
        raise DecodeError("an ADDRESS-ERROR-CODE of unknown family")
    return AddressErrorCode(_FAMILIES[data[0]], error.code, error.reason)


def _writeAddressError(value: AddressErrorCode, transactionId: bytes) -> bytes:
    if value.family not in _FAMILY_CODES:
        raise ValueError(f"no address family {value.family}")
    error = _writeError(ErrorCode(value.code, value.reason), transactionId)
    return bytes([_FAMILY_CODES[value.family]]) + error[1:]


def _readIcmp(data: bytes, transactionId: bytes) -> Icmp:
    if len(data) != 8:
        raise DecodeError("an ICMP that is not 8 bytes")
    word = int.from_bytes(data[2:4], "big")
    return Icmp(word >> 9, word & 0x1FF, data[4:])


def _writeIcmp(value: Icmp, transactionId: bytes) -> bytes:
    if not 0 <= value.type < 128 or not 0 <= value.code < 512 or len(value.data) != 4:
        raise ValueError("an ICMP whose parts do not fit")
    return bytes(2) + (value.type << 9 | value.code).to_bytes(2, "big") + value.data


def _readChannel(data: bytes, transactionId: bytes) -> int:
    if len(data) != 4:
        raise DecodeError("a CHANNEL-NUMBER that is not 4 bytes")
    return int.from_bytes(data[:2], "big")


def _writeChannel(value: int, transactionId: bytes) -> bytes:
    return value.to_bytes(2, "big") + bytes(2)


def _readEven(data: bytes, transactionId: bytes) -> bool:
    if len(data) != 1:
        raise DecodeError("an EVEN-PORT that is not 1 byte")
    return bool(data[0] & 0x80)


def _writeEven(value: bool, transactionId: bytes) -> bytes:
    return b"\x80" if value else b"\0"


def _readTransport(data: bytes, transactionId: bytes) -> int:
    if len(data) != 4:
        raise DecodeError("a REQUESTED-TRANSPORT that is not 4 bytes")
    return data[0]


def _writeTransport(value: int, transactionId: bytes) -> bytes:
    return bytes([value, 0, 0, 0])


def _readCodes(data: bytes, transactionId: bytes) -> tuple[int, ...]:
    if len(data) % 2:
        raise DecodeError("UNKNOWN-ATTRIBUTES of odd length")
    return struct.unpack(f"!{len(data) // 2}H", data)


def _writeCodes(value: tuple[int, ...], transactionId: bytes) -> bytes:
    return struct.pack(f"!{len(value)}H", *value)


def _readChange(data: bytes, transactionId: bytes) -> ChangeRequest:
    if len(data) != 4:
        raise DecodeError("a CHANGE-REQUEST that is not 4 bytes")
    return ChangeRequest(address=bool(data[3] & 4), port=bool(data[3] & 2))


def _writeChange(value: ChangeRequest, transactionId: bytes) -> bytes:
    return bytes([0, 0, 0, 4 * value.address + 2 * value.port])


def _readPort(data: bytes, transactionId: bytes) -> int:
    # RFC 5780 section 7.5 can be read as 2 bytes and padding, or as 4 bytes; both are in use.
    if len(data) not in (2, 4):
        raise DecodeError("a RESPONSE-PORT that is not a port")
    return int.from_bytes(data[:2], "big")


def _readAlgorithms(data: bytes, transactionId: bytes) -> tuple[PasswordAlgorithm, ...]:
    # Cutting off what was read copies the rest each time: 64 KiB may not hold more than a few.
    found: list[PasswordAlgorithm] = []
    while data:
        size = 4 + int.from_bytes(data[2:4], "big")
        if len(data) < size or len(found) >= _MAX_ALGORITHMS:
            raise DecodeError("a truncated password algorithm, or too many")
        found.append(PasswordAlgorithm(int.from_bytes(data[:2], "big"), data[4:size]))
        data = data[size + -size % 4 :]
    return tuple(found)


def _writeAlgorithms(value: tuple[PasswordAlgorithm, ...], transactionId: bytes) -> bytes:
    return b"".join(_pad(_writeAlgorithm(each, transactionId)) for each in value)


def _readAlgorithm(data: bytes, transactionId: bytes) -> PasswordAlgorithm:
    found = _readAlgorithms(data, transactionId)
    if len(found) != 1:
        raise DecodeError("a PASSWORD-ALGORITHM that is not one algorithm")
    return found[0]


def _writeAlgorithm(value: PasswordAlgorithm, transactionId: bytes) -> bytes:
    return struct.pack("!HH", value.number, len(value.parameters)) + value.parameters


def _readFlag(data: bytes, transactionId: bytes) -> bool:
    if data:
        raise DecodeError("a flag with a value")
    return True


def _writeFlag(value: bool, transactionId: bytes) -> bytes:
    if not value:
        raise ValueError("a flag that is not set is left out")
    return b""


def _uint(size: int) -> _Format[int]:
    def read(data: bytes, transactionId: bytes) -> int:
        if len(data) != size:
            raise DecodeError(f"a number of {len(data)} bytes instead of {size}")
        return int.from_bytes(data, "big")

    def write(value: int, transactionId: bytes) -> bytes:
        if not 0 <= value < 1 << 8 * size:
            raise ValueError(f"{value} does not fit in {size} bytes")
        return value.to_bytes(size, "big")

    return _Format(read, write)


def _text(limit: int, errors: str = "strict") -> _Format[str]:
    def read(data: bytes, transactionId: bytes) -> str:
        if len(data) > limit:
            raise DecodeError(f"a text of {len(data)} bytes, above {limit}")
        try:
            return data.decode("utf-8", errors)
        except UnicodeDecodeError as e:
            raise DecodeError("a text that is not UTF-8") from e

    def write(value: str, transactionId: bytes) -> bytes:
        data = value.encode()
        if len(data) > limit:
            raise ValueError(f"a text of {len(data)} bytes, above {limit}")
        return data

    return _Format(read, write)


def _bytes(size: int | None = None) -> _Format[bytes]:
    def read(data: bytes, transactionId: bytes) -> bytes:
        if size is not None and len(data) != size:
            raise DecodeError(f"a value of {len(data)} bytes instead of {size}")
        return data

    def write(value: bytes, transactionId: bytes) -> bytes:
        if size is not None and len(value) != size:
            raise ValueError(f"a value of {len(value)} bytes instead of {size}")
        return value

    return _Format(read, write)


#: Every type that is known, by its number.
ROWS: dict[int, AttributeType[Any]] = {}


def _row(code: int, name: str, format: _Format[T]) -> AttributeType[T]:
    row = AttributeType(code, name, format)
    ROWS[code] = row
    return row


_ADDRESS = _Format(_readAddress, _writeAddress)
_XOR_ADDRESS = _Format(_readXorAddress, _writeXorAddress)
_FLAG = _Format(_readFlag, _writeFlag)
_FAMILY = _Format(_readFamily, _writeFamily)
_ALGORITHM = _Format(_readAlgorithm, _writeAlgorithm)
_ALGORITHMS = _Format(_readAlgorithms, _writeAlgorithms)

MAPPED_ADDRESS = _row(0x0001, "MAPPED-ADDRESS", _ADDRESS)
CHANGE_REQUEST = _row(0x0003, "CHANGE-REQUEST", _Format(_readChange, _writeChange))
USERNAME = _row(0x0006, "USERNAME", _text(508))
MESSAGE_INTEGRITY = _row(0x0008, "MESSAGE-INTEGRITY", _bytes(20))
ERROR_CODE = _row(0x0009, "ERROR-CODE", _Format(_readError, _writeError))
UNKNOWN_ATTRIBUTES = _row(0x000A, "UNKNOWN-ATTRIBUTES", _Format(_readCodes, _writeCodes))
CHANNEL_NUMBER = _row(0x000C, "CHANNEL-NUMBER", _Format(_readChannel, _writeChannel))
LIFETIME = _row(0x000D, "LIFETIME", _uint(4))
XOR_PEER_ADDRESS = _row(0x0012, "XOR-PEER-ADDRESS", _XOR_ADDRESS)
DATA = _row(0x0013, "DATA", _bytes())
REALM = _row(0x0014, "REALM", _text(763))
NONCE = _row(0x0015, "NONCE", _text(763))
XOR_RELAYED_ADDRESS = _row(0x0016, "XOR-RELAYED-ADDRESS", _XOR_ADDRESS)
REQUESTED_ADDRESS_FAMILY = _row(0x0017, "REQUESTED-ADDRESS-FAMILY", _FAMILY)
EVEN_PORT = _row(0x0018, "EVEN-PORT", _Format(_readEven, _writeEven))
REQUESTED_TRANSPORT = _row(0x0019, "REQUESTED-TRANSPORT", _Format(_readTransport, _writeTransport))
DONT_FRAGMENT = _row(0x001A, "DONT-FRAGMENT", _FLAG)
MESSAGE_INTEGRITY_SHA256 = _row(0x001C, "MESSAGE-INTEGRITY-SHA256", _bytes(32))
PASSWORD_ALGORITHM = _row(0x001D, "PASSWORD-ALGORITHM", _ALGORITHM)
USERHASH = _row(0x001E, "USERHASH", _bytes(32))
XOR_MAPPED_ADDRESS = _row(0x0020, "XOR-MAPPED-ADDRESS", _XOR_ADDRESS)
RESERVATION_TOKEN = _row(0x0022, "RESERVATION-TOKEN", _bytes(8))
PRIORITY = _row(0x0024, "PRIORITY", _uint(4))
USE_CANDIDATE = _row(0x0025, "USE-CANDIDATE", _FLAG)
PADDING = _row(0x0026, "PADDING", _bytes())
RESPONSE_PORT = _row(0x0027, "RESPONSE-PORT", _Format(_readPort, _uint(2).write))
ADDITIONAL_ADDRESS_FAMILY = _row(0x8000, "ADDITIONAL-ADDRESS-FAMILY", _FAMILY)
ADDRESS_ERROR_CODE = _row(0x8001, "ADDRESS-ERROR-CODE", _Format(_readAddressError, _writeAddressError))
PASSWORD_ALGORITHMS = _row(0x8002, "PASSWORD-ALGORITHMS", _ALGORITHMS)
SOFTWARE = _row(0x8022, "SOFTWARE", _text(763, "replace"))
ALTERNATE_SERVER = _row(0x8023, "ALTERNATE-SERVER", _ADDRESS)
ICMP = _row(0x8004, "ICMP", _Format(_readIcmp, _writeIcmp))
FINGERPRINT = _row(0x8028, "FINGERPRINT", _uint(4))
ICE_CONTROLLED = _row(0x8029, "ICE-CONTROLLED", _uint(8))
ICE_CONTROLLING = _row(0x802A, "ICE-CONTROLLING", _uint(8))
RESPONSE_ORIGIN = _row(0x802B, "RESPONSE-ORIGIN", _ADDRESS)
OTHER_ADDRESS = _row(0x802C, "OTHER-ADDRESS", _ADDRESS)
#: Our own, and of no meaning: it makes a check as long as a path is to be tried with.  Others ignore it.
PATH_PADDING = _row(0xF5A0, "PATH-PADDING", _bytes())
