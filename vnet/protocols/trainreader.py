# -*- test-case-name: vnet.test.priv.test_trainreader -*-
"""
Reads many datagrams and trains of a UDP socket with one call (recvmmsg(2)), for which Python has no name.

What UDP_GRO has joined comes as a train that lies in one slot of the memory; datagrams of one size that came from one address
one after the other lie in slots in a row, and make one train too.
"""

from __future__ import annotations

import errno
import mmap
import socket
import struct
import sys
from collections import Counter
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from vnet.protocols._recvmmsg import ffi as _ffi
from vnet.values import Address, Train

__all__ = ["JOINED_SLOTS", "SLOTS", "TrainReader"]

SLOTS = 32
"""Messages of one call."""

JOINED_SLOTS = 4
"""The same where the kernel has joined datagrams: more would be a long turn, and the processor's cache would not hold them."""

#: With a size that is no power of two the beginnings of the slots do not share the lines of the processor's cache.
_SLOT = 65_536 + 320
_JOINED = 9_000
_NAME, _CONTROL = 28, socket.CMSG_SPACE(4)
_MAX_CACHED = 4096
_MAPPED = bytes(10) + b"\xff\xff"

_port = struct.Struct("!H").unpack_from


class TrainReader:
    """
    Reads any number of sockets, one after the other, into one memory.

    @ivar counters: errors, by name.
    @ivar isFull: whether the last call has read as much as it could, so that there may be more.
    @ivar most: how many messages the next call for the same socket ought to read.
    """

    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()
        self.isFull = False
        # Pages that nothing was read into yet cost nothing.
        self._memory = memoryview(mmap.mmap(-1, SLOTS * _SLOT, mmap.MAP_PRIVATE))
        self._names = bytearray(SLOTS * _NAME)
        self._sources: dict[bytes, Address] = {}
        self.most = SLOTS
        control = bytearray(SLOTS * _CONTROL)
        vectors, messages = _ffi.new("struct iovec[]", SLOTS), _ffi.new("struct mmsghdr[]", SLOTS)
        at = [_ffi.from_buffer("char[]", each) for each in (self._memory, self._names, control)]
        for number in range(SLOTS):
            vectors[number].iov_base, vectors[number].iov_len = at[0] + number * _SLOT, 65_535
            header = messages[number].msg_hdr
            header.msg_name, header.msg_namelen = at[1] + number * _NAME, _NAME
            header.msg_iov, header.msg_iovlen = vectors + number, 1
            header.msg_control, header.msg_controllen = at[2] + number * _CONTROL, _CONTROL
        self._kept = at, vectors, messages
        library: Any = _ffi.dlopen(None)
        self._call: Callable[..., int] = library.recvmmsg
        self._messages = _ffi.cast("void *", messages)
        # Seen as numbers, one of each message: what is read of them, and what they are before each call.
        self._headers = memoryview(_ffi.buffer(messages)).cast("B")
        self._unread = bytes(self._headers)
        self._unreadOne = self._unread[: _ffi.sizeof("struct mmsghdr")]
        size = _ffi.sizeof("struct mmsghdr")
        place = _ffi.offsetof("struct mmsghdr", "msg_len")
        self._sizes = self._headers.cast("I")[place // 4 :: size // 4]
        place = _ffi.offsetof("struct msghdr", "msg_controllen")
        width = _ffi.sizeof("size_t")
        self._controls = self._headers.cast("Q" if width == 8 else "I")[place // width :: size // width]
        place = _ffi.offsetof("struct cmsghdr", "data")
        self._segments = memoryview(control).cast("I")[place // 4 :: _CONTROL // 4]
        self._width = size

    def read(self, descriptor: int, most: int = SLOTS) -> list[Train]:
        """
        Read what there is, up to C{most} datagrams and trains.

        @return: valid until the next call; empty: there is nothing, or an error was there.
        """
        count = self._call(descriptor, self._messages, most, socket.MSG_DONTWAIT, _ffi.NULL)
        self.isFull = count == most
        if count <= 0:
            if count and _ffi.errno != errno.EAGAIN:
                self.counters[errno.errorcode.get(_ffi.errno, "other")] += 1
            return []
        if count == 1:
            return [self._one()]
        used = count * self._width
        sizes = self._sizes[:count].tolist()
        controls = self._controls[:count].tolist()
        self._headers[:used] = self._unread[:used]
        trains: list[Train] = []
        begun = -1
        latest: Address | None = None
        for number in range(count):
            source = self._source(number)
            size = sizes[number]
            segment = self._segments[number] if controls[number] else size
            if segment < size:
                if begun >= 0:
                    trains.append(self._train(begun, number, sizes, latest))
                    begun = -1
                place = number * _SLOT
                trains.append(Train(self._memory[place : place + size], segment, source, 0, segment))
                continue
            if begun >= 0:
                first = sizes[begun]
                # What is shorter than those before it is the last.  A name has bytes behind it that mean nothing.
                if (
                    (source is latest or source == latest)
                    and 0 < size <= first
                    and sizes[number - 1] == first
                ):
                    continue
                trains.append(self._train(begun, number, sizes, latest))
            begun, latest = number, source
        if begun >= 0:
            trains.append(self._train(begun, count, sizes, latest))
        self.most = JOINED_SLOTS if max(sizes) > _JOINED else SLOTS
        return trains

    def _one(self) -> Train:
        """
        What the first slot holds.
        """
        size = self._sizes[0]
        segment = self._segments[0] if self._controls[0] else size
        self._headers[: self._width] = self._unreadOne
        self.most = JOINED_SLOTS if size > _JOINED else SLOTS
        segment = min(segment, size) or 1
        return Train(self._memory[:size], segment, self._source(0), 0, segment if size else 0)

    def _train(self, first: int, end: int, sizes: list[int], source: Address | None) -> Train:
        """
        The datagrams of slots in a row.
        """
        assert source is not None
        data = self._memory[first * _SLOT : (end - 1) * _SLOT + sizes[end - 1]]
        return Train(data, _SLOT if end - first > 1 else sizes[first] or 1, source, 0, sizes[first])

    def _source(self, number: int) -> Address:
        name = bytes(self._names[number * _NAME : (number + 1) * _NAME])
        found = self._sources.get(name)
        if found is None:
            if len(self._sources) >= _MAX_CACHED:
                self._sources.clear()
            found = self._sources[name] = _address(name)
        return found


def _address(name: bytes) -> Address:
    """
    Read a struct sockaddr_in or sockaddr_in6.
    """
    (port,) = _port(name, 2)
    if int.from_bytes(name[:2], sys.byteorder) == socket.AF_INET:
        return Address(str(IPv4Address(name[4:8])), port)
    host = name[8:24]
    if host.startswith(_MAPPED):
        return Address(str(IPv4Address(host[12:])), port)
    return Address(str(IPv6Address(host)), port)
