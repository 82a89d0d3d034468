# -*- test-case-name: vnet.test.test_secrets -*-
"""
What a network's password becomes.

::

    password --Argon2id--> master --BLAKE2b "vnet-proof"--> proof, which the mediator gets
                              |
                              +----BLAKE2b "vnet-psk"----> one WireGuard preshared key for each two members

The mediator can neither find a good password from the proof faster than Argon2id allows (RFC 9106), nor
find the preshared keys.
"""

from __future__ import annotations

import unicodedata
from hashlib import blake2b

from nacl.pwhash import argon2id

__all__ = ["MASTER_SIZE", "REALM_SIZE", "deriveMaster", "presharedKey", "proofOf"]

MASTER_SIZE = 32
"""Bytes of a master secret, of a proof and of a preshared key."""

REALM_SIZE = 16
"""Bytes of the name that a mediator has for ever."""

_KEY_SIZE = 32
_OPERATIONS = 3
_MEMORY = 64 * 1024 * 1024


def deriveMaster(password: str, realm: bytes, name: str) -> bytes:
    """
    Make a network's master secret of its password.  This takes about 0.2 s and 64 MiB: call it in a thread.

    Password and name count in Unicode normalisation form C, so that each keyboard makes the same secret.

    @param realm: the mediator's name, L{REALM_SIZE} bytes.
    @param name: the network's name.
    @return: 32 bytes.
    @raise ValueError: the realm has another size, or the texts cannot be encoded.
    """
    if len(realm) != REALM_SIZE:
        raise ValueError(f"a realm has {REALM_SIZE} bytes")
    salt = blake2b(realm + _normal(name), digest_size=16, person=b"vnet-network").digest()
    return argon2id.kdf(MASTER_SIZE, _normal(password), salt, opslimit=_OPERATIONS, memlimit=_MEMORY)


def proofOf(master: bytes) -> bytes:
    """
    What a node shows the mediator to found or join the network, 32 bytes.
    """
    _check(master, MASTER_SIZE, "a master secret")
    return blake2b(key=master, digest_size=32, person=b"vnet-proof").digest()


def presharedKey(master: bytes, a: bytes, b: bytes) -> bytes:
    """
    The WireGuard preshared key between two members, 32 bytes; the same in either order.

    @param a: the Ed25519 public key of one, 32 bytes.
    @param b: that of the other.
    @raise ValueError: a size is wrong.
    """
    _check(master, MASTER_SIZE, "a master secret")
    _check(a, _KEY_SIZE, "a public key")
    _check(b, _KEY_SIZE, "a public key")
    return blake2b(min(a, b) + max(a, b), key=master, digest_size=32, person=b"vnet-psk").digest()


def _normal(text: str) -> bytes:
    return unicodedata.normalize("NFC", text).encode("utf-8")


def _check(value: bytes, size: int, what: str) -> None:
    if len(value) != size:
        raise ValueError(f"{what} has {size} bytes")
