# -*- test-case-name: vnet.test.test_natdiscovery -*-
"""
The mapping of one socket as several servers see it (RFC 5780 section 4.3), and which of them is asked further.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vnet.protocols.codec.stun import Message
from vnet.protocols.codec.stunattributes import OTHER_ADDRESS
from vnet.protocols.machine.natbehaviour import inside, mappingOf
from vnet.protocols.machine.natprobe import Probe, Probes
from vnet.values import Address

__all__ = ["MappingTest"]

_TARGETS = 6
_PORTS_OF_HOST = 2
# How long a better server than the first that answered is waited for.
_GRACE = 0.05
_RTO, _LONGEST_RTO = 0.25, 0.6
_SENDS = 4
# When nobody has answered: some more, to two servers.
_LAST_TARGETS, _LAST_SENDS, _LAST_INTERVAL = 2, 3, 0.55


class MappingTest:
    """
    Asks each server from the socket itself.

    @ivar chooseAt: when L{choose} is due.
    @ivar server: the server that was chosen.
    @ivar other: where it is besides, at another address and another port.
    @ivar rto: seconds after which an answer is overdue.
    """

    def __init__(
        self, servers: Sequence[Address], probes: Probes, accepts: Callable[[Address], bool], now: float
    ) -> None:
        """
        @param servers: the best first; two ports each of the first hosts count.
        @param accepts: whether something may be sent to an address that a server names.
        """
        self._probes = probes
        self._accepts = accepts
        self.servers = _targets(servers)
        self._asked = {each: probes.add(each, now, _SENDS, _RTO) for each in self.servers}
        self._others: dict[Address, Address] = {}
        self._rtt = _LONGEST_RTO
        self._last = False
        self.chooseAt: float | None = None
        self.server: Address | None = None
        self.other: Address | None = None
        self.rto = _RTO

    @property
    def seen(self) -> dict[Address, Address]:
        """
        What each server sees that has answered.
        """
        return {server: each.mapped for server, each in self._asked.items() if each.mapped is not None}

    @property
    def over(self) -> bool:
        """
        Whether no answer is waited for.
        """
        return all(each.over for each in self._asked.values()) and (self._last or bool(self.seen))

    @property
    def mapping(self) -> str | None:
        """
        What the answers say: see L{mappingOf}.
        """
        return mappingOf(self.seen)

    @property
    def public(self) -> Address | None:
        """
        The external address that the chosen server sees; before there is one, any server.
        """
        seen = self.seen
        return seen.get(self.server) if self.server else next(iter(seen.values()), None)

    def answered(self, probe: Probe, message: Message, now: float) -> None:
        """
        A probe has its answer; if it is one of this test, look where the server is besides.
        """
        if self._asked.get(probe.target) is not probe or probe.mapped is None:
            return
        other = message.get(OTHER_ADDRESS)
        if other is not None and self._mayBe(probe.target, other):
            self._others[probe.target] = other
        if self.server is None:
            self._rtt = min(self._rtt, now - probe.sentAt)
            if self.chooseAt is None:
                self.chooseAt = now + _GRACE

    def choose(self, now: float) -> None:
        """
        Choose the server that is asked further: the first that has answered and is at two addresses, else the first that has
        answered.  Its other address is asked too.
        """
        self.chooseAt = None
        answered = list(self.seen)
        self.server = next((each for each in answered if each in self._others), answered[0])
        self.rto = max(_RTO, min(_LONGEST_RTO, 2 * self._rtt))
        self.other = self._others.get(self.server)
        if self.other is not None:
            for each in (Address(self.other.host, self.server.port), self.other):
                if each not in self._asked:
                    self._asked[each] = self._probes.add(each, now, _SENDS, self.rto)

    def tryLast(self, now: float) -> None:
        """
        If all is silent, ask two servers once more, for longer.
        """
        if self._last or self.seen or not all(each.over for each in self._asked.values()):
            return
        self._last = True
        for each in self.servers[:_LAST_TARGETS]:
            self._asked[each] = self._probes.add(each, now, _LAST_SENDS, _LAST_INTERVAL)

    def answers(self, place: Address) -> bool:
        """
        Whether there is a server at a place, as far as it was asked; if it was not, whether there is one at the same port.
        """
        if place in self._asked:
            return self._asked[place].mapped is not None
        return any(each.port == place.port for each in self.seen)

    def mayName(self, server: Address, address: Address) -> bool:
        """
        Whether something may be sent to an address that a server names: it is no less public than the server.
        """
        return self._accepts(address) and (inside(server.host) or not inside(address.host))

    def _mayBe(self, server: Address, other: Address) -> bool:
        """
        Whether a server may name this as its other address, which may have been given to us as a server.
        """
        if other.host == server.host or other.port == server.port or ":" in other.host + server.host:
            return False
        return other in self.servers or self.mayName(server, other)


def _targets(servers: Sequence[Address]) -> tuple[Address, ...]:
    """
    At most two ports of each host.
    """
    counts: dict[str, int] = {}
    chosen = []
    for each in dict.fromkeys(Address(server.host, server.port) for server in servers):
        counts[each.host] = counts.get(each.host, 0) + 1
        if counts[each.host] <= _PORTS_OF_HOST:
            chosen.append(each)
    return tuple(chosen[:_TARGETS])
