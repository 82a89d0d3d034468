"""
Tests for L{vnet.protocols.machine.lifetime}.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from vnet.driver import Driver
from vnet.protocols.codec.stun import BINDING, Class, Message, decode, encode
from vnet.protocols.codec.stunattributes import XOR_MAPPED_ADDRESS
from vnet.protocols.machine.agentevents import AgentEvent, ConsentLost, Selected
from vnet.protocols.machine.lifetime import (
    BARE,
    FLOOR,
    LONGEST,
    STEPS,
    UNKNOWN,
    Died,
    Hidden,
    KeepAlive,
    LifetimeEvent,
    LifetimeProbe,
    Lived,
)
from vnet.protocols.punch import Attempt, Puncher
from vnet.test.icepeers import seeded
from vnet.test.natsim import HeapClock, Host, Internet, Nat
from vnet.values import Address

SERVER = Address("203.0.113.53", 3478)


def serve(internet: Internet) -> None:
    """
    A STUN server.
    """

    def answer(data: bytes, source: Address, destination: Address, hops: int = 64) -> None:
        request = decode(data)
        attributes = (XOR_MAPPED_ADDRESS(source),)
        reply = encode(Message(BINDING, Class.SUCCESS, request.transactionId, attributes))
        internet.send(reply, destination, source)

    internet.members[SERVER.host] = answer


class KeepAliveTests(SynchronousTestCase):
    """
    L{KeepAlive}.
    """

    def setUp(self) -> None:
        self.keepAlive = KeepAlive()

    def test_unknown(self) -> None:
        """
        As long as nothing is known, no silence is longer than 12 s, 20 percent of jitter included.
        """
        self.assertEqual(self.keepAlive.interval, UNKNOWN)
        self.assertLessEqual(1.2 * UNKNOWN, 12.0)
        self.assertIs(self.keepAlive.proven, None)

    def test_bare(self) -> None:
        """
        Where there is no NAT it is less often, until something is lost or the network is another one.
        """
        keepAlive = KeepAlive()
        keepAlive.isBare = True
        self.assertEqual(keepAlive.interval, BARE)
        keepAlive.enter(["192.0.2.0/24"])
        self.assertEqual(keepAlive.interval, UNKNOWN)
        keepAlive.isBare = True
        keepAlive.lapsed()
        self.assertEqual(keepAlive.interval, FLOOR)

    def test_grows(self) -> None:
        """
        With each step that is proven the interval grows, is less than what was proven even with jitter, and never above 110 s.
        """
        before = 0.0
        for step in STEPS:
            self.keepAlive.lived(step)
            interval = self.keepAlive.interval
            self.assertGreaterEqual(interval, max(before, UNKNOWN))
            self.assertLessEqual(1.2 * interval, max(step, 1.2 * UNKNOWN))
            self.assertLessEqual(1.2 * interval, LONGEST)
            before = interval
        self.assertGreater(before, 80.0)
        self.assertTrue(self.keepAlive.isSettled)

    def test_died(self) -> None:
        """
        A NAT that forgets between 10 and 20 s gets a packet each 8 s, and one between 30 and 45 each 22.
        """
        self.keepAlive.lived(10.0)
        self.keepAlive.died(20.0)
        self.assertEqual(self.keepAlive.interval, FLOOR)
        other = KeepAlive()
        other.lived(30.0)
        other.died(45.0)
        self.assertEqual(other.interval, 22.5)
        self.assertTrue(other.isSettled)

    def test_lapsed(self) -> None:
        """
        What was lost after a silence leads to the floor at once, whatever was proven.
        """
        self.keepAlive.lived(120.0)
        self.keepAlive.lapsed()
        self.assertEqual((self.keepAlive.interval, self.keepAlive.proven), (FLOOR, None))

    def test_networks(self) -> None:
        """
        Each network has a lifetime of its own, and the last 16 are remembered.
        """
        self.keepAlive.enter(["192.168.1.0/24"])
        self.keepAlive.lapsed()
        self.keepAlive.enter(["10.0.0.0/24"])
        self.assertEqual(self.keepAlive.interval, UNKNOWN)
        self.keepAlive.enter(["192.168.1.0/24"])
        self.assertEqual(self.keepAlive.interval, FLOOR)
        for number in range(16):
            self.keepAlive.enter([f"10.1.{number}.0/24"])
        self.keepAlive.enter(["192.168.1.0/24"])
        self.assertEqual(self.keepAlive.interval, UNKNOWN)


class ProbeTests(SynchronousTestCase):
    """
    L{LifetimeProbe} behind NATs.
    """

    def probe(
        self, lifetime: float = 120.0, preserves: bool = False, loss: float = 0.0
    ) -> list[LifetimeEvent]:
        """
        What it finds in 20 minutes.
        """
        clock = HeapClock()
        internet = Internet(clock, seed=1)
        serve(internet)
        lan = internet.lan()
        Nat(lan, internet, "198.51.100.1", preserves=preserves, lifetime=lifetime)
        internet.loss = loss
        host = Host({"192.168.1.2": lan}, 5000)
        found: list[LifetimeEvent] = []
        self.machine = LifetimeProbe(SERVER, 5000, random=seeded(1), now=clock.seconds())
        driver: Driver[LifetimeEvent] = Driver(self.machine, clock, host.send, found.append)
        host.received = driver.datagramReceived
        driver.wake()
        clock.run(1200.0)
        return found

    def test_short(self) -> None:
        """
        A lifetime of 15 s is found between 10 and 20.
        """
        self.assertEqual(self.probe(15.0), [Lived(10.0), Died(20.0)])

    def test_long(self) -> None:
        """
        One that is longer than all steps is proven to the last, and nothing is sent after that.
        """
        self.assertEqual(self.probe(300.0), [Lived(each) for each in STEPS])
        self.assertIs(self.machine.deadline(), None)

    def test_loss(self) -> None:
        """
        Losses do not make a lifetime look shorter than it is, nor longer.
        """
        self.assertEqual(
            self.probe(50.0, loss=0.2), [Lived(10.0), Lived(20.0), Lived(30.0), Lived(45.0), Died(60.0)]
        )

    def test_preserving(self) -> None:
        """
        Where a new mapping has the same port as the old one, nothing is claimed.
        """
        self.assertEqual(self.probe(15.0, preserves=True), [Hidden()])

    def test_silent(self) -> None:
        """
        A server that does not answer ends the probe.
        """
        self.assertEqual(self.probe(loss=1.0), [Hidden()])

    def test_hostile(self) -> None:
        """
        Garbage, answers that nobody asked for, and those of others change nothing.
        """
        machine = LifetimeProbe(SERVER, 5000, random=seeded(1), now=0.0)
        (request, _), *_ = machine.datagramsToSend(0.0)
        asked = decode(request).transactionId
        answer = encode(
            Message(BINDING, Class.SUCCESS, asked, (XOR_MAPPED_ADDRESS(Address("198.51.100.1", 7)),))
        )
        for data, source in (
            (b"", SERVER),
            (b"\0" * 20, SERVER),
            (request, SERVER),
            (answer, Address("192.0.2.1", 1)),
        ):
            machine.receive(data, source, 0.1)
        self.assertIs(machine.nextEvent(), None)


class _Side:
    """
    A computer with a puncher.
    """

    def __init__(
        self, clock: Clock, internet: Internet, number: int, lifetime: float, preserves: bool
    ) -> None:
        lan = internet.lan()
        self.nat = Nat(lan, internet, f"198.51.100.{number}", preserves=preserves, lifetime=lifetime)
        self.host = Host({f"192.168.{number}.2": lan}, 5000)
        self.puncher = Puncher(clock, self.host.send, seeded(number))
        self.host.received = self.puncher.datagramReceived
        self.puncher.setLocal([f"192.168.{number}.2"], 5000)
        self.puncher.setServers([SERVER])
        self.events: list[AgentEvent] = []
        self.attempt: Attempt | None = None

    def connect(self, controlling: bool, startAt: float) -> Attempt:
        self.attempt = self.puncher.connect(
            b"peer", controlling=controlling, startAt=startAt, onEvent=self.events.append
        )
        return self.attempt


class ShortLifetimeTests(SynchronousTestCase):
    """
    Two computers behind NATs that forget a mapping after 15 s without a packet from inside.
    """

    def check(self, preserves: bool, loss: float) -> None:
        clock = HeapClock()
        internet = Internet(clock, seed=3)
        serve(internet)
        sides = [_Side(clock, internet, number, 15.0, preserves) for number in (1, 2)]
        clock.run(1.0)
        one, other = (side.connect(side is sides[0], clock.seconds() + 0.1) for side in sides)
        one.remoteSignal(other.signal(1))
        other.remoteSignal(one.signal(1))
        clock.run(10.0)
        internet.loss = loss
        for phase in range(30):
            for _ in range(60):
                clock.run(1.0)
                # Idle and busy phases, of different lengths.
                if phase % 3 == 2:
                    one.noteTraffic()
                    other.noteTraffic()
            self.assertEqual(sides[0].events.count(ConsentLost()) + sides[1].events.count(ConsentLost()), 0)
        for side in sides:
            self.assertEqual(
                len([each for each in side.events if isinstance(each, Selected)]), 1, side.events
            )

    def test_random(self) -> None:
        """
        In 30 minutes of idling and traffic no path is lost or changed, from the first minute on, where each new mapping would get
        another port.
        """
        self.check(False, 0.0)

    def test_preserving(self) -> None:
        """
        The same where it would get the same port.
        """
        self.check(True, 0.0)

    def test_loss(self) -> None:
        """
        The same with 2 percent of loss.
        """
        self.check(True, 0.02)
