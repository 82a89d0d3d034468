# -*- test-case-name: vnet.test.test_sealing -*-
"""
The sending half of the data path: inner packets to transport messages, in trains.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from operator import add
from typing import Protocol

from vnet.protocols.codec.transport import HEADER_SIZE, OVERHEAD, packNonce, writeHeaders
from vnet.protocols.machine.keypair import Keypair
from vnet.values import Address, Pieces, Train

__all__ = ["PacketTrain", "sealAll", "sealPackets", "sealSegments"]

#: Datagrams and bytes of a train: what Linux takes with one call (UDP_MAX_SEGMENTS, and an IP packet).
_MOST, _LONGEST = 64, 65_000

_PADDING = [bytes(size) for size in range(16)]
_NONCE_HEAD = bytes(4)
#: Packets for which it is worth to make a train.
_ENOUGH = 6


class PacketTrain(Protocol):
    """
    Packets of one size.

    @ivar count: how many there are.
    @ivar size: of each but the last, bytes.
    @ivar lastSize: of the last one, at most C{size}.
    """

    count: int
    size: int
    lastSize: int

    def __iter__(self) -> Iterator[bytes]:
        """All of them."""

    def first(self) -> Iterator[bytes]:
        """All but the last."""

    def last(self) -> bytes:
        """The last one."""


class _Equals:
    """
    Packets in a row that have one size, as a train.
    """

    __slots__ = ("_packets", "count", "lastSize", "size")

    def __init__(self, packets: Sequence[bytes]) -> None:
        self._packets = packets
        self.count = len(packets)
        self.size = self.lastSize = len(packets[0])

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._packets)

    def first(self) -> Iterator[bytes]:
        return iter(self._packets[:-1])

    def last(self) -> bytes:
        return self._packets[-1]


def sealAll(
    keypair: Keypair, packets: Sequence[bytes], endpoint: Address, mtu: int, output: Pieces
) -> list[Train]:
    """
    The same as L{sealPackets}, faster for packets of one size, and for one that is alone.

    @param output: what the trains may lie in.
    """
    if len(packets) == 1:
        return [_sealOne(keypair, packets[0], endpoint, mtu)]
    if len(packets) >= _ENOUGH and [*map(len, packets)].count(len(packets[0])) == len(packets):
        return sealSegments(keypair, _Equals(packets), endpoint, mtu, output)
    return sealPackets(keypair, packets, endpoint, mtu)


def _sealOne(keypair: Keypair, packet: bytes, endpoint: Address, mtu: int) -> Train:
    number = keypair.sent.to_bytes(8, "little")
    keypair.sent += 1
    if len(packet) & 15:
        packet += _padding(len(packet), mtu)
    data = keypair.prefix + number + keypair.seal(_NONCE_HEAD + number, packet, None)
    size = len(data)
    return Train(data, size, endpoint, 0, size)


def _padding(size: int, mtu: int) -> bytes:
    return _PADDING[min(-size & 15, max(mtu - size, 0))]


def _most(size: int) -> int:
    """
    How many datagrams of one size make a train.
    """
    return max(1, min(_MOST, _LONGEST // size))


def sealPackets(keypair: Keypair, packets: Sequence[bytes], endpoint: Address, mtu: int) -> list[Train]:
    """
    Pad and seal packets.

    @param packets: no more than the keypair can send; an empty one makes a keepalive.
    @return: trains, in this order: packets in a row that have one size make one.
    """
    counter = keypair.sent
    # Taken before the first is used: whatever happens below, no counter is used twice.
    keypair.sent = counter + len(packets)
    seal, prefix = keypair.seal, keypair.prefix
    trains: list[Train] = []
    parts: list[bytes] = []
    stride = count = most = 0
    for packet in packets:
        number = counter.to_bytes(8, "little")
        counter += 1
        if len(packet) & 15:
            packet += _padding(len(packet), mtu)
        size = len(packet) + OVERHEAD
        if size != stride or count == most:
            # The last of a train may be shorter.
            joins = size < stride and count < most
            if parts and not joins:
                trains.append(Train(b"".join(parts), stride, endpoint, 0, stride))
                parts, count = [], 0
            if joins:
                parts += (prefix, number, seal(_NONCE_HEAD + number, packet, None))
                trains.append(Train(b"".join(parts), stride, endpoint, 0, stride))
                parts, stride, count = [], 0, 0
                continue
            stride, most = size, _most(size)
        parts += (prefix, number, seal(_NONCE_HEAD + number, packet, None))
        count += 1
    if parts:
        trains.append(Train(b"".join(parts), stride, endpoint, 0, stride))
    return trains


def sealSegments(
    keypair: Keypair, segments: PacketTrain, endpoint: Address, mtu: int, output: Pieces
) -> list[Train]:
    """
    Pad and seal a train of packets.

    @param segments: no more than the keypair can send.
    @param output: what the trains lie in.
    """
    count, size = segments.count, segments.size
    padding = _padding(size, mtu)
    stride = size + len(padding) + OVERHEAD
    if count * stride > len(output.memory):
        return sealPackets(keypair, list(segments), endpoint, mtu)
    counter = keypair.sent
    keypair.sent = counter + count
    seal, memory = keypair.sealInto, output.memory
    last = count - 1
    writeHeaders(memory, stride, keypair.prefixNumber, counter, count)
    packets: Iterable[bytes] = segments.first()
    if padding:
        packets = map(add, packets, repeat(padding))
    nonces = map(packNonce, range(counter, counter + last))
    spaces = output.cut(HEADER_SIZE, stride, stride - HEADER_SIZE, last)
    # Without a line of Python for each of them.
    deque(map(seal, nonces, packets, repeat(None), spaces), maxlen=0)
    place = last * stride
    packet = segments.last() + _padding(segments.lastSize, mtu)
    end = place + len(packet) + OVERHEAD
    seal(packNonce(counter + last), packet, None, memory[place + HEADER_SIZE : end])
    portion = _most(stride) * stride
    return [
        Train(memory[begin : min(begin + portion, end)], stride, endpoint, 0, stride)
        for begin in range(0, end, portion)
    ]
