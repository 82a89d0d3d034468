# -*- test-case-name: vnet.test.test_dataplane_lans -*-
"""
LANs behind nodes: which members may send to those behind this one, and behind whom the others are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from ipaddress import ip_network

from attrs import define, field

from vnet.protocols.machine.allowedips import AllowedIps

__all__ = ["Admits", "Lans"]

Admits = Callable[[bytes, str], bool]
"""Whether the member with a tunnel key may reach a prefix."""

_MAXIMUM_KNOWN = 4096


def _nobody(publicKey: bytes, prefix: str) -> bool:
    """
    Nobody may reach anything.
    """
    return False


@define(eq=False, repr=False)
class Lans:
    """
    The prefixes.  False while none is shared.

    @ivar _reach: what each member may reach: of each prefix the bytes of its addresses, the bits after it, and the number before
        them.
    """

    _shared: tuple[str, ...] = field(default=(), init=False)
    _admits: Admits = field(default=_nobody, init=False)
    _reach: dict[bytes, tuple[tuple[int, int, int], ...]] = field(factory=dict, init=False)
    _used: dict[bytes, tuple[bytes, tuple[str, ...]]] = field(factory=dict, init=False)
    _behind: AllowedIps[bytes] = field(factory=AllowedIps, init=False)

    def __bool__(self) -> bool:
        return bool(self._shared)

    # Behind this node

    def share(self, prefixes: Collection[str], admits: Admits) -> None:
        """
        Let members send to these prefixes, and to no others.

        @param admits: is asked once for each member and prefix, until L{forget}.
        """
        self._shared, self._admits = tuple(prefixes), admits
        self._reach.clear()

    def forget(self) -> None:
        """
        Who may reach what has changed.
        """
        self._reach.clear()

    def mayReach(self, publicKey: bytes, destination: bytes) -> bool:
        """
        Whether a member may send to a packed address behind this node.
        """
        reach = self._reach.get(publicKey)
        if reach is None:
            reach = self._ask(publicKey)
        size = len(destination)
        return any(
            size == each and int.from_bytes(destination, "big") >> shift == number
            for each, shift, number in reach
        )

    def _ask(self, publicKey: bytes) -> tuple[tuple[int, int, int], ...]:
        if len(self._reach) >= _MAXIMUM_KNOWN:
            self._reach.clear()
        admitted = [ip_network(each) for each in self._shared if self._admits(publicKey, each)]
        reach = tuple(
            (
                each.max_prefixlen // 8,
                each.max_prefixlen - each.prefixlen,
                int(each.network_address) >> each.max_prefixlen - each.prefixlen,
            )
            for each in admitted
        )
        self._reach[publicKey] = reach
        return reach

    # Behind others

    def use(self, publicKey: bytes, prefixes: Collection[str]) -> None:
        """
        These are behind a member, and no others.
        """
        owner, before = self._used.pop(publicKey, (publicKey, ()))
        # The same object as it was given with.
        self._behind.discard(before, owner)
        if prefixes:
            self._used[publicKey] = publicKey, tuple(prefixes)
            for prefix in prefixes:
                self._behind.add(prefix, publicKey)

    def used(self) -> list[str]:
        """
        All that are behind others.
        """
        return [prefix for _, prefixes in self._used.values() for prefix in prefixes]

    def behind(self, address: bytes) -> bytes | None:
        """
        The tunnel key of the member behind whom a packed address is.
        """
        return self._behind.find(address)
