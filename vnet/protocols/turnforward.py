# -*- test-case-name: vnet.test.test_turnforward -*-
"""
The data of a TURN server: ChannelData of clients to peers, and what peers send to clients, in trains wherever they come in
trains.

A train of ChannelData becomes a train to the peer, and the other way round: one call of the kernel each, and nothing for each
datagram but its four bytes.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Sequence

from attrs import define, field

from vnet.protocols.codec.stunattributes import Icmp
from vnet.protocols.codec.turn import HEADER, cutTrain
from vnet.protocols.machine.relaying import Relaying
from vnet.protocols.machine.served import Served, ServedChannel, familyOf
from vnet.protocols.trainbuffer import TrainBuffer, repeats
from vnet.protocols.trains import LONGEST, MOST, Refusal, SocketAddress, TrainSocket
from vnet.protocols.turnclients import Client, StreamClient
from vnet.values import Address, Buffer, Train

__all__ = ["Forwarding"]

_HEAD = struct.Struct("!HH")
#: Of ICMP, and of ICMPv6: what clients are told (RFC 8656 section 11.5).
_TOLD = {4: frozenset({3, 11}), 6: frozenset({1, 2, 3})}
_BATCH = 64
#: Bytes of a message that tells of ICMP.
_INDICATION = 56
_SOURCES = 256

Parts = Sequence[Buffer]


@define(eq=False, repr=False)
class _RelaySocket:
    """
    The socket of a relayed address.

    @ivar sources: addresses of peers that have sent, at most 256.
    """

    socket: TrainSocket
    sources: dict[SocketAddress, Address] = field(factory=dict)

    def canonical(self, source: SocketAddress) -> Address:
        """
        The address of a peer.
        """
        address = self.sources.get(source)
        if address is None:
            if len(self.sources) >= _SOURCES:
                self.sources.clear()
            address = self.sources[source] = self.socket.canonical(source)
        return address


@define(eq=False, repr=False)
class _Way:
    """
    Where a channel leads.

    @ivar inside: another allocation of this relay, or none.
    @ivar own: the addresses of the relay's host, as they were when this was found out.
    """

    socket: TrainSocket
    to: SocketAddress
    inside: bool
    own: frozenset[str]


@define(eq=False, repr=False)
class Forwarding:
    """
    Moves data between clients and peers.

    @ivar counters: C{upBytes}, C{upPackets}: of clients to peers; C{downBytes}, C{downPackets}: the other way; and what was
        dropped, by reason.
    @ivar retired: what sockets that are closed could not send, by the error's name.
    """

    _relaying: Relaying
    _seconds: Callable[[], float]
    counters: Counter[str] = field(factory=Counter, init=False)
    retired: Counter[str] = field(factory=Counter, init=False)
    _sockets: dict[Address, _RelaySocket] = field(factory=dict, init=False)
    buffer: TrainBuffer = field(factory=TrainBuffer, init=False)

    # Relayed addresses

    def attach(self, bound: Address, socket: TrainSocket) -> None:
        """
        A relayed address has a socket.
        """
        self._sockets[bound] = _RelaySocket(socket)

    def detach(self, bound: Address) -> TrainSocket | None:
        """
        It is not ours any more.

        @return: its socket, for the caller to close.
        """
        found = self._sockets.pop(bound, None)
        if found is None:
            return None
        self.retired.update(found.socket.counters)
        return found.socket

    def sockets(self) -> list[TrainSocket]:
        """
        Those of all relayed addresses.
        """
        return [each.socket for each in self._sockets.values()]

    def descriptor(self, bound: Address) -> int | None:
        """
        The file descriptor of a relayed address's socket.
        """
        found = self._sockets.get(bound)
        return None if found is None else found.socket.fileno()

    # From clients

    def channelData(self, served: Served | None, train: memoryview, segment: int, now: float) -> bool:
        """
        A train that begins with ChannelData has come from a client.

        @return: whether that is all of it; if not, nothing was done: its datagrams are to be looked at one by one.
        """
        size = len(train)
        number, length = _HEAD.unpack_from(train)
        if size == segment:
            if length > size - HEADER:
                self.counters["malformed"] += 1
            else:
                self._out(served, number, (train[HEADER : HEADER + length],), length, 1, length, now)
            return True
        if length != segment - HEADER or not length:
            return False
        if not repeats(train, segment, bytes(train[:HEADER])):
            return False
        parts, last = self.buffer.cut(train, segment, HEADER), size - size % segment
        if last < size:
            # An empty datagram would be lost at the end of a train.
            if size - last <= HEADER or _HEAD.unpack_from(train, last) != (number, size - last - HEADER):
                return False
            parts.append(train[last + HEADER :])
        self._out(served, number, parts, length, len(parts), size - HEADER * len(parts), now)
        return True

    def frames(self, served: Served | None, train: Train, now: float) -> None:
        """
        ChannelData has come through a connection, on one channel: it goes out in trains.
        """
        number, length = _HEAD.unpack_from(train.data)
        if served is not None and self._passOn(served, number, length, train, now):
            return
        # Empty datagrams make no train.
        most = min(MOST, LONGEST // length or 1) if length else 1
        parts = cutTrain(train._replace(start=HEADER))
        for first in range(0, len(parts), most):
            some = parts[first : first + most]
            size = length * (len(some) - 1) + len(some[-1])
            self._out(served, number, some, length, len(some), size, now)

    def _passOn(self, served: Served, number: int, length: int, train: Train, now: float) -> bool:
        """
        Give what a client has sent through its connection to the connection of another client, without taking it apart.

        @return: whether that is possible; if not, nothing was done.
        """
        channel = served.channels.get(number)
        if channel is None or channel.until <= now:
            return False
        way: _Way | None = channel.driver
        if way is None or not way.inside or way.own is not self._relaying.policy.own:
            return False
        source, target = served.relayed(familyOf(channel.peer)), self._relaying.servedAt(channel.peer)
        if source is None or target is None or not isinstance(target.driver, StreamClient):
            return False
        back = target.byPeer.get(source)
        if back is None or back.until <= now or back.permission.until <= now:
            return False
        whole = count = train.datagramCount
        rest = len(train.data) - (whole - 1) * train.stride - HEADER
        for buckets, size, packets in (
            (served.up, "upBytes", "upPackets"),
            (target.down, "downBytes", "downPackets"),
        ):
            for bucket in buckets:
                taken = bucket.take(length, count, now)
                if taken < count:
                    self.counters["overRate"] += count - taken
                    count = taken
            self.counters[size] += length * count if count < whole else length * (count - 1) + rest
            self.counters[packets] += count
        if count:
            target.driver.passOn(back.number, train, count)
        return True

    def _out(
        self,
        served: Served | None,
        number: int,
        parts: Parts,
        segment: int,
        count: int,
        size: int,
        now: float,
    ) -> None:
        """
        Send what a client has sent on a channel.

        @param segment: bytes of each part; the last one may be shorter.
        @param size: bytes of all.
        """
        channel = None if served is None else served.channels.get(number)
        if served is None or channel is None or channel.until <= now:
            self.counters["noChannel"] += count
            return
        for bucket in served.up:
            taken = bucket.take(segment, count, now)
            if taken < count:
                self.counters["overRate"] += count - taken
                parts, count = parts[:taken], taken
                size = sum(map(len, parts))
        if not count:
            return
        way: _Way | None = channel.driver
        if way is None or way.own is not self._relaying.policy.own:
            way = self._wayOf(served, channel)
        if way is None:
            return
        self.counters["upBytes"] += size
        self.counters["upPackets"] += count
        if not way.inside:
            way.socket.send(parts, segment, count, way.to)
            return
        self._inside(served, channel.peer, parts, segment, now)

    def _wayOf(self, served: Served, channel: ServedChannel) -> _Way | None:
        side = served.sides.get(familyOf(channel.peer))
        found = None if side is None else self._sockets.get(side.bound)
        if found is None:
            return None
        inside = self._isInside(channel.peer)
        to, own = found.socket.socketAddress(channel.peer), self._relaying.policy.own
        channel.driver = way = _Way(found.socket, to, inside, own)
        return way

    def _isInside(self, peer: Address) -> bool:
        """
        Whether a peer is another allocation here, rather than a program that the operator has allowed.
        """
        return self._relaying.servedAt(peer) is not None or self._relaying.refuses(peer)

    def _inside(self, served: Served, peer: Address, parts: Parts, segment: int, now: float) -> None:
        """
        From one allocation of this relay to another.
        """
        target, source = self._relaying.servedAt(peer), served.relayed(familyOf(peer))
        if target is None or source is None:
            self.counters["noPeer"] += 1
        else:
            self._in(target, source, parts, segment, now)

    def sendToPeer(self, served: Served, peer: Address, data: bytes, whole: bool) -> None:
        """
        Send the data of a Send indication.
        """
        now = self._seconds()
        side = served.sides.get(familyOf(peer))
        found = None if side is None else self._sockets.get(side.bound)
        if found is None:
            return
        if any(not bucket.take(len(data), 1, now) for bucket in served.up):
            self.counters["overRate"] += 1
            return
        self.counters["upBytes"] += len(data)
        self.counters["upPackets"] += 1
        if self._isInside(peer):
            self._inside(served, peer, (data,), len(data), now)
        elif whole:
            found.socket.sendWhole(data, found.socket.socketAddress(peer))
        else:
            found.socket.send((data,), len(data), 1, found.socket.socketAddress(peer))

    # From peers

    def readRelayed(self, bound: Address, served: Served) -> None:
        """
        Read what peers have sent to a relayed address.
        """
        found = self._sockets.get(bound)
        if found is None:
            return
        now, buffer, own = self._seconds(), self.buffer.memory, self._relaying.policy.own
        for _ in range(_BATCH):
            train = found.socket.receive(buffer)
            if train is None:
                return
            peer = found.canonical(train[2])
            if peer.host in own and self._relaying.refuses(peer):
                self.counters["fromOwnHost"] += 1
            else:
                self._in(served, peer, self._cut(buffer[: train[0]], train[1]), train[1], now)

    def _cut(self, train: memoryview, segment: int) -> Parts:
        """
        The datagrams of a train that was read.
        """
        if len(train) <= segment:
            return (train,)
        parts = self.buffer.cut(train, segment)
        if rest := len(train) % segment:
            parts.append(train[-rest:])
        return parts

    def readRefusals(self, bound: Address, served: Served) -> None:
        """
        Read what ICMP has said of what left from a relayed address.
        """
        found = self._sockets.get(bound)
        for _ in range(_BATCH):
            refusal = None if found is None else found.socket.refusal()
            if refusal is None:
                return
            self._refused(served, TrainSocket.canonical(refusal.to), refusal)

    def _refused(self, served: Served, peer: Address, refusal: Refusal) -> None:
        client: Client | None = served.driver
        if client is None or refusal.type not in _TOLD[familyOf(peer)]:
            return
        now = self._seconds()
        if not served.permits(peer.host, now):
            self.counters["noPermission"] += 1
        elif any(not bucket.take(_INDICATION, 1, now) for bucket in served.down):
            self.counters["overRate"] += 1
        else:
            icmp = Icmp(refusal.type, refusal.code, refusal.mtu.to_bytes(4, "big"))
            client.message(self._relaying.refusal(peer, icmp))

    def _in(self, served: Served, peer: Address, parts: Parts, segment: int, now: float) -> None:
        """
        Give a client what a peer has sent.

        @param segment: bytes of each part; the last one may be shorter.
        """
        count = len(parts)
        channel = served.byPeer.get(peer)
        if channel is not None and (channel.until <= now or channel.permission.until <= now):
            channel = None
        if channel is None and not served.permits(peer.host, now):
            self.counters["noPermission"] += count
            return
        if channel is None and segment > LONGEST:
            # No message holds it beside its sender's address.
            self.counters["tooLong"] += count
            return
        for bucket in served.down:
            taken = bucket.take(segment, count, now)
            if taken < count:
                self.counters["overRate"] += count - taken
                parts, count = parts[:taken], taken
        if not count:
            return
        self.counters["downBytes"] += segment * (count - 1) + len(parts[-1])
        self.counters["downPackets"] += count
        client: Client | None = served.driver
        if client is None:
            return
        if channel is not None:
            client.carry(channel.number, parts)
            return
        for each in parts:
            client.message(self._relaying.indication(peer, bytes(each)))
