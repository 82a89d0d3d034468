# -*- test-case-name: vnet.test.test_binding -*-
"""
The addresses under which STUN servers see one socket of ours, kept known and kept alive.

Each server is asked at once and then every 20 seconds or so for ever, or as often as the NAT wants it: most forget a UDP
mapping after 30.  The requests go from the socket that they are about, so the machine shares its port with
others; L{Bindings.expects} tells whose an answer is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from math import inf
from typing import TypeAlias

import attrs

from vnet.errors import DecodeError
from vnet.protocols.codec.stun import BINDING, Class, Message, decode, encode
from vnet.protocols.codec.stunattributes import MAPPED_ADDRESS, XOR_MAPPED_ADDRESS
from vnet.protocols.machine.transaction import Transaction, Transactions
from vnet.values import Address

__all__ = ["MAX_SERVERS", "BindingEvent", "Bindings", "Mapped", "MappingChanged", "ServerSilent"]

MAX_SERVERS = 8
_JITTER = 0.2
_YOUNG = 0.05


@attrs.frozen
class Mapped:
    """
    A server answered.

    @ivar server: the server.
    @ivar mapped: the address that it sees.
    @ivar rtt: seconds from the first request to the answer: when the request had to be sent again,
        more than the round trip.
    """

    server: Address
    mapped: Address
    rtt: float


@attrs.frozen
class MappingChanged:
    """
    A server sees another address than it saw before.  Its L{Mapped} follows.
    """

    server: Address
    old: Address
    new: Address


@attrs.frozen
class ServerSilent:
    """
    A server did not answer, or refused.  It will be asked again.
    """

    server: Address


BindingEvent: TypeAlias = Mapped | MappingChanged | ServerSilent


@attrs.define(eq=False, repr=False)
class _Server:
    """
    @ivar dueAt: when it is asked again, while it is not being asked.
    @ivar mapped: what it saw last.
    @ivar silent: whether it left the last request unanswered.
    """

    address: Address
    dueAt: float = -inf
    mapped: Address | None = None
    silent: bool = False
    transaction: Transaction | None = None


class Bindings:
    """
    The machine.  See L{vnet.driver.DatagramMachine} for its five verbs.

    @ivar ignored: how many datagrams were no answer to a request of ours.
    """

    def __init__(
        self,
        servers: Sequence[Address],
        *,
        random: Callable[[int], bytes],
        refreshInterval: float = 20.0,
        rto: float = 0.5,
        rc: int = 7,
        rm: int = 16,
    ) -> None:
        """
        @param servers: whom to ask: see L{setServers}.
        @param random: returns so many unpredictable bytes.
        @param refreshInterval: seconds from an answer to the next request, 20 percent more or less.
        @param rto: see L{Transactions}, as for C{rc} and C{rm}.
        """
        self._random = random
        self._interval = refreshInterval
        self._transactions = Transactions(random=random, rto=rto, rc=rc, rm=rm)
        self._servers: dict[Address, _Server] = {}
        self._events: deque[BindingEvent] = deque()
        self.ignored = 0
        self.setServers(servers)

    @property
    def mappings(self) -> dict[Address, Address]:
        """
        What each server sees, for those that answer.
        """
        return {
            each.address: each.mapped
            for each in self._servers.values()
            if each.mapped is not None and not each.silent
        }

    def setServers(self, servers: Sequence[Address]) -> None:
        """
        Replace the servers.  Those that stay keep what is known of them; new ones are asked at once.

        @param servers: at most L{MAX_SERVERS} count, the first ones.
        """
        kept = list(dict.fromkeys(servers))[:MAX_SERVERS]
        for address in self._servers.keys() - set(kept):
            self._forget(self._servers[address])
        self._servers = {each: self._servers.get(each) or _Server(each) for each in kept}

    def refresh(self, now: float) -> None:
        """
        Ask every server now: the network may have changed.  A request that is out, perhaps by a way that is no more, is given
        up for a fresh one, unless it is very young.
        """
        for each in self._servers.values():
            if each.transaction is not None and now - each.transaction.startedAt >= _YOUNG:
                self._forget(each)
            each.dueAt = now

    def refreshEvery(self, seconds: float) -> None:
        """
        From now on ask again after so many seconds, 20 percent more or less; at once sooner where that is less than it was.
        """
        if seconds < self._interval:
            for each in self._servers.values():
                each.dueAt -= self._interval - seconds
        self._interval = seconds

    def expects(self, transactionId: bytes, addr: Address) -> bool:
        """
        Whether an answer from this address with this id belongs to this machine.
        """
        return self._transactions.find(transactionId, addr) is not None

    def receive(self, data: bytes, addr: Address, now: float) -> None:
        """
        Take an answer.  Anything else is ignored.
        """
        try:
            message = decode(data)
        except DecodeError:
            self.ignored += 1
            return
        transaction = self._transactions.find(message.transactionId, addr)
        if (
            transaction is None
            or message.method != BINDING
            or message.klass not in (Class.SUCCESS, Class.ERROR)
        ):
            self.ignored += 1
            return
        self._answered(self._servers[addr], transaction, message, now)

    def datagramsToSend(self, now: float) -> list[tuple[bytes, Address]]:
        self._ask(now)
        return self._transactions.datagramsToSend()

    def deadline(self) -> float | None:
        idle = [each.dueAt for each in self._servers.values() if each.transaction is None]
        waiting = self._transactions.deadline()
        return min(idle if waiting is None else [*idle, waiting], default=None)

    def timerFired(self, now: float) -> None:
        for transaction in self._transactions.timerFired(now):
            self._failed(self._servers[transaction.server], now)
        self._ask(now)

    def nextEvent(self) -> BindingEvent | None:
        return self._events.popleft() if self._events else None

    def _ask(self, now: float) -> None:
        for each in self._servers.values():
            if each.transaction is None and each.dueAt <= now:
                each.transaction = self._transactions.start(each.address, _request, now)

    def _answered(self, server: _Server, transaction: Transaction, message: Message, now: float) -> None:
        self._transactions.finish(transaction)
        mapped = message.get(XOR_MAPPED_ADDRESS) or message.get(MAPPED_ADDRESS)
        # RFC 8489 section 6.3.3: what is not understood in a success is a failure.
        if message.klass is Class.ERROR or message.unknown or mapped is None:
            self._failed(server, now)
            return
        old, server.mapped, server.silent = server.mapped, mapped, False
        if old is not None and old != mapped:
            self._events.append(MappingChanged(server.address, old, mapped))
        self._events.append(Mapped(server.address, mapped, now - transaction.startedAt))
        self._rest(server, now)

    def _failed(self, server: _Server, now: float) -> None:
        server.silent = True
        self._events.append(ServerSilent(server.address))
        self._rest(server, now)

    def _rest(self, server: _Server, now: float) -> None:
        share = int.from_bytes(self._random(2), "big") / 0xFFFF
        server.transaction = None
        server.dueAt = now + self._interval * (1 - _JITTER + 2 * _JITTER * share)

    def _forget(self, server: _Server) -> None:
        if server.transaction is not None:
            self._transactions.finish(server.transaction)
            server.transaction = None


def _request(transactionId: bytes) -> bytes:
    return encode(Message(BINDING, Class.REQUEST, transactionId))
