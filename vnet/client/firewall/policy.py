# -*- test-case-name: vnet.test.test_firewall_policy -*-
"""
What the members of a network may begin with this computer.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import field, frozen

from vnet.errors import DecodeError
from vnet.protocols.codec.names import displayable

__all__ = ["OPEN", "PING_ONLY", "Policy", "parsePolicy", "union"]

Ranges = tuple[tuple[int, int], ...]

PROTOCOLS = ("tcp", "udp")
MAXIMUM_RANGES = 64
_LONGEST = 1500
_LAST = 65535
_SHOWN = 40
_FORMS = "use open, ping-only, or ports such as tcp/22,udp/27015-27030"


@frozen
class Policy:
    """
    What may come in.  Pings always may, and answers to what this computer began.

    @ivar isOpen: everything.
    @ivar tcp: ranges of ports, C{(first, last)}, in order, without overlap.
    @ivar udp: the same of UDP.
    """

    isOpen: bool = False
    tcp: Ranges = field(default=())
    udp: Ranges = field(default=())

    def __str__(self) -> str:
        """
        The text that L{parsePolicy} reads.
        """
        if self.isOpen:
            return "open"
        parts = [
            f"{protocol}/{first}" if first == last else f"{protocol}/{first}-{last}"
            for protocol in PROTOCOLS
            for first, last in self.ranges(protocol)
        ]
        return ",".join(parts) or "ping-only"

    def ranges(self, protocol: str) -> Ranges:
        """
        @param protocol: C{"tcp"} or C{"udp"}.
        @return: the ranges of its ports.
        """
        return self.tcp if protocol == "tcp" else self.udp


OPEN = Policy(isOpen=True)
PING_ONLY = Policy()


def parsePolicy(text: str) -> Policy:
    """
    Read C{open}, C{ping-only} or a list of ports.

    @raise DecodeError: it is none; one line says what would be.
    """
    if text == "open":
        return OPEN
    if text == "ping-only":
        return PING_ONLY
    items = text.split(",") if len(text) <= _LONGEST else []
    if not 0 < len(items) <= MAXIMUM_RANGES:
        raise DecodeError(f"a policy of the firewall has at most {MAXIMUM_RANGES} ports and ranges of ports")
    found: dict[str, list[tuple[int, int]]] = {protocol: [] for protocol in PROTOCOLS}
    for item in items:
        protocol, first, last = _parseItem(item)
        found[protocol].append((first, last))
    return Policy(tcp=_merged(found["tcp"]), udp=_merged(found["udp"]))


def _parseItem(item: str) -> tuple[str, int, int]:
    protocol, slash, ports = item.partition("/")
    first, dash, last = ports.partition("-")
    if not slash or protocol not in PROTOCOLS or not _isNumber(first) or (dash and not _isNumber(last)):
        raise DecodeError(f"{displayable(item, _SHOWN)!r} is no policy of the firewall: {_FORMS}")
    low, high = int(first), int(last or first)
    if not 1 <= low <= high <= _LAST:
        raise DecodeError(f"{item!r} is no range of ports: they are 1 to {_LAST}, the smaller one first")
    return protocol, low, high


def _isNumber(text: str) -> bool:
    return 0 < len(text) <= 5 and text.isascii() and text.isdigit()


def _merged(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """
    The same ports in order: what overlaps or adjoins is one range.
    """
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return tuple(merged)


def union(policies: Iterable[Policy]) -> Policy:
    """
    What at least one of some policies lets in.
    """
    found = tuple(policies)
    if any(policy.isOpen for policy in found):
        return OPEN
    return Policy(
        tcp=_merged(each for policy in found for each in policy.tcp),
        udp=_merged(each for policy in found for each in policy.udp),
    )
