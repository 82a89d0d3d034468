# -*- test-case-name: vnet.test.test_forwarder -*-
"""
Echoes of our own through the tunnel: the operating system of the peer answers, ours does not notice.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from ipaddress import ip_address

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from vnet.errors import DecodeError, Refused, Unreachable
from vnet.protocols.codec.icmp import Echo, decodeEcho, encodeEcho

__all__ = ["Echoes"]

MAX_OUTSTANDING = 64
TIMEOUT = 3.0
_DATA = 32


@frozen(eq=False)
class _Outstanding:
    publicKey: bytes
    request: Echo
    sentAt: float
    answered: Deferred[float]
    timeout: IDelayedCall


@define(eq=False, repr=False)
class Echoes:
    """
    The echoes that wait for their replies.

    @ivar _clock: for the times and the timeouts.
    @ivar _send: gives packets to the tunnel of a peer; may raise C{KeyError} where there is none.
    @ivar _random: gives so many random bytes.
    """

    _clock: IReactorTime
    _send: Callable[[bytes, Sequence[bytes]], None]
    _random: Callable[[int], bytes] = os.urandom
    _outstanding: dict[bytes, _Outstanding] = field(factory=dict, init=False)

    def __len__(self) -> int:
        """
        How many wait.
        """
        return len(self._outstanding)

    def start(self, publicKey: bytes, ownAddress: str, address: str) -> Deferred[float]:
        """
        Send an echo request.

        @param ownAddress: our overlay address, of the same version as C{address}, the peer's.
        @return: fires with the round trip, seconds; fails with L{Unreachable} after 3 seconds or where there
            is no tunnel, with L{Refused} when 64 are outstanding.  May be cancelled.
        """
        if len(self._outstanding) >= MAX_OUTSTANDING:
            return fail(Refused("too many pings at once: try again in a few seconds"))
        data = self._random(_DATA)
        identifier = int.from_bytes(self._random(2), "big")
        request = Echo(ip_address(ownAddress).packed, ip_address(address).packed, identifier, 1, data)
        answered: Deferred[float] = Deferred(lambda _: self._drop(data))
        silence = f"{address} did not answer within 3 seconds"
        timeout = self._clock.callLater(TIMEOUT, self._fail, data, silence)
        self._outstanding[data] = _Outstanding(publicKey, request, self._clock.seconds(), answered, timeout)
        try:
            self._send(publicKey, (encodeEcho(request),))
        except KeyError:
            self._fail(data, f"there is no tunnel to {address}")
        return answered

    def takes(self, publicKey: bytes, packet: bytes) -> bool:
        """
        Whether a packet that came from a peer is the reply to one of these; it is, then, for nobody else.
        """
        try:
            reply = decodeEcho(packet)
        except DecodeError:
            return False
        waiting = self._outstanding.get(reply.data)
        if waiting is None or waiting.publicKey != publicKey or not reply.reply:
            return False
        request = waiting.request
        if (reply.identifier, reply.sequence, reply.source, reply.destination) != (
            request.identifier,
            request.sequence,
            request.destination,
            request.source,
        ):
            return False
        self._forget(reply.data)
        waiting.answered.callback(self._clock.seconds() - waiting.sentAt)
        return True

    def stop(self) -> None:
        """
        Give up all that wait.
        """
        for data in list(self._outstanding):
            self._fail(data, "the tunnel is being closed")

    def _forget(self, data: bytes) -> _Outstanding | None:
        waiting = self._outstanding.pop(data, None)
        if waiting is not None and waiting.timeout.active():
            waiting.timeout.cancel()
        return waiting

    def _drop(self, data: bytes) -> None:
        self._forget(data)

    def _fail(self, data: bytes, why: str) -> None:
        waiting = self._forget(data)
        if waiting is not None:
            waiting.answered.errback(Unreachable(why))
