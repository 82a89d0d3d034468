# -*- test-case-name: vnet.test.test_membergroups -*-
"""
Which multicast groups each member listens to, as it has reported; each version of IP by itself.

Who has reported nothing gets everything: a member that does not report, one that reports more than is kept of it, one whose last
report is too old, and one that has a new session with us, or a path again, and has not reported since.  So a member says only
what itself gets, and nothing is lost when a report is.
"""

from __future__ import annotations

from attrs import define, evolve, field, frozen

__all__ = ["LIFETIME", "MOST4", "MOST6", "MemberGroups", "isForAll"]

MOST4, MOST6 = 128, 50
"""Groups of a member, of IPv4 and of IPv6: one more of each still fits into 1,168 bytes, which each path carries whole."""

LIFETIME = 600.0
"""Seconds for which a report holds: three times as long as the longest session."""

_GRACE, _FRESH = 5.0, 2.0
_ALTOGETHER = 32_768
_LINK4, _SSDP4 = bytes((224, 0, 0)), bytes((239, 255, 255, 250))
_LINK6, _SSDP6 = b"\xff\x02", bytes(13) + b"\x0c"


def isForAll(destination: bytes) -> bool:
    """
    Whether what is sent to a packed address goes to all members, whoever listens: broadcasts, what concerns the link (224.0.0.0/24
    and ff02::/16: mDNS, LLMNR, routing) and SSDP (239.255.255.250 and ff0X::c).
    """
    if len(destination) == 4:
        return destination[0] >> 4 != 14 or destination[:3] == _LINK4 or destination == _SSDP4
    return destination[:2] == _LINK6 or (destination[1] < 16 and destination[2:] == _SSDP6)


@frozen
class _Report:
    """
    What a member listens to.
    """

    groups: frozenset[bytes]
    at: float
    until: float


@define(eq=False, repr=False)
class MemberGroups:
    """
    The table, by the member's tunnel key and the size of an address.
    """

    _reports: dict[tuple[bytes, int], _Report] = field(factory=dict, init=False)
    _count: int = field(default=0, init=False)

    def report(self, member: bytes, size: int, groups: frozenset[bytes], now: float) -> None:
        """
        A member says which groups it listens to: these and no others.

        @param size: of an address of that version, bytes.
        """
        self._drop((member, size))
        most = MOST4 if size == 4 else MOST6
        if len(groups) > most or self._count + len(groups) > _ALTOGETHER:
            return
        self._count += len(groups)
        self._reports[member, size] = _Report(groups, now, now + LIFETIME)

    def mayHaveChanged(self, member: bytes, now: float) -> None:
        """
        A member may have been started anew, or what it told may be lost: what it has reported holds only a moment longer,
        unless it reports again.
        """
        for size in (4, 16):
            known = self._reports.get((member, size))
            if known is not None and now - known.at >= _FRESH:
                self._reports[member, size] = evolve(known, until=min(known.until, now + _GRACE))

    def wants(self, member: bytes, group: bytes, now: float) -> bool:
        """
        Whether what is sent to a group, a packed address, goes to a member.
        """
        known = self._reports.get((member, len(group)))
        if known is None or group in known.groups:
            return True
        if now < known.until:
            return False
        self._drop((member, len(group)))
        return True

    def forget(self, member: bytes) -> None:
        """
        Somebody is no member any more.
        """
        for size in (4, 16):
            self._drop((member, size))

    def _drop(self, key: tuple[bytes, int]) -> None:
        known = self._reports.pop(key, None)
        if known is not None:
            self._count -= len(known.groups)
