"""
Tests for L{vnet.protocols.machine.routerquery}.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from vnet.driver import Driver
from vnet.errors import DecodeError
from vnet.protocols.machine.routerquery import Answered, QueryEvent, RouterQuery, Unanswered
from vnet.values import Address

ROUTER = Address("192.168.1.1", 5351)


def read(data: bytes) -> int | None:
    """
    Read a digit; zero answers another request.
    """
    if not data.isdigit():
        raise DecodeError("no digit")
    return int(data) or None


class QueryTests(SynchronousTestCase):
    """
    The machine under its driver.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.sent: list[tuple[float, bytes]] = []
        self.events: list[QueryEvent[int]] = []

    def query(self, sends: int, *requests: bytes) -> Driver[QueryEvent[int]]:
        driver: Driver[QueryEvent[int]] = Driver(
            RouterQuery(requests or (b"?",), ROUTER, read, sends), self.clock, self.send, self.events.append
        )
        driver.wake()
        return driver

    def send(self, datagrams: list[tuple[bytes, Address]]) -> None:
        self.assertEqual({addr for _, addr in datagrams}, {ROUTER})
        self.sent += [(self.clock.seconds(), data) for data, _ in datagrams]

    def test_schedule(self) -> None:
        """
        It is sent after 250 ms, twice as late each time, 9 times; then it has failed, and no timer is left.
        """
        self.query(9)
        self.clock.pump([0.25] * 512)
        times = [moment for moment, _ in self.sent]
        self.assertEqual(times, [0.25 * (2**number - 1) for number in range(9)])
        self.assertEqual((self.events, self.clock.getDelayedCalls()), ([Unanswered()], []))

    def test_answered(self) -> None:
        """
        An answer ends it, once; what is none, or comes from elsewhere, does not.
        """
        driver = self.query(9)
        driver.datagramReceived(b"garbage", ROUTER)
        driver.datagramReceived(b"0", ROUTER)
        driver.datagramReceived(b"7", Address("192.168.1.2", 5351))
        self.assertEqual(self.events, [])
        driver.datagramReceived(b"7", ROUTER)
        driver.datagramReceived(b"8", ROUTER)
        self.clock.pump([1.0] * 10)
        self.assertEqual((self.events, len(self.sent)), ([Answered(7)], 1))

    def test_severalRequests(self) -> None:
        """
        Several words for one request are sent together.
        """
        self.query(2, b"a", b"b")
        self.clock.pump([0.25, 0.25, 0.25])
        self.assertEqual(self.sent, [(0.0, b"a"), (0.0, b"b"), (0.25, b"a"), (0.25, b"b")])
        self.assertEqual(self.events, [Unanswered()])
