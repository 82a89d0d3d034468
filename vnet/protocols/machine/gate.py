# -*- test-case-name: vnet.test.test_gate -*-
"""
Whose handshake messages may cost us a Diffie-Hellman (WireGuard whitepaper section 5.3).

Each initiation and response needs a right mac1.  When more than L{HANDSHAKE_RATE} of them come in a
second, the node is under load until that has been over for L{LOAD_LASTS}: then a right mac2 is needed
too, for want of which the sender gets a cookie; and each source gets only so many.
"""

from __future__ import annotations

from vnet.protocols.codec.handshake import Initiation, Response, encodeHandshake
from vnet.protocols.machine.cookie import CookieChecker
from vnet.protocols.machine.device import Device
from vnet.protocols.machine.ratelimit import KeyedLimit, sourceKey
from vnet.values import Address

__all__ = ["HANDSHAKE_RATE", "LOAD_LASTS", "HandshakeGate", "LoadMeter"]

#: Handshake messages with a right mac1 in a second, above which the node is under load.
HANDSHAKE_RATE = 50.0

#: Seconds for which it then stays so.
LOAD_LASTS = 1.0

#: What one source gets while the node is under load: in a second, and at once.
SOURCE_RATE = 20.0
SOURCE_BURST = 5.0

#: Sources that are remembered.
MAX_SOURCES = 4096


class LoadMeter:
    """
    Tells from the times of events whether there are too many: a leaky bucket that, once it has
    overflowed, tells of it for a while.
    """

    def __init__(self, rate: float = HANDSHAKE_RATE, lasts: float = LOAD_LASTS) -> None:
        """
        @param rate: events in a second, and as many at once, that are not yet load.
        @param lasts: for how many seconds load is felt.
        """
        self._rate = rate
        self._lasts = lasts
        self._level = 0.0
        self._at = 0.0
        self._until = float("-inf")

    def add(self, now: float) -> bool:
        """
        An event has come.

        @return: whether there is load.
        """
        drained = max(0.0, now - self._at) * self._rate
        self._level = max(0.0, self._level - drained) + 1.0
        self._at = now
        if self._level > self._rate:
            self._level = self._rate
            self._until = now + self._lasts
        return now < self._until


class HandshakeGate:
    """
    The gate before the handshakes of one node.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._cookies = CookieChecker(device.static.public, device.random)
        self._load = LoadMeter()
        self._sources = KeyedLimit(SOURCE_RATE, SOURCE_BURST, MAX_SOURCES)

    def admit(self, message: Initiation | Response, data: bytes, addr: Address, now: float) -> bool:
        """
        Judge one message, and answer with a cookie where that is due.

        @param data: the bytes of C{message}.
        @return: whether it may be worked on.
        """
        device = self._device
        if not self._cookies.hasMac1(data):
            device.counters["badMac1"] += 1
            return False
        if not self._load.add(now):
            return True
        if not self._cookies.hasMac2(data, addr, now):
            device.counters["cookieSent"] += 1
            reply = self._cookies.reply(message.sender, data, addr, now)
            device.datagrams.append((encodeHandshake(reply), addr))
            return False
        if not self._sources.allow(sourceKey(addr.host), now):
            device.counters["sourceLimited"] += 1
            return False
        return True
