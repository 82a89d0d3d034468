# -*- test-case-name: vnet.test.test_wireguard -*-
"""
WireGuard, as one datagram machine for all peers of a node.

The protocol is that of the whitepaper (U{https://www.wireguard.com/papers/wireguard.pdf}), byte for
byte.  The machine has the five verbs of each datagram machine: L{WireGuard.receive},
L{WireGuard.datagramsToSend}, L{WireGuard.deadline}, L{WireGuard.timerFired} and L{WireGuard.nextEvent}.
It has no clock, no socket and no randomness of its own.

What is not authentic is dropped without an answer, and counted in L{WireGuard.counters}.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_network
from math import inf

from vnet.errors import DecodeError
from vnet.protocols.codec.handshake import CookieReply, Initiation, decodeHandshake
from vnet.protocols.codec.transport import OVERHEAD, TRANSPORT_TYPE
from vnet.protocols.machine.allowedips import AllowedIps
from vnet.protocols.machine.device import Device
from vnet.protocols.machine.gate import HandshakeGate
from vnet.protocols.machine.handshake import checkPresharedKeys
from vnet.protocols.machine.indices import IndexTable
from vnet.protocols.machine.keypair import Keypair
from vnet.protocols.machine.noise import StaticKey, openInitiation
from vnet.protocols.machine.opening import Opener
from vnet.protocols.machine.schedule import Schedule
from vnet.protocols.machine.sealing import PacketTrain
from vnet.protocols.machine.session import Session
from vnet.protocols.machine.timers import REKEY_TIMEOUT
from vnet.protocols.machine.timestamps import Timestamps
from vnet.protocols.machine.wireguardevents import (
    EndpointMoved,
    HandshakeFailed,
    PacketsReceived,
    PeerStatus,
    SessionEstablished,
    SessionExpired,
    WireGuardEvent,
)
from vnet.values import Address, Train

__all__ = [
    "EndpointMoved",
    "HandshakeFailed",
    "PacketsReceived",
    "PeerStatus",
    "SessionEstablished",
    "SessionExpired",
    "WireGuard",
    "WireGuardEvent",
]


_HANDSHAKE = frozenset(bytes((kind, 0, 0, 0)) for kind in (1, 2, 3))


class WireGuard:
    """
    The tunnels of one node.

    Methods that name a peer raise C{KeyError} when there is no such peer.

    @ivar publicKey: our own, 32 bytes.
    @ivar counters: how many datagrams and packets have been dropped, by reason.
    """

    def __init__(
        self,
        privateKey: bytes,
        *,
        random: Callable[[int], bytes],
        wallClock: Callable[[], int],
        mtu: int = 1400,
        maxPeers: int = 4096,
    ) -> None:
        """
        @param privateKey: 32 bytes of X25519.  It remains the caller's: this does not wipe it.
        @param random: gives so many secret random bytes, like C{os.urandom}; each time a new object,
            since what it gives is wiped after use.
        @param wallClock: nanoseconds since 1970, like C{time.time_ns}; for the timestamps of initiations
            only.
        @param mtu: of the inner interface: padding goes no further.
        @param maxPeers: how many peers there may be.
        """
        static = StaticKey(privateKey)
        indices: IndexTable[Keypair | Session] = IndexTable(random)
        self._device = Device(static, random, Timestamps(wallClock), mtu, indices)
        self._maxPeers = maxPeers
        self._peers: dict[bytes, Session] = {}
        self._allowed: AllowedIps[Session] = AllowedIps()
        self._schedule: Schedule[Session] = Schedule()
        self._moved: dict[Session, None] = {}
        self._touched: dict[Session, None] = {}
        self._gate = HandshakeGate(self._device)
        self._opener = Opener(self._device, self._allowed, self._packetPassed)
        self.publicKey = static.public

    @property
    def counters(self) -> Counter[str]:
        """
        How much has been dropped, by reason.
        """
        return self._device.counters

    @property
    def sessionCount(self) -> int:
        """
        How many peers there are a session with that can carry packets now.
        """
        return sum(session.status().established for session in self._peers.values())

    # Peers

    def addPeer(
        self,
        publicKey: bytes,
        *,
        allowedIps: Sequence[str],
        presharedKeys: Sequence[bytes] = (),
        endpoint: Address | None = None,
        roaming: bool = True,
    ) -> None:
        """
        Make a peer known, or change all of this of one that is.  Its sessions stay.

        @param allowedIps: prefixes whose addresses are the peer's; taken from other peers that have the
            same prefix.
        @param presharedKeys: of 32 bytes each, in the order in which to use them, the first 16 at most;
            the peer's handshakes must use one of them.  None means 32 zero bytes.
        @param endpoint: where the peer is, or L{None} for where it was.
        @param roaming: whether the endpoint follows the source of what comes from the peer.  A peer can write any
            source: where something else tells which addresses want the peer's packets, let L{setEndpoint} alone
            decide; L{EndpointMoved} tells then what has to be looked at, at most once a second for one address.
        @raise ValueError: a key is of the wrong size or of low order, a prefix is none, or there are too
            many peers.
        """
        # All that may be wrong is looked at before anything is changed.
        checkPresharedKeys(presharedKeys)
        for prefix in allowedIps:
            ip_network(prefix, strict=False)
        session = self._peers.get(publicKey)
        if session is None:
            if len(self._peers) >= self._maxPeers:
                raise ValueError(f"there are {self._maxPeers} peers already")
            session = Session(self._device, publicKey)
        session.handshake.setPresharedKeys(presharedKeys)
        self._peers[publicKey] = session
        session.roaming = roaming
        self.setAllowedIps(publicKey, allowedIps)
        if endpoint is not None:
            self.setEndpoint(publicKey, endpoint)

    def setAllowedIps(self, publicKey: bytes, prefixes: Sequence[str]) -> None:
        """
        Let a peer have these prefixes, and no others: see L{addPeer}.

        @raise ValueError: one is none; nothing is changed.
        """
        session = self._peers[publicKey]
        for prefix in prefixes:
            ip_network(prefix, strict=False)
        self._allowed.discard(session.allowedIps, session)
        session.allowedIps = tuple(prefixes)
        for prefix in prefixes:
            self._allowed.add(prefix, session)

    def setPresharedKeys(self, publicKey: bytes, keys: Sequence[bytes]) -> None:
        """
        Use other preshared keys from the next handshake on: see L{addPeer}.
        """
        self._peers[publicKey].handshake.setPresharedKeys(keys)

    def setEndpoint(self, publicKey: bytes, addr: Address | None) -> None:
        """
        Send to this address from now on.  A handshake that is under way starts again there.

        @param addr: L{None} when it is not known any more: packets wait, then, until it is.
        """
        session = self._peers[publicKey]
        if session.endpoint != addr:
            session.endpoint = addr
            self._moved[session] = None

    def mute(self, publicKey: bytes, until: float) -> None:
        """
        Drop what a peer sends until then, before it is opened; handshakes go on.
        """
        self._peers[publicKey].mutedUntil = until

    def removePeer(self, publicKey: bytes) -> None:
        """
        Forget a peer and erase all its keys.
        """
        session = self._peers.pop(publicKey)
        self._allowed.discard(session.allowedIps, session)
        self._moved.pop(session, None)
        self._touched.pop(session, None)
        self._schedule.update(session, None)
        session.erase()

    def peerFor(self, destination: bytes | str | IPv4Address | IPv6Address) -> bytes | None:
        """
        Whose an inner address is: the longest prefix decides.

        @param destination: 4 or 16 bytes as they stand in a packet (which is fast), an IP address, or its
            text.
        @return: the peer's public key.
        """
        if not isinstance(destination, bytes):
            network = ip_network(destination)
            destination = network.network_address.packed
        session = self._allowed.find(destination)
        return None if session is None else session.publicKey

    def peerStatus(self, publicKey: bytes) -> PeerStatus:
        """
        What is to be known of a peer.
        """
        return self._peers[publicKey].status()

    def carried(self, publicKey: bytes) -> tuple[int, int]:
        """
        What a peer's session has carried: L{PeerStatus.rxBytes} and L{PeerStatus.txBytes}, for who asks often.
        """
        return self._peers[publicKey].carried

    def carriedTotal(self) -> int:
        """
        The same of all peers in one number, for who asks whether there was anything at all.
        """
        return sum(sum(session.carried) for session in self._peers.values())

    # To a peer

    def send(self, publicKey: bytes, packets: Sequence[bytes], now: float) -> None:
        """
        Send inner IP packets to one peer.  Where there is no session, at most 128 packets wait for one.
        """
        session = self._peers[publicKey]
        session.send(packets, now)
        self._reschedule(session)

    def sealPackets(self, publicKey: bytes, packets: Sequence[bytes], now: float) -> Sequence[Train]:
        """
        The same, for a caller that sends them itself, at once.

        @return: what there is to send now.  Its buffer is used again by the next call.
        """
        session = self._peers[publicKey]
        trains = session.sealPackets(packets, now)
        if session.comesUp - now > REKEY_TIMEOUT:
            self._packetPassed(session, now)
        return trains

    def sealSegments(self, publicKey: bytes, segments: PacketTrain, now: float) -> Sequence[Train]:
        """
        The same of a segment train.

        @return: what there is to send now.  Its buffer is used again by the next call.
        """
        session = self._peers[publicKey]
        trains = session.sealSegments(segments, now)
        if session.comesUp - now > REKEY_TIMEOUT:
            self._packetPassed(session, now)
        return trains

    def initiate(self, publicKey: bytes, now: float) -> None:
        """
        Begin a handshake now, in place of any that is under way: when a path was found, say.
        """
        session = self._peers[publicKey]
        session.initiate(now)
        self._reschedule(session)

    def keepalive(self, publicKey: bytes, now: float) -> None:
        """
        Send a packet with nothing in it; where there is no session, begin a handshake.
        """
        session = self._peers[publicKey]
        session.keepalive(now)
        self._reschedule(session)

    # The five verbs

    def receive(self, data: bytes, addr: Address, now: float) -> None:
        """
        A datagram has come.
        """
        strangers = self.receiveTrains((Train.single(data, addr),), now)
        if strangers:
            self.counters["malformed"] += len(strangers)

    def receiveTrains(self, trains: Sequence[Train], now: float) -> Sequence[tuple[bytes, Address]]:
        """
        Datagrams have come, in this order.

        @return: those that are not of this protocol.
        """
        if self._opener.lent:
            self._opener.recycle()
        strangers: list[tuple[bytes, Address]] = []
        for train in trains:
            data, stride, addr, start, end = train
            count = train.datagramCount
            number = 0
            while number < count:
                place = number * stride + start
                size = (len(data) if number == count - 1 else number * stride + end) - place
                kind = data[place : place + 4]
                if kind == TRANSPORT_TYPE and size >= OVERHEAD:
                    number = self._opener.open(train, number, now)
                    continue
                number += 1
                if kind == TRANSPORT_TYPE:
                    self.counters["tooShort"] += 1
                elif bytes(kind) in _HANDSHAKE:
                    self._receiveHandshake(bytes(data[place : place + size]), addr, now)
                else:
                    strangers.append((bytes(data[place : place + size]), addr))
        return strangers

    def datagramsToSend(self, now: float) -> list[tuple[bytes, Address]]:
        """
        Take what is to be sent.
        """
        if self._moved:
            self._sendToMoved(now)
        datagrams = self._device.datagrams
        self._device.datagrams = []
        return datagrams

    def deadline(self) -> float | None:
        """
        When L{timerFired} is to be called; L{None} when nothing waits for time.
        """
        if self._touched:
            self._settle()
        return 0.0 if self._moved else self._schedule.deadline()

    def timerFired(self, now: float) -> None:
        """
        Do what is due.
        """
        self._sendToMoved(now)
        self._settle()
        for session in self._schedule.due(now):
            session.comesUp = inf
            session.timerFired(now)
            self._reschedule(session)

    @property
    def isPending(self) -> bool:
        """
        Whether there is anything to send, to tell, or to be done sooner than was said: L{datagramsToSend}, L{nextEvent} and
        L{deadline} have nothing new otherwise.
        """
        device = self._device
        return bool(device.events or device.datagrams or self._touched or self._moved)

    def nextPackets(self) -> PacketsReceived | None:
        """
        Take the oldest event if it tells of packets.
        """
        events = self._device.events
        first = events[0] if events else None
        if type(first) is not PacketsReceived:
            return None
        events.popleft()
        return first

    def nextEvent(self) -> WireGuardEvent | None:
        """
        Take the oldest event.
        """
        events = self._device.events
        return events.popleft() if events else None

    # Inside

    def _receiveHandshake(self, data: bytes, addr: Address, now: float) -> None:
        try:
            message = decodeHandshake(data)
        except DecodeError:
            self.counters["malformed"] += 1
            return
        if isinstance(message, CookieReply):
            session = self._sessionAt(message.receiver)
            if session is not None:
                session.receiveCookie(message, now)
        elif not self._gate.admit(message, data, addr, now):
            return
        elif isinstance(message, Initiation):
            self._receiveInitiation(message, len(data), addr, now)
        else:
            session = self._sessionAt(message.receiver)
            if session is not None:
                session.receiveResponse(message, len(data), addr, now)
                self._reschedule(session)

    def _receiveInitiation(self, message: Initiation, size: int, addr: Address, now: float) -> None:
        opened = openInitiation(self._device.static, message)
        if opened is None:
            self.counters["badInitiation"] += 1
            return
        session = self._peers.get(opened.peer)
        if session is None:
            self.counters["unknownPeer"] += 1
            opened.wipe()
            return
        session.receiveInitiation(opened, size, addr, now)
        self._reschedule(session)

    def _sessionAt(self, index: int) -> Session | None:
        entry = self._device.indices.entries.get(index)
        if entry is None:
            self.counters["noSession"] += 1
        return entry.session if isinstance(entry, Keypair) else entry

    def _sendToMoved(self, now: float) -> None:
        while self._moved:
            session, _ = self._moved.popitem()
            session.endpointChanged(now)
            self._reschedule(session)

    def _reschedule(self, session: Session) -> None:
        self._touched[session] = None

    def _packetPassed(self, session: Session, now: float) -> None:
        """
        A packet was sealed or opened.  What follows from that is due in L{REKEY_TIMEOUT} at the earliest: a session that comes up
        by then needs no look at its timers for each packet.
        """
        session.comesUp = self._schedule.update(session, now + REKEY_TIMEOUT)
        self._touched[session] = None

    def _settle(self) -> None:
        while self._touched:
            session, _ = self._touched.popitem()
            session.comesUp = self._schedule.update(session, session.deadline())
