"""
TURN over TCP and TLS.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence

from attrs import define, field
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import ISSLTransport, IWriteDescriptor
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import directlyProvides, implementer

from vnet.protocols.codec.stun import BINDING, Class, Message, encode
from vnet.protocols.codec.turn import encodeChannelData
from vnet.protocols.turnstream import (
    QUEUE_BYTES,
    QUEUE_FRAMES,
    QUEUE_MOST,
    QUEUE_SECONDS,
    UNSENT_BYTES,
    TurnStream,
)
from vnet.test.test_tls import Authority
from vnet.values import Train

REQUEST = encode(Message(BINDING, Class.REQUEST, b"t" * 12))


@define(eq=False)
class Owner:
    """
    Who keeps what happens.
    """

    frames: list[bytes] = field(factory=list)
    trains: list[Train] = field(factory=list)
    events: list[str] = field(factory=list)
    reason: Failure | None = None

    def streamConnected(self, stream: TurnStream) -> None:
        """See C{StreamOwner}."""
        self.events.append("connected")

    def framesReceived(self, stream: TurnStream, trains: Sequence[Train]) -> None:
        """See C{StreamOwner}."""
        self.trains += trains
        self.frames += [frame for train in trains for frame in train.datagrams()]

    def streamLost(self, stream: TurnStream, reason: Failure) -> None:
        """See C{StreamOwner}."""
        self.events.append("lost")
        self.reason = reason


@implementer(IWriteDescriptor)
class Descriptor(StringTransport):
    """
    What the reactor writes.

    @ivar ends: whether the connection has ended.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.ends = False

    def fileno(self) -> int:
        """It has none."""
        return -1

    def logPrefix(self) -> str:
        """It logs nothing."""
        return ""

    def connectionLost(self, reason: Failure) -> None:
        """Nobody says so."""

    def doWrite(self) -> Failure | None:
        """Write."""
        self.calls.append("doWrite")
        return Failure(ConnectionDone()) if self.ends else None

    def startWriting(self) -> None:
        """Have the reactor call C{doWrite}."""
        self.calls.append("startWriting")


class Records(StringTransport):
    """
    The transport of TLS.
    """

    def __init__(self, below: StringTransport, handle: SSL.Connection) -> None:
        super().__init__()
        self.transport, self._handle = below, handle

    def getHandle(self) -> SSL.Connection:
        """Its connection."""
        return self._handle


def memorySides() -> tuple[SSL.Connection, SSL.Connection]:
    """
    Two sides of a connection whose handshake is over.
    """
    authority = Authority()
    key = ec.generate_private_key(ec.SECP256R1())
    context = SSL.Context(SSL.TLS_METHOD)
    context.use_certificate(authority.issue(key, "192.0.2.1"))
    context.use_privatekey(key)
    server, client = SSL.Connection(context), SSL.Connection(SSL.Context(SSL.TLS_METHOD))
    server.set_accept_state()
    client.set_connect_state()
    for _ in range(3):
        for side, other in ((client, server), (server, client)):
            with contextlib.suppress(SSL.WantReadError):
                side.do_handshake()
            with contextlib.suppress(SSL.WantReadError):
                other.bio_write(side.bio_read(1 << 16))
    return client, server


