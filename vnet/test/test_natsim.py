"""
Tests for L{vnet.test.natsim}: the laboratory itself has to behave.
"""

from __future__ import annotations

import random
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from vnet.test.bordertests import PortContract
from vnet.test.natsim import MAPPING, HeapClock, Host, Internet, Nat, NatHost, SimPort
from vnet.values import Address

ONE, OTHER_PORT, OTHER_HOST = Address("203.0.113.1", 1), Address("203.0.113.1", 2), Address("203.0.113.2", 1)


class Stranger:
    """
    A public host that notes from where it hears.
    """

    def __init__(self, internet: Internet, address: Address) -> None:
        self.heard: list[Address] = []
        self.host = Host(
            {address.host: internet}, address.port, lambda data, source: self.heard.append(source)
        )


class NatTests(SynchronousTestCase):
    """
    L{Nat}.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.internet = Internet(self.clock, delay=0.0)
        self.heard: list[tuple[bytes, Address]] = []

    def inside(self, mapping: str, filtering: str, **more: Any) -> Host:
        lan = self.internet.lan(0.0)
        self.nat = Nat(lan, self.internet, "198.51.100.1", mapping, filtering, **more)
        self.lan = lan
        return Host({"10.0.0.2": lan}, 5000, lambda data, source: self.heard.append((data, source)))

    def run_(self) -> None:
        for _ in range(5):
            self.clock.advance(0)

    def sourcesSeen(self, mapping: str) -> list[Address]:
        host = self.inside(mapping, "endpoint-independent")
        strangers = []
        for address in (ONE, OTHER_HOST):
            strangers.append(Stranger(self.internet, address))
            host.send([(b"x", address)])
        # The second port of the first host is a host of its own here.
        self.run_()
        host.send([(b"x", OTHER_PORT)])
        self.run_()
        third = [source for source, destination, _ in self.internet.log if destination == OTHER_PORT]
        return [strangers[0].heard[0], strangers[1].heard[0], third[-1]]

    def test_mapping(self) -> None:
        """
        The external address depends on what of the destination the mapping says, and on nothing else.
        """
        one, host, port = self.sourcesSeen("endpoint-independent")
        self.assertEqual({one, host, port}, {Address("198.51.100.1", 5000)})
        one, host, port = self.sourcesSeen("address-dependent")
        self.assertEqual(one, port)
        self.assertNotEqual(one, host)
        self.assertEqual(len(set(self.sourcesSeen("address-and-port-dependent"))), 3)

    def test_filtering(self) -> None:
        """
        From outside comes in what the filtering permits, and nothing else.
        """
        passed = {}
        for filtering in MAPPING:
            self.heard.clear()
            host = self.inside("endpoint-independent", filtering)
            host.send([(b"x", ONE)])
            self.run_()
            for source in (ONE, OTHER_PORT, OTHER_HOST):
                self.internet.send(b"y", source, Address("198.51.100.1", 5000))
            self.internet.send(b"y", ONE, Address("198.51.100.1", 5001))
            self.run_()
            passed[filtering] = [source for _, source in self.heard]
        self.assertEqual(passed["endpoint-independent"], [ONE, OTHER_PORT, OTHER_HOST])
        self.assertEqual(passed["address-dependent"], [ONE, OTHER_PORT])
        self.assertEqual(passed["address-and-port-dependent"], [ONE])

    def test_lifetime(self) -> None:
        """
        A mapping that is not used ends.
        """
        host = self.inside("endpoint-independent", "endpoint-independent")
        host.send([(b"x", ONE)])
        self.run_()
        self.clock.advance(121)
        self.internet.send(b"y", ONE, Address("198.51.100.1", 5000))
        self.run_()
        self.assertEqual(self.heard, [])

    def test_hairpin(self) -> None:
        """
        A host reaches another by the external address exactly when the NAT hairpins.
        """
        for hairpin in (False, True):
            self.heard.clear()
            host = self.inside("endpoint-independent", "endpoint-independent", hairpin=hairpin)
            other = Host({"10.0.0.3": self.lan}, 6000)
            host.send([(b"x", ONE)])
            self.run_()
            other.send([(b"z", Address("198.51.100.1", 5000))])
            self.run_()
            self.assertEqual(self.heard, [(b"z", Address("198.51.100.1", 6000))] if hairpin else [])


class MemoryContract(PortContract):
    """
    What holds for each port, of one computer.
    """

    __test__ = True
    host, host6 = "192.0.2.1", "2001:db8::1"

    def setUp(self) -> None:
        self.clock = HeapClock()
        internet = Internet(self.clock, delay=0.01)
        self.computer = NatHost({self.host: internet, self.host6: internet})

    def newPort(self, number: int = 0) -> SimPort:
        """A port of the one computer."""
        return self.computer.port(number)

    def turn(self) -> None:
        """Let what is under way arrive."""
        self.clock.run(0.1)


class ClockTests(SynchronousTestCase):
    """
    L{HeapClock}.
    """

    def story(self, clock: Clock, seed: int) -> list[tuple[float, int]]:
        """
        Make, move and cancel calls at random; each moment holds one call at most.
        """
        source, ran, calls = random.Random(seed), list[tuple[float, int]](), list[Any]()
        for number in range(400):
            delay = source.random() * 5 + number * 1e-9
            calls.append(clock.callLater(delay, lambda n=number: ran.append((clock.seconds(), n))))
            call = source.choice(calls)
            if call.active():
                action = source.randrange(4)
                if action == 0:
                    call.cancel()
                elif action == 1:
                    call.reset(source.random() * 5)
                elif action == 2:
                    call.delay(source.random())
            clock.advance(source.random() * 0.05)
            ran.append((float(len(clock.getDelayedCalls())), -1))
        clock.advance(20)
        return ran

    def test_asClock(self) -> None:
        """
        Calls run when and in the order in which a L{Clock} runs them, however they are moved and cancelled.
        """
        for seed in range(10):
            self.assertEqual(self.story(HeapClock(), seed), self.story(Clock(), seed))

    def test_sameMoment(self) -> None:
        """
        Calls of the same moment run in the order in which they were made, and those that they make for now as well.
        """
        clock, ran = HeapClock(), list[str]()
        clock.callLater(1, ran.append, "a")
        clock.callLater(1, clock.callLater, 0, ran.append, "c")
        clock.callLater(1, ran.append, "b")
        clock.advance(1)
        self.assertEqual(ran, ["a", "b", "c"])

    def test_run(self) -> None:
        """
        While it runs, each call sees the time that it was made for, and C{until} ends it.
        """
        clock, seen = HeapClock(), list[float]()
        for time in (0.5, 1.25, 3.0):
            clock.callLater(time, lambda: seen.append(clock.seconds()))
        self.assertFalse(clock.run(1.0))
        self.assertEqual((seen, clock.seconds()), ([0.5], 1.0))
        self.assertTrue(clock.run(5.0, lambda: len(seen) == 2))
        self.assertEqual((seen, clock.seconds()), ([0.5, 1.25], 1.25))
