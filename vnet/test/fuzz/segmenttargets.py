"""
Targets: segment trains, cut and joined.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from attrs import evolve

from vnet.protocols.codec import virtio
from vnet.protocols.codec.finishedruns import joinFinished
from vnet.protocols.codec.runs import MOST, join, lengthOf, partialHeader, runsOf
from vnet.protocols.codec.segmentation import finish, isPlainPartial, split
from vnet.test.fuzz.target import Target, accepting, require
from vnet.test.segmentreference import (
    ACK,
    CWR,
    ETHERNET4,
    ETHERNET6,
    FIN,
    PSH,
    TCP,
    TIMESTAMPS,
    UDP,
    Packet,
    cutUp,
    finished,
    pseudo,
    superframe,
    trainFrame,
    wordSum,
)

__all__ = ["TARGETS"]

#: Beyond these the reference takes too long.
_MOST_SEGMENTS = 40
_LENGTH = struct.Struct("!H")


def _packets() -> list[Packet]:
    payload = bytes(range(200))
    return [
        Packet(
            version,
            protocol,
            payload,
            tcpOptions=options,
            flags=flags,
            sequence=2**32 - 150,
            identification=65_534,
        )
        for version in (4, 6)
        for protocol, options, flags in (
            (UDP, b"", ACK),
            (TCP, b"", ACK | PSH | FIN),
            (TCP, TIMESTAMPS, ACK | CWR),
        )
    ] + [
        Packet(4, payload=payload, options=b"\1" * 8),
        Packet(6, payload=payload, options=bytes(4) + b"\1\2\0\0"),
    ]


def _lone(packet: Packet) -> bytes:
    place = 6 if packet.protocol == UDP else 16
    header = virtio.packHeader(virtio.NEEDS_CSUM, virtio.NONE, 0, 0, 14 + packet.start, place)
    return header + (ETHERNET4 if packet.version == 4 else ETHERNET6) + bytes(packet)


def _checkTrain(data: bytes) -> None:
    """
    What the kernel hands over is cut as the reference does, or refused; alone it is finished, or refused.
    """
    plain = isPlainPartial(data)
    if len(data) < 25:
        require(not plain, "what has no packet is not plain")
        return
    if data[0] & virtio.NEEDS_CSUM and not data[1]:
        if plain and len(data) > 24 + 40:
            with accepting("what is plain can be finished"):
                finish(data)
        else:
            finish(data)
    for finishes in (False, True):
        segments = split(superframe(data), finishes)
        if segments.count <= _MOST_SEGMENTS:
            wanted = cutUp(data, finishes)
            require([bytes(each) for each in segments] == wanted, "segments are those of the reference")
            if segments.isPlain and not finishes:
                _checkSeen(wanted)


def _checkSeen(segments: Sequence[bytes]) -> None:
    for each in segments:
        size = int.from_bytes(each[2:4], "big") if each[0] == 0x45 else int.from_bytes(each[4:6], "big") + 40
        require(size == len(each), "a segment has its length in its header")
        require(
            partialHeader(each)[0] == virtio.NEEDS_CSUM,
            "whoever gets a plain segment sees that it is unfinished",
        )


def _packed(packets: Sequence[bytes]) -> bytes:
    return b"".join(_LENGTH.pack(len(each)) + each for each in packets)


def _unpacked(data: bytes) -> list[bytes]:
    found: list[bytes] = []
    while len(data) > 2:
        (size,) = _LENGTH.unpack_from(data)
        if data[2 : 2 + size]:
            found.append(data[2 : 2 + size])
        data = data[2 + size :]
    return found


def _checkRuns(data: bytes) -> None:
    """
    Whatever a peer sends is in a run, in order, and what is joined is cut into the same packets again.
    """
    packets = _unpacked(data)
    if not packets:
        return
    with accepting("packets can be grouped, whatever they are"):
        runs = runsOf(packets)
    flat = [each for run in runs for each in run]
    require(len(flat) == len(packets), "nothing is lost")
    require(all(map(bytes.startswith, packets, flat)), "nothing changes its place")
    for run in runs:
        require(len(run) <= MOST, "a run is no longer than the kernel takes")
        if len(run) > 1:
            _checkRun(run)
        elif _hasLengths(run[0]):
            partialHeader(run[0])

    _checkFinished([each for each in flat if _hasLengths(each) and lengthOf(each) == len(each)])


def _checkFinished(packets: Sequence[bytes]) -> None:
    fronts = {4: virtio.FINISHED + ETHERNET4, 6: virtio.FINISHED + ETHERNET6}
    frames = joinFinished([(fronts[each[0] >> 4], each) for each in packets])
    place = 0
    for front, *parts in frames:
        count = max(len(parts), 1) if front[1] else 1
        payloads = [bytes(part) for part in parts]
        sent = packets[place : place + count]
        require(len(sent) == count <= MOST, "nothing is lost")
        require(all(map(bytes.endswith, sent, payloads)), "nothing changes its place")
        place += count
    require(place == len(packets), "nothing is added")


def _hasLengths(packet: bytes) -> bool:
    return len(packet) >= 40 and packet[0] >> 4 in (4, 6)


def _checkRun(run: Sequence[bytes]) -> None:
    first = run[0]
    isIp4 = first[0] == 0x45
    addresses = slice(8, 20) if isIp4 else slice(6, 40)
    for each in run:
        if isIp4:
            require(each[8:10] + each[12:24] == first[8:10] + first[12:24], "a run is of one flow")
        else:
            require(each[addresses] + each[40:44] == first[addresses] + first[40:44], "a run is of one flow")
        require(partialHeader(each) == partialHeader(first) != virtio.FINISHED, "all of a run is unfinished")
    frame = b"".join(map(bytes, join(list(run), ETHERNET4 if isIp4 else ETHERNET6)))
    again = cutUp(frame, False)
    if isIp4 and first[6] & 0x40 and run[1][4:6] == first[4:6]:
        # Their identification means nothing.
        again, run = ([each[:4] + each[6:10] + each[12:] for each in packets] for packets in (again, run))
    require(list(run) == again, "what is joined is cut into the same packets again")


def _mendPacket(packet: bytes) -> bytes:
    """
    Lengths, and checksums: those of flows from an odd port are finished.
    """
    if len(packet) < 60 or packet[0] not in (0x45, 0x60):
        return packet
    isIp4 = packet[0] == 0x45
    start = 20 if isIp4 else 40
    data = bytearray(packet)
    protocol = data[9 if isIp4 else 6]
    struct.pack_into("!H", data, 2 if isIp4 else 4, len(data) - (0 if isIp4 else 40))
    if protocol == UDP:
        struct.pack_into("!H", data, start + 4, len(data) - start)
    source, destination = (data[12:16], data[16:20]) if isIp4 else (data[8:24], data[24:40])
    place = start + (6 if protocol == UDP else 16)
    total = pseudo(bytes(source), bytes(destination), protocol, len(data) - start)
    if place + 2 <= len(data):
        struct.pack_into("!H", data, place, total)
    if isIp4:
        data[10:12] = b"\0\0"
        struct.pack_into("!H", data, 10, 0xFFFF - wordSum(data[:20]))
    return finished(bytes(data), start, place) if data[start + 1] & 1 and protocol == TCP else bytes(data)


def _mendTrain(data: bytes) -> bytes:
    return data[:24] + _mendPacket(data[24:])


def _mendRuns(data: bytes) -> bytes:
    return _packed([_mendPacket(each) for each in _unpacked(data)])


def _trainSeeds() -> Sequence[bytes]:
    found = [trainFrame(packet, segment) for packet in _packets() for segment in (50, 60)]
    return [*found, *map(_lone, _packets())]


def _runSeeds() -> Sequence[bytes]:
    flows = [cutUp(trainFrame(packet, 45), False) for packet in _packets()]
    done = [cutUp(trainFrame(evolve(each, ports=(1001, 9)), 45), True) for each in _packets()]
    return [*map(_packed, flows + done), _packed([*flows[1], *flows[0]]), _packed([*flows[4][:2], *flows[4]])]


TARGETS = [
    Target("segments", lambda: _checkTrain, _trainSeeds, _mendTrain),
    Target("runs", lambda: _checkRuns, _runSeeds, _mendRuns),
]
