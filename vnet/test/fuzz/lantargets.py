"""
Targets: what members send to groups, and frames of other protocols than IP.
"""

from __future__ import annotations

from vnet.protocols.codec.etherip import decodeEtherIp, encodeEtherIp
from vnet.protocols.codec.ip import ICMP, ICMP6, UDP, encodeIp4, encodeIp6
from vnet.protocols.codec.linkscope import concernsLink
from vnet.protocols.codec.llc import DEFAULT_TYPES, RAW, parseTypes, protocolOf
from vnet.test.fuzz.target import Target, require

__all__ = ["TARGETS"]

_FOUR, _FOUR_TO = bytes((100, 64, 0, 2)), b"\xff" * 4
_SIX, _SIX_TO = b"\xfd" + bytes(14) + b"\x02", b"\xff\x02" + bytes(13) + b"\x01"
_REASONS = frozenset(("", "dhcp", "discovery", "redirect", "routers", "listeners", "sourceRoute"))
_IPX = bytes.fromhex("ffff0022001100000000ffffffffffff0452000000010276640000024003")


def _packets() -> list[bytes]:
    return [
        encodeIp4(_FOUR, _FOUR_TO, UDP, b"\0\x43\0\x44\0\x08\0\0"),
        encodeIp4(_FOUR, _FOUR_TO, ICMP, b"\x05\x01" + bytes(26)),
        b"\x46" + encodeIp4(_FOUR, _FOUR_TO, 2, bytes(12))[1:],
        encodeIp6(_SIX, _SIX_TO, ICMP6, b"\x86" + bytes(15)),
        encodeIp6(_SIX, _SIX_TO, 0, b"\x3a\0\x05\x02\0\0\x01\0\x8f" + bytes(7)),
        encodeIp6(_SIX, _SIX_TO, 44, b"\x11\0\0\x01\0\0\0\0\x02\x22\x02\x23\0\x08\0\0"),
    ]


def _frames() -> list[bytes]:
    head = b"\xff" * 6 + b"\x02\x76" + _FOUR
    payloads = (_IPX, b"\xe0\xe0\x03" + _IPX, b"\xaa\xaa\x03\0\0\0\x81\x37" + _IPX)
    return [*(head + len(each).to_bytes(2, "big") + each for each in payloads), head + b"\x81\x37" + _IPX]


def _checkPacket(data: bytes) -> None:
    require(concernsLink(data) in _REASONS, "the reason is one of those that are counted")


def _checkFrame(data: bytes) -> None:
    number = protocolOf(data)
    require(0 <= number <= RAW, "a protocol is a number of 16 bits")
    if number in DEFAULT_TYPES:
        require(
            data[12:14] not in (b"\x08\x00", b"\x08\x06", b"\x86\xdd", b"\x81\x00"),
            "it is not IP, ARP or a VLAN",
        )


def _checkEtherIp(data: bytes) -> None:
    frame = decodeEtherIp(data)
    require(decodeEtherIp(encodeEtherIp(_FOUR, _FOUR_TO, frame)) == frame, "a frame comes out as it went in")


def _checkTypes(data: bytes) -> None:
    found = parseTypes(data.decode("latin-1"))
    require(not found & {0, 0x0800, 0x0806, 0x86DD, 0x8100, 0xAA, 0x42}, "what never crosses is in no list")


TARGETS = (
    Target("link-scope", lambda: _checkPacket, _packets),
    Target("ether-protocol", lambda: _checkFrame, _frames),
    Target(
        "ether-ip",
        lambda: _checkEtherIp,
        lambda: [encodeEtherIp(_FOUR, _FOUR_TO, each) for each in _frames()],
    ),
    Target("ether-types", lambda: _checkTypes, lambda: [b"ipx,appletalk,netbeui", b"0x88b5,0xe0", b"none"]),
)
