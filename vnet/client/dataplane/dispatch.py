# -*- test-case-name: vnet.test.test_forwarder -*-
"""
Frames of the operating system to whom they are for: packets to one peer, to a group of peers, questions about neighbours, and
what is neither.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from vnet.client.dataplane.clamp import Clamp
from vnet.client.dataplane.etherip import EtherIp
from vnet.client.dataplane.groups import Groups
from vnet.client.dataplane.lans import Lans
from vnet.client.dataplane.neighbours import Member, Neighbours
from vnet.client.dataplane.sending import Sending
from vnet.errors import DecodeError
from vnet.interfaces import IDevice
from vnet.protocols.codec import virtio
from vnet.protocols.codec.ethernet import ARP, HEADER, IPV4, IPV6
from vnet.protocols.codec.icmp import encodeUnreachable
from vnet.protocols.codec.ip import ICMP6
from vnet.protocols.codec.segmentation import IP, finish, isPlainPartial, split
from vnet.protocols.machine.ratelimit import KeyedLimit
from vnet.values import Superframe

__all__ = ["Dispatch"]

_UNREACHABLE_RATE = 10
_ANY = 1 << 20
_DISCOVERY = range(133, 138)


@define(eq=False, repr=False)
class Dispatch:
    """
    Sorts frames.

    @ivar _peerFor: whose an inner address is, see L{vnet.protocols.machine.wireguard.WireGuard.peerFor}.
    @ivar _grouped: gets each frame to a group.
    @ivar counters: what was dropped, by reason.
    """

    _log = Logger()

    _device: IDevice
    _peerFor: Callable[[bytes], bytes | None]
    _sending: Sending
    _neighbours: Neighbours
    _groups: Groups
    _etherIp: EtherIp
    _clamp: Clamp | None
    _clock: IReactorTime
    _grouped: Callable[[bytes], None]
    _lans: Lans
    counters: Counter[str]
    _unreachables: KeyedLimit = field(
        factory=lambda: KeyedLimit(rate=_UNREACHABLE_RATE, burst=_UNREACHABLE_RATE), init=False
    )

    def dispatch(self, frames: Sequence[bytes | Superframe]) -> None:
        """
        The operating system has sent these.
        """
        byPeer: dict[bytes, list[bytes]] = {}
        byDestination: dict[bytes | None, list[bytes]] = {}
        replies: list[bytes] = []
        for frame in frames:
            if not isinstance(frame, bytes):
                # What came before it goes before it.
                self._sendFrames(byPeer, replies)
                byPeer, byDestination = {}, {}
                self._sendSuperframe(frame, replies)
                continue
            destination = _unicastDestination(frame)
            batch = byDestination.get(destination)
            if batch is not None:
                batch.append(frame)
                continue
            if destination is None:
                reply = self._other(frame)
                if reply is not None:
                    replies.append(reply)
                continue
            publicKey = self._peerFor(destination) or self._openedFor(destination)
            if publicKey is None and self._groups.macOf(destination) is not None:
                # A TUN has no MAC addresses.
                self._groups.send(frame)
                continue
            if publicKey is None:
                replies.extend(self._noPeer(frame[virtio.SIZE :], destination))
                continue
            batch = byDestination[destination] = byPeer.setdefault(publicKey, [])
            batch.append(frame)
        self._sendFrames(byPeer, replies)
        self._groups.flush()
        if replies:
            self._device.write([(virtio.FINISHED, reply) for reply in replies])

    def _sendFrames(self, byPeer: dict[bytes, list[bytes]], replies: list[bytes]) -> None:
        for publicKey, frames in byPeer.items():
            takesPartial = self._sending.takesPartial(publicKey)
            limit = None if self._clamp is None else self._clamp.limitOf(publicKey)
            longest = _ANY if limit is None else IP + limit.fits
            packets: list[bytes] = []
            for frame in frames:
                if frame[0] and not (takesPartial and len(frame) <= longest and isPlainPartial(frame)):
                    try:
                        frame = finish(frame)
                    except DecodeError:
                        self.counters["malformed"] += 1
                        continue
                packets.append(frame[IP:])
            if self._clamp is not None and limit is not None:
                errors: list[bytes] = []
                packets = self._clamp.outgoing(publicKey, limit, packets, errors)
                self._tell(publicKey, errors, replies)
            try:
                self._sending.send(publicKey, packets)
            except KeyError:
                # Whoever was told of a wanted peer has removed this one.
                self.counters["noTunnel"] += len(packets)

    def _sendSuperframe(self, frame: Superframe, replies: list[bytes]) -> None:
        try:
            segments = split(frame, False)
        except DecodeError:
            self.counters["malformed"] += 1
            return
        destination = segments.destination
        publicKey = self._peerFor(destination) or self._openedFor(destination)
        if publicKey is None and self._groups.macOf(destination) is not None:
            head = virtio.FINISHED + bytes(frame.pieces.memory[virtio.SIZE : IP])
            segments.finishes = True
            for segment in segments:
                self._groups.send(head + bytes(segment))
            return
        if publicKey is None:
            first = next(iter(segments))
            ethernet = bytes(frame.pieces.memory[virtio.SIZE : IP])
            replies.extend(self._noPeer(ethernet + bytes(first), destination))
            return
        limit = None if self._clamp is None else self._clamp.limitOf(publicKey)
        if self._clamp is not None and limit is not None and segments.size > limit.cuts:
            errors: list[bytes] = []
            self._clamp.complain(publicKey, limit, bytes(frame)[IP:], segments.size, errors)
            self._tell(publicKey, errors, replies)
        try:
            if self._clamp is not None and limit is not None and limit.fits < segments.size <= limit.cuts:
                segments.finishes = True
                packets = [bytes(packet) for packet in segments]
                self._sending.send(publicKey, self._clamp.outgoing(publicKey, limit, packets, []))
                return
            self._sending.sendSegments(publicKey, segments)
        except KeyError:
            self.counters["noTunnel"] += segments.count

    def _tell(self, publicKey: bytes, packets: Sequence[bytes], replies: list[bytes]) -> None:
        """
        Tell the operating system something in the name of a member.
        """
        member = self._neighbours.get(publicKey)
        if member is not None:
            head = self._device.mac + member.mac
            replies += [head + (IPV4 if packet[0] >> 4 == 4 else IPV6) + packet for packet in packets]

    def _other(self, frame: bytes) -> bytes | None:
        """
        A frame that is no IP packet to one computer.

        @param frame: with its virtio header.
        """
        ethernet = frame[virtio.SIZE :]
        if len(ethernet) < HEADER:
            self.counters["malformed"] += 1
            return None
        kind = ethernet[12:14]
        if kind == ARP or (kind == IPV6 and self._neighbours.isAsked(ethernet)):
            return self._neighbours.answer(ethernet)
        if ethernet[0] & 1 and kind in (IPV4, IPV6):
            self._groups.send(frame)
            with self._log.failuresHandled("while a frame to a group is read"):
                self._grouped(ethernet)
        elif kind in (IPV4, IPV6):
            self.counters["malformed"] += 1
        else:
            self._etherIp.send(ethernet)
        return None

    def _openedFor(self, destination: bytes) -> bytes | None:
        """
        The peer at an address, or before it, if the owner has a tunnel made for this packet: that keeps it until there is a path.
        """
        member = self._memberFor(destination)
        if member is None:
            return None
        self._sending.want(member.publicKey)
        return self._peerFor(destination)

    def _memberFor(self, destination: bytes) -> Member | None:
        return self._neighbours.at(destination) or self._neighbours.get(self._lans.behind(destination) or b"")

    def _noPeer(self, frame: bytes, destination: bytes) -> Sequence[bytes]:
        """
        A packet to an address that is none of a peer's: no tunnel yet, or no member any more.
        """
        member = self._memberFor(destination)
        if member is not None:
            self.counters["noTunnel"] += 1
            return ()
        self.counters["noMember"] += 1
        if not self._unreachables.allow("", self._clock.seconds()):
            return ()
        try:
            error = encodeUnreachable(frame[HEADER:])
        except DecodeError:
            return ()
        return (frame[6:12] + frame[0:6] + frame[12:14] + error,)


def _unicastDestination(frame: bytes) -> bytes | None:
    """
    The destination of an IP packet in a frame to one computer, packed; L{None} for other frames.

    @param frame: with its virtio header.
    """
    if len(frame) < IP + 20 or frame[10] & 1:
        return None
    kind = frame[22:24]
    if kind == IPV4:
        return frame[40:44]
    if kind != IPV6 or len(frame) < IP + 40:
        return None
    if frame[30] == ICMP6 and len(frame) > 64 and frame[64] in _DISCOVERY:
        return None
    return frame[48:64]
