# -*- test-case-name: vnet.test.test_segmentation -*-
"""
What Linux leaves to the network card, done here: to cut segment trains of TCP and UDP (TSO, USO), and to finish checksums.

The segments are those that the kernel's own segmentation makes, byte for byte: identification and sequence number go on, FIN
and PSH are in the last segment only, CWR is in the first only (RFC 3168 section 6.1.2).

All headers of a train but the last are one number that grows by the same amount from one to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from operator import add
from struct import Struct

from vnet.errors import DecodeError
from vnet.protocols.codec import virtio
from vnet.protocols.codec.ethernet import HEADER, IPV4, IPV6
from vnet.protocols.codec.ip import TCP, UDP
from vnet.protocols.codec.progression import progression
from vnet.values import Buffer, Superframe

__all__ = ["IP", "Segments", "finish", "finishPacket", "isPlainPartial", "pseudoSum", "split"]

IP = virtio.SIZE + HEADER
"""Where the IP packet begins in a frame with its virtio header."""

_FIN_PSH, _CWR = 0x09, 0x80
_DONT_FRAGMENT = 0x40
_word = Struct("!H")
_MOST = 0xFFFF
_CHECKSUM = {TCP: virtio.TCP_OFFSET, UDP: virtio.UDP_OFFSET}
_CUTTERS: dict[tuple[int, int], Callable[[bytes], tuple[bytes, ...]]] = {}
_KEPT = 64

#: The virtio headers of unfinished TCP and UDP packets without options or extensions, where in the frame the protocol
#: stands and what it is, the version, and how long they are at least.
_PLAIN = {
    virtio.packHeader(virtio.NEEDS_CSUM, virtio.NONE, 0, 0, start, offset): (
        place,
        protocol,
        version,
        virtio.SIZE + start + offset + 2,
    )
    for start, place, version in ((HEADER + 20, IP + 9, 0x45), (HEADER + 40, IP + 6, 6))
    for protocol, offset in _CHECKSUM.items()
}


def pseudoSum(addresses: Buffer, protocol: int, length: int) -> int:
    """
    The sum of the pseudo-header of TCP and UDP over IPv4 and IPv6, as an unfinished checksum holds it: 1 to 65535.

    @param addresses: source and destination, packed.
    @param length: of header and payload, bytes.
    """
    return (int.from_bytes(addresses, "big") + protocol + length) % _MOST or _MOST


def _sum(data: Buffer) -> int:
    number = int.from_bytes(data, "big")
    return (number << 8 if len(data) & 1 else number) % _MOST


def _withByte(head: bytes, place: int, value: int) -> bytes:
    return b"".join((head[:place], bytes((value,)), head[place + 1 :]))


def isPlainPartial(frame: bytes) -> bool:
    """
    Whether an unfinished frame is a plain TCP or UDP packet, whose checksum whoever gets it can tell to be unfinished.
    """
    found = _PLAIN.get(frame[: virtio.SIZE])
    if found is None:
        return False
    place, protocol, version, least = found
    if len(frame) < least or frame[place] != protocol:
        return False
    if version == 6:
        return frame[IP] >> 4 == 6
    # Of fragments nobody can tell.
    return frame[IP] == version and not (frame[IP + 6] & ~_DONT_FRAGMENT or frame[IP + 7])


def finish(frame: bytes) -> bytes:
    """
    Finish the checksum of a frame that is no train.

    @param frame: with its virtio header.
    @return: the same with an empty one.
    @raise DecodeError: the header does not fit the frame.
    """
    flags, _, _, _, start, offset = virtio.unpackHeader(frame)
    if not flags & virtio.NEEDS_CSUM:
        return virtio.FINISHED + frame[virtio.SIZE :]
    begin = virtio.SIZE + start
    place = begin + offset
    if place + 2 > len(frame) or start < HEADER:
        raise DecodeError("a checksum outside of the frame")
    total = (_MOST - _sum(memoryview(frame)[begin:])) or _MOST
    return b"".join((virtio.FINISHED, frame[virtio.SIZE : place], _word.pack(total), frame[place + 2 :]))


def finishPacket(packet: bytes) -> bytes:
    """
    Finish the checksum of a TCP or UDP packet that holds the sum of its pseudo-header, whatever it holds.

    @param packet: plain IPv4 or IPv6, its lengths in order.
    """
    if packet[0] >> 4 == 4:
        start, protocol = (packet[0] & 15) * 4, packet[9]
    else:
        start, protocol = 40, packet[6]
    place = start + _CHECKSUM[protocol]
    total = (_MOST - _sum(memoryview(packet)[start:])) or _MOST
    return b"".join((packet[:place], _word.pack(total), packet[place + 2 :]))


class Segments:
    """
    The IP packets of a train.

    @ivar count: how many there are.
    @ivar size: of each but the last, bytes.
    @ivar lastSize: of the last one, not more than C{size}.
    @ivar destination: of all of them, packed.
    @ivar isPlain: whether whoever gets them can tell that their checksums are unfinished, see L{isPlainPartial}.
    @ivar finishes: whether checksums are made over all, which is slow, or hold the sum of the pseudo-header.
    """

    __slots__ = (
        "_base",
        "_end",
        "_header",
        "_isTcp",
        "_made",
        "_original",
        "_payload",
        "_pieces",
        "_transport",
        "_version",
        "count",
        "destination",
        "finishes",
        "isPlain",
        "lastSize",
        "size",
    )

    def __init__(
        self, frame: Superframe, transport: int, header: int, payload: int, isTcp: bool, finishes: bool
    ) -> None:
        """
        @param transport: where the transport's header begins in the packet, and C{header} how long both headers are.
        @param payload: bytes of each segment.
        @param finishes: whether checksums are made over all.
        """
        memory = frame.pieces.memory
        rest = frame.size - IP - header
        self._pieces, self._end = frame.pieces, frame.size
        self._original = original = bytes(memory[IP : IP + header])
        self._version = original[0] >> 4
        self._transport, self._header, self._payload = transport, header, payload
        self._isTcp, self.finishes = isTcp, finishes
        self._made: Sequence[bytes] | None = None
        self.count = -(-rest // payload)
        self.size = header + payload
        self.lastSize = header + rest - (self.count - 1) * payload
        self.destination = original[16:20] if self._version == 4 else original[24:40]
        place = transport + (virtio.TCP_OFFSET if isTcp else virtio.UDP_OFFSET)
        held, length = original[place] << 8 | original[place + 1], frame.size - IP - transport
        # Of the pseudo-header without its length: with a routing header it has not the addresses that are seen here.
        self._base = held - length
        if self._version == 4:
            isPlain = original[0] == 0x45 and not (original[6] & ~_DONT_FRAGMENT or original[7])
            protocol, addresses = original[9], original[12:20]
        else:
            isPlain, protocol, addresses = transport == 40, original[6], original[8:40]
        self.isPlain = (
            isPlain and protocol == (TCP if isTcp else UDP) and held == pseudoSum(addresses, protocol, length)
        )

    def __iter__(self) -> Iterator[bytes]:
        return chain(self.first(), (self.last(),))

    def first(self) -> Iterator[bytes]:
        """
        All packets but the last.
        """
        count, header = self.count - 1, self._header
        if not count:
            return iter(())
        payloads = self._pieces.cut(IP + header, self._payload, self._payload, count)
        # Without a line of Python for each of them.
        packets = map(add, self._heads()[:count], payloads)
        return map(self._finished, packets) if self.finishes else packets

    def last(self) -> bytes:
        """
        The last packet.
        """
        size = self._header + (self.count - 1) * self._payload
        packet = self._heads()[-1] + self._pieces.memory[IP + size : self._end]
        return self._finished(packet) if self.finishes else packet

    def _heads(self) -> Sequence[bytes]:
        """
        The headers of all segments.
        """
        if self._made is None:
            self._made = self._makeHeads()
        return self._made

    def _makeHeads(self) -> Sequence[bytes]:
        first, count = self._head(0), self.count
        step = self._step(first, count) if count > 1 else None
        if step is None:
            return [first, *map(self._head, range(1, count))]
        size, flags = len(first), self._transport + 13
        before = first
        if self._isTcp and first[flags] & _CWR:
            before = _withByte(first, flags, first[flags] & ~_CWR)
        cut = _CUTTERS.get((size, count))
        if cut is None:
            if len(_CUTTERS) >= _KEPT:
                _CUTTERS.clear()
            cut = _CUTTERS[size, count] = Struct(f"{size}s" * count).unpack
        heads: Sequence[bytes] = cut(first + progression(before, step, count - 1))
        more = self._original[flags] & _FIN_PSH if self._isTcp else 0
        if self.lastSize != self.size:
            return (*heads[:-1], self._head(count - 1))
        return (*heads[:-1], _withByte(heads[-1], flags, heads[-1][flags] | more)) if more else heads

    def _step(self, head: bytes, count: int) -> int | None:
        """
        By how much the header grows, as a number; L{None} when one of its fields would run over.
        """
        size, step = len(head), 0
        if self._isTcp:
            place = self._transport + 4
            if int.from_bytes(head[place : place + 4], "big") + count * self._payload >> 32:
                return None
            step = self._payload << (size - place - 4) * 8
        if self._version == 4:
            if head[4] << 8 | head[5] > _MOST - count or head[10] << 8 | head[11] <= count:
                return None
            step += (1 << (size - 6) * 8) - (1 << (size - 12) * 8)
        return step

    def _head(self, index: int) -> bytes:
        """
        The header of one segment, with the sum of its pseudo-header.
        """
        head, transport = bytearray(self._original), self._transport
        isLast = index == self.count - 1
        size = self.lastSize if isLast else self.size
        if self._isTcp:
            place = transport + 4
            sequence = int.from_bytes(head[place : place + 4], "big") + index * self._payload
            head[place : place + 4] = (sequence & 0xFFFFFFFF).to_bytes(4, "big")
            if not isLast:
                head[transport + 13] &= ~_FIN_PSH
            if index:
                head[transport + 13] &= ~_CWR
        else:
            head[transport + 4 : transport + 6] = _word.pack(size - transport)
        if self._version == 4:
            head[2:4] = _word.pack(size)
            head[4:6] = _word.pack((head[4] << 8 | head[5]) + index & _MOST)
            head[10:12] = b"\0\0"
            head[10:12] = _word.pack(_MOST - (_sum(head[:transport]) or _MOST))
        else:
            head[4:6] = _word.pack(size - 40)
        place = transport + (virtio.TCP_OFFSET if self._isTcp else virtio.UDP_OFFSET)
        head[place : place + 2] = _word.pack((self._base + size - transport) % _MOST or _MOST)
        return bytes(head)

    def _finished(self, packet: bytes) -> bytes:
        """
        A packet with its checksum made over all.
        """
        start = self._transport
        place = start + (virtio.TCP_OFFSET if self._isTcp else virtio.UDP_OFFSET)
        total = _MOST - (_sum(memoryview(packet)[start:]) or _MOST)
        return b"".join(
            (packet[:place], _word.pack(total if total or self._isTcp else _MOST), packet[place + 2 :])
        )


def split(frame: Superframe, finishes: bool) -> Segments:
    """
    Cut a segment train.

    @param finishes: whether checksums are made over all, which is slow, or hold the sum of the pseudo-header.
    @raise DecodeError: it is not as the kernel makes them.
    """
    memory, end = frame.pieces.memory, frame.size
    flags, kind, _, payload, start, offset = virtio.unpackHeader(memory)
    kind &= ~virtio.ECN
    version = memory[IP] >> 4
    isTcp = kind in (virtio.TCP4, virtio.TCP6)
    wanted = virtio.TCP_OFFSET if isTcp else virtio.UDP_OFFSET
    if (
        kind not in (virtio.TCP4, virtio.TCP6, virtio.UDP)
        or not flags & virtio.NEEDS_CSUM
        or offset != wanted
    ):
        raise DecodeError("a segment train of another kind")
    transport = start - HEADER
    etherType = bytes(memory[IP - 2 : IP])
    least = (memory[IP] & 15) * 4 if version == 4 else 40
    if (etherType, version) not in ((IPV4, 4), (IPV6, 6)) or least < 20 or transport < least:
        raise DecodeError("a segment train that is no IP packet")
    if isTcp and kind != (virtio.TCP4 if version == 4 else virtio.TCP6):
        raise DecodeError("a segment train of another version of IP")
    place = IP + transport
    if place + (20 if isTcp else 8) > end:
        raise DecodeError("a truncated segment train")
    header = transport + ((memory[place + 12] >> 4) * 4 if isTcp else 8)
    if header < transport + (20 if isTcp else 8) or IP + header >= end or not payload:
        raise DecodeError("a segment train without payload")
    return Segments(frame, transport, header, payload, isTcp, finishes)
