# -*- test-case-name: vnet.test.test_turnstream -*-
"""
Much data through TLS with few calls: Twisted's transport does several for each record of 16 KiB, and for each read.

All of it works on a transport whose handshake is over, and beside its own methods.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from OpenSSL import SSL
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from vnet.values import Buffer

__all__ = ["Records", "received", "sealed"]

_RECORD = 16_384
#: What a record has beside its data, at most (RFC 8446 section 5.2, RFC 5246 section 6.2.3).
_OVERHEAD = 512
#: More than one read of a connection brings.
_MOST = 256 * 1024
#: Bytes that wait below for who reads nothing: more than any data that is sent while there is room.
_UNREAD = 2 << 20

_openssl: Any = SSL
_lib, _ffi = _openssl._lib, _openssl._ffi
_read, _write, _take, _error, _WANT_READ = (
    *(_lib.SSL_read, _lib.SSL_write, _lib.BIO_read, _lib.SSL_get_error),
    _lib.SSL_ERROR_WANT_READ,
)
_view, _from = _ffi.buffer, _ffi.from_buffer
_opened, _closed = _ffi.new("char[]", _MOST), _ffi.new("char[]", _MOST)
_all = memoryview(_view(_opened))


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


def sealed(transport: Any, data: Buffer) -> bytes:
    """
    What is to be sent by the transport below for that data to be sent.

    @param data: not empty.
    @raise SSL.Error: the connection is broken.
    """
    handle = transport.getHandle()
    handle.sendall(data)
    most = len(data) + (len(data) // _RECORD + 2) * _OVERHEAD
    found: bytes = handle.bio_read(most)
    if len(found) < most:
        return found
    rest = [found]
    try:
        while True:
            rest.append(handle.bio_read(most))
    except SSL.WantReadError:
        return b"".join(rest)


class Records(Protocol):
    """
    Stands in the place of TLS and what is before it: opens and seals by OpenSSL's own functions, in memory that all connections
    share, where pyOpenSSL copies each record several times.  What is not data is left to the transport of TLS.
    """

    def __init__(self, secure: Any, deliver: Callable[[memoryview], None]) -> None:
        """
        @param secure: the transport of TLS, on one of TCP.
        @param deliver: gets what was in the records of one read, in memory that is good until it returns.
        """
        self._secure = secure
        self._deliver = deliver
        self._handle = handle = secure.getHandle()
        self._ssl, self._sealed = handle._ssl, handle._from_ssl
        self._below: Any = secure.transport
        self._former: Protocol = self._below.protocol
        self._below.protocol = self
        #: Bytes of records that held no data, and may want an answer.
        self._beside = 0

    def dataReceived(self, data: bytes) -> None:
        """
        See L{Protocol.dataReceived}.
        """
        ssl, size = self._ssl, 0
        self._handle.bio_write(data)
        while (got := _read(ssl, _opened + size, _RECORD)) > 0:
            size += got
            if size > _MOST - _RECORD:
                self._deliver(_all[:size])
                size = 0
        isOver = _error(ssl, got) != _WANT_READ
        self._beside += len(data) - size
        if size:
            self._deliver(_all[:size])
        if isOver or not size or self._beside > _MOST:
            # It has to answer what is not data, and finds the same end.
            self._secure._flushReceiveBIO()
            self._flush()
        if isOver:
            # What is left there, OpenSSL would say of another connection.
            _lib.ERR_clear_error()

    def _flush(self) -> None:
        """
        Send all answers.  Whoever asks for many, by updates of keys (RFC 8446 section 4.6.3), and reads none is cut off.
        """
        self._beside = 0
        below = self._below
        while (some := _take(self._sealed, _closed, _MOST)) > 0:
            below.write(bytes(_view(_closed, some)))
        if len(below.dataBuffer) + below._tempDataLen > _UNREAD:
            self._secure.abortConnection()

    def seal(self, data: Buffer) -> Buffer:
        """
        See L{sealed}; of nothing comes nothing.

        @return: memory that is good until the next call.
        """
        size = len(data)
        if size > _MOST // 2:
            return sealed(self._secure, data)
        ssl, clear, done = self._ssl, _from(data), 0
        while done < size:
            some = _write(ssl, clear + done, size - done)
            if some <= 0:
                self._handle._raise_ssl_error(ssl, some)
            done += some
        # What is below 0 would give all of the memory, with what others have sent.
        found: Buffer = _view(_closed, max(_take(self._sealed, _closed, _MOST), 0))
        return found

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        See L{Protocol.connectionLost}.
        """
        self._former.connectionLost(reason)
