# -*- test-case-name: vnet.test.test_lifetime -*-
"""
For how long the NAT in front of a socket keeps a mapping that is not used, and how often idle paths need a packet.

L{KeepAlive} says how often.  It begins short, since the first silence must not lose a path either; it grows with what is
proven, and falls at once to a floor when something was lost after a silence::

    nothing known        10 s
    there is no NAT      20 s
    lives T seconds      three quarters of T: with 20 percent more, still nine tenths
    lost something       8 s, for as long as this network is remembered

L{LifetimeProbe} proves it: from a socket of its own it asks a STUN server, is silent, asks again and compares the
mapped addresses.  A NAT that preserves ports gives a new mapping the port of the one that died: there nothing is proven.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Sequence
from typing import TypeAlias

import attrs

from vnet.errors import DecodeError
from vnet.protocols.codec.stun import BINDING, Class, Message, decode, encode
from vnet.protocols.codec.stunattributes import MAPPED_ADDRESS, XOR_MAPPED_ADDRESS
from vnet.protocols.machine.transaction import Transaction, Transactions
from vnet.values import Address

__all__ = [
    "BARE",
    "FLOOR",
    "LONGEST",
    "STEPS",
    "UNKNOWN",
    "Died",
    "Hidden",
    "KeepAlive",
    "LifetimeProbe",
    "Lived",
]

UNKNOWN = 10.0
"""Seconds between the packets of an idle path while the lifetime is not known."""

BARE = 20.0
"""The same where there is no NAT: a firewall may be there, and forget, but RFC 7675 and others go by that as well."""

FLOOR = 8.0
"""The shortest interval."""

LONGEST = 110.0
"""Never longer without a packet, 20 percent of jitter included."""

STEPS = (10.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0)
"""The silences that are tried, in seconds."""

_SHARE, _JITTER = 0.75, 1.2
_NETWORKS = 16


@attrs.define
class _Known:
    """
    What is known of one network.

    @ivar proven: seconds that a mapping has lived; C{died}: after which one was gone.
    @ivar lapsed: whether something was lost after a silence.
    """

    proven: float | None = None
    died: float | None = None
    lapsed: bool = False


class KeepAlive:
    """
    How often idle paths need a packet, in the network where this node is now.

    @ivar isBare: whether there is no NAT.
    """

    def __init__(self) -> None:
        self.isBare = False
        self._networks: OrderedDict[frozenset[str], _Known] = OrderedDict()
        self._known = _Known()

    @property
    def interval(self) -> float:
        """
        Seconds, 20 percent more or less.
        """
        known = self._known
        if known.lapsed:
            return FLOOR
        if known.proven is None and known.died is None:
            return BARE if self.isBare else UNKNOWN
        if known.proven is None:
            return FLOOR
        shortest = UNKNOWN if known.died is None else FLOOR
        return min(max(_SHARE * known.proven, shortest), LONGEST / _JITTER)

    @property
    def proven(self) -> float | None:
        """
        Seconds that a mapping is known to live; L{None} when that is not known.
        """
        return None if self._known.lapsed else self._known.proven

    @property
    def isSettled(self) -> bool:
        """
        Whether there is no more to find out in this network.
        """
        known = self._known
        return known.lapsed or known.died is not None or known.proven == STEPS[-1]

    def enter(self, networks: Collection[str]) -> None:
        """
        This node is in these networks now.  Of those where it was, the last 16 are remembered.
        """
        key = frozenset(networks)
        self.isBare = False
        self._known = self._networks.setdefault(key, _Known())
        self._networks.move_to_end(key)
        while len(self._networks) > _NETWORKS:
            self._networks.popitem(last=False)

    def lived(self, seconds: float) -> None:
        """
        A mapping has lived for so long without a packet.
        """
        self._known.proven = max(self._known.proven or 0.0, seconds)

    def died(self, seconds: float) -> None:
        """
        A mapping was gone after so long.
        """
        self._known.died = min(self._known.died or seconds, seconds)

    def lapsed(self) -> None:
        """
        Something was lost because a path was idle for an interval.
        """
        self._known.lapsed = True


@attrs.frozen
class Lived:
    """
    The mapping is the same after so many seconds of silence.
    """

    seconds: float


@attrs.frozen
class Died:
    """
    It is another after so many.  The probe is over.
    """

    seconds: float


@attrs.frozen
class Hidden:
    """
    Nothing can be told: there is no NAT, or one that preserves ports, or the server is silent.  The probe is over.
    """


LifetimeEvent: TypeAlias = Lived | Died | Hidden


class LifetimeProbe:
    """
    The machine, for one socket that nobody else uses.  See L{vnet.driver.DatagramMachine} for its five verbs.
    """

    def __init__(
        self,
        server: Address,
        port: int,
        *,
        random: Callable[[int], bytes],
        now: float,
        steps: Sequence[float] = STEPS,
    ) -> None:
        """
        @param server: whom to ask, by the socket.
        @param port: of the socket.
        @param random: returns so many unpredictable bytes.
        @param steps: the silences to try, in seconds.
        """
        self._server = server
        self._port = port
        self._transactions = Transactions(random=random)
        self._steps = deque(steps)
        self._step = 0.0
        self._mapped: Address | None = None
        self._askAt: float | None = now
        self._events: deque[LifetimeEvent] = deque()

    def expects(self, transactionId: bytes, addr: Address) -> bool:
        """
        Whether an answer from this address with this id belongs to this machine.
        """
        return self._transactions.find(transactionId, addr) is not None

    def receive(self, data: bytes, addr: Address, now: float) -> None:
        try:
            message = decode(data)
        except DecodeError:
            return
        transaction = self._transactions.find(message.transactionId, addr)
        answers = message.method == BINDING and message.klass in (Class.SUCCESS, Class.ERROR)
        if transaction is None or not answers:
            return
        self._transactions.finish(transaction)
        mapped = message.get(XOR_MAPPED_ADDRESS) or message.get(MAPPED_ADDRESS)
        if message.klass is not Class.SUCCESS or message.unknown or mapped is None:
            self._events.append(Hidden())
        else:
            self._answered(mapped, transaction, now)

    def datagramsToSend(self, now: float) -> list[tuple[bytes, Address]]:
        self._ask(now)
        return self._transactions.datagramsToSend()

    def deadline(self) -> float | None:
        times = (self._askAt, self._transactions.deadline())
        return min((time for time in times if time is not None), default=None)

    def timerFired(self, now: float) -> None:
        if self._transactions.timerFired(now):
            self._events.append(Hidden())
        self._ask(now)

    def nextEvent(self) -> LifetimeEvent | None:
        return self._events.popleft() if self._events else None

    def _ask(self, now: float) -> None:
        if self._askAt is not None and now >= self._askAt:
            self._askAt = None
            self._transactions.start(self._server, _request, now)

    def _answered(self, mapped: Address, transaction: Transaction, now: float) -> None:
        before, self._mapped = self._mapped, mapped
        if mapped.port == self._port or (before is not None and before.host != mapped.host):
            self._events.append(Hidden())
            return
        if before is not None:
            self._events.append(Lived(self._step) if before == mapped else Died(self._step))
        if (before is None or before == mapped) and self._steps:
            self._step = self._steps.popleft()
            # From what was sent last: the mapping has been silent since then.
            self._askAt = now + self._step


def _request(transactionId: bytes) -> bytes:
    return encode(Message(BINDING, Class.REQUEST, transactionId))
