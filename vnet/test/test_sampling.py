"""
What a STUN server sees of several sockets.
"""

from __future__ import annotations

import random

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.codec.stun import BINDING, Class, Message, decode, encode
from vnet.protocols.codec.stunattributes import XOR_MAPPED_ADDRESS, Attribute
from vnet.protocols.sampling import Sampler
from vnet.values import Address

SERVER = Address("198.51.100.1", 3478)


class SamplerTests(SynchronousTestCase):
    def setUp(self) -> None:
        """A sampler whose datagrams are noted."""
        self.clock = Clock()
        self.sent: list[tuple[bytes, Address]] = []
        self.sampler = Sampler(self.clock, self.sent.extend, random.Random(1).randbytes)
        self.found: list[dict[str, Address]] = []

    def answer(self, index: int, port: int, source: Address | None = None) -> bool:
        """Answer one request, if the sampler expects that."""
        request, there = self.sent[index]
        transactionId = decode(request).transactionId
        mapped = Attribute(XOR_MAPPED_ADDRESS, Address("203.0.113.9", port))
        data = encode(Message(BINDING, Class.SUCCESS, transactionId, (mapped,)))
        expected = self.sampler.expects(transactionId, source or there)
        self.sampler.datagramReceived(data, source or there)
        return expected

    def test_order(self) -> None:
        """All are asked at once in the order given, each from its socket; the answers come together."""
        self.sampler.ask(SERVER, ["#1", "#2"], self.found.append)
        self.assertEqual([there.via for _, there in self.sent], ["#1", "#2"])
        self.assertTrue(self.answer(1, 7))
        self.assertEqual(self.found, [])
        self.assertTrue(self.answer(0, 6))
        self.assertEqual(self.found, [{"#1": Address("203.0.113.9", 6), "#2": Address("203.0.113.9", 7)}])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_lost(self) -> None:
        """A request that is lost is sent again; in the end what is known is told without it."""
        self.sampler.ask(SERVER, ["#1", "#2"], self.found.append)
        self.answer(0, 6)
        for _ in range(20):
            self.clock.advance(0.1)
        self.assertEqual([there.via for _, there in self.sent], ["#1", "#2", "#2", "#2"])
        self.assertEqual(self.found, [{"#1": Address("203.0.113.9", 6)}])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_strangers(self) -> None:
        """What comes from elsewhere, to another socket, or is no answer, counts for nothing."""
        self.sampler.ask(SERVER, ["#1"], self.found.append)
        self.assertFalse(self.answer(0, 6, SERVER))
        self.assertFalse(self.answer(0, 6, Address("198.51.100.2", 3478, "#1")))
        self.sampler.datagramReceived(b"garbage", Address(*SERVER[:2], "#1"))
        self.sampler.datagramReceived(self.sent[0][0], Address(*SERVER[:2], "#1"))
        self.assertEqual(self.found, [])

    def test_cancelled(self) -> None:
        """Who has cancelled is not told, nor is anyone after the end."""
        cancel = self.sampler.ask(SERVER, ["#1"], self.found.append)
        cancel()
        cancel()
        self.assertFalse(self.answer(0, 6))
        self.sampler.ask(SERVER, ["#2"], self.found.append)
        self.sampler.close()
        self.clock.advance(9)
        self.assertEqual((self.found, self.clock.getDelayedCalls()), ([], []))
