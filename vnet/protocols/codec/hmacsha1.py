# -*- test-case-name: vnet.test.test_hmacsha1 -*-
"""
HMAC-SHA1 (RFC 2104), which authenticates STUN.
"""

from __future__ import annotations

try:
    # The interpreter's own.  A node without traffic computes little else: OpenSSL's would keep 1 MB of its library in memory.
    from _sha1 import sha1  # type: ignore[import-not-found,unused-ignore]
except ImportError:
    # Some builds of Python have none.
    from hashlib import sha1

__all__ = ["HmacSha1"]

_BLOCK = 64
_INNER, _OUTER = bytes(each ^ 0x36 for each in range(256)), bytes(each ^ 0x5C for each in range(256))


class HmacSha1:
    """
    MACs under one key.  What depends on the key alone is computed once, which halves the time.
    """

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        if len(key) > _BLOCK:
            key = sha1(key, usedforsecurity=False).digest()
        block = key.ljust(_BLOCK, b"\0")
        self._inner = sha1(block.translate(_INNER), usedforsecurity=False)
        self._outer = sha1(block.translate(_OUTER), usedforsecurity=False)

    def sign(self, data: bytes) -> bytes:
        """
        @return: the MAC, 20 bytes.
        """
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(data)
        outer.update(inner.digest())
        mac: bytes = outer.digest()
        return mac
