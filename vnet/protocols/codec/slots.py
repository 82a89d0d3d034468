# -*- test-case-name: vnet.test.test_runs -*-
"""
Many packets of one size in one buffer, each in a slot of its own, and runs of them (L{vnet.protocols.codec.runs}).

Nothing is made for each packet: what is cut from a buffer is kept for the next packets of the same size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final, overload

from vnet.values import Buffer, Pieces

__all__ = ["ROOM", "SlotRun", "Slots"]

ROOM = 68_000
"""Bytes of the packets together."""


@final
class Slots(Sequence[bytes]):
    """
    A buffer of packets.
    """

    __slots__ = ("_count", "_lastSize", "_pieces", "_size")

    def __init__(self) -> None:
        self._pieces = Pieces(ROOM)
        self._count = self._size = self._lastSize = 0

    def take(self, size: int, count: int, lastSize: int) -> Sequence[memoryview]:
        """
        Make room for packets; those that are here are lost.

        @param size: of each but the last, which has C{lastSize} at most: together at most L{ROOM}.
        @return: where they are to be written.
        """
        self._count, self._size, self._lastSize = count, size, lastSize
        spaces = self._pieces.cut(0, size, size, count)[:count]
        if lastSize != size:
            spaces[-1] = spaces[-1][:lastSize]
        return spaces

    @property
    def byteCount(self) -> int:
        """
        Bytes of all packets.
        """
        return (self._count - 1) * self._size + self._lastSize

    def heads(self, place: int, most: int, size: int) -> tuple[bytes, int]:
        """
        The beginnings of packets in a row, one after the other.

        @param place: of the first, and C{most}: how many at most; the last packet of all is only among them if it has the size
            of the others.
        @param size: of each beginning.
        @return: them, and how many there are.
        """
        end = min(place + most, self._count - (self._lastSize != self._size))
        return b"".join(self._pieces.cut(0, self._size, size, end)[place:end]), max(end - place, 0)

    def payloads(self, place: int, count: int, begin: int, end: int, lastEnd: int) -> list[Buffer]:
        """
        What packets in a row hold between two places, of the last one to another place.
        """
        found: list[Buffer] = [
            *self._pieces.cut(begin, self._size, end - begin, place + count)[place : place + count]
        ]
        if lastEnd != end:
            found[-1] = self.view(place + count - 1)[begin:lastEnd]
        return found

    def view(self, index: int) -> memoryview:
        """
        One packet, where it is.
        """
        begin = index * self._size
        return self._pieces.memory[begin : begin + self.sizeOf(index)]

    def sizeOf(self, index: int) -> int:
        """
        Bytes of a packet.
        """
        return self._lastSize if index == self._count - 1 else self._size

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> bytes: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[bytes]: ...

    def __getitem__(self, index: int | slice) -> bytes | Sequence[bytes]:
        places = range(self._count)[index]
        return (
            bytes(self.view(places))
            if isinstance(places, int)
            else [bytes(self.view(each)) for each in places]
        )


@final
class SlotRun(Sequence[bytes]):
    """
    A run of packets in slots.

    @ivar size: bytes of each packet but the last, without what follows it in its slot; C{lastSize}: of the last one.
    """

    __slots__ = ("_count", "_first", "_place", "_slots", "lastSize", "size")

    def __init__(self, slots: Slots, place: int, first: bytes) -> None:
        """
        @param first: the packet at this place.
        """
        self._slots, self._place, self._first = slots, place, first
        self._count = 1
        self.size = self.lastSize = len(first)

    def grow(self, count: int) -> None:
        """
        So many more packets belong to the run.
        """
        self._count += count
        self.lastSize = self._slots.sizeOf(self._place + self._count - 1)

    def trim(self, size: int, lastSize: int) -> None:
        """
        Say how long the packets are.
        """
        self.size, self.lastSize = size, lastSize
        self._first = self._first[:size]

    def last(self) -> memoryview:
        """
        The last packet, where it is.
        """
        return self._slots.view(self._place + self._count - 1)

    def payloads(self, header: int) -> list[Buffer]:
        """
        All packets without their headers, where they are.
        """
        return self._slots.payloads(self._place, self._count, header, self.size, self.lastSize)

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> bytes: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[bytes]: ...

    def __getitem__(self, index: int | slice) -> bytes | Sequence[bytes]:
        if index == 0:
            return self._first
        places = range(self._count)[index]
        return self._packet(places) if isinstance(places, int) else [self._packet(each) for each in places]

    def _packet(self, index: int) -> bytes:
        size = self.lastSize if index == self._count - 1 else self.size
        return bytes(self._slots.view(self._place + index)[:size])
