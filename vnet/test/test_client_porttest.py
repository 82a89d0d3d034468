"""
Tests for L{vnet.client.porttest}.
"""

from __future__ import annotations

import random
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.porttest import PortTest
from vnet.errors import Refused, Unreachable
from vnet.protocols import control
from vnet.values import Address, NatReport

HOST, PORT = "198.51.100.7", 41641
MEDIATOR = Address("203.0.113.1", 33333)


def at(host: str, **known: Any) -> NatReport:
    """
    What is known at a public address.
    """
    return NatReport(udp=True, publicAddress=Address(host, known.pop("port", PORT)), natted=True, **known)


class PortTestTests(SynchronousTestCase):
    """
    L{PortTest}.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.asked: list[bytes] = []
        self.answer: Any = {"host": HOST}
        self.changes: list[str | None] = []
        self.test = PortTest(
            self.clock,
            PORT,
            self.ask,
            random.Random(1).randbytes,
            lambda: self.changes.append(self.test.result),
        )

    async def ask(self, command: Any, port: int, token: bytes) -> dict[str, Any]:
        """
        Be the mediator.
        """
        self.assertEqual((command, port), (control.TestPort, PORT))
        self.asked.append(token)
        if isinstance(self.answer, Exception):
            raise self.answer
        return dict(self.answer)

    def begin(self) -> None:
        """
        The node gets a public address.
        """
        self.test.consider(at(HOST))
        self.clock.advance(0)

    def pass_(self, seconds: float) -> None:
        """
        Let time pass.
        """
        for _ in range(int(seconds * 10)):
            self.clock.advance(0.1)

    def test_open(self) -> None:
        """The datagram with the token means that the port is open; there is one question."""
        self.begin()
        (token,) = self.asked
        self.assertTrue(self.test.expects(token, MEDIATOR))
        self.test.datagramReceived(b"", MEDIATOR)
        self.assertEqual((self.test.result, self.changes), ("open", ["open"]))
        self.assertFalse(self.test.expects(token, MEDIATOR))
        self.pass_(100)
        self.assertEqual((len(self.asked), self.clock.getDelayedCalls()), (1, []))

    def test_token(self) -> None:
        """Another token, another socket, and anything at all before a question, are not expected."""
        self.assertFalse(self.test.expects(b"", MEDIATOR))
        self.assertFalse(self.test.expects(bytes(12), MEDIATOR))
        self.begin()
        self.assertFalse(self.test.expects(bytes(12), MEDIATOR))
        self.assertFalse(self.test.expects(self.asked[0], MEDIATOR._replace(via="#1")))
        self.assertFalse(self.test.expects(self.asked[0], MEDIATOR._replace(via="relay")))

    def test_closed(self) -> None:
        """Three datagrams that do not come, ten seconds apart, mean that it is closed; each has its own token."""
        self.begin()
        self.pass_(20)
        self.assertIsNone(self.test.result)
        self.pass_(10)
        self.assertEqual((self.test.result, len(set(self.asked))), ("closed", 3))
        self.pass_(100)
        self.assertEqual(len(self.asked), 3)

    def test_lost(self) -> None:
        """One that is lost is made up for by the next."""
        self.begin()
        self.pass_(11)
        self.test.datagramReceived(b"", MEDIATOR)
        self.assertEqual(self.test.result, "open")

    def test_proxy(self) -> None:
        """Where the mediator sees another address than the STUN servers, silence says nothing."""
        self.answer = {"host": "192.0.2.1"}
        self.begin()
        self.pass_(100)
        self.assertEqual((self.test.result, len(self.asked)), (None, 1))

    def test_refused(self) -> None:
        """A mediator that refuses is asked three times, one that does not know the question once; then a new session is."""
        for error, times in ((Refused("too many requests"), 3), (Unreachable("no such command"), 1)):
            self.asked.clear()
            self.answer = error
            self.pass_(11)
            self.begin()
            self.pass_(100)
            self.assertEqual((self.test.result, len(self.asked)), (None, times))
        self.answer = {"host": HOST}
        self.begin()
        self.assertEqual(len(self.asked), 2)

    def test_moved(self) -> None:
        """At another public address nothing of the old one is said, and the port is tested again, at most each 10 s."""
        self.begin()
        self.test.datagramReceived(b"", MEDIATOR)
        self.test.consider(at(HOST, mapping="endpoint-independent"))
        self.assertEqual(self.test.result, "open")
        for number in range(50):
            self.answer = {"host": f"198.51.100.{number}"}
            self.test.consider(at(f"198.51.100.{number}"))
            self.assertIsNone(self.test.result)
            self.clock.advance(0.1)
        self.assertEqual(len(self.asked), 1)
        self.pass_(11)
        self.assertEqual(len(self.asked), 2)
        self.test.consider(NatReport(udp=False))
        self.pass_(100)
        self.assertEqual((len(self.asked), self.clock.getDelayedCalls()), (2, []))

    def test_again(self) -> None:
        """Who asks for the result has a closed port tested again, and waits for it, but not long."""
        done: list[None] = []
        self.test.again(1.0).addCallback(done.append)
        self.assertEqual(done, [None])
        self.begin()
        self.pass_(40)
        self.assertEqual(self.test.result, "closed")
        self.test.again(1.0).addCallback(done.append)
        self.clock.advance(0)
        self.assertEqual(len(self.asked), 4)
        self.test.datagramReceived(b"", MEDIATOR)
        self.assertEqual((self.test.result, len(done)), ("open", 2))
        self.test.again(1.0).addCallback(done.append)
        self.assertEqual((len(done), len(self.asked)), (3, 4))
        self.test.consider(at("198.51.100.8"))
        self.test.again(1.0).addCallback(done.append)
        self.pass_(0.9)
        self.assertEqual(len(done), 3)
        self.pass_(0.2)
        self.assertEqual(len(done), 4)

    def test_byAddress(self) -> None:
        """A NAT that filters by address lets in the mediator at the port that it has mapped: that says nothing of others."""
        self.begin()
        self.test.datagramReceived(b"", MEDIATOR)
        self.assertIsNone(self.test.forwarded(at(HOST, filtering="address-dependent")))
        self.assertEqual(self.test.forwarded(at(HOST, filtering="address-dependent", port=5000)), "open")
        self.assertEqual(self.test.forwarded(at(HOST, filtering="address-and-port-dependent")), "open")

    def test_close(self) -> None:
        """Closing ends all."""
        self.begin()
        done: list[None] = []
        self.test.again(1.0).addCallback(done.append)
        self.test.close()
        self.pass_(2)
        self.assertEqual((done, self.clock.getDelayedCalls()), ([None], []))
