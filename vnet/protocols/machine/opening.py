# -*- test-case-name: vnet.test.test_opening -*-
"""
The receiving half of the data path: transport messages to inner packets.

A train is worked on in stretches: messages in a row with the same first 8 bytes are of the same keypair, and what is done
for a peer is done once for each stretch.  The packets come out in runs (L{vnet.protocols.codec.runs}), of which the first
packet stands for all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import repeat

from cryptography.exceptions import InvalidTag

from vnet.protocols.codec.runs import Run, runsOf
from vnet.protocols.codec.slots import ROOM, SlotRun, Slots
from vnet.protocols.codec.transport import HEADER_SIZE, OVERHEAD, packNonce, readCounters, readHeader
from vnet.protocols.machine.allowedips import AllowedIps
from vnet.protocols.machine.device import Device
from vnet.protocols.machine.keypair import REJECT_AFTER_MESSAGES, Keypair
from vnet.protocols.machine.replay import MOST_AHEAD
from vnet.protocols.machine.session import Session
from vnet.protocols.machine.timers import REKEY_TIMEOUT
from vnet.protocols.machine.wireguardevents import PacketsReceived
from vnet.values import Address, Train

__all__ = ["Opener"]

#: Packets for which it is worth to take a buffer for all, and how long they are at least.
_ENOUGH, _LARGE = 4, 512
_MOST_SPARE = 4


@lru_cache(16)
def _slices(stride: int, size: int) -> Sequence[slice]:
    """
    Of a stretch: its messages without their headers.
    """
    places = range(HEADER_SIZE, HEADER_SIZE + MOST_AHEAD * stride, stride)
    return [slice(place, place + size) for place in places]


class Opener:
    """
    Opens what peers send.

    @ivar lent: the buffers of what was told of.
    """

    def __init__(
        self, device: Device, allowed: AllowedIps[Session], passed: Callable[[Session, float], None]
    ) -> None:
        """
        @param passed: called with a session that has received something and comes up late.
        """
        self._device = device
        self._allowed = allowed
        self._passed = passed
        self.lent: list[Slots] = []
        self._spare: list[Slots] = []

    def recycle(self) -> None:
        """
        What was told of has been used, and its memory may be used again.
        """
        if self.lent and not self._device.events:
            self._spare = (self._spare + self.lent)[:_MOST_SPARE]
            self.lent = []

    def open(self, train: Train, first: int, now: float) -> int:
        """
        Open one stretch.

        @param first: the number of the first message of it in the train, which is of type 4 and of 32 bytes at least.
        @return: the number of the first datagram after it.
        """
        data, stride, source, start, end = train
        begin = first * stride + start
        # To look at all that follows, for each stretch, would take a second where two sessions take turns in a long train.
        view = memoryview(data)[begin : begin + MOST_AHEAD * stride]
        head, counter = readHeader(view)
        keypair = self._keypair(head, now)
        if keypair is None:
            self._device.counters["noSession"] += 1
            return first + 1
        if keypair.session.mutedUntil > now:
            count = len(readCounters(view, stride, head)) if len(view) >= stride + OVERHEAD else 1
            self._device.counters["muted"] += count
            return first + count
        if len(view) < stride + OVERHEAD:
            self._openOne(keypair, counter, view[HEADER_SIZE : end - start], source, now)
            return first + 1
        counters = readCounters(view, stride, head)
        count = len(counters)
        size = end - start - HEADER_SIZE
        # Of the last one what there is.
        sealed = list(map(view.__getitem__, _slices(stride, size)[:count]))
        plaintexts: Sequence[bytes]
        try:
            if count >= _ENOUGH and size >= _LARGE and count * size <= ROOM:
                plaintexts = self._openInto(keypair, counters, sealed)
            else:
                plaintexts = list(map(keypair.open, map(packNonce, counters), sealed, repeat(None)))
        except InvalidTag:
            plaintexts, counters = self._openEach(keypair, counters, sealed)
        if counters:
            self._deliver(keypair, plaintexts, counters, source, now)
        return first + count

    def _openInto(self, keypair: Keypair, counters: list[int], sealed: list[memoryview]) -> Slots:
        """
        Open messages of one size into a buffer.

        @raise InvalidTag: not all are authentic.
        """
        slots = self._spare.pop() if self._spare else Slots()
        self.lent.append(slots)
        overhead = OVERHEAD - HEADER_SIZE
        spaces = slots.take(len(sealed[0]) - overhead, len(sealed), len(sealed[-1]) - overhead)
        # Without a line of Python for each of them.
        deque(map(keypair.openInto, map(packNonce, counters), sealed, repeat(None), spaces), maxlen=0)
        return slots

    def _openOne(
        self, keypair: Keypair, counter: int, sealed: memoryview, source: Address, now: float
    ) -> None:
        """
        Open a message that is alone: what is done for many takes longer.
        """
        try:
            plaintext = keypair.open(packNonce(counter), sealed, None)
        except InvalidTag:
            self._device.counters["badTag"] += 1
            return
        if counter >= REJECT_AFTER_MESSAGES or not keypair.accept(counter):
            self._device.counters["replayed"] += 1
            return
        newest = source if keypair.replay.greatest == counter else None
        session = keypair.session
        session.receiveTransport(keypair, len(plaintext) + OVERHEAD, newest, bool(plaintext), now)
        if plaintext:
            packet = self._checkOne(session, plaintext)
            if packet:
                self._device.tell(PacketsReceived(session.publicKey, [[packet]]))
        if session.comesUp - now > REKEY_TIMEOUT:
            self._passed(session, now)

    def _openEach(
        self, keypair: Keypair, counters: list[int], sealed: list[memoryview]
    ) -> tuple[list[bytes], list[int]]:
        """
        Open those that are authentic.
        """
        plaintexts, authentic = [], []
        for counter, each in zip(counters, sealed, strict=True):
            try:
                plaintexts.append(keypair.open(packNonce(counter), each, None))
                authentic.append(counter)
            except InvalidTag:
                self._device.counters["badTag"] += 1
        return plaintexts, authentic

    def _keypair(self, head: int, now: float) -> Keypair | None:
        entry = self._device.indices.entries.get(head >> 32)
        if isinstance(entry, Keypair) and entry.isAlive(now):
            return entry
        return None

    def _deliver(
        self,
        keypair: Keypair,
        plaintexts: Sequence[bytes],
        counters: list[int],
        source: Address,
        now: float,
    ) -> None:
        before = keypair.replay.greatest
        fresh = self._new(keypair, plaintexts, counters)
        if fresh is None:
            return
        newest = source if keypair.replay.greatest > before else None
        if type(fresh) is Slots:
            size, hasEmpty = fresh.byteCount, not fresh.lastSize
        else:
            size, hasEmpty = sum(map(len, fresh)), b"" in fresh
        packets = [packet for packet in fresh if packet] if hasEmpty else fresh
        size += OVERHEAD * len(fresh)
        session = keypair.session
        session.receiveTransport(keypair, size, newest, bool(packets), now)
        runs = self._check(session, packets)
        if runs:
            self._device.tell(PacketsReceived(session.publicKey, runs))
        if session.comesUp - now > REKEY_TIMEOUT:
            self._passed(session, now)

    def _new(
        self, keypair: Keypair, plaintexts: Sequence[bytes], counters: list[int]
    ) -> Sequence[bytes] | None:
        """
        Those that are no replays; L{None} if none is.
        """
        count, first = len(counters), counters[0]
        inARow = count <= MOST_AHEAD and first + count <= REJECT_AFTER_MESSAGES
        if inARow and counters == [*range(first, first + count)] and keypair.replay.acceptAhead(first, count):
            return plaintexts
        accept = keypair.accept
        fresh = [
            plaintext
            for plaintext, counter in zip(plaintexts, counters, strict=True)
            if counter < REJECT_AFTER_MESSAGES and accept(counter)
        ]
        self._device.counters["replayed"] += count - len(fresh)
        return fresh or None

    def _check(self, session: Session, packets: Sequence[bytes]) -> list[Run]:
        """
        Keep the packets that the peer may send, without their padding, in runs.
        """
        hosts, find = self._allowed.hosts.get, self._allowed.find
        runs: list[Run] = []
        for run in runsOf(packets):
            if type(run) is SlotRun:
                first = run.first
            elif len(run) > 1:
                first = run[0]
            else:
                packet = self._checkOne(session, run[0])
                if packet:
                    runs.append([packet])
                continue
            source = first[12:16] if first[0] >> 4 == 4 else first[8:24]
            if hosts(source) is session or find(source) is session:
                runs.append(run)
            else:
                self._device.counters["wrongSource"] += len(run)
        return runs

    def _checkOne(self, session: Session, packet: bytes) -> bytes:
        """
        A packet without its padding; nothing if the peer may not send it.
        """
        size = len(packet)
        version = packet[0] >> 4
        if version == 4 and size >= 20:
            length, least, source = packet[2] << 8 | packet[3], 20, packet[12:16]
        elif version == 6 and size >= 40:
            length, least, source = (packet[4] << 8 | packet[5]) + 40, 40, packet[8:24]
        else:
            self._device.counters["notIp"] += 1
            return b""
        if not least <= length <= size:
            self._device.counters["badLength"] += 1
            return b""
        if self._allowed.hosts.get(source) is not session and self._allowed.find(source) is not session:
            self._device.counters["wrongSource"] += 1
            return b""
        return packet[:length]
