# -*- test-case-name: vnet.test.test_forwarder -*-
"""
Between the operating system's interface, the WireGuard machine and the UDP port: batches in, batches out::

    IDevice --frames--> neighbours --packets by peer, segments--> WireGuard --trains--> IDatagramPort
    IDevice <--frames-- Delivery <--runs of packets-- WireGuard <--trains-- IDatagramPort
                                                          |
                                         stunReceived <---+
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from vnet.client.dataplane.clamp import Clamp
from vnet.client.dataplane.delivery import Delivery
from vnet.client.dataplane.echo import Echoes
from vnet.client.dataplane.etherip import EtherIp
from vnet.client.dataplane.groups import MEMBER_RATE, Groups
from vnet.client.dataplane.neighbours import Neighbours
from vnet.client.dataplane.overlay import Overlay
from vnet.driver import DatagramMachine, Driver
from vnet.errors import DecodeError
from vnet.interfaces import IDatagramPort, IDevice
from vnet.protocols.codec import virtio
from vnet.protocols.codec.ethernet import ARP, HEADER, IPV4, IPV6
from vnet.protocols.codec.icmp import encodeUnreachable
from vnet.protocols.codec.ip import ICMP6
from vnet.protocols.codec.llc import DEFAULT_TYPES
from vnet.protocols.codec.runs import Run
from vnet.protocols.codec.segmentation import IP, finish, isPlainPartial, split
from vnet.protocols.demux import Kind, classify
from vnet.protocols.machine.ratelimit import KeyedLimit
from vnet.protocols.machine.sealing import PacketTrain
from vnet.protocols.machine.wireguardevents import PacketsReceived, PeerStatus, WireGuardEvent
from vnet.values import Address, Superframe, Train

__all__ = ["Forwarder", "Tunnels"]

#: How often the owner hears that packets for a member wait for a path, seconds.
WANTED_INTERVAL = 1.0
_UNREACHABLE_RATE = 10
_ANY = 1 << 20
_DISCOVERY = range(133, 138)


class Tunnels(DatagramMachine[WireGuardEvent], Protocol):
    """
    What the forwarder asks of L{vnet.protocols.machine.wireguard.WireGuard}.
    """

    def peerFor(self, destination: bytes) -> bytes | None:
        """
        Whose an inner address is.
        """

    def peerStatus(self, publicKey: bytes) -> PeerStatus:
        """
        What is known of a peer; C{KeyError} when there is none.
        """

    def mute(self, publicKey: bytes, until: float) -> None:
        """
        Open nothing that a peer sends until then; C{KeyError} when there is none.
        """

    def send(self, publicKey: bytes, packets: Sequence[bytes], now: float) -> None:
        """
        Send inner packets to a peer; C{KeyError} when there is none.
        """

    def sealPackets(self, publicKey: bytes, packets: Sequence[bytes], now: float) -> Sequence[Train]:
        """
        The same, for us to send at once.
        """

    def sealSegments(self, publicKey: bytes, segments: PacketTrain, now: float) -> Sequence[Train]:
        """
        The same of a segment train.
        """

    def receiveTrains(self, trains: Sequence[Train], now: float) -> Sequence[tuple[bytes, Address]]:
        """
        Datagrams have come; this gives back those that are not of this protocol.
        """


def _ignore(told: bytes) -> None:
    """
    Nobody wants to know.
    """


@define(eq=False, repr=False)
class Forwarder:
    """
    Forwards, and drives the WireGuard machine.

    Device and port are open when L{start} is called, and closed by their owner after L{stop}.  The peers in
    the machine are the owner's too; whoever calls the machine calls L{flush} after it.

    @ivar counters: what was dropped and answered, by reason.
    @ivar _stunReceived: gets each STUN message that came to the port.
    @ivar _wireguardEvent: gets each event of the machine but the packets.
    @ivar _wanted: gets the tunnel key of a member for whom the operating system has packets while there is no
        endpoint or no peer in the machine: at most once a second for each.  It may add the peer.
    @ivar _grouped: gets each frame that the operating system sends to a group.
    @ivar _groupRate: frames a second to groups that are sent, and that are taken of one member.
    @ivar _etherTypes: the protocols beside IP that pass, see L{vnet.protocols.codec.llc}.
    @ivar _clamp: knows what the path to each peer carries; L{None}: whatever the interface takes.
    """

    _log = Logger()

    _device: IDevice
    _port: IDatagramPort
    _wireguard: Tunnels
    _clock: IReactorTime
    _stunReceived: Callable[[bytes, Address], None]
    _wireguardEvent: Callable[[WireGuardEvent], None]
    _wanted: Callable[[bytes], None] = _ignore
    _clamp: Clamp | None = None
    _grouped: Callable[[bytes], None] = _ignore
    _groupRate: int = MEMBER_RATE
    _etherTypes: frozenset[int] = DEFAULT_TYPES
    counters: Counter[str] = field(factory=Counter, init=False)
    _neighbours: Neighbours = field(init=False)
    _overlay: Overlay = field(factory=Overlay, init=False)
    _driver: Driver[WireGuardEvent] = field(init=False)
    _echoes: Echoes = field(init=False)
    _lastWanted: dict[bytes, float] = field(factory=dict, init=False)
    _unreachables: KeyedLimit = field(init=False)
    _delivery: Delivery = field(init=False)
    _groups: Groups = field(init=False)
    _etherIp: EtherIp = field(init=False)
    _takePartial: set[bytes] = field(factory=set, init=False)
    _stopped: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._neighbours = Neighbours(self.counters)
        self._driver = Driver(self._wireguard, self._clock, self._port.send, self._event)
        self._echoes = Echoes(self._clock, self._sendEcho)
        self._groups = Groups(
            self._neighbours,
            self._clock,
            self._clamp,
            self._send,
            self._wireguard.mute,
            self.counters,
            self._groupRate,
        )
        self._etherIp = EtherIp(
            self._device,
            self._neighbours,
            self._groups,
            self._sendEther,
            self.counters,
            self._etherTypes,
        )
        self._delivery = Delivery(
            self._device, self._neighbours, self._echoes, self._groups, self._etherIp, self.counters
        )
        self._unreachables = KeyedLimit(rate=_UNREACHABLE_RATE, burst=_UNREACHABLE_RATE)

    # For the owner

    def start(self) -> None:
        """
        Begin to forward.
        """
        self._port.start(self._datagramsReceived)
        self._device.start(self._framesReceived)
        self._driver.wake()

    def stop(self) -> None:
        """
        Forward nothing any more.  Outstanding echoes fail.
        """
        self._stopped = True
        self._driver.stop()
        self._echoes.stop()

    def configure(self, address: str, pool: str, address6: str, pool6: str) -> None:
        """
        Give the interface our addresses, see L{IDevice.configure}, and from now on accept packets to them and
        to no others.

        @raise vnet.errors.ConfigurationError: as the device does.
        """
        self._device.configure(address, pool, address6, pool6)
        self._neighbours.setOwn(address, address6)
        self._overlay.setBlocks(pool, pool6)
        self._groups.setBlock(pool)

    def addMember(self, publicKey: bytes, address: str, address6: str) -> None:
        """
        Answer for a member's addresses, or change them.

        @param publicKey: its tunnel key, 32 bytes of X25519.
        @raise ValueError: an address is none.
        """
        self._neighbours.add(publicKey, address, address6)

    def removeMember(self, publicKey: bytes) -> None:
        """
        Forget a member, if it is known.
        """
        self._neighbours.remove(publicKey)
        self._groups.setLive(publicKey, False)
        self._lastWanted.pop(publicKey, None)
        self._takePartial.discard(publicKey)

    def setTakesPartial(self, publicKey: bytes, takes: bool) -> None:
        """
        Say whether a member takes packets whose checksums are unfinished; at first it does not.
        """
        if takes and self._neighbours.get(publicKey) is not None:
            self._takePartial.add(publicKey)
        else:
            self._takePartial.discard(publicKey)

    def setLive(self, publicKey: bytes, isLive: bool) -> None:
        """
        Say whether a member has a path, and so gets what is sent to groups; at first it has none.
        """
        self._groups.setLive(publicKey, isLive)

    def deliver(self, frames: Sequence[bytes]) -> None:
        """
        Hand Ethernet frames to the operating system.
        """
        self._device.write([(virtio.FINISHED, frame) for frame in frames])

    def flush(self) -> None:
        """
        Send what the machine has to send, deliver its events, and mind its deadline.
        """
        self._driver.wake()

    def echo(self, publicKey: bytes, ownAddress: str, address: str) -> Deferred[float]:
        """
        One ICMP echo through the tunnel, answered by the peer's operating system.  See L{Echoes.start}.

        @param ownAddress: our overlay address, of the same version as C{address}, the member's.
        @return: the round trip, seconds.
        """
        return self._echoes.start(publicKey, ownAddress, address)

    def _sendEcho(self, publicKey: bytes, packets: Sequence[bytes]) -> None:
        try:
            self._send(publicKey, packets)
        except KeyError:
            self._want(publicKey)
            raise
        self._driver.wake()

    def _sendEther(self, publicKey: bytes, packets: Sequence[bytes]) -> None:
        try:
            self._send(publicKey, packets)
        except KeyError:
            self._want(publicKey)
            self._send(publicKey, packets)  # perhaps there is a tunnel now

    # Out: from the operating system to peers

    def _framesReceived(self, frames: Sequence[bytes | Superframe]) -> None:
        if self._stopped:
            return
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
            publicKey = self._wireguard.peerFor(destination) or self._openedFor(destination)
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
        self._driver.wake()

    def _sendFrames(self, byPeer: dict[bytes, list[bytes]], replies: list[bytes]) -> None:
        for publicKey, frames in byPeer.items():
            takesPartial = publicKey in self._takePartial
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
                self._send(publicKey, packets)
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
        publicKey = self._wireguard.peerFor(destination) or self._openedFor(destination)
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
        now = self._clock.seconds()
        try:
            if self._clamp is not None and limit is not None and limit.fits < segments.size <= limit.cuts:
                segments.finishes = True
                packets = [bytes(packet) for packet in segments]
                self._send(publicKey, self._clamp.outgoing(publicKey, limit, packets, []))
                return
            segments.finishes = not (segments.isPlain and publicKey in self._takePartial)
            self._port.sendTrains(self._wireguard.sealSegments(publicKey, segments, now))
            self._wantPath(publicKey, now)
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
        The peer at an address, if the owner has a tunnel made for this packet: that keeps it until there is a path.
        """
        member = self._neighbours.at(destination)
        if member is None:
            return None
        self._want(member.publicKey)
        return self._wireguard.peerFor(destination)

    def _noPeer(self, frame: bytes, destination: bytes) -> Sequence[bytes]:
        """
        A packet to an address that is none of a peer's: no tunnel yet, or no member any more.
        """
        member = self._neighbours.at(destination)
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

    def _send(self, publicKey: bytes, packets: Sequence[bytes]) -> None:
        now = self._clock.seconds()
        trains = self._wireguard.sealPackets(publicKey, packets, now)
        if trains:
            self._port.sendTrains(trains)
        self._wantPath(publicKey, now)

    def _wantPath(self, publicKey: bytes, now: float) -> None:
        if now - self._lastWanted.get(publicKey, -WANTED_INTERVAL) >= WANTED_INTERVAL:
            if self._wireguard.peerStatus(publicKey).endpoint is None:
                self._want(publicKey)
            else:
                self._lastWanted[publicKey] = now

    def _want(self, publicKey: bytes) -> None:
        now = self._clock.seconds()
        if now - self._lastWanted.get(publicKey, -WANTED_INTERVAL) >= WANTED_INTERVAL:
            self._lastWanted[publicKey] = now
            with self._log.failuresHandled("while a path is asked for"):
                self._wanted(publicKey)

    # In: from peers to the operating system

    def _datagramsReceived(self, trains: Sequence[Train]) -> None:
        if self._stopped:
            return
        isInside = self._overlay.holds
        outside = []
        for train in trains:
            if isInside(train.address.host):
                self.counters["fromInside"] += train.datagramCount
            else:
                outside.append(train)
        for data, addr in self._wireguard.receiveTrains(outside, self._clock.seconds()):
            if classify(data) is Kind.STUN:
                with self._log.failuresHandled("while a STUN message is read"):
                    self._stunReceived(data, addr)
            else:
                self.counters["unknownDatagram"] += 1
        self._driver.wake()

    def _event(self, event: WireGuardEvent) -> None:
        if not isinstance(event, PacketsReceived):
            self._wireguardEvent(event)
            return
        member = self._neighbours.get(event.publicKey)
        if member is None:
            self.counters["fromNoMember"] += len(event.packets)
            return
        limit = None if self._clamp is None else self._clamp.limitOf(event.publicKey)
        runs: Sequence[Run] = event.runs
        if self._clamp is not None and limit is not None:
            runs = self._clamp.incoming(limit, runs)
        self._delivery.deliver(member, runs)


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
