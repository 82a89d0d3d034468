"""
Much data through TLS: what goes past Twisted's transport, on connections with all that is between.
"""

from __future__ import annotations

import os
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.codec.turn import encodeChannelData
from vnet.protocols.tls import relayClientOptions, relayServerOptions, serverFactory, spkiHash
from vnet.protocols.tlsrecords import Records
from vnet.protocols.turnstream import QUEUE_MOST, TurnStream
from vnet.test.tcppairs import Pair
from vnet.test.test_tls import Authority
from vnet.test.test_turnstream import Owner

ONE = 0x4000
TRAIN = [bytes([each]) * 1404 for each in range(45)]
FRAMES = [encodeChannelData(ONE, each) for each in TRAIN]


class RecordsTests(SynchronousTestCase):
    """
    A client and a relay with TLS between them.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.owners = Owner(), Owner()
        self.streams = [TurnStream(owner, self.clock) for owner in self.owners]
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = Authority().issue(key, "192.0.2.1")
        client = TLSMemoryBIOFactory(
            relayClientOptions(spkiHash(certificate), "192.0.2.1"), True, self.factory(0), self.clock
        )
        server = serverFactory(relayServerOptions(key, certificate), self.factory(1), self.clock)
        address: Any = None
        self.pair = Pair(client.buildProtocol(address), server.buildProtocol(address))
        self.streams[0].send([FRAMES[0]])
        self.settle()
        self.streams[1].send([FRAMES[0]])
        self.settle()
        for owner in self.owners:
            self.assertEqual(owner.frames, [FRAMES[0]])
            owner.frames.clear()
            owner.trains.clear()
        for socket in self.pair.sockets:
            socket.sent.clear()
        self.pair.reactor.calls = 0

    def factory(self, side: int) -> Factory:
        factory = Factory()
        factory.buildProtocol = lambda addr: self.streams[side]  # type: ignore[method-assign]
        return factory

    def settle(self) -> None:
        self.pair.pump()
        self.clock.advance(0)
        self.pair.pump()

    def test_trains(self) -> None:
        """A train is sent with one call of the kernel, without the reactor, and comes as one train; either way."""
        self.assertTrue(all(isinstance(end.protocol, Records) for end in self.pair.ends))
        for side in (0, 1):
            self.streams[side].sendTrain(ONE, TRAIN)
            self.assertEqual(len(self.pair.sockets[side].sent), 1)
            self.settle()
            self.assertEqual([train.datagramCount for train in self.owners[1 - side].trains], [45])
            self.assertEqual(self.owners[1 - side].frames, FRAMES)
        self.assertEqual(self.pair.reactor.calls, 0)

    def test_cut(self) -> None:
        """However the records are cut, and however many come at once, all that was sent arrives, in order."""
        for _ in range(12):
            self.streams[0].sendTrain(ONE, TRAIN)
        sealed = bytes(self.pair.sockets[1].incoming)
        self.pair.sockets[1].incoming.clear()
        end: Any = self.pair.ends[1]
        for first in range(20_000):
            end.protocol.dataReceived(sealed[first : first + 1])
        end.protocol.dataReceived(sealed[20_000:])
        self.assertEqual(self.owners[1].frames, FRAMES * 12)

    def test_large(self) -> None:
        """What is longer than the memory of a call is sent, too."""
        frames = [encodeChannelData(ONE, bytes([each]) * 60_000) for each in range(10)]
        self.streams[1].send(frames)
        self.settle()
        self.assertEqual(self.owners[0].frames, frames)

    def test_full(self) -> None:
        """
        Where the kernel takes only a part, the rest waits and goes first; beyond that little waits, and the oldest is dropped.
        """
        socket, stream, expected = self.pair.sockets[0], self.streams[0], list(FRAMES)
        socket.room = 10_000
        stream.sendTrain(ONE, TRAIN)
        self.assertEqual(sum(socket.sent), 10_000)
        while not stream.waiting:
            stream.sendTrain(ONE, TRAIN)
            expected += FRAMES
        del expected[-45:]
        below = self.pair.ends[0]
        held = len(below.dataBuffer) + below._tempDataLen
        for _ in range(100):
            stream.sendTrain(ONE, TRAIN[:1] * 45)
            self.assertLessEqual(stream.waiting, QUEUE_MOST)
        self.assertEqual(len(below.dataBuffer) + below._tempDataLen, held)
        self.assertGreater(stream.counters["dropped"], 0)
        self.assertLess(held, 300_000)
        socket.room = 1 << 30
        self.settle()
        frames = self.owners[1].frames
        self.assertEqual(frames[: len(expected)], expected)
        self.assertEqual(len(frames) + stream.counters["dropped"], len(expected) + 45 * 101)
        stream.sendTrain(ONE, TRAIN)
        self.settle()
        self.assertEqual(self.owners[1].frames[-45:], FRAMES)

    def test_close(self) -> None:
        """The end of one side is the other's, in order, after what was sent before."""
        for closing in (0, 1):
            self.setUp()
            self.streams[closing].sendTrain(ONE, TRAIN)
            self.streams[closing].close()
            self.settle()
            self.assertEqual(self.owners[1 - closing].frames, FRAMES)
            self.assertEqual([owner.events for owner in self.owners], [["connected", "lost"]] * 2)
            self.assertIsInstance(self.reasons[1 - closing].value, ConnectionDone)

    @property
    def reasons(self) -> list[Any]:
        return [owner.reason for owner in self.owners]

    def test_forged(self) -> None:
        """A record that was changed ends the connection, delivers nothing, and leaves no error to other connections."""
        other = RecordsTests("test_trains")
        other.setUp()
        self.streams[0].sendTrain(ONE, TRAIN)
        self.pair.sockets[1].incoming[100] ^= 1
        self.settle()
        self.assertEqual(self.owners[1].frames, [])
        self.assertEqual(self.owners[1].events, ["connected", "lost"])
        self.assertIsInstance(self.reasons[1].value, SSL.Error)
        other.streams[0].sendTrain(ONE, TRAIN)
        other.settle()
        self.assertEqual(other.owners[1].frames, FRAMES)
        self.assertEqual(other.owners[1].events, ["connected"])

    def test_garbage(self) -> None:
        """Garbage after the handshake ends the connection."""
        for garbage in (os.urandom(100), b"\x17\x03\x03\xff\xff" + bytes(200), bytes(70_000)):
            self.setUp()
            self.pair.sockets[1].incoming += garbage
            self.settle()
            self.assertEqual((self.owners[1].frames, self.owners[1].events), ([], ["connected", "lost"]))

    def test_foreign(self) -> None:
        """So does what is no message of TURN, once, whatever comes behind it."""
        self.streams[0]._write(b"\xff" * 60_000)
        self.streams[0]._write(b"\xff" * 60_000)
        self.settle()
        self.assertEqual((self.streams[1].counters["malformed"], self.owners[1].frames), (1, []))
        self.assertEqual(self.owners[1].events, ["connected", "lost"])

    def test_gone(self) -> None:
        """What is sent to a connection that broke goes nowhere, and the reactor finds that out."""
        self.pair.sockets[0].isOpen = self.pair.sockets[1].isOpen = False
        self.streams[0].sendTrain(ONE, TRAIN)
        self.settle()
        self.streams[0].sendTrain(ONE, TRAIN)
        self.assertEqual([owner.events for owner in self.owners], [["connected", "lost"]] * 2)