class TurnStreamTests(SynchronousTestCase):
    def setUp(self) -> None:
        """A connection."""
        self.owner, self.wire, self.clock = Owner(), StringTransport(), Clock()
        self.stream = TurnStream(self.owner, self.clock)
        self.stream.makeConnection(self.wire)

    def test_both(self) -> None:
        """What one side sends the other gets, message by message and without padding, however it is cut."""
        frames = [REQUEST, encodeChannelData(0x4000, b"hello"), encodeChannelData(0x4001, b""), REQUEST]
        self.stream.send(frames)
        sent = self.wire.value()
        self.assertEqual(len(sent) % 4, 0)
        for cut in range(len(sent)):
            self.stream.dataReceived(sent[cut : cut + 1])
        self.assertEqual(self.owner.frames, frames)

    def test_foreign(self) -> None:
        """What is no such stream is cut off, and counted."""
        self.stream.dataReceived(b"\x16\x03\x01\x02\x00\x01\x00\x01")
        self.assertTrue(self.wire.disconnecting or self.wire.disconnected)
        self.assertEqual((self.owner.frames, self.stream.counters["malformed"]), ([], 1))

    def test_slow(self) -> None:
        """While the other side does not read, little waits for long, the oldest data goes first, and requests stay."""
        self.stream.pauseProducing()
        self.stream.send([REQUEST])
        data = [encodeChannelData(0x4000, b"%04d" % n) for n in range(1000)]
        for frame in data:
            self.clock.advance(QUEUE_SECONDS)
            self.stream.send([frame])
        self.clock.advance(1.1 * QUEUE_SECONDS)
        self.stream.send([data[-1]])
        self.assertEqual(self.wire.value(), b"")
        self.assertEqual(self.stream.counters["dropped"], 1002 - QUEUE_FRAMES)
        self.stream.resumeProducing()
        self.assertEqual(self.wire.value(), REQUEST + b"".join([*data[-QUEUE_FRAMES + 2 :], data[-1]]))
        self.stream.send([REQUEST])
        self.assertTrue(self.wire.value().endswith(REQUEST))

    def test_burst(self) -> None:
        """A burst waits as a whole, train by train, and goes when there is room: what came late, not more than fits."""
        self.stream.pauseProducing()
        trains = [[b"%04d" % n + bytes(1400)] * 40 for n in range(10)]
        for train in trains:
            self.stream.sendTrain(0x4000, train)
        self.assertEqual(self.stream.counters["dropped"], 0)
        self.clock.advance(1.1 * QUEUE_SECONDS)
        self.stream.sendTrain(0x4000, trains[0])
        self.assertLessEqual(self.stream.waiting, QUEUE_BYTES)
        self.assertEqual(self.stream.counters["dropped"], 400)
        full = self.wire.write

        def write(data: bytes) -> None:
            full(data)
            self.stream.pauseProducing()

        self.wire.write = write  # type: ignore[method-assign]
        self.stream.sendTrain(0x4000, trains[1])
        self.stream.resumeProducing()
        self.assertEqual(len(self.wire.value()), 40 * 1408)
        self.stream.resumeProducing()
        self.assertEqual((len(self.wire.value()), self.stream.waiting), (80 * 1408, 0))

    def test_train(self) -> None:
        """A train is written at once, each of its datagrams padded, and is read as one, with its shorter last one."""
        datagrams = [*[b"x" * 1403] * 20, b"y" * 7]
        self.stream.sendTrain(0x4003, datagrams)
        sent = self.wire.value()
        self.assertEqual(sent, b"".join(encodeChannelData(0x4003, each, stream=True) for each in datagrams))
        self.stream.dataReceived(sent)
        [train] = self.owner.trains
        self.assertEqual((train.stride, train.start, train.end), (1408, 0, 1407))
        self.assertEqual(self.owner.frames, [encodeChannelData(0x4003, each) for each in datagrams])

    def test_records(self) -> None:
        """What TLS has cut in records, and has come together, is put together again, and is written with one call."""
        clear, sealed = memorySides()
        data = encodeChannelData(0x4000, bytes(1000), stream=True) * 40
        below = StringTransport()
        wire = Records(below, sealed)
        directlyProvides(wire, ISSLTransport)
        stream = TurnStream(self.owner, self.clock)
        stream.makeConnection(wire)
        clear.sendall(data)
        sealed.bio_write(clear.bio_read(1 << 17))
        stream.dataReceived(sealed.recv(16_384))
        self.assertEqual([train.datagramCount for train in self.owner.trains], [40])
        stream.sendTrain(0x4000, [bytes(1000)] * 40)
        clear.bio_write(below.value())
        self.assertEqual(b"".join(clear.recv(16_384) for _ in range(3)), data)
        sealed.shutdown()
        stream.sendTrain(0x4000, [bytes(1000)])
        self.assertTrue(wire.disconnecting or wire.disconnected)

    def test_written(self) -> None:
        """
        What is sent is written at once, without the reactor; that the connection has ended, the reactor finds out.
        """
        wire = Descriptor()
        stream = TurnStream(self.owner, self.clock)
        stream.makeConnection(wire)
        stream.sendTrain(0x4000, [b"four"] * 3)
        self.assertEqual(wire.calls, ["doWrite"])
        wire.ends = True
        stream.send([REQUEST])
        self.assertEqual(wire.calls, ["doWrite", "doWrite", "startWriting"])
        stream.close()
        stream.send([REQUEST])
        self.assertEqual(len(wire.calls), 3)

    def test_systemHoldsLittle(self) -> None:
        """The operating system is told to hold little that is not on its way: what waits there cannot be dropped."""
        options: list[tuple[int, int, int]] = []

        class Wire(StringTransport):
            socket = type("Socket", (), {"setsockopt": lambda self, *option: options.append(option)})()

        TurnStream(self.owner, self.clock).makeConnection(Wire())
        self.assertEqual(options, [(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)])

    def test_slowLarge(self) -> None:
        """What waits is bounded, however fast it comes, and however small it is."""
        self.stream.pauseProducing()
        for size in (9000, 0):
            for _ in range(QUEUE_MOST // 64 + 100):
                self.stream.send([encodeChannelData(0x4000, bytes(size))])
                self.assertLessEqual(self.stream.waiting, QUEUE_MOST)
        self.assertEqual(self.stream.waiting, 4 * (QUEUE_MOST // 64))
        self.clock.advance(2 * QUEUE_SECONDS)
        self.stream.send([encodeChannelData(0x4000, bytes(9000))])
        self.assertLessEqual(self.stream.waiting, QUEUE_BYTES)

    def test_end(self) -> None:
        """After the end nothing is sent or kept."""
        self.stream.connectionLost()
        self.stream.send([REQUEST])
        self.stream.pauseProducing()
        self.stream.send([REQUEST])
        self.assertEqual((self.wire.value(), self.stream.waiting), (b"", 0))
        self.assertEqual(self.owner.events, ["connected", "lost"])

    def test_limit(self) -> None:
        """A message above the limit ends the connection before it is there."""
        stream = TurnStream(self.owner, self.clock, limit=100)
        wire = StringTransport()
        stream.makeConnection(wire)
        stream.dataReceived(encodeChannelData(0x4000, bytes(200))[:4])
        self.assertTrue(wire.disconnecting or wire.disconnected)
