"""
Calls of the kernel for which Python has no names: sendmmsg(2) and recvmmsg(2), many datagrams with one call, since a load
has to cost less than what it loads; and what makes short sleeps short.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Sequence

__all__ = ["Arrivals", "Datagram", "Departures", "sleepExactly"]

_SOL_UDP, _UDP_SEGMENT, _IP_PKTINFO = 17, 103, 8
_PR_SET_TIMERSLACK = 29
_CALM = (errno.EAGAIN, errno.ECONNREFUSED, errno.ENOBUFS, errno.EINTR)


class _Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


class _Header(ctypes.Structure):
    """
    A C{struct msghdr}.
    """

    _fields_ = [
        ("name", ctypes.c_void_p),
        ("nameLength", ctypes.c_uint32),
        ("vectors", ctypes.c_void_p),
        ("vectorCount", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("controlLength", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    ]


class _Message(ctypes.Structure):
    """
    A C{struct mmsghdr}.
    """

    _fields_ = [("header", _Header), ("size", ctypes.c_uint32)]


_LIBC = ctypes.CDLL(None, use_errno=True)
_sendmmsg, _recvmmsg = _LIBC.sendmmsg, _LIBC.recvmmsg
_sendmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)
_recvmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)
_MESSAGE = ctypes.sizeof(_Message)
_SIZE_WORD, _WORDS = _Message.size.offset // 4, _MESSAGE // 4


def _done(count: int) -> int:
    """
    @return: messages that went; none where the kernel only asks for patience.
    @raise OSError: it is more than that.
    """
    if count >= 0:
        return count
    code = ctypes.get_errno()
    if code in _CALM:
        return 0
    raise OSError(code, os.strerror(code))


def _control(level: int, kind: int, data: bytes) -> bytes:
    head = struct.pack("@Nii", struct.calcsize("@Nii") + len(data), level, kind)
    return head + data + bytes(-len(data) % struct.calcsize("@N"))


class Datagram:
    """
    What is sent, and how.
    """

    def __init__(
        self, data: bytes, train: int = 1, to: tuple[str, int] | None = None, source: str = ""
    ) -> None:
        """
        @param train: as how many of them it is sent at once: the kernel cuts them apart (UDP_SEGMENT).
        @param to: where; L{None}: where the socket is connected to.
        @param source: one of this host's addresses; empty: that of the socket.
        """
        self.train, self.data, self.name, self.control = train, data * train, b"", b""
        if to is not None:
            self.name = struct.pack("=H", socket.AF_INET) + struct.pack(
                "!H4s8x", to[1], socket.inet_aton(to[0])
            )
        if train > 1:
            self.control += _control(_SOL_UDP, _UDP_SEGMENT, struct.pack("@H", len(data)))
        if source:
            self.control += _control(
                0, _IP_PKTINFO, struct.pack("@i4s4s", 0, socket.inet_aton(source), bytes(4))
            )


class Departures:
    """
    Sends the same datagrams again and again, in turns.
    """

    def __init__(self, opened: socket.socket, datagrams: Sequence[Datagram]) -> None:
        """
        @param datagrams: at most 1,024, with equally many in each train.
        """
        self.train = datagrams[0].train
        self._number, self._next = opened.fileno(), 0
        self._messages = (_Message * len(datagrams))()
        self._kept: list[object] = []
        for message, datagram in zip(self._messages, datagrams, strict=True):
            self._fill(message.header, datagram)
        self._start = ctypes.addressof(self._messages)

    def _fill(self, header: _Header, datagram: Datagram) -> None:
        buffers = [
            ctypes.create_string_buffer(each, len(each))
            for each in (datagram.data, datagram.name, datagram.control)
        ]
        data, name, control = map(ctypes.addressof, buffers)
        vector = _Vector(data, len(datagram.data))
        self._kept += [*buffers, vector]
        header.vectors, header.vectorCount = ctypes.addressof(vector), 1
        if datagram.name:
            header.name, header.nameLength = name, len(datagram.name)
        if datagram.control:
            header.control, header.controlLength = control, len(datagram.control)

    def send(self, count: int) -> int:
        """
        Send up to C{count} datagrams, rounded down to whole trains.

        @return: how many the kernel has taken.
        """
        messages = min(count // self.train, len(self._messages) - self._next)
        if messages <= 0:
            return 0
        start = self._start + self._next * _MESSAGE
        sent = _done(_sendmmsg(self._number, start, messages, socket.MSG_DONTWAIT))
        self._next = (self._next + sent) % len(self._messages)
        return self.train * sent


class Arrivals:
    """
    Counts what arrives, without copying it.
    """

    def __init__(self, opened: socket.socket, most: int = 64) -> None:
        """
        @param most: messages of one call.
        """
        self._number, self._most = opened.fileno(), most
        self._byte = ctypes.create_string_buffer(1)
        self._vector = _Vector(ctypes.addressof(self._byte), 1)
        self._messages = (_Message * most)()
        for message in self._messages:
            message.header.vectors, message.header.vectorCount = ctypes.addressof(self._vector), 1
        self._start = ctypes.addressof(self._messages)
        self._words = memoryview(self._messages).cast("B").cast("I")

    def take(self) -> int:
        """
        Take what is there.

        @return: bytes of all datagrams, those of trains (UDP_GRO) included.
        """
        flags = socket.MSG_DONTWAIT | socket.MSG_TRUNC
        count = _done(_recvmmsg(self._number, self._start, self._most, flags, None))
        return sum(self._words[_SIZE_WORD : _WORDS * count : _WORDS])


def sleepExactly() -> None:
    """
    Let this thread sleep no more than a microsecond longer than it asks for; the usual is 50.
    """
    _LIBC.prctl(_PR_SET_TIMERSLACK, 1000, 0, 0, 0)
