"""
TURN over TCP and TLS.
"""

from __future__ import annotations

import socket

from attrs import define, field
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.codec.stun import BINDING, Class, Message, encode
from vnet.protocols.codec.turn import encodeChannelData
from vnet.protocols.turnstream import QUEUE_BYTES, QUEUE_FRAMES, UNSENT_BYTES, TurnStream

REQUEST = encode(Message(BINDING, Class.REQUEST, b"t" * 12))


@define(eq=False)
class Owner:
    """
    Who keeps what happens.
    """

    frames: list[bytes] = field(factory=list)
    events: list[str] = field(factory=list)

    def streamConnected(self, stream: TurnStream) -> None:
        """See C{StreamOwner}."""
        self.events.append("connected")

    def framesReceived(self, stream: TurnStream, frames: list[bytes]) -> None:
        """See C{StreamOwner}."""
        self.frames += frames

    def streamLost(self, stream: TurnStream, reason: Failure) -> None:
        """See C{StreamOwner}."""
        self.events.append("lost")


class TurnStreamTests(SynchronousTestCase):
    def setUp(self) -> None:
        """A connection."""
        self.owner, self.wire = Owner(), StringTransport()
        self.stream = TurnStream(self.owner)
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
        """While the other side does not read, little waits, the oldest data goes first, and requests stay."""
        self.stream.pauseProducing()
        self.stream.send([REQUEST])
        data = [encodeChannelData(0x4000, b"%04d" % n) for n in range(1000)]
        for frame in data:
            self.stream.send([frame])
        self.assertEqual(self.wire.value(), b"")
        self.assertEqual(self.stream.counters["dropped"], 1001 - QUEUE_FRAMES)
        self.stream.resumeProducing()
        self.assertEqual(self.wire.value(), REQUEST + b"".join(data[-QUEUE_FRAMES + 1 :]))
        self.stream.send([REQUEST])
        self.assertTrue(self.wire.value().endswith(REQUEST))

    def test_systemHoldsLittle(self) -> None:
        """The operating system is told to hold little that is not on its way: what waits there cannot be dropped."""
        options: list[tuple[int, int, int]] = []

        class Wire(StringTransport):
            socket = type("Socket", (), {"setsockopt": lambda self, *option: options.append(option)})()

        TurnStream(self.owner).makeConnection(Wire())
        self.assertEqual(options, [(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)])

    def test_slowLarge(self) -> None:
        """What waits is bounded in bytes too."""
        self.stream.pauseProducing()
        for _ in range(100):
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
        stream = TurnStream(self.owner, limit=100)
        wire = StringTransport()
        stream.makeConnection(wire)
        stream.dataReceived(encodeChannelData(0x4000, bytes(200))[:4])
        self.assertTrue(wire.disconnecting or wire.disconnected)
