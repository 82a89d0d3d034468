"""
Tests for the handshake, with the C{noiseprotocol} library as the judge.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from noise.connection import Keypair as NoiseKeypair  # type: ignore[import-untyped]
from noise.connection import NoiseConnection
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.codec.handshake import Initiation, Response, decodeHandshake, encodeHandshake
from vnet.protocols.machine.noise import (
    NO_PRESHARED_KEY,
    StaticKey,
    TransportKeys,
    createInitiation,
    kdf,
    openInitiation,
)

#: Points of low order, with which each agreement is all zeros (from RFC 7748 and the Curve25519 page).
LOW_ORDER = [
    bytes.fromhex(point)
    for point in (
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    )
]

TRANSCRIPTS = 40


class Transcript:
    """
    The inputs of one handshake, from a seed.
    """

    def __init__(self, seed: int) -> None:
        source = random.Random(seed)
        self.privates = [source.randbytes(32) for _ in range(2)]
        self.ephemerals = [source.randbytes(32) for _ in range(2)]
        self.presharedKey = source.choice((bytes(32), source.randbytes(32)))
        self.timestamp = source.randbytes(12)
        self.indices = [source.getrandbits(32) for _ in range(2)]
        self.statics = [StaticKey(private) for private in self.privates]

    def staticStatic(self) -> bytearray:
        """
        What the static keys agree on.
        """
        return bytearray(self.statics[0].agree(self.statics[1].public) or b"")

    def judge(self, isInitiator: bool) -> Any:
        """
        The other implementation in one of the roles.
        """
        mine = 0 if isInitiator else 1
        noise = NoiseConnection.from_name(b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s")
        noise.set_prologue(b"WireGuard v1 zx2c4 Jason@zx2c4.com")
        noise.set_psks(self.presharedKey)
        noise.set_keypair_from_private_bytes(NoiseKeypair.STATIC, self.privates[mine])
        noise.set_keypair_from_private_bytes(NoiseKeypair.EPHEMERAL, self.ephemerals[mine])
        if isInitiator:
            noise.set_keypair_from_public_bytes(NoiseKeypair.REMOTE_STATIC, self.statics[1].public)
            noise.set_as_initiator()
        else:
            noise.set_as_responder()
        noise.start_handshake()
        return noise

    def run(self) -> tuple[Initiation, Response, TransportKeys, TransportKeys]:
        """
        Our implementation in both roles: both messages, and the keys of initiator and responder.
        """
        begun = createInitiation(
            self.statics[0],
            self.statics[1].public,
            self.staticStatic(),
            self.indices[0],
            bytes(bytearray(self.ephemerals[0])),
            self.timestamp,
        )
        assert begun is not None
        initiation, sent = begun
        opened = openInitiation(self.statics[1], initiation)
        assert opened is not None and opened.peer == self.statics[0].public
        assert opened.authenticate(self.staticStatic()) == self.timestamp
        answer = opened.respond(self.indices[1], bytes(bytearray(self.ephemerals[1])), self.presharedKey)
        assert answer is not None
        finished = sent.finish(answer[0], [self.presharedKey])
        assert finished is not None
        return initiation, answer[0], finished[0], answer[1]


@pytest.mark.filterwarnings("ignore:One of ephemeral keypairs")
class JudgedTests(SynchronousTestCase):
    """
    Byte for byte the messages and keys of C{noiseprotocol}, over seeded transcripts.
    """

    def test_initiation(self) -> None:
        """
        The initiation is what the judge writes from the same keys, and what it reads as a responder.
        """
        for seed in range(TRANSCRIPTS):
            transcript = Transcript(seed)
            initiation = transcript.run()[0]
            body = encodeHandshake(initiation)[8:116]
            self.assertEqual(transcript.judge(True).write_message(transcript.timestamp), body)
            self.assertEqual(transcript.judge(False).read_message(body), transcript.timestamp)

    def test_responseAndKeys(self) -> None:
        """
        The response is what the judge writes from the same keys, and what it reads as an initiator; what either
        seals then, the other opens.
        """
        for seed in range(TRANSCRIPTS):
            transcript = Transcript(seed)
            initiation, response, ours, theirs = transcript.run()
            first = encodeHandshake(initiation)[8:116]
            second = encodeHandshake(response)[12:60]
            initiator, responder = transcript.judge(True), transcript.judge(False)
            initiator.write_message(transcript.timestamp)
            responder.read_message(first)
            self.assertEqual(responder.write_message(), second)
            self.assertEqual(initiator.read_message(second), b"")
            for judge, keys in ((initiator, ours), (responder, theirs)):
                nonce = bytes(12)
                self.assertEqual(judge.encrypt(b"x"), ChaCha20Poly1305(keys.send).encrypt(nonce, b"x", None))
                sealed = ChaCha20Poly1305(keys.receive).encrypt(nonce, b"y", None)
                self.assertEqual(judge.decrypt(sealed), b"y")
            self.assertEqual((ours.send, ours.receive), (theirs.receive, theirs.send))


class NoiseTests(SynchronousTestCase):
    """
    What the handshake refuses, and what it erases.
    """

    def setUp(self) -> None:
        self.transcript = Transcript(1)
        self.alice, self.bob = self.transcript.statics

    def begin(self) -> tuple[Initiation, Any]:
        """
        An initiation from one to the other.
        """
        begun = createInitiation(
            self.alice, self.bob.public, self.transcript.staticStatic(), 1, random.randbytes(32), bytes(12)
        )
        assert begun is not None
        return begun

    def test_kdf(self) -> None:
        """
        The key derivation gives the known answers of wireguard-go's kdf_test.
        """
        for key, data, expected in (
            (
                "746573742d6b6579",
                "746573742d696e707574",
                [
                    "6f0e5ad38daba1bea8a0d213688736f19763239305e0f58aba697f9ffc41c633",
                    "df1194df20802a4fe594cde27e92991c8cae66c366e8106aaa937a55fa371e8a",
                    "fac6e2745a325f5dc5d11a5b165aad08b0ada28e7b4e666b7c077934a4d76c24",
                ],
            ),
            (
                "776972656775617264",
                "776972656775617264",
                [
                    "491d43bbfdaa8750aaf535e334ecbfe5129967cd64635101c566d4caefda96e8",
                    "1e71a379baefd8a79aa4662212fcafe19a23e2b609a3db7d6bcba8f560e3d25f",
                    "31e1ae48bddfbe5de38f295e5452b1909a1b4e38e183926af3780b0c1e1f0160",
                ],
            ),
        ):
            for count in (1, 2, 3):
                outputs = kdf(bytes.fromhex(key), bytes.fromhex(data), count)
                self.assertEqual([bytes(output).hex() for output in outputs], expected[:count])

    def test_severalPresharedKeys(self) -> None:
        """
        The initiator finds the responder's preshared key among its own, and says which it is.
        """
        initiation, sent = self.begin()
        opened = openInitiation(self.bob, initiation)
        assert opened is not None
        opened.authenticate(self.transcript.staticStatic())
        answer = opened.respond(2, random.randbytes(32), b"c" * 32)
        assert answer is not None
        self.assertIsNone(sent.finish(answer[0], [NO_PRESHARED_KEY, b"a" * 32]))
        keys, number = sent.finish(answer[0], [b"a" * 32, b"b" * 32, b"c" * 32])
        self.assertEqual(number, 2)
        self.assertEqual(keys.send, answer[1].receive)
        self.assertIsNone(sent.finish(answer[0], [b"c" * 32]))

    def test_damage(self) -> None:
        """
        A change of any byte of either message, but for the MACs, is noticed.
        """
        initiation, response, _, _ = self.transcript.run()
        data = encodeHandshake(initiation)
        for place in range(8, 116):
            message = decodeHandshake(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
            assert isinstance(message, Initiation)
            opened = openInitiation(self.bob, message)
            self.assertTrue(opened is None or opened.authenticate(self.transcript.staticStatic()) is None)
        _, sent = self.begin()
        self.assertIsNone(sent.finish(response, [self.transcript.presharedKey]))

    def test_lowOrder(self) -> None:
        """
        A public key of low order is refused in each place, without an exception.
        """
        for point in LOW_ORDER:
            self.assertIsNone(self.bob.agree(point))
            self.assertIsNone(openInitiation(self.bob, Initiation(1, point, bytes(48), bytes(28))))
            _, sent = self.begin()
            self.assertIsNone(sent.finish(Response(2, 1, point, bytes(16)), [NO_PRESHARED_KEY]))
            self.assertIsNone(
                createInitiation(self.alice, point, bytearray(32), 1, random.randbytes(32), bytes(12))
            )

    def test_wiped(self) -> None:
        """
        After the session is derived nothing is left of the handshake; the ephemeral secret is wiped at once.
        """
        ephemeral = random.randbytes(32)
        begun = createInitiation(
            self.alice, self.bob.public, self.transcript.staticStatic(), 1, ephemeral, bytes(12)
        )
        assert begun is not None
        initiation, sent = begun
        self.assertEqual(ephemeral, bytes(32))
        opened = openInitiation(self.bob, initiation)
        assert opened is not None
        opened.authenticate(self.transcript.staticStatic())
        answer = opened.respond(2, random.randbytes(32), NO_PRESHARED_KEY)
        assert answer is not None
        self.assertEqual(opened._state.chain, bytes(32))
        finished = sent.finish(answer[0], [NO_PRESHARED_KEY])
        assert finished is not None
        self.assertEqual(sent._state.chain, bytes(32))
        self.assertIsNone(sent._private)
        finished[0].wipe()
        self.assertEqual((finished[0].send, finished[0].receive), (bytes(32), bytes(32)))
