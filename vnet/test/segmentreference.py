"""
Segment trains cut one packet at a time, as slowly and plainly as can be: what L{vnet.protocols.codec.segmentation} and
L{vnet.protocols.codec.runs} are held against.  After tcp_gso_segment, __udp_gso_segment and inet_gso_segment of Linux.

Also packets of TCP and UDP to be cut.
"""

from __future__ import annotations

import struct

import attrs

from vnet.values import Buffer, Pieces, Superframe

__all__ = [
    "ETHERNET4",
    "ETHERNET6",
    "Packet",
    "cutUp",
    "finished",
    "pseudo",
    "superframe",
    "trainFrame",
    "wordSum",
]

ETHERNET4, ETHERNET6 = bytes(12) + b"\x08\x00", bytes(12) + b"\x86\xdd"
TCP, UDP = 6, 17
FIN, PSH, ACK, CWR = 0x01, 0x08, 0x10, 0x80
TIMESTAMPS = b"\x01\x01\x08\x0a" + bytes(8)
SACK = b"\x01\x01\x05\x0a" + bytes(range(8))


def wordSum(*parts: Buffer) -> int:
    """
    The one's complement sum of 16-bit words, not complemented (RFC 1071).
    """
    data = b"".join(map(bytes, parts))
    data += b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def pseudo(source: bytes, destination: bytes, protocol: int, length: int) -> int:
    """
    The sum of the pseudo-header (RFC 9293 section 3.1, RFC 8200 section 8.1).
    """
    return wordSum(source, destination, struct.pack("!II", length, protocol))


