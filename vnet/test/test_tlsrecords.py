"""
Much data through TLS: what goes past Twisted's transport, on connections with all that is between.
"""

from __future__ import annotations

import hmac
import os
import struct
from typing import Any

from attrs import define
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from OpenSSL import SSL
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols import tlsrecords
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


def expanded(secret: bytes, label: bytes, size: int) -> bytes:
    """
    HKDF-Expand-Label of RFC 8446 section 7.1, with SHA-256 and no context.
    """
    label = b"tls13 " + label
    return hmac.digest(secret, struct.pack("!HB", size, len(label)) + label + b"\0\1", "sha256")[:size]


@define
class Outgoing:
    """
    What a client sends that writes its records itself, with TLS_AES_128_GCM_SHA256.

    @ivar number: of the next record.
    """

    secret: bytes
    number: int

    def record(self, kind: int, content: bytes) -> bytes:
        """
        A record.
        """
        nonce = int.from_bytes(expanded(self.secret, b"iv", 12), "big") ^ self.number
        head = b"\x17\3\3" + struct.pack("!H", len(content) + 17)
        cipher = AESGCM(expanded(self.secret, b"key", 16))
        self.number += 1
        return head + cipher.encrypt(nonce.to_bytes(12, "big"), content + bytes((kind,)), head)

    def update(self) -> bytes:
        """
        A new key, and the wish for one of the other side.
        """
        record = self.record(22, b"\x18\0\0\1\1")
        self.secret, self.number = expanded(self.secret, b"traffic upd", 32), 0
        return record


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
        options = relayClientOptions(spkiHash(certificate), "192.0.2.1")
        options._context.set_tls13_ciphersuites(b"TLS_AES_128_GCM_SHA256")
        self.secrets: list[bytes] = []
        options._context.set_keylog_callback(lambda connection, line: self.secrets.append(line))
        client = TLSMemoryBIOFactory(options, True, self.factory(0), self.clock)
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

    def outgoing(self) -> Outgoing:
        """
        The client's way to send, after the one record that it has sent.
        """
        (secret,) = (line.split()[2] for line in self.secrets if line.startswith(b"CLIENT_TRAFFIC_SECRET_0"))
        return Outgoing(bytes.fromhex(secret.decode()), 1)

    def test_updates(self) -> None:
        """Keys are changed as often as the other side wants, with data in between and without."""
        outgoing, incoming = self.outgoing(), self.pair.sockets[1].incoming
        for count in (0, 1):
            for frame in FRAMES[:count]:
                incoming += outgoing.record(23, frame)
            incoming += b"".join(outgoing.update() for _ in range(40))
            self.settle()
        incoming += outgoing.record(23, FRAMES[1])
        self.streams[1].sendTrain(ONE, TRAIN)
        self.settle()
        self.assertEqual((self.owners[1].frames, self.owners[0].frames), (FRAMES[:2], FRAMES))

    def test_updatesUnread(self) -> None:
        """Whoever has keys changed without end and reads nothing is cut off, and little waits until then."""
        self.patch(tlsrecords, "_UNREAD", 20_000)
        self.patch(tlsrecords, "_MOST", 30_000)
        for isAlone in (True, False):
            self.setUp()
            self.pair.sockets[1].room = 0
            outgoing, end = self.outgoing(), self.pair.ends[1]
            for _ in range(15):
                updates = b"".join(outgoing.update() for _ in range(100))
                end.protocol.dataReceived(updates if isAlone else updates + outgoing.record(23, FRAMES[0]))
            self.settle()
            self.assertEqual(self.owners[1].events, ["connected", "lost"])

    def test_nothing(self) -> None:
        """Nothing is sent as nothing, whatever was sent before."""
        self.streams[0].sendTrain(ONE, TRAIN)
        self.streams[1].sendEncoded(b"", 0)
        self.streams[1].send([])
        self.assertEqual(sum(self.pair.sockets[1].sent), 0)
