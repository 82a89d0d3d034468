# -*- test-case-name: vnet.test.test_noise -*-
"""
The handshake of WireGuard: C{Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s} (whitepaper section 5.4).

Initiation: I{e, es, s, ss} and a timestamp.  Response: I{e, ee, se, psk} and nothing.  Ephemeral keys,
indices and timestamps come as arguments.  What is not authentic gives L{None}, never an exception: not
even a public key of low order, whose agreement would be all zeros.

Each secret is wiped as soon as the next one is made from it; what is left at the end is in L{TransportKeys}.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2s

import attrs
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import BLAKE2s
from cryptography.hazmat.primitives.hmac import HMAC

from vnet.protocols.codec.handshake import Initiation, Response
from vnet.protocols.machine.wipe import wipe

__all__ = [
    "NO_PRESHARED_KEY",
    "OpenedInitiation",
    "SentInitiation",
    "StaticKey",
    "TransportKeys",
    "createInitiation",
    "kdf",
    "openInitiation",
]

CONSTRUCTION = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
IDENTIFIER = b"WireGuard v1 zx2c4 Jason@zx2c4.com"

#: What is mixed in where the peers share no key.
NO_PRESHARED_KEY = bytes(32)

_NONCE_0 = bytes(12)
_FIRST_CHAIN = blake2s(CONSTRUCTION).digest()
_FIRST_HASH = blake2s(_FIRST_CHAIN + IDENTIFIER).digest()


def kdf(chain: bytes | bytearray, data: bytes | bytearray, count: int) -> list[bytearray]:
    """
    HKDF with HMAC-BLAKE2s: C{count} outputs of 32 bytes.
    """
    secret = _mac(chain, data)
    outputs: list[bytearray] = []
    block = bytearray(b"\x01")
    for number in range(1, count + 1):
        output = _mac(secret, block)
        wipe(block)
        outputs.append(bytearray(output))
        block = bytearray(33)
        block[:32] = output
        block[32] = number + 1
        wipe(output)
    wipe(secret, block)
    return outputs


def _mac(key: bytes | bytearray, data: bytes | bytearray) -> bytes:
    keyed = HMAC(key, BLAKE2s(32))
    keyed.update(data)
    return keyed.finalize()


def agree(private: X25519PrivateKey, public: bytes) -> bytes | None:
    """
    Diffie and Hellman's function.

    @return: 32 bytes for the caller to wipe; L{None} where they would be all zeros.
    """
    try:
        return private.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        return None


class StaticKey:
    """
    The identity of this node.

    @ivar public: 32 bytes.
    """

    def __init__(self, private: bytes) -> None:
        self._private = X25519PrivateKey.from_private_bytes(private)
        self.public = self._private.public_key().public_bytes_raw()

    def agree(self, public: bytes) -> bytes | None:
        """
        See L{agree}.
        """
        return agree(self._private, public)


@attrs.define
class TransportKeys:
    """
    What a handshake results in: 32 bytes for each direction.
    """

    send: bytearray
    receive: bytearray

    def wipe(self) -> None:
        """
        Erase both.
        """
        wipe(self.send, self.receive)


class _Symmetric:
    """
    Noise's symmetric state: the chaining key and the hash of the transcript.
    """

    def __init__(self, chain: bytes | bytearray, transcript: bytes) -> None:
        self.chain = bytearray(chain)
        self.transcript = transcript

    @classmethod
    def towards(cls, responder: bytes) -> _Symmetric:
        """
        The state in which a handshake with this static public key begins.
        """
        state = cls(_FIRST_CHAIN, _FIRST_HASH)
        state.mixHash(responder)
        return state

    def mixHash(self, data: bytes | bytearray) -> None:
        self.transcript = blake2s(self.transcript + data).digest()

    def mixEphemeral(self, public: bytes) -> None:
        self.mixHash(public)
        self._advance(kdf(self.chain, public, 1)[0])

    def mixKey(self, agreed: bytes | bytearray) -> bytearray:
        chain, key = kdf(self.chain, agreed, 2)
        self._advance(chain)
        return key

    def mixPresharedKey(self, presharedKey: bytes | bytearray) -> bytearray:
        chain, middle, key = kdf(self.chain, presharedKey, 3)
        self._advance(chain)
        self.mixHash(middle)
        wipe(middle)
        return key

    def seal(self, key: bytearray, plaintext: bytes) -> bytes:
        sealed = ChaCha20Poly1305(key).encrypt(_NONCE_0, plaintext, self.transcript)
        wipe(key)
        self.mixHash(sealed)
        return sealed

    def open(self, key: bytearray, sealed: bytes) -> bytes | None:
        try:
            plaintext = ChaCha20Poly1305(key).decrypt(_NONCE_0, sealed, self.transcript)
        except InvalidTag:
            return None
        finally:
            wipe(key)
        self.mixHash(sealed)
        return plaintext

    def split(self) -> tuple[bytearray, bytearray]:
        first, second = kdf(self.chain, b"", 2)
        self.wipe()
        return first, second

    def copy(self) -> _Symmetric:
        return _Symmetric(self.chain, self.transcript)

    def wipe(self) -> None:
        wipe(self.chain)
        self.transcript = b""

    def _advance(self, chain: bytearray) -> None:
        wipe(self.chain)
        self.chain = chain


def createInitiation(
    static: StaticKey,
    peer: bytes,
    staticStatic: bytearray,
    sender: int,
    ephemeral: bytes,
    timestamp: bytes,
) -> tuple[Initiation, SentInitiation] | None:
    """
    Begin a handshake.

    @param peer: the static public key of the responder.
    @param staticStatic: what the two static keys agree on.
    @param sender: the index that the responder shall use.
    @param ephemeral: 32 random bytes; wiped here.
    @param timestamp: TAI64N, greater than each that this peer was sent before.
    @return: the message, without MACs, and what its response will be opened with; L{None} when the peer's
        key is of low order.
    """
    private = X25519PrivateKey.from_private_bytes(ephemeral)
    wipe(ephemeral)
    public = private.public_key().public_bytes_raw()
    agreed = agree(private, peer)
    if agreed is None:
        return None
    state = _Symmetric.towards(peer)
    state.mixEphemeral(public)
    sealedStatic = state.seal(state.mixKey(agreed), static.public)
    wipe(agreed)
    sealedTimestamp = state.seal(state.mixKey(staticStatic), timestamp)
    return Initiation(sender, public, sealedStatic, sealedTimestamp), SentInitiation(static, private, state)


class SentInitiation:
    """
    An initiation that waits for its response.
    """

    def __init__(self, static: StaticKey, private: X25519PrivateKey, state: _Symmetric) -> None:
        self._static = static
        self._private: X25519PrivateKey | None = private
        self._state = state

    def finish(
        self, response: Response, presharedKeys: Sequence[bytes | bytearray]
    ) -> tuple[TransportKeys, int] | None:
        """
        Open the response with each preshared key in turn.

        This may be called again when it gave L{None}.

        @param presharedKeys: at least one.
        @return: the keys, and which of C{presharedKeys} opened the response; L{None} when it is not
            authentic.
        """
        if self._private is None:
            return None
        ee = agree(self._private, response.ephemeral)
        se = self._static.agree(response.ephemeral)
        if ee is None or se is None:
            wipe(ee, se)
            return None
        state = self._state.copy()
        state.mixEphemeral(response.ephemeral)
        wipe(state.mixKey(ee), state.mixKey(se), ee, se)
        for number, presharedKey in enumerate(presharedKeys):
            attempt = state.copy()
            if attempt.open(attempt.mixPresharedKey(presharedKey), response.encryptedNothing) == b"":
                state.wipe()
                self.wipe()
                return TransportKeys(*attempt.split()), number
            attempt.wipe()
        state.wipe()
        return None

    def wipe(self) -> None:
        """
        Erase the ephemeral key and the state.
        """
        self._private = None
        self._state.wipe()


def openInitiation(static: StaticKey, initiation: Initiation) -> OpenedInitiation | None:
    """
    Open the first half of an initiation, that says who sends it.  It is not authentic before
    L{OpenedInitiation.authenticate}.
    """
    agreed = static.agree(initiation.ephemeral)
    if agreed is None:
        return None
    state = _Symmetric.towards(static.public)
    state.mixEphemeral(initiation.ephemeral)
    peer = state.open(state.mixKey(agreed), initiation.encryptedStatic)
    wipe(agreed)
    if peer is None:
        state.wipe()
        return None
    return OpenedInitiation(peer, initiation, state)


class OpenedInitiation:
    """
    An initiation that tells its sender.

    @ivar peer: the static public key that the sender claims, 32 bytes.
    """

    def __init__(self, peer: bytes, initiation: Initiation, state: _Symmetric) -> None:
        self.peer = peer
        self._initiation = initiation
        self._state = state

    def authenticate(self, staticStatic: bytearray) -> bytes | None:
        """
        Prove that the sender holds the key of L{peer}.

        @param staticStatic: what our static key and the peer's agree on.
        @return: the timestamp, 12 bytes; L{None} when the message is a forgery.
        """
        timestamp = self._state.open(self._state.mixKey(staticStatic), self._initiation.encryptedTimestamp)
        if timestamp is None:
            self.wipe()
        return timestamp

    def respond(
        self, sender: int, ephemeral: bytes, presharedKey: bytes | bytearray
    ) -> tuple[Response, TransportKeys] | None:
        """
        Answer, after L{authenticate}.

        @param sender: the index that the initiator shall use.
        @param ephemeral: 32 random bytes; wiped here.
        @return: the message, without MACs, and the session's keys; L{None} when a key of the initiator is
            of low order.
        """
        private = X25519PrivateKey.from_private_bytes(ephemeral)
        wipe(ephemeral)
        public = private.public_key().public_bytes_raw()
        ee = agree(private, self._initiation.ephemeral)
        se = agree(private, self.peer)
        state = self._state
        if ee is None or se is None:
            wipe(ee, se)
            self.wipe()
            return None
        state.mixEphemeral(public)
        wipe(state.mixKey(ee), state.mixKey(se), ee, se)
        nothing = state.seal(state.mixPresharedKey(presharedKey), b"")
        receive, send = state.split()
        return Response(sender, self._initiation.sender, public, nothing), TransportKeys(send, receive)

    def wipe(self) -> None:
        """
        Erase the state, when there is to be no answer.
        """
        self._state.wipe()