@attrs.frozen
class Packet:
    """
    A packet whose checksum is unfinished, as the kernel makes it.

    @ivar version: 4 or 6.
    @ivar protocol: 6 or 17.
    @ivar options: of IPv4, or extension headers of IPv6 without the first byte of each, in multiples of 4 and of 8.
    @ivar tcpOptions: in multiples of 4.
    @ivar flags: of TCP, with the four bits before them.
    @ivar checksum: what the checksum of the IPv4 header shall be, by choice of the identification; L{None}: whatever it is.
    """

    version: int = 4
    protocol: int = TCP
    payload: bytes = b"payload"
    source: bytes = b""
    destination: bytes = b""
    ports: tuple[int, int] = (1000, 2000)
    options: bytes = b""
    tcpOptions: bytes = b""
    flags: int = ACK
    sequence: int = 1
    acknowledged: int = 2
    window: int = 100
    urgent: int = 0
    traffic: int = 0
    identification: int = 1
    fragmentation: int = 0x4000
    hops: int = 64
    checksum: int | None = None

    @property
    def addresses(self) -> tuple[bytes, bytes]:
        """Source and destination, packed."""
        size = 4 if self.version == 4 else 16
        return self.source or b"\x64" * size, self.destination or b"\x65" * size

    def transport(self) -> bytes:
        """Header and payload of TCP or UDP."""
        ports = struct.pack("!HH", *self.ports)
        if self.protocol == UDP:
            body = ports + struct.pack("!HH", 8 + len(self.payload), 0) + self.payload
            place = 6
        else:
            size = 20 + len(self.tcpOptions)
            first = (size // 4) << 12 | self.flags
            numbers = struct.pack("!IIHH", self.sequence, self.acknowledged, first, self.window)
            body = ports + numbers + struct.pack("!HH", 0, self.urgent) + self.tcpOptions + self.payload
            place = 16
        total = pseudo(*self.addresses, self.protocol, len(body))
        return body[:place] + struct.pack("!H", total) + body[place + 2 :]

    def __bytes__(self) -> bytes:
        body = self.transport()
        source, destination = self.addresses
        if self.version == 6:
            extensions = [self.options[place : place + 8] for place in range(0, len(self.options), 8)]
            kinds = [60] * len(extensions) + [self.protocol]
            chain = b"".join(
                bytes((kind, 0)) + each[2:] for kind, each in zip(kinds[1:], extensions, strict=True)
            )
            head = struct.pack(
                "!IHBB", 6 << 28 | self.traffic << 20, len(chain) + len(body), kinds[0], self.hops
            )
            return head + source + destination + chain + body
        size = 20 + len(self.options)
        front = struct.pack("!BBH", 0x40 | size // 4, self.traffic, size + len(body))
        back = struct.pack("!HBB", self.fragmentation, self.hops, self.protocol)
        rest = source + destination + self.options
        identification = self.identification
        if self.checksum is not None:
            identification = (0xFFFF - wordSum(front, back, rest) - self.checksum) % 0xFFFF
        number = struct.pack("!H", identification)
        total = 0xFFFF - wordSum(front, number, back, rest)
        return front + number + back + struct.pack("!H", total) + rest + body

    @property
    def start(self) -> int:
        """Where the transport's header begins."""
        return (20 if self.version == 4 else 40) + len(self.options)


def trainFrame(packet: Packet, segment: int, ecn: bool = False) -> bytes:
    """
    The packet as a segment train, with its virtio header.
    """
    if packet.protocol == UDP:
        kind, offset = 5, 6
    else:
        kind, offset = 1 if packet.version == 4 else 4, 16
    size = 14 + packet.start + (8 if packet.protocol == UDP else 20 + len(packet.tcpOptions))
    header = struct.pack("=BBHHHH", 1, kind | 0x80 * ecn, size, segment, 14 + packet.start, offset)
    return header + (ETHERNET4 if packet.version == 4 else ETHERNET6) + bytes(packet)


def superframe(frame: bytes) -> Superframe:
    """
    A frame in a buffer of its own, as it is read.
    """
    pieces = Pieces(68_000)
    pieces.memory[: len(frame)] = frame
    return Superframe(pieces, len(frame))


def cutUp(frame: bytes, finishes: bool) -> list[bytes]:
    """
    The IP packets of a segment train.

    @param frame: with its virtio header.
    @param finishes: whether their checksums are finished.
    """
    _, kind, _, segment, start, _ = struct.unpack_from("=BBHHHH", frame)
    packet, start = frame[24:], start - 14
    isTcp = kind & 0x7F != 5
    size = (packet[start + 12] >> 4) * 4 if isTcp else 8
    header, payload = packet[: start + size], packet[start + size :]
    place = start + (16 if isTcp else 6)
    (before,) = struct.unpack_from("!H", packet, place)
    found = []
    for number, begin in enumerate(range(0, len(payload), segment)):
        piece = payload[begin : begin + segment]
        head = bytearray(header)
        if isTcp:
            (sequence,) = struct.unpack_from("!I", header, start + 4)
            struct.pack_into("!I", head, start + 4, (sequence + begin) % 2**32)
            if begin + segment < len(payload):
                head[start + 13] &= 0xFF - FIN - PSH
            if begin:
                head[start + 13] &= 0xFF - CWR
        else:
            struct.pack_into("!H", head, start + 4, 8 + len(piece))
        # The pseudo-header's sum, less the length that was, plus the length that is.
        lengths = struct.pack("!HHH", before, 0xFFFF - (len(packet) - start), size + len(piece))
        struct.pack_into("!H", head, place, wordSum(lengths))
        if head[0] >> 4 == 4:
            struct.pack_into("!H", head, 2, len(head) + len(piece))
            (identification,) = struct.unpack_from("!H", header, 4)
            struct.pack_into("!H", head, 4, (identification + number) % 2**16)
            head[10:12] = b"\0\0"
            struct.pack_into("!H", head, 10, 0xFFFF - wordSum(head[:start]))
        else:
            struct.pack_into("!H", head, 4, len(head) + len(piece) - 40)
        whole = bytes(head) + piece
        found.append(finished(whole, start, place, isTcp) if finishes else whole)
    return found


def finished(packet: bytes, start: int, place: int, zero: bool = False) -> bytes:
    """
    A packet with its checksum finished.

    @param start: from where on it is made, and C{place}: where it stands.
    @param zero: whether 0 may stand for itself.
    """
    total = 0xFFFF - wordSum(packet[start:])
    if not total and not zero:
        total = 0xFFFF
    return packet[:place] + struct.pack("!H", total) + packet[place + 2 :]
