# -*- test-case-name: vnet.test.test_runs -*-
"""
Packets in a row that are segments of one train: what L{vnet.protocols.codec.segmentation} cuts, found and joined again (GRO).

In a train that a kernel has made each header but the last follows from the first: as numbers they grow by the same amount.
So one comparison of bytes tells that a packet belongs to the run, and all that is to be checked is checked of its first packet.

Joined are only packets that the kernel would cut the same way again (RFC 9293; RFC 6864 for the identification of packets that
may not be fragmented, which means nothing), and only while their checksums are unfinished: the field holds the sum of the
pseudo-header.  A finished checksum holds that by chance in one packet of 65,535, and is right then all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from struct import Struct

from vnet.protocols.codec import virtio
from vnet.protocols.codec.ethernet import HEADER
from vnet.protocols.codec.ip import TCP, UDP
from vnet.protocols.codec.progression import progression
from vnet.protocols.codec.segmentation import pseudoSum
from vnet.protocols.codec.slots import SlotRun, Slots
from vnet.values import Buffer

__all__ = [
    "LONGEST",
    "MOST",
    "Run",
    "follows",
    "headerSize",
    "join",
    "lengthOf",
    "partialHeader",
    "roomAfter",
    "runsOf",
    "setLengths",
    "stepsOf",
]

Run = Sequence[bytes]

#: Packets of a run, and bytes of its payloads.
MOST, LONGEST = 64, 65_000

_FIN_PSH, _CWR, _ACK = 0x09, 0x80, 0x10
_MOST = 0xFFFF
_SHORTEST = 29
_DONT_FRAGMENT = 0x40
_PROTOCOLS = {TCP: virtio.TCP_OFFSET, UDP: virtio.UDP_OFFSET}
#: The virtio headers of what is unfinished, by where its header begins and where in that the checksum is.
_UNFINISHED = {
    (transport, offset): virtio.packHeader(virtio.NEEDS_CSUM, virtio.NONE, 0, 0, HEADER + transport, offset)
    for transport in (20, 40)
    for offset in _PROTOCOLS.values()
}
_word = Struct("!H")


def runsOf(packets: Sequence[bytes]) -> list[Run]:
    """
    Group packets.

    @param packets: what one sender has sent, in the order in which it came; not empty.
    @return: runs of 1 to L{MOST} packets.  In one of several all are IPv4 or IPv6 packets whose lengths are in order, and
        without what followed them.  Of the second and later ones the headers follow from the first one's, and the lengths
        are the same; the last one may be shorter.
    """
    runs: list[Run] = []
    slots = packets if type(packets) is Slots else None
    count, place = len(packets), 0
    while place < count:
        first = packets[place] if slots is None else slots.copy(place)
        run: list[bytes] | SlotRun = [first]
        place += 1
        if place < count and (len(packets[place]) if slots is None else slots.sizeOf(place)) <= len(first):
            header = headerSize(first)
            if header and _mayBegin(first):
                length = lengthOf(first)
                if slots is not None:
                    transport = 20 if first[0] == 0x45 else 40
                    run = SlotRun(slots, place - 1, first, length, header, transport)
                before = place
                place = _extend(run, first, length, packets, place, header)
                if place == before:
                    run = [first]
                elif type(run) is list:
                    _trim(run, length)
        runs.append(run)
    return runs


def _trim(run: list[bytes], length: int) -> None:
    if len(run[0]) != length:
        run[:] = [packet[:length] for packet in run]
    last = lengthOf(run[-1])
    if len(run[-1]) != last:
        run[-1] = run[-1][:last]


def lengthOf(packet: Buffer) -> int:
    """
    How long a packet says that it is.
    """
    return packet[2] << 8 | packet[3] if packet[0] >> 4 == 4 else (packet[4] << 8 | packet[5]) + 40


def _transport(packet: bytes) -> int:
    """
    Where the transport's header begins in a plain packet; 0 in any other.
    """
    if packet[0] == 0x45:
        # Fragments and reserved bits are left alone.
        return 20 if not (packet[6] & ~_DONT_FRAGMENT or packet[7]) and packet[9] in _PROTOCOLS else 0
    return 40 if packet[0] >> 4 == 6 and packet[6] in _PROTOCOLS else 0


def headerSize(packet: bytes) -> int:
    """
    How long the headers of a packet are that may begin a run; 0 for any other.
    """
    if len(packet) < _SHORTEST:
        return 0
    transport = _transport(packet)
    length = lengthOf(packet)
    if not transport or not transport + 8 < length <= len(packet):
        return 0
    if packet[9 if transport == 20 else 6] == UDP:
        return (
            transport + 8 if packet[transport + 4] << 8 | packet[transport + 5] == length - transport else 0
        )
    if length < transport + 20 or packet[transport + 13] & ~_CWR != _ACK:
        return 0
    header = transport + (packet[transport + 12] >> 4) * 4
    return header if transport + 20 <= header < length else 0


def _mayBegin(packet: bytes) -> bool:
    """
    Whether the checksum of the IPv4 header is right, and the other one unfinished: both are made anew when a run is joined.
    """
    if packet[0] == 0x45:
        if int.from_bytes(packet[:20], "big") % _MOST or packet[10] & packet[11] == 0xFF:
            return False
        transport, addresses, protocol = 20, packet[12:20], packet[9]
    else:
        transport, addresses, protocol = 40, packet[8:40], packet[6]
    place = transport + _PROTOCOLS[protocol]
    held = packet[place] << 8 | packet[place + 1]
    return held == pseudoSum(addresses, protocol, lengthOf(packet) - transport)


def _extend(
    run: list[bytes] | SlotRun, first: bytes, length: int, packets: Sequence[bytes], place: int, header: int
) -> int:
    """
    Add to a run what follows in it.

    @param first: its first packet, of so many bytes.
    @return: the place of the first packet that does not.
    """
    size, number, payload = len(first), int.from_bytes(first[:header], "big"), length - header
    if payload * 2 > LONGEST:
        return place
    transport = 20 if first[0] == 0x45 else 40
    isTcp = header - transport != 8
    if isTcp and first[transport + 13] & _CWR:
        number -= _CWR << (header - transport - 14) * 8
    steps = stepsOf(first, header, transport, payload if isTcp else 0)
    second, isAsLong = (
        (packets.head(place, header), packets.sizeOf(place) == size)
        if type(packets) is Slots
        else (packets[place], len(packets[place]) == size)
    )
    for step in steps:
        if isAsLong and second.startswith((number + step).to_bytes(header, "big")):
            break
    else:
        return _close(run, packets, place, header)
    most = min(roomAfter(first, transport, payload if isTcp else 0), LONGEST // payload - 1)
    most = min(most, len(packets) - place)
    count = _following(packets, place, most, size, header, number, step)
    _grow(run, packets, place, count, length)
    place += count
    # No packet may follow a header whose checksum is 0: C{most} is below that then.
    if count >= most or place == len(packets):
        return place
    if isTcp and _ends(packets, place, header, number + (count + 1) * step, transport + 13):
        _grow(run, packets, place, 1, length)
        return place + 1
    return _close(run, packets, place, header)


def _ends(packets: Sequence[bytes], place: int, header: int, number: int, flags: int) -> bool:
    """
    Whether a packet is the last one of a run, and as long as the others.

    @param number: its header, but for FIN and PSH, and C{flags}: where they are.
    """
    if type(packets) is Slots:
        begin, size = packets.head(place, header), packets.sizeOf(place)
    else:
        begin, size = packets[place][:header], len(packets[place])
    if len(begin) < header:
        return False
    more = (begin[flags] & _FIN_PSH) << (header - flags - 1) * 8
    return int.from_bytes(begin, "big") == number + more and size >= lengthOf(begin)


def _grow(
    run: list[bytes] | SlotRun, packets: Sequence[bytes], place: int, count: int, lastSize: int
) -> None:
    if type(run) is SlotRun:
        run.grow(count, lastSize)
    else:
        run += packets[place : place + count]


def _following(
    packets: Sequence[bytes], place: int, most: int, size: int, header: int, number: int, step: int
) -> int:
    """
    How many of these packets, beginning with one, have one size, and headers that follow.

    @param number: the header before them, and C{step}: by how much each is more than that before it.
    """
    if type(packets) is Slots:
        heads, count = packets.heads(place, most, header)
    else:
        packets = packets[place : place + most]
        sizes, count = [*map(len, packets)], len(packets)
        if sizes.count(size) != count:
            count = next(at for at, each in enumerate(sizes) if each != size)
            packets = packets[:count]
        heads = b"".join(map(itemgetter(slice(header)), packets))
    wanted = progression(number.to_bytes(header, "big"), step, count)
    if heads == wanted:
        return count
    # Most often it is only the last one, which has PSH.
    end = (count - 1) * header
    if heads[:end] == wanted[:end]:
        return count - 1
    places = range(0, end, header)
    return next(at // header for at in places if heads[at : at + header] != wanted[at : at + header])


def stepsOf(first: bytes, header: int, transport: int, advance: int) -> tuple[int, ...]:
    """
    By how much the headers of a run may grow.

    @param advance: of the sequence number; 0 of UDP.
    """
    step = advance << (header - transport - 8) * 8 if advance else 0
    if transport == 40:
        return (step,)
    counting = step + (1 << (header - 6) * 8) - (1 << (header - 12) * 8)
    return (counting, step) if first[6] & _DONT_FRAGMENT else (counting,)


def roomAfter(first: bytes, transport: int, advance: int) -> int:
    """
    How many packets may follow, before a field of the header runs over.
    """
    room = MOST - 1
    if advance:
        sequence = int.from_bytes(first[transport + 4 : transport + 8], "big")
        room = min(room, ((1 << 32) - 1 - sequence) // advance)
    if transport == 20:
        room = min(room, _MOST - (first[4] << 8 | first[5]), (first[10] << 8 | first[11]) - 1)
    return room


def _close(run: list[bytes] | SlotRun, packets: Sequence[bytes], place: int, header: int) -> int:
    """
    Add the last packet of a run, which may be shorter and have FIN and PSH, if it is there.
    """
    first, packet = run[0], packets[place]
    if len(packet) <= header or packet[0] != first[0]:
        return place
    size, length = lengthOf(packet), lengthOf(first)
    if not header < size <= min(len(packet), length):
        return place
    transport = 20 if first[0] == 0x45 else 40
    isTcp = header - transport != 8
    wanted = bytearray(first[:header])
    if isTcp:
        at = transport + 4
        sequence = int.from_bytes(first[at : at + 4], "big") + len(run) * (length - header)
        wanted[at : at + 4] = (sequence & 0xFFFFFFFF).to_bytes(4, "big")
        wanted[transport + 13] = first[transport + 13] & ~_CWR | packet[transport + 13] & _FIN_PSH
    if transport == 20:
        if not follows(run, packet):
            return place
        wanted[4:6] = packet[4:6]
    setLengths(wanted, transport, isTcp, size)
    if not packet.startswith(wanted):
        return place
    _grow(run, packets, place, 1, size)
    return place + 1


def follows(run: Run, packet: bytes) -> bool:
    """
    Whether the identification of a packet is the next one after a run.
    """
    first = run[0]
    before, found = first[4] << 8 | first[5], packet[4] << 8 | packet[5]
    isSame = bool(first[6] & _DONT_FRAGMENT) and _last(run)[4:6] == first[4:6]
    if len(run) > 1 and isSame:
        return found == before
    return found == (before + len(run)) & _MOST or (isSame and found == before)


def setLengths(head: bytearray, transport: int, isTcp: bool, size: int) -> None:
    """
    Write into headers how long the packet is, and the checksums that follow from that.
    """
    if not isTcp:
        head[transport + 4 : transport + 6] = _word.pack(size - transport)
    place = transport + (virtio.TCP_OFFSET if isTcp else virtio.UDP_OFFSET)
    addresses = head[12:20] if transport == 20 else head[8:40]
    head[place : place + 2] = _word.pack(pseudoSum(addresses, TCP if isTcp else UDP, size - transport))
    if transport == 20:
        head[2:4] = _word.pack(size)
        head[10:12] = b"\0\0"
        head[10:12] = _word.pack(_MOST - (int.from_bytes(head[:20], "big") % _MOST or _MOST))
    else:
        head[4:6] = _word.pack(size - 40)


def partialHeader(packet: bytes) -> bytes:
    """
    The virtio header of a packet: it says whether its checksum is unfinished.

    @param packet: its lengths are in order.
    """
    transport = _transport(packet)
    size = len(packet)
    if not transport or size < transport + 8:
        return virtio.FINISHED
    protocol = packet[9 if transport == 20 else 6]
    offset = _PROTOCOLS[protocol]
    place = transport + offset
    if size < place + 2:
        return virtio.FINISHED
    addresses = packet[12:20] if transport == 20 else packet[8:40]
    if packet[place] << 8 | packet[place + 1] != pseudoSum(addresses, protocol, size - transport):
        return virtio.FINISHED
    return _UNFINISHED[transport, offset]


def _last(run: Run) -> Buffer:
    return run.last() if type(run) is SlotRun else run[-1]


def join(run: Run, ethernet: bytes) -> list[Buffer]:
    """
    Make one frame of a run of several packets whose checksums are unfinished.

    @param ethernet: the Ethernet header.
    @return: the frame with its virtio header, in parts.
    """
    if type(run) is SlotRun:
        first, header, transport = run.first, run.header, run.transport
        count, lastSize = run.packetCount, run.lastSize
    else:
        first = run[0]
        header = headerSize(first)
        transport = 20 if first[0] == 0x45 else 40
        count, lastSize = len(run), len(run[-1])
    isTcp = header - transport != 8
    head = bytearray(first[:header])
    kind = virtio.UDP
    offset = virtio.UDP_OFFSET
    if isTcp:
        kind = virtio.TCP4 if transport == 20 else virtio.TCP6
        offset = virtio.TCP_OFFSET
        if head[transport + 13] & _CWR:
            kind |= virtio.ECN
        head[transport + 13] |= _last(run)[transport + 13] & _FIN_PSH
    payload = len(first) - header
    setLengths(head, transport, isTcp, payload * (count - 1) + lastSize)
    start = HEADER + transport
    front = virtio.packHeader(virtio.NEEDS_CSUM, kind, HEADER + header, payload, start, offset)
    parts: list[Buffer] = [front + ethernet + head]
    parts += run.payloads() if type(run) is SlotRun else map(itemgetter(slice(header, None)), run)
    return parts
