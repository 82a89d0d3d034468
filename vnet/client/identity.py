# -*- test-case-name: vnet.test.test_identity -*-
"""
A node's one key: Ed25519 to log in, and its X25519 form for the tunnel.
"""

from __future__ import annotations

import os
from pathlib import Path

from attrs import field, frozen
from nacl.signing import SigningKey, VerifyKey

from vnet.errors import DecodeError, StateError
from vnet.statedir import readPrivate, writePrivate

__all__ = ["Identity", "loadIdentity", "tunnelKey"]

_HEADER = "vnet identity 1 "


@frozen
class Identity:
    """
    The key pair of this node.

    @ivar seed: the Ed25519 seed, 32 bytes: the secret.
    """

    seed: bytes = field(repr=False)

    @property
    def publicKey(self) -> bytes:
        """The Ed25519 public key, 32 bytes: the node's name everywhere."""
        return bytes(SigningKey(self.seed).verify_key)

    @property
    def clientId(self) -> str:
        """L{publicKey} in hexadecimal."""
        return self.publicKey.hex()

    def sign(self, message: bytes) -> bytes:
        """
        @return: the Ed25519 signature (RFC 8032), 64 bytes.
        """
        return bytes(SigningKey(self.seed).sign(message).signature)

    def tunnelPrivateKey(self) -> bytes:
        """
        @return: the X25519 private key of the tunnel, 32 bytes.
        """
        return bytes(SigningKey(self.seed).to_curve25519_private_key())


def tunnelKey(publicKey: bytes) -> bytes:
    """
    The WireGuard static key that belongs to a node's Ed25519 key.

    @raise DecodeError: the key is no point that can be converted.
    """
    try:
        return bytes(VerifyKey(publicKey).to_curve25519_public_key())
    except Exception as error:
        raise DecodeError("not an Ed25519 public key") from error


def loadIdentity(path: Path) -> Identity:
    """
    Read the key file, or make one at the first start.

    @raise StateError: the file is damaged; it is left as it is.
    """
    text = readPrivate(path)
    if text is None:
        identity = Identity(os.urandom(32))
        writePrivate(path, f"{_HEADER}{identity.seed.hex()} {identity.clientId}\n".encode())
        return identity
    return _parse(path, text)


def _parse(path: Path, text: bytes) -> Identity:
    try:
        header, body = text[: len(_HEADER)].decode(), text[len(_HEADER) :].decode()
        seed, clientId = body.split()
        identity = Identity(bytes.fromhex(seed))
        if header == _HEADER and len(identity.seed) == 32 and identity.clientId == clientId:
            return identity
    except ValueError:
        pass
    raise StateError(
        f"the key file {path} is damaged: put back a copy of it, or move it away to get a new key and a new address"
    )
