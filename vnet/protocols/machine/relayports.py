# -*- test-case-name: vnet.test.test_relayports -*-
"""
The relayed transport addresses of a relay: which ports are free, and which are reserved (RFC 8656 section 7.2).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from attrs import define, field

from vnet.values import Address

__all__ = ["RESERVED_FOR", "RelayPorts"]

RESERVED_FOR = 30.0
"""Seconds for which the port after an even one is kept (EVEN-PORT with its R bit)."""

_DRAWS = 24
_TOKEN = 8


@define
class _Reservation:
    address: Address
    until: float


@define(eq=False, repr=False)
class RelayPorts:
    """
    Gives ports out, in no order that could be guessed (RFC 6056).

    @ivar hosts: the address of this host that relays, for each family (4, 6).
    @ivar _ports: those that may be used.
    @ivar _open: binds an address, and says whether it could.
    @ivar _close: gives one back that was bound.
    """

    hosts: Mapping[int, str]
    _ports: range
    _random: Callable[[int], bytes]
    _open: Callable[[Address], bool]
    _close: Callable[[Address], None]
    _maximumReservations: int = 64
    _taken: set[Address] = field(factory=set, init=False)
    _reserved: dict[bytes, _Reservation] = field(factory=dict, init=False)

    def __len__(self) -> int:
        return len(self._taken)

    def take(self, family: int, even: bool = False) -> Address | None:
        """
        Bind a free port.

        @param even: an even one.
        @return: L{None} when there is none.
        """
        return self._search(family, 2 if even else 1, lambda address: self._bind(address))

    def takePair(self, family: int, now: float) -> tuple[Address, bytes] | None:
        """
        Bind an even port and the one after it, which is reserved.

        @return: the even one, and the token of the other; L{None} when there is no such pair.
        """
        if len(self._reserved) >= self._maximumReservations:
            return None
        found = self._search(family, 2, self._bindPair)
        if found is None:
            return None
        token = self._random(_TOKEN)
        self._reserved[token] = _Reservation(found._replace(port=found.port + 1), now + RESERVED_FOR)
        return found, token

    def redeem(self, token: bytes) -> Address | None:
        """
        Take what was reserved; L{None} when it is not there any more.
        """
        reservation = self._reserved.pop(token, None)
        return None if reservation is None else reservation.address

    def release(self, address: Address) -> None:
        """
        Give a port back.
        """
        if address in self._taken:
            self._taken.discard(address)
            self._close(address)

    def deadline(self) -> float | None:
        """
        When L{expire} has something to do.
        """
        return min((each.until for each in self._reserved.values()), default=None)

    def expire(self, now: float) -> None:
        """
        Give back what nobody has redeemed.
        """
        for token in [token for token, each in self._reserved.items() if each.until <= now]:
            self.release(self._reserved.pop(token).address)

    def _search(self, family: int, step: int, bind: Callable[[Address], bool]) -> Address | None:
        """
        Try ports at random, and then, in case that few are free, one after the other from a random one on.
        """
        host = self.hosts.get(family)
        first = self._ports.start + -self._ports.start % step
        places = len(range(first, self._ports.stop, step))
        if host is None or not places:
            return None
        for _ in range(_DRAWS):
            address = Address(host, first + step * (self._draw() % places))
            if address not in self._taken and bind(address):
                return address
        if len(self._taken) * 2 < places:
            return None
        start = self._draw() % places
        for place in range(places):
            address = Address(host, first + step * ((start + place) % places))
            if address not in self._taken and bind(address):
                return address
        return None

    def _draw(self) -> int:
        return int.from_bytes(self._random(4), "big")

    def _bind(self, address: Address) -> bool:
        if not self._open(address):
            return False
        self._taken.add(address)
        return True

    def _bindPair(self, address: Address) -> bool:
        other = address._replace(port=address.port + 1)
        if other.port not in self._ports or other in self._taken or not self._bind(address):
            return False
        if self._bind(other):
            return True
        self.release(address)
        return False
