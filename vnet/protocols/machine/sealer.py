# -*- test-case-name: vnet.test.test_sealer -*-
"""
Sealed signals: what two nodes tell each other through a mediator that must not read it.

A seal is a NaCl box (X25519, XSalsa20, Poly1305) between the two nodes' Ed25519 keys, converted as
libsodium does::

    +--------------------+----------------------------------+
    | nonce (24 bytes)   | tag (16 bytes) and ciphertext    |
    +--------------------+----------------------------------+

The key of a box is the same both ways, so the last bit of the nonce gives the direction: it is 1 when the
sender's Ed25519 public key is the greater of the two.  Thus nobody can send a signal back to its sender
as if the other had made it.  A box says nothing of when it was made: what it holds has to be told from
older signals by itself.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from nacl.exceptions import CryptoError
from nacl.public import Box
from nacl.signing import SigningKey, VerifyKey

from vnet.errors import DecodeError
from vnet.protocols.codec.signal import MAXIMUM_SIZE

__all__ = ["OVERHEAD", "Sealer"]

OVERHEAD = Box.NONCE_SIZE + 16
"""Bytes that sealing adds."""

_BOXES = 1024


class Sealer:
    """
    Seals and opens the signals of one node.  It keeps the boxes of the peers that it met last, at most 1,024.
    """

    def __init__(self, seed: bytes, random: Callable[[int], bytes]) -> None:
        """
        @param seed: the Ed25519 seed of this node, 32 bytes.
        @param random: gives that many unpredictable bytes.
        """
        signing = SigningKey(seed)
        self._public = signing.verify_key.encode()
        self._private = signing.to_curve25519_private_key()
        self._random = random
        self._boxes: OrderedDict[bytes, Box] = OrderedDict()

    def seal(self, peer: bytes, plaintext: bytes) -> bytes:
        """
        Seal a signal.

        @param peer: the Ed25519 public key of the receiver, 32 bytes.
        @raise DecodeError: that is no usable public key.
        """
        box = self._box(peer)
        nonce = self._random(Box.NONCE_SIZE)
        nonce = nonce[:-1] + bytes([nonce[-1] & ~1 | (self._public > peer)])
        return bytes(box.encrypt(plaintext, nonce))

    def open(self, peer: bytes, sealed: bytes) -> bytes:
        """
        Open a signal.

        @param peer: the Ed25519 public key of the sender, 32 bytes.
        @raise DecodeError: the peer did not make it for this node.
        """
        if not OVERHEAD <= len(sealed) <= MAXIMUM_SIZE + OVERHEAD:
            raise DecodeError("a sealed signal of impossible size")
        if sealed[Box.NONCE_SIZE - 1] & 1 != (peer > self._public):
            raise DecodeError("a sealed signal in the wrong direction")
        try:
            return self._box(peer).decrypt(sealed)
        except CryptoError as error:
            raise DecodeError("a sealed signal that its peer did not make for this node") from error

    def _box(self, peer: bytes) -> Box:
        box = self._boxes.get(peer)
        if box is None:
            if peer == self._public:
                raise DecodeError("a node seals nothing for itself")
            try:
                box = Box(self._private, VerifyKey(peer).to_curve25519_public_key())
            except (CryptoError, TypeError, ValueError) as error:
                raise DecodeError("not a usable Ed25519 public key") from error
            self._boxes[peer] = box
            if len(self._boxes) > _BOXES:
                self._boxes.popitem(last=False)
        self._boxes.move_to_end(peer)
        return box
