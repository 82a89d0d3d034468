"""
Tests for L{vnet.protocols.machine.transaction}.
"""

from __future__ import annotations

from itertools import count

from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.machine.transaction import Transactions
from vnet.values import Address

SERVER = Address("192.0.2.1", 3478)
OTHER = Address("192.0.2.2", 3478)


def numbered() -> Transactions:
    """
    Transactions whose ids are 0, 1, 2...
    """
    numbers = count()
    return Transactions(random=lambda size: next(numbers).to_bytes(size, "big"))


class TransactionsTests(SynchronousTestCase):
    def test_schedule(self) -> None:
        """A request that nobody answers is sent at the seven times of RFC 8489, and given up at 39.5 s."""
        transactions = numbered()
        transaction = transactions.start(SERVER, lambda t: b"request" + t, 100.0)
        sent = [(100.0, datagram) for datagram in transactions.datagramsToSend()]
        failed = []
        while (deadline := transactions.deadline()) is not None:
            failed = transactions.timerFired(deadline)
            sent += [(deadline, datagram) for datagram in transactions.datagramsToSend()]
            last = deadline
        self.assertEqual([at - 100 for at, _ in sent], [0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5])
        self.assertEqual({datagram for _, datagram in sent}, {(b"request" + bytes(12), SERVER)})
        self.assertEqual((failed, last), ([transaction], 139.5))
        self.assertEqual(len(transactions), 0)

    def test_arguments(self) -> None:
        """Timeout, number of transmissions and last wait can be chosen."""
        transactions = Transactions(random=bytes, rto=0.1, rc=2, rm=4)
        transaction = transactions.start(SERVER, bytes, 0.0)
        self.assertEqual(transactions.timerFired(0.1), [])
        self.assertAlmostEqual(transactions.deadline() or 0, 0.5)
        self.assertEqual(transactions.timerFired(0.5), [transaction])
        transactions.start(SERVER, bytes, 1.0, rto=2.0)
        self.assertEqual(transactions.deadline(), 3.0)

    def test_onlyTheAskedMayAnswer(self) -> None:
        """An answer is known by its id and by the address that was asked, and by nothing less."""
        transactions = numbered()
        first = transactions.start(SERVER, bytes, 0.0)
        second = transactions.start(OTHER, bytes, 0.0)
        self.assertIs(transactions.find(first.id, SERVER), first)
        self.assertIs(transactions.find(second.id, OTHER), second)
        self.assertIsNone(transactions.find(first.id, OTHER))
        self.assertIsNone(transactions.find(first.id, Address(SERVER.host, 3479)))
        self.assertIsNone(transactions.find(b"x" * 12, SERVER))

    def test_finished(self) -> None:
        """A finished request is not sent again, and its answer is not known any more."""
        transactions = numbered()
        transaction = transactions.start(SERVER, bytes, 0.0)
        transactions.datagramsToSend()
        transactions.finish(transaction)
        self.assertIsNone(transactions.find(transaction.id, SERVER))
        self.assertIsNone(transactions.deadline())
        self.assertEqual(transactions.timerFired(1000.0), [])
        self.assertEqual(transactions.datagramsToSend(), [])
        transactions.finish(transaction)

    def test_handedOutOnce(self) -> None:
        """Each transmission is handed out once."""
        transactions = numbered()
        transactions.start(SERVER, bytes, 0.0)
        self.assertEqual(len(transactions.datagramsToSend()), 1)
        self.assertEqual(transactions.datagramsToSend(), [])
        self.assertEqual(transactions.timerFired(0.4), [])
        self.assertEqual(transactions.datagramsToSend(), [])

    def test_sleep(self) -> None:
        """After a long sleep a request is sent once, not as often as was missed."""
        transactions = numbered()
        transactions.start(SERVER, bytes, 0.0)
        transactions.datagramsToSend()
        transactions.timerFired(3600.0)
        self.assertEqual(len(transactions.datagramsToSend()), 1)
        self.assertEqual(transactions.deadline(), 3601.0)
