# -*- test-case-name: vnet.test.test_turnstream -*-
"""
Much data through TLS with few calls: Twisted's transport does several for each record of 16 KiB.

Both work on a transport whose handshake is over, and beside its own methods.
"""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL

__all__ = ["received", "sealed"]

_RECORD = 16_384
#: What a record has beside its data, at most (RFC 8446 section 5.2, RFC 5246 section 6.2.3).
_OVERHEAD = 512


def received(transport: Any) -> bytes:
    """
    What else has come to a transport together with what it is just delivering.  It finds out itself how this ends.
    """
    handle = transport.getHandle()
    found: list[bytes] = []
    try:
        while True:
            found.append(handle.recv(_RECORD))
    except SSL.Error:
        return b"".join(found)


def sealed(transport: Any, data: bytes) -> bytes:
    """
    What is to be sent by the transport below for that data to be sent.

    @param data: not empty.
    @raise SSL.Error: the connection is broken.
    """
    handle = transport.getHandle()
    handle.sendall(data)
    most = len(data) + (len(data) // _RECORD + 2) * _OVERHEAD
    found: list[bytes] = [handle.bio_read(most)]
    while len(found[-1]) == most:
        try:
            found.append(handle.bio_read(most))
        except SSL.WantReadError:
            break
    return b"".join(found)
