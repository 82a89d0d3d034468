# -*- test-case-name: vnet.test.test_session -*-
"""
One peer of WireGuard: its sessions, timers and queue (whitepaper sections 5.4.5 and 6).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import inf

from vnet.protocols.codec.handshake import CookieReply, Response
from vnet.protocols.machine.device import BACKLOG, Device
from vnet.protocols.machine.handshake import Handshake, HandshakeResult
from vnet.protocols.machine.keypair import REJECT_AFTER_TIME, Keypair, Keypairs
from vnet.protocols.machine.noise import OpenedInitiation
from vnet.protocols.machine.sealing import PacketTrain, sealAll, sealPackets, sealSegments
from vnet.protocols.machine.timers import (
    ERASE_AFTER_TIME,
    JITTER,
    KEEPALIVE_TIMEOUT,
    REKEY_ATTEMPT_TIME,
    REKEY_TIMEOUT,
    Timers,
)
from vnet.protocols.machine.wireguardevents import (
    EndpointMoved,
    HandshakeFailed,
    PeerStatus,
    SessionEstablished,
    SessionExpired,
)
from vnet.values import Address, Train

__all__ = ["MAX_QUEUED", "Session"]

#: Packets that wait for a session; the oldest goes first.
MAX_QUEUED = 128

# From which age of a session its initiator rekeys when it receives: just before the session would end.
_REKEY_ON_RECEIVE = REJECT_AFTER_TIME - KEEPALIVE_TIMEOUT - REKEY_TIMEOUT

# Between one telling and the next that what comes from the peer comes from elsewhere than where the peer is held to be.
_TELL_AGAIN = 1.0

_KEEPALIVE = (b"",)
_REINITIATE = 0.1
_LONG_AGO = float("-inf")


class Session:
    """
    @ivar publicKey: the peer's static key.
    @ivar handshake: the handshakes with the peer.
    @ivar endpoint: where the peer is.
    @ivar mutedUntil: until when transport messages from the peer are dropped before they are opened.
    @ivar roaming: whether L{endpoint} follows the source of what comes from the peer (whitepaper section 2.1).
    @ivar allowedIps: the prefixes that were given to the peer, as they were written.
    @ivar comesUp: when the owner looks at L{deadline} again by itself.
    """

    def __init__(self, device: Device, publicKey: bytes) -> None:
        """
        @raise ValueError: the key is not one that can be agreed with.
        """
        self._device = device
        self.publicKey = publicKey
        self.handshake = Handshake(device, self, publicKey)
        self.endpoint: Address | None = None
        self.roaming = True
        self.mutedUntil = 0.0
        self.allowedIps: tuple[str, ...] = ()
        self.comesUp = inf
        self._keypairs = Keypairs(device.indices.release)
        self._timers = Timers()
        self._queue: deque[bytes] = deque(maxlen=MAX_QUEUED)
        self._attemptUntil = _LONG_AGO
        self._initiatedAt = _LONG_AGO
        self._initiatedTo: Address | None = None
        self._toldOf: Address | None = None
        self._toldAt = _LONG_AGO
        self._oweKeepalive = False
        self._lastHandshake: float | None = None
        # To draw it each time would be a call to the system for each exchange.
        self._spread = 0.0
        self._rxBytes = 0
        self._txBytes = 0

    # What the owner asks

    def send(self, packets: Sequence[bytes], now: float) -> None:
        """
        Seal packets, or queue them and make a session.
        """
        device = self._device
        keypair = self._sender(packets, now)
        if keypair is None or self.endpoint is None:
            return
        if len(device.datagrams) + len(packets) > BACKLOG:
            device.counters["backlog"] += len(packets)
        else:
            self._seal(keypair, self.endpoint, packets, now)
            self._expectAnswer(now)

    def sealPackets(self, packets: Sequence[bytes], now: float) -> Sequence[Train]:
        """
        Seal packets for the caller to send at once, or queue them and make a session.

        @return: valid until the next call.
        """
        keypair = self._sender(packets, now)
        if keypair is None or self.endpoint is None:
            return ()
        device = self._device
        trains = sealAll(keypair, packets, self.endpoint, device.mtu, device.output)
        self._sealed(keypair, trains, now)
        return trains

    def sealSegments(self, segments: PacketTrain, now: float) -> Sequence[Train]:
        """
        The same of a segment train.

        @return: valid until the next call.
        """
        keypair = self._keypairs.current
        if keypair is None or self.endpoint is None or not keypair.canSend(segments.count, now):
            self.send(list(segments), now)
            return ()
        device = self._device
        trains = sealSegments(keypair, segments, self.endpoint, device.mtu, device.output)
        self._sealed(keypair, trains, now)
        return trains

    def _sender(self, packets: Sequence[bytes], now: float) -> Keypair | None:
        """
        What to seal packets with; where they have to wait they do, and this gives L{None}.
        """
        keypair = self._keypairs.current
        if keypair is None or not keypair.canSend(len(packets), now):
            self._enqueue(packets)
            self._begin(now)
            return None
        if self.endpoint is None:
            self._enqueue(packets)
            return None
        return keypair

    def _sealed(self, keypair: Keypair, trains: Sequence[Train], now: float) -> None:
        for train in trains:
            self._txBytes += len(train.data)
        self._timers.keepalive = None
        if keypair.wantsRekey(now):
            self._begin(now)
        self._expectAnswer(now)

    def _expectAnswer(self, now: float) -> None:
        if self._timers.silence is None:
            self._timers.silence = now + KEEPALIVE_TIMEOUT + REKEY_TIMEOUT + self._spread

    def keepalive(self, now: float) -> None:
        """
        Send a packet with nothing in it, which shows the peer that we are here; where there is no
        session, make one.
        """
        keypair = self._keypairs.current
        if keypair is None or not keypair.canSend(1, now):
            self._begin(now)
        elif self.endpoint is not None:
            self._seal(keypair, self.endpoint, _KEEPALIVE, now)

    def initiate(self, now: float) -> None:
        """
        Begin a handshake now, in place of any that is under way.
        """
        self._attemptUntil = now + REKEY_ATTEMPT_TIME
        self._sendInitiation(now)

    def endpointChanged(self, now: float) -> None:
        """
        The owner has set L{endpoint}: do now what waits for it.
        """
        if self._timers.handshake is None:
            self._sendQueued(now)
            self._confirm(now)
        elif self.endpoint != self._initiatedTo:
            # The answer may be under way, and the peer takes no second initiation so soon after the first.
            if now - self._initiatedAt < _REINITIATE:
                self._timers.handshake = self._initiatedAt + _REINITIATE
            else:
                self.initiate(now)

    def status(self) -> PeerStatus:
        """
        What is to be known of the peer.
        """
        return PeerStatus(
            lastHandshake=self._lastHandshake,
            rxBytes=self._rxBytes,
            txBytes=self._txBytes,
            endpoint=self.endpoint,
            established=self._timers.expiry is not None,
        )

    @property
    def carried(self) -> tuple[int, int]:
        """
        The bytes of authentic datagrams from the peer, and of datagrams to it.
        """
        return self._rxBytes, self._txBytes

    def erase(self) -> None:
        """
        Erase all keys, those of the peer as such too.  The session may not be used again.
        """
        self._keypairs.erase()
        self.handshake.erase()
        self._queue.clear()
        self._timers = Timers()

    # What comes from the peer

    def receiveInitiation(self, initiation: OpenedInitiation, size: int, addr: Address, now: float) -> None:
        """
        Check the second half of an initiation, and answer.
        """
        if not self.handshake.authenticate(initiation, now):
            return
        self._heard(size, addr, now)
        answer = self.handshake.respond(initiation, now)
        if answer is not None:
            data, result = answer
            self._keypairs.addResponded(self._makeKeypair(result, False, now))
            self._transmit(data, addr)

    def receiveResponse(self, response: Response, size: int, addr: Address, now: float) -> None:
        """
        Complete the handshake that we began, send what waits, or else a keepalive to confirm it to the peer.
        """
        result = self.handshake.finish(response)
        if result is None:
            self._device.counters["badResponse"] += 1
            return
        keypair = self._makeKeypair(result, True, now)
        self._keypairs.addInitiated(keypair)
        self._heard(size, addr, now)
        self._established(keypair, now)
        self._confirm(now)

    def receiveCookie(self, reply: CookieReply, now: float) -> None:
        """
        Keep the cookie for the next try.  This sends nothing.
        """
        if not self.handshake.receiveCookie(reply, now):
            self._device.counters["badCookie"] += 1

    def receiveTransport(
        self, keypair: Keypair, size: int, addr: Address | None, data: bool, now: float
    ) -> None:
        """
        Authentic transport messages have come under C{keypair}.

        @param size: their bytes.
        @param addr: the source of the newest; L{None} when all are older than what came before.
        @param data: whether any of them was not a keepalive.
        """
        timers = self._timers
        self._rxBytes += size
        timers.silence = None
        if addr is not None and addr != self.endpoint:
            self._heardFrom(addr, now)
        keypair.heardAt = now
        if keypair is not self._keypairs.current and self._keypairs.heard(keypair, now):
            self.handshake.confirm()
            self._established(keypair, now)
        if data:
            self._oweKeepalive = timers.keepalive is not None
            if timers.keepalive is None:
                timers.keepalive = now + KEEPALIVE_TIMEOUT
        if now - keypair.createdAt >= _REKEY_ON_RECEIVE:
            self._rekeyBeforeTheEnd(now)

    # What time brings

    def deadline(self) -> float | None:
        """
        When L{timerFired} is to be called.
        """
        return self._timers.deadline()

    def timerFired(self, now: float) -> None:
        """
        Do what is due.
        """
        timers = self._timers
        if timers.erasure is not None and now >= timers.erasure:
            timers.erasure = None
            self._keypairs.erase()
            if timers.handshake is None:
                self.handshake.abandon()
        if timers.expiry is not None and now >= timers.expiry:
            timers.expiry = None
            self._device.tell(SessionExpired(self.publicKey))
        if timers.handshake is not None and now >= timers.handshake:
            self._retry(now)
        if timers.silence is not None and now >= timers.silence:
            timers.silence = None
            self._begin(now)
        if timers.keepalive is not None and now >= timers.keepalive:
            timers.keepalive = None
            self.keepalive(now)
            if self._oweKeepalive:
                self._oweKeepalive = False
                timers.keepalive = now + KEEPALIVE_TIMEOUT

    # Inside

    def _enqueue(self, packets: Sequence[bytes]) -> None:
        excess = len(self._queue) + len(packets) - MAX_QUEUED
        if excess > 0:
            self._device.counters["queueFull"] += excess
        self._queue.extend(packets)

    def _sendQueued(self, now: float) -> None:
        packets = tuple(self._queue)
        self._queue.clear()
        if packets:
            self.send(packets, now)

    def _confirm(self, now: float) -> None:
        """
        Show the peer that we have the session which we began, if nothing else has: it sends nothing in it before.
        """
        current = self._keypairs.current
        if current is not None and current.isInitiator and current.sent == 0:
            self.keepalive(now)

    def _seal(self, keypair: Keypair, endpoint: Address, packets: Sequence[bytes], now: float) -> None:
        device = self._device
        for train in sealPackets(keypair, packets, endpoint, device.mtu):
            self._txBytes += len(train.data)
            device.datagrams += [(datagram, endpoint) for datagram in train.datagrams()]
        self._timers.keepalive = None
        if keypair.wantsRekey(now):
            self._begin(now)

    def _begin(self, now: float) -> None:
        if self._timers.handshake is None and now - self._initiatedAt >= REKEY_TIMEOUT:
            self.initiate(now)

    def _rekeyBeforeTheEnd(self, now: float) -> None:
        current = self._keypairs.current
        if current is None or not current.isInitiator:
            return
        if now - current.createdAt >= _REKEY_ON_RECEIVE:
            self._begin(now)

    def _retry(self, now: float) -> None:
        if now < self._attemptUntil:
            self._sendInitiation(now)
            return
        self._timers.handshake = self._timers.keepalive = None
        self.handshake.abandon()
        self._queue.clear()
        self._device.tell(HandshakeFailed(self.publicKey))

    def _sendInitiation(self, now: float) -> None:
        nextTry = now + REKEY_TIMEOUT + self._jitter()
        self._timers.handshake = min(nextTry, self._attemptUntil)
        self._initiatedTo = endpoint = self.endpoint
        if endpoint is None:
            return
        data = self.handshake.initiate(now)
        if data is not None:
            self._initiatedAt = now
            self._transmit(data, endpoint)

    def _transmit(self, data: bytes, endpoint: Address) -> None:
        self._device.datagrams.append((data, endpoint))
        self._txBytes += len(data)
        self._timers.keepalive = None

    def _makeKeypair(self, result: HandshakeResult, isInitiator: bool, now: float) -> Keypair:
        keypair = Keypair(self, result.localIndex, result.remoteIndex, result.keys, isInitiator, now)
        self._device.indices.assign(result.localIndex, keypair)
        self._timers.erasure = now + ERASE_AFTER_TIME
        return keypair

    def _established(self, keypair: Keypair, now: float) -> None:
        self._timers.handshake = None
        self._timers.expiry = keypair.createdAt + REJECT_AFTER_TIME
        self._lastHandshake = now
        self._spread = self._jitter()
        self._device.tell(SessionEstablished(self.publicKey))
        self._sendQueued(now)

    def _heard(self, size: int, addr: Address | None, now: float) -> None:
        self._rxBytes += size
        self._timers.silence = None
        if addr is not None and addr != self.endpoint:
            self._heardFrom(addr, now)

    def _heardFrom(self, addr: Address, now: float) -> None:
        """
        Something authentic has come from elsewhere than where the peer is held to be.
        """
        if self.roaming:
            self.endpoint = addr
        elif addr == self._toldOf and now - self._toldAt < _TELL_AGAIN:
            return
        self._toldOf, self._toldAt = addr, now
        self._device.tell(EndpointMoved(self.publicKey, addr))
        if self._queue and self._keypairs.current is not None:
            self._sendQueued(now)

    def _jitter(self) -> float:
        return int.from_bytes(self._device.random(2), "little") / 65536 * JITTER
