# -*- test-case-name: vnet.test.test_opening -*-
"""
The receiving half of the data path: transport messages to inner packets.

A batch is worked on in runs: messages in a row with the same first 8 bytes are of the same keypair, and
what is done for a peer is done once for each run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cryptography.exceptions import InvalidTag

from vnet.protocols.codec.transport import HEADER_SIZE, OVERHEAD, TRANSPORT_TYPE
from vnet.protocols.machine.allowedips import AllowedIps
from vnet.protocols.machine.device import Device
from vnet.protocols.machine.keypair import REJECT_AFTER_MESSAGES, Keypair
from vnet.protocols.machine.session import Session
from vnet.protocols.machine.wireguardevents import PacketsReceived
from vnet.values import Address

__all__ = ["Opener"]

_NONCE_HEAD = bytes(4)

Datagram = tuple[bytes, Address]


class Opener:
    """
    Opens what peers send.
    """

    def __init__(
        self, device: Device, allowed: AllowedIps[Session], touched: Callable[[Session], None]
    ) -> None:
        """
        @param touched: called with each session that has received something.
        """
        self._device = device
        self._allowed = allowed
        self._touched = touched

    def open(self, datagrams: Sequence[Datagram], start: int, now: float) -> int:
        """
        Open one run.

        @param start: the place of the first of the run, which is of type 4.
        @return: the place of the first datagram after the run.
        """
        head = datagrams[start][0][:8]
        keypair = self._keypair(head, now)
        if keypair is None:
            self._device.counters["noSession"] += 1
            return start + 1
        end = start + 1
        while end < len(datagrams) and datagrams[end][0][:8] == head:
            end += 1
        self._openRun(keypair, datagrams[start:end], now)
        return end

    def _keypair(self, head: bytes, now: float) -> Keypair | None:
        entry = self._device.indices.entries.get(int.from_bytes(head[4:8], "little"))
        if isinstance(entry, Keypair) and entry.isAlive(now):
            return entry
        return None

    def _openRun(self, keypair: Keypair, run: Sequence[Datagram], now: float) -> None:
        openSealed = keypair.open
        accept = keypair.accept
        replay = keypair.replay
        counters = self._device.counters
        plaintexts: list[bytes] = []
        append = plaintexts.append
        source: Address | None = None
        size = 0
        for data, addr in run:
            if len(data) < OVERHEAD:
                counters["tooShort"] += 1
                continue
            number = data[8:16]
            try:
                plaintext = openSealed(_NONCE_HEAD + number, data[HEADER_SIZE:], None)
            except InvalidTag:
                counters["badTag"] += 1
                continue
            counter = int.from_bytes(number, "little")
            if counter >= REJECT_AFTER_MESSAGES or not accept(counter):
                counters["replayed"] += 1
                continue
            size += len(data)
            if counter == replay.greatest:
                source = addr
            if plaintext:
                append(plaintext)
        if size:
            self._deliver(keypair, plaintexts, size, source, now)

    def _deliver(
        self, keypair: Keypair, plaintexts: list[bytes], size: int, source: Address | None, now: float
    ) -> None:
        session = keypair.session
        session.receiveTransport(keypair, size, source, bool(plaintexts), now)
        packets = self._check(session, plaintexts)
        if packets:
            self._device.tell(PacketsReceived(session.publicKey, tuple(packets)))
        self._touched(session)

    def _check(self, session: Session, plaintexts: list[bytes]) -> list[bytes]:
        """
        Keep the packets that the peer may send, without their padding.
        """
        hosts = self._allowed.hosts.get
        find = self._allowed.find
        counters = self._device.counters
        packets: list[bytes] = []
        append = packets.append
        for packet in plaintexts:
            size = len(packet)
            version = packet[0] >> 4
            if version == 4 and size >= 20:
                length = packet[2] << 8 | packet[3]
                least = 20
                source = packet[12:16]
            elif version == 6 and size >= 40:
                length = (packet[4] << 8 | packet[5]) + 40
                least = 40
                source = packet[8:24]
            else:
                counters["notIp"] += 1
                continue
            if not least <= length <= size:
                counters["badLength"] += 1
            elif hosts(source) is session or find(source) is session:
                append(packet if length == size else packet[:length])
            else:
                counters["wrongSource"] += 1
        return packets


def isTransport(data: bytes) -> bool:
    """
    Whether a datagram is for L{Opener}.
    """
    return data[:4] == TRANSPORT_TYPE
