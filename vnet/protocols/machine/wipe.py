# -*- test-case-name: vnet.test.test_wipe -*-
"""
Erase secrets from memory.

Python never clears what it frees.  Who held a key, and what erases it:

  - L{bytearray}: overwritten in place here.
  - L{bytes} that a library returned (the result of a Diffie-Hellman, of a MAC, of a random source):
    overwritten in place here.  Such an object must have one owner; it must not be a literal, and nobody
    else's.
  - C{ChaCha20Poly1305} and C{X25519PrivateKey} of C{cryptography}: they keep their key in a context of
    OpenSSL, which OpenSSL cleanses when the object is freed, so it suffices that the last reference
    goes.  They keep no reference to the buffer that they were made from, which is for the caller to
    erase.
  - keyed BLAKE2 objects of L{hashlib}: CPython cleanses their state when they are freed.
"""

from __future__ import annotations

from ctypes import memset

__all__ = ["wipe"]

# Where the bytes of a bytes object begin: after its header, before the terminating zero.
_BYTES_OFFSET = bytes.__basicsize__ - 1

# Shorter bytes objects may be shared by the interpreter.
_SHORTEST = 8


def wipe(*secrets: bytes | bytearray | None) -> None:
    """
    Overwrite each of C{secrets} with zeros, in place.

    @param secrets: buffers whose only owner is the caller.  L{None} is passed over.
    """
    for secret in secrets:
        if isinstance(secret, bytearray):
            secret[:] = bytes(len(secret))
        elif secret is not None and len(secret) >= _SHORTEST:
            memset(id(secret) + _BYTES_OFFSET, 0, len(secret))
