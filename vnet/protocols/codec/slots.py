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

    @ivar packetCount: how many there are.
    @ivar size: bytes of each but the last; C{lastSize}: of that.
    """

    __slots__ = ("_pieces", "lastSize", "packetCount", "size")

    def __init__(self) -> None:
        self._pieces = Pieces(ROOM)
        self.packetCount = self.size = self.lastSize = 0

    def take(self, size: int, count: int, lastSize: int) -> Sequence[memoryview]:
        """
        Make room for packets; those that are here are lost.

        @param size: of each but the last, which has C{lastSize} at most: together at most L{ROOM}.
        @return: where they are to be written.
        """
        self.packetCount, self.size, self.lastSize = count, size, lastSize
        spaces = self._pieces.cut(0, size, size, count)[:count]
        if lastSize != size:
            spaces[-1] = spaces[-1][:lastSize]
        return spaces

    @property
    def byteCount(self) -> int:
        """
        Bytes of all packets.
        """
        return (self.packetCount - 1) * self.size + self.lastSize

    def heads(self, place: int, most: int, size: int) -> tuple[bytes, int]:
        """
        The beginnings of packets in a row, one after the other.

        @param place: of the first, and C{most}: how many at most; the last packet of all is only among them if it has the size
            of the others.
        @param size: of each beginning.
        @return: them, and how many there are.
        """
        end = min(place + most, self.packetCount - (self.lastSize != self.size))
        return b"".join(self._pieces.cut(0, self.size, size, end)[place:end]), max(end - place, 0)

    def payloads(self, place: int, count: int, begin: int, end: int, lastEnd: int) -> list[Buffer]:
        """
        What packets in a row hold between two places, of the last one to another place.
        """
        found: list[Buffer] = [
            *self._pieces.cut(begin, self.size, end - begin, place + count)[place : place + count]
        ]
        if lastEnd != end:
            found[-1] = self.view(place + count - 1)[begin:lastEnd]
        return found

    def copy(self, index: int) -> bytes:
        """
        One packet.
        """
        begin = index * self.size
        end = begin + (self.lastSize if index == self.packetCount - 1 else self.size)
        return bytes(self._pieces.memory[begin:end])

    def head(self, index: int, size: int) -> bytes:
        """
        The beginning of one packet, or all of it if it is not so long.
        """
        begin = index * self.size
        end = begin + min(size, self.lastSize if index == self.packetCount - 1 else self.size)
        return bytes(self._pieces.memory[begin:end])

    def view(self, index: int) -> memoryview:
        """
        One packet, where it is.
        """
        begin = index * self.size
        return self._pieces.memory[begin : begin + self.sizeOf(index)]

    def sizeOf(self, index: int) -> int:
        """
        Bytes of a packet.
        """
        return self.lastSize if index == self.packetCount - 1 else self.size

    def __len__(self) -> int:
        return self.packetCount

    @overload
    def __getitem__(self, index: int) -> bytes: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[bytes]: ...

    def __getitem__(self, index: int | slice) -> bytes | Sequence[bytes]:
        places = range(self.packetCount)[index]
        return self.copy(places) if isinstance(places, int) else [self.copy(each) for each in places]


@final
class SlotRun(Sequence[bytes]):
    """
    A run of packets in slots.

    @ivar first: the first packet.
    @ivar header: how long its headers are; C{transport}: where the second of them begins.
    @ivar packetCount: how many packets there are.
    @ivar size: bytes of each packet but the last, without what follows it in its slot; C{lastSize}: of the last one.
    """

    __slots__ = ("_place", "_slots", "first", "header", "lastSize", "packetCount", "size", "transport")

    def __init__(
        self, slots: Slots, place: int, first: bytes, size: int, header: int, transport: int
    ) -> None:
        """
        @param first: the packet at this place, and what follows it in its slot.
        """
        self._slots, self._place = slots, place
        self.first = first[:size]
        self.header, self.transport = header, transport
        self.packetCount = 1
        self.size = self.lastSize = size

    def grow(self, count: int, lastSize: int) -> None:
        """
        So many more packets belong to the run.
        """
        self.packetCount += count
        self.lastSize = lastSize

    def last(self) -> memoryview:
        """
        The last packet, where it is, and what follows it in its slot.
        """
        return self._slots.view(self._place + self.packetCount - 1)

    def payloads(self) -> list[Buffer]:
        """
        All packets without their headers, where they are.
        """
        return self._slots.payloads(self._place, self.packetCount, self.header, self.size, self.lastSize)

    def __len__(self) -> int:
        return self.packetCount

    @overload
    def __getitem__(self, index: int) -> bytes: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[bytes]: ...

    def __getitem__(self, index: int | slice) -> bytes | Sequence[bytes]:
        if index == 0:
            return self.first
        places = range(self.packetCount)[index]
        return self._packet(places) if isinstance(places, int) else [self._packet(each) for each in places]

    def _packet(self, index: int) -> bytes:
        size = self.lastSize if index == self.packetCount - 1 else self.size
        return bytes(self._slots.view(self._place + index)[:size])
