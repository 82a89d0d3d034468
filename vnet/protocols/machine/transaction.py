# -*- test-case-name: vnet.test.test_transaction -*-
"""
STUN transactions of a client over UDP: requests that are sent again until they are answered
(RFC 8489 section 6.2.1).

With the standard's figures a request is sent at 0, 0.5, 1.5, 3.5, 7.5, 15.5 and 31.5 seconds, and
has failed at 39.5.  What an answer means, and whether it is authentic, is the caller's to judge:
L{Transactions.find} names the request that it belongs to, L{Transactions.finish} ends it.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define

from vnet.values import Address

__all__ = ["Transaction", "Transactions"]


@define(eq=False, repr=False)
class Transaction:
    """
    A request that waits for its answer.

    @ivar id: the transaction id, 12 bytes.
    @ivar data: the datagram.
    @ivar server: to whom it is sent, and the only one who may answer it.
    @ivar startedAt: when it was first sent.
    @ivar rto: seconds from the first to the second transmission; each further wait is twice as long.
    @ivar dueAt: when it is sent again or, after the last time, given up.
    @ivar sends: how many times it was sent.
    """

    id: bytes
    data: bytes
    server: Address
    startedAt: float
    rto: float
    dueAt: float
    sends: int = 0


class Transactions:
    """
    The requests of one client that wait for an answer.

    The caller bounds their number: finding the next deadline takes time in proportion to it.
    """

    def __init__(
        self, *, random: Callable[[int], bytes], rto: float = 0.5, rc: int = 7, rm: int = 16
    ) -> None:
        """
        @param random: returns so many unpredictable bytes: who can guess a transaction id can
            forge the answer.
        @param rto: the first retransmission timeout in seconds.
        @param rc: how many times a request is sent.
        @param rm: how many C{rto} the last one waits for its answer.
        """
        self._random = random
        self._rto = rto
        self._rc = rc
        self._rm = rm
        self._waiting: dict[bytes, Transaction] = {}
        self._outbox: list[tuple[bytes, Address]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def start(
        self,
        server: Address,
        build: Callable[[bytes], bytes],
        now: float,
        rto: float | None = None,
    ) -> Transaction:
        """
        Send a request.

        @param build: makes the datagram for a transaction id.
        @param rto: the first timeout when it is not the usual one (RFC 8445 section 14.3).
        """
        transactionId = self._random(12)
        transaction = Transaction(
            transactionId, build(transactionId), server, now, self._rto if rto is None else rto, now
        )
        self._waiting[transactionId] = transaction
        self._transmit(transaction, now)
        return transaction

    def find(self, transactionId: bytes, addr: Address) -> Transaction | None:
        """
        The request that an answer from this address with this id belongs to, if there is one.
        """
        transaction = self._waiting.get(transactionId)
        return transaction if transaction is not None and transaction.server == addr else None

    def finish(self, transaction: Transaction) -> None:
        """
        Do not send it any more, and do not know its answer.
        """
        self._waiting.pop(transaction.id, None)

    def clear(self) -> None:
        """
        Forget all requests.
        """
        self._waiting.clear()
        self._outbox.clear()

    def datagramsToSend(self) -> list[tuple[bytes, Address]]:
        """
        Hand out, once, what is to be sent now.
        """
        outbox, self._outbox = self._outbox, []
        return outbox

    def deadline(self) -> float | None:
        """
        When L{timerFired} has something to do.
        """
        return min((each.dueAt for each in self._waiting.values()), default=None)

    def timerFired(self, now: float) -> list[Transaction]:
        """
        Send again what is due.

        @return: the requests that nobody answered: they are over.
        """
        failed = []
        for transaction in [each for each in self._waiting.values() if each.dueAt <= now]:
            if transaction.sends < self._rc:
                self._transmit(transaction, now)
            else:
                self.finish(transaction)
                failed.append(transaction)
        return failed

    def _transmit(self, transaction: Transaction, now: float) -> None:
        self._outbox.append((transaction.data, transaction.server))
        transaction.sends += 1
        last = transaction.sends == self._rc
        # From now, not from when it was due: a computer that slept sends each request once.
        transaction.dueAt = now + transaction.rto * (self._rm if last else 2 ** (transaction.sends - 1))
