# -*- test-case-name: vnet.test.test_finishedruns -*-
"""
Segments of TCP whose checksums are finished, joined without going through their bytes.

A peer that is not vnet sends finished checksums.  What the checksum of a segment says about the sum of its payload follows from
its header; so the checksum of all payloads together follows from the headers, and the kernel checks that in one go (RFC 1071
section 2: the order of the words does not matter, and at an odd place their bytes are swapped).  If one segment is damaged, the
sum is wrong and all are dropped; TCP sends them again.  What the kernel does not take itself, but passes on, it does not check.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from struct import Struct

from vnet.protocols.codec import virtio
from vnet.protocols.codec.ethernet import HEADER
from vnet.protocols.codec.ip import TCP
from vnet.protocols.codec.progression import progression
from vnet.protocols.codec.runs import LONGEST, follows, headerSize, lengthOf, roomAfter, setLengths, stepsOf
from vnet.protocols.codec.segmentation import pseudoSum
from vnet.values import Buffer

__all__ = ["joinFinished"]

Frame = Sequence[Buffer]

_FIN_PSH, _CWR = 0x09, 0x80
_MOST = 0xFFFF
_SWAP = 256
_word = Struct("!H")


def joinFinished(frames: Sequence[Frame]) -> list[Frame]:
    """
    Join TCP segments in a row.

    @param frames: in parts; of each that is a packet, and needs nothing, the first part is the virtio and the Ethernet header.
    @return: the same, with trains in place of those that make one.
    """
    found: list[Frame] = []
    for front, each in groupby(frames, itemgetter(0)):
        group = list(each)
        if len(group) > 1 and len(group[0]) == 2 and front[: virtio.SIZE] == virtio.FINISHED:
            ethernet = bytes(front[virtio.SIZE :])
            packets = [bytes(packet) for _, packet in group]
            place = 0
            while place < len(packets):
                train = _Train(packets[place])
                count = train.extend(packets, place + 1) if train.isPlain else 1
                found.append(train.frame(ethernet) if count > 1 else group[place])
                place += count
        else:
            found += group
    return found


class _Train:
    """
    What is joined.

    @ivar isPlain: whether the first packet may begin a train.
    """

    def __init__(self, first: bytes) -> None:
        self._packets = [first]
        header = headerSize(first)
        transport = 20 if first[0] == 0x45 else 40
        self.isPlain = header - transport > 8 and len(first) == lengthOf(first)
        if transport == 20 and (int.from_bytes(first[:20], "big") % _MOST or first[10] & first[11] == 0xFF):
            self.isPlain = False
        self._header, self._transport = header, transport
        self._place = transport + virtio.TCP_OFFSET
        #: Of the packets, in order.
        self._checksums: list[int] = []

    def extend(self, packets: Sequence[bytes], place: int) -> int:
        """
        Add what follows.

        @return: how many packets there are now.
        """
        first, header, transport = self._packets[0], self._header, self._transport
        size = len(first)
        payload = size - header
        if payload * 2 > LONGEST or place == len(packets):
            return 1
        masked = bytearray(first[:header])
        masked[self._place : self._place + 2] = b"\0\0"
        masked[transport + 13] &= ~_CWR
        most = min(roomAfter(first, transport, payload), LONGEST // payload - 1)
        following = packets[place : place + most]
        sizes = [*map(len, following)]
        count = next((number for number, each in enumerate(sizes) if each != size), len(sizes))
        heads = memoryview(bytearray(b"".join(map(itemgetter(slice(header)), following[:count]))))
        checksums = heads[self._place :: header], heads[self._place + 1 :: header]
        self._checksums = [
            first[self._place] << 8 | first[self._place + 1],
            *(high << 8 | low for high, low in zip(*checksums, strict=True)),
        ]
        for column in checksums:
            column[:] = bytes(count)
        count = self._matching(heads, bytes(masked), count, stepsOf(first, header, transport, payload))
        self._packets += following[:count]
        del self._checksums[count + 1 :]
        place += count
        if count < most and place < len(packets):
            self._close(packets[place])
        return len(self._packets)

    def _matching(self, heads: memoryview, masked: bytes, count: int, steps: Sequence[int]) -> int:
        """
        How many of the headers follow on the first.
        """
        header, found = self._header, 0
        for step in steps:
            wanted = progression(masked, step, count)
            if heads == wanted:
                return count
            matching = 0
            while (
                heads[matching * header : (matching + 1) * header]
                == wanted[matching * header : (matching + 1) * header]
            ):
                matching += 1
            found = max(found, matching)
        return found

    def _close(self, packet: bytes) -> None:
        """
        Add the last packet, which may be shorter and have FIN and PSH, if it is that.
        """
        first, header, transport = self._packets[0], self._header, self._transport
        if not header < len(packet) <= len(first) or packet[0] != first[0] or lengthOf(packet) != len(packet):
            return
        wanted = bytearray(first[:header])
        at = transport + 4
        sequence = int.from_bytes(first[at : at + 4], "big") + len(self._packets) * (len(first) - header)
        wanted[at : at + 4] = (sequence & 0xFFFFFFFF).to_bytes(4, "big")
        wanted[transport + 13] = first[transport + 13] & ~_CWR | packet[transport + 13] & _FIN_PSH
        if transport == 20:
            if not follows(self._packets, packet):
                return
            wanted[4:6] = packet[4:6]
        setLengths(wanted, transport, True, len(packet))
        wanted[self._place : self._place + 2] = packet[self._place : self._place + 2]
        if packet.startswith(wanted):
            self._packets.append(packet)
            self._checksums.append(packet[self._place] << 8 | packet[self._place + 1])

    def frame(self, ethernet: bytes) -> list[Buffer]:
        """
        All of them as one frame, in parts.
        """
        first, last, header, transport = self._packets[0], self._packets[-1], self._header, self._transport
        head = bytearray(first[:header])
        head[transport + 13] |= last[transport + 13] & _FIN_PSH
        payload = len(first) - header
        size = payload * (len(self._packets) - 1) + len(last)
        setLengths(head, transport, True, size)
        head[self._place : self._place + 2] = b"\0\0"
        total = self._payloads(payload) + _sum(head[transport:]) + self._pseudo(size)
        _word.pack_into(head, self._place, _MOST - (total % _MOST or _MOST))
        kind = (virtio.TCP4 if transport == 20 else virtio.TCP6) | virtio.ECN * bool(
            head[transport + 13] & _CWR
        )
        front = virtio.packHeader(0, kind, HEADER + header, payload, 0, 0)
        parts: list[Buffer] = [front + ethernet + head]
        parts += map(itemgetter(slice(header, None)), self._packets)
        return parts

    def _payloads(self, payload: int) -> int:
        """
        The sum of all payloads, as far as their checksums are right.
        """
        total = 0
        for number, (packet, checksum) in enumerate(zip(self._packets, self._checksums, strict=True)):
            head = _sum(packet[self._transport : self._header]) - checksum
            each = -(checksum + head + self._pseudo(len(packet)))
            total += each * (_SWAP if number * payload & 1 else 1)
        return total

    def _pseudo(self, size: int) -> int:
        first = self._packets[0]
        addresses = first[12:20] if self._transport == 20 else first[8:40]
        return pseudoSum(addresses, TCP, size - self._transport)


def _sum(data: Buffer) -> int:
    return int.from_bytes(data, "big") % _MOST
