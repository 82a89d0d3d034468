# -*- test-case-name: vnet.test.test_natdiscovery -*-
"""
The requests by which a NAT is examined: some are answered from another address than they were sent to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from vnet.protocols.codec.stun import BINDING, Class, Message, encode
from vnet.protocols.codec.stunattributes import Attribute
from vnet.values import Address

__all__ = ["Probe", "Probes", "reachedFrom"]


@attrs.define(eq=False, repr=False)
class Probe:
    """
    A Binding request that waits for its answer, or for itself.

    @ivar id: the transaction id, 12 bytes.
    @ivar target: where it is sent; its C{via} names the socket.
    @ivar sources: who may answer it; empty: it is to arrive itself at C{via}, from wherever.
    @ivar dueAt: when it is sent again or, after the last time, given up.
    @ivar sends: how many times it may be sent.
    @ivar interval: seconds from one time to the next.
    @ivar via: at which socket the answer arrives.
    @ivar sent: how many times it was sent.
    @ivar sentAt: when it was sent first.
    @ivar over: whether it is answered or given up.
    @ivar source: who answered; L{None} when nobody did.
    @ivar mapped: the address in the answer, for a success.
    """

    id: bytes
    data: bytes
    target: Address
    sources: frozenset[Address]
    dueAt: float
    sends: int
    interval: float
    via: str
    sent: int = 0
    sentAt: float = 0.0
    over: bool = False
    source: Address | None = None
    mapped: Address | None = None


class Probes:
    """
    All probes of one discovery.

    @ivar left: how many datagrams may still be sent.
    """

    def __init__(self, random: Callable[[int], bytes], budget: int) -> None:
        """
        @param random: returns so many unpredictable bytes.
        @param budget: how many datagrams are sent at most.
        """
        self._random = random
        self._waiting: dict[bytes, Probe] = {}
        self._outbox: list[tuple[bytes, Address]] = []
        self.left = budget

    def add(
        self,
        target: Address,
        at: float,
        sends: int,
        interval: float,
        *,
        attributes: tuple[Attribute[Any], ...] = (),
        sources: frozenset[Address] = frozenset(),
        arrivesAt: str | None = None,
    ) -> Probe:
        """
        Send a Binding request.

        @param at: when it is sent first.
        @param sources: who besides C{target} may answer.
        @param arrivesAt: the request itself is to arrive at this socket, and no answer is wanted.
        """
        identifier = self._random(12)
        data = encode(Message(BINDING, Class.REQUEST, identifier, attributes))
        if arrivesAt is None:
            allowed, via = sources | {target}, target.via
        else:
            allowed, via = frozenset(), arrivesAt
        probe = self._waiting[identifier] = Probe(identifier, data, target, allowed, at, sends, interval, via)
        return probe

    def find(self, identifier: bytes, addr: Address) -> Probe | None:
        """
        The probe that what came from this address with this id belongs to.
        """
        probe = self._waiting.get(identifier)
        if probe is None or not probe.sent or probe.via != addr.via:
            return None
        return probe if not probe.sources or addr in probe.sources else None

    def clear(self) -> None:
        """
        Send nothing more, and know no answer.
        """
        for probe in list(self._waiting.values()):
            self.end(probe)
        self._outbox.clear()

    def end(self, probe: Probe) -> None:
        """
        Send it no more.
        """
        probe.over = True
        self._waiting.pop(probe.id, None)

    def deadline(self) -> float | None:
        """
        When L{fire} has something to do.
        """
        return min((each.dueAt for each in self._waiting.values()), default=None)

    def fire(self, now: float) -> bool:
        """
        Send what is due.

        @return: whether a probe has ended: it was sent often enough, or too much was sent by all.
        """
        ended = False
        for probe in [each for each in self._waiting.values() if each.dueAt <= now]:
            if probe.sent >= probe.sends or not self.left:
                self.end(probe)
                ended = True
                continue
            self._outbox.append((probe.data, probe.target))
            self.left -= 1
            probe.sentAt = probe.sentAt if probe.sent else now
            probe.sent += 1
            probe.dueAt = now + probe.interval
        return ended

    def take(self) -> list[tuple[bytes, Address]]:
        """
        Hand out, once, what is to be sent.
        """
        outbox, self._outbox = self._outbox, []
        return outbox


def reachedFrom(address: Address, name: str) -> Address:
    """
    The same address, reached from a socket of this name.
    """
    return Address(address.host, address.port, name)
