"""
Tests for L{vnet.driver}.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from itertools import pairwise

from attrs import define, field
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from vnet.driver import Driver
from vnet.values import Address

ADDR = Address("192.0.2.1", 1)


@define
class Script:
    """
    A machine that does what the test puts into it, and remembers what it was told.
    """

    outbox: list[tuple[bytes, Address]] = field(factory=list)
    events: list[str] = field(factory=list)
    due: float | None = None
    period: float | None = None
    told: list[object] = field(factory=list)
    fault: Exception | None = None

    def receive(self, data: bytes, addr: Address, now: float) -> None:
        self.told.append((data, addr, now))
        self.events.append(data.decode())

    def datagramsToSend(self, now: float) -> list[tuple[bytes, Address]]:
        outbox, self.outbox = self.outbox, []
        return outbox

    def deadline(self) -> float | None:
        return self.due

    def timerFired(self, now: float) -> None:
        self.told.append(now)
        self.due = None if self.period is None else now + self.period
        if self.fault is not None:
            raise self.fault

    def nextEvent(self) -> str | None:
        return self.events.pop(0) if self.events else None


class DriverTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(100.0)
        self.machine = Script()
        self.sent: list[list[tuple[bytes, Address]]] = []
        self.events: list[str] = []

    def drive(
        self,
        send: Callable[[list[tuple[bytes, Address]]], None] | None = None,
        onEvent: Callable[[str], None] | None = None,
    ) -> Driver[str]:
        return Driver(self.machine, self.clock, send or self.sent.append, onEvent or self.events.append)

    def test_datagram(self) -> None:
        """A datagram reaches the machine with the clock's time, and its events come back in order."""
        driver = self.drive()
        driver.datagramReceived(b"a", ADDR)
        driver.datagramReceived(b"b", ADDR)
        self.assertEqual(self.machine.told, [(b"a", ADDR, 100.0), (b"b", ADDR, 100.0)])
        self.assertEqual(self.events, ["a", "b"])

    def test_batch(self) -> None:
        """All that waits to be sent is sent as one batch, and nothing as no batch."""
        driver = self.drive()
        self.machine.outbox = [(b"1", ADDR), (b"2", ADDR)]
        driver.wake()
        driver.wake()
        self.assertEqual(self.sent, [[(b"1", ADDR), (b"2", ADDR)]])

    def test_timer(self) -> None:
        """The machine is called at its deadline, again and again, by one delayed call."""
        self.machine.due, self.machine.period = 100.1, 0.1
        self.drive().wake()
        for _ in range(1000):
            self.clock.advance(0.01)
            self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.assertTrue(90 <= len(self.machine.told) <= 100)

    def test_rounding(self) -> None:
        """When the clock's sums round to before the deadline, the machine still gets the deadline."""
        start, due = next(
            (start, due)
            for start in (i / 700 for i in range(1, 1000))
            for due in (i / 10 for i in range(1, 100))
            if start + (due - start) < due
        )
        self.clock.rightNow = start
        self.machine.due = due
        self.drive().wake()
        self.clock.rightNow = start + (due - start)
        self.clock.advance(0)
        self.assertEqual(self.machine.told, [due])

    def test_earlier(self) -> None:
        """A deadline that moves nearer is met."""
        driver = self.drive()
        self.machine.due = 200.0
        driver.wake()
        self.machine.due = 101.0
        driver.wake()
        self.clock.advance(1.0)
        self.assertEqual(self.machine.told, [101.0])

    def test_later(self) -> None:
        """A deadline that moves away does not call the machine before it."""
        driver = self.drive()
        self.machine.due = 101.0
        driver.wake()
        self.machine.due = 105.0
        driver.wake()
        self.clock.pump([1.0, 1.0, 1.0, 1.0])
        self.assertEqual(self.machine.told, [])
        self.clock.advance(1.0)
        self.assertEqual(self.machine.told, [105.0])

    def test_noDeadline(self) -> None:
        """A machine that waits for nothing has no delayed call."""
        driver = self.drive()
        self.machine.due = 101.0
        driver.wake()
        self.machine.due = None
        driver.wake()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_pastDeadline(self) -> None:
        """A deadline in the past is met at once, but not within the call that set it."""
        self.machine.due = 0.0
        self.drive().wake()
        self.assertEqual(self.machine.told, [])
        self.clock.advance(0)
        self.assertEqual(self.machine.told, [100.0])

    def test_eventThatSends(self) -> None:
        """What an event's consumer makes the machine send is sent, and events stay in order."""

        def onEvent(event: str) -> None:
            self.events.append(event)
            if event == "a":
                self.machine.outbox.append((b"x", ADDR))
                self.machine.events.append("c")

        driver = self.drive(onEvent=onEvent)
        self.machine.events = ["a", "b"]
        driver.wake()
        self.assertEqual(self.events, ["a", "b", "c"])
        self.assertEqual(self.sent, [[(b"x", ADDR)]])

    def test_reentrant(self) -> None:
        """A call from inside a callback runs after it, not inside it."""
        depth = 0

        def onEvent(event: str) -> None:
            nonlocal depth
            depth += 1
            self.assertEqual(depth, 1)
            if event == "a":
                driver.datagramReceived(b"b", ADDR)
            self.events.append(event)
            depth -= 1

        def send(datagrams: list[tuple[bytes, Address]]) -> None:
            self.sent.append(datagrams)
            if len(self.sent) < 3:
                self.machine.outbox.append((b"y", ADDR))
                driver.wake()

        driver = self.drive(send, onEvent)
        self.machine.outbox = [(b"x", ADDR)]
        driver.datagramReceived(b"a", ADDR)
        self.assertEqual(self.events, ["a", "b"])
        self.assertEqual([batch[0][0] for batch in self.sent], [b"x", b"y", b"y"])

    def test_callbackFaults(self) -> None:
        """A callback that raises is logged, and neither stops the other nor the timer."""

        def fault(_: object) -> None:
            raise RuntimeError("fault")

        driver = self.drive(fault, fault)
        self.machine.outbox = [(b"x", ADDR)]
        self.machine.events = ["a", "b"]
        self.machine.due = 101.0
        driver.wake()
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 3)
        self.assertEqual(self.machine.events, [])
        self.clock.advance(1.0)
        self.assertEqual(self.machine.told, [101.0])

    def test_machineFault(self) -> None:
        """A machine that raises when its timer fires keeps its timer."""
        self.machine.due, self.machine.period = 101.0, 1.0
        self.machine.fault = RuntimeError("fault")
        self.drive().wake()
        self.assertRaises(RuntimeError, self.clock.advance, 1.0)
        self.machine.fault = None
        self.clock.advance(1.0)
        self.assertEqual(self.machine.told, [101.0, 102.0])

    def test_machineStuck(self) -> None:
        """A machine that raises, and whose deadline stays where it is, gets its timer once a second, whatever arrives."""
        self.machine.period, self.machine.fault = -1.0, RuntimeError("fault")
        self.machine.due = 101.0
        driver = self.drive()
        driver.wake()
        for _ in range(100):
            driver.datagramReceived(b"", ADDR)
            with contextlib.suppress(RuntimeError):
                self.clock.advance(0.1)
        fired = [each for each in self.machine.told if isinstance(each, float)]
        self.assertGreaterEqual(len(fired), 9)
        self.assertTrue(all(later - earlier > 0.99 for earlier, later in pairwise(fired)), fired)

    def test_stop(self) -> None:
        """After stop nothing is received, sent, delivered or timed, also when stopped by an event."""

        def onEvent(event: str) -> None:
            self.events.append(event)
            driver.stop()

        driver = self.drive(onEvent=onEvent)
        self.machine.events = ["a", "b"]
        self.machine.due = 101.0
        driver.wake()
        driver.datagramReceived(b"c", ADDR)
        self.machine.outbox = [(b"x", ADDR)]
        driver.wake()
        self.clock.advance(10.0)
        self.assertEqual((self.events, self.sent, self.machine.told), (["a"], [], []))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        driver.stop()
