# -*- test-case-name: vnet.test.test_wireguard -*-
"""
The handshakes with one peer, in both roles, and all that they need to remember (whitepaper section 5).

B{Several preshared keys.}  Two nodes that share several networks have a preshared key of each.  The
initiator needs no hint: it tries each of its keys on the response.  The responder uses one.  When the
initiator sends another initiation before it has used the session of the last response, the responder
takes its next key, in a circle, and stays with the one that has worked.  Only keys that the owner of this
node has set are ever used, and the key of zeros only where none is set: whoever drops messages can choose
among the secrets but cannot do without one.

B{Handshakes that cross.}  What a node has sent and what it has answered are kept apart, so that two nodes
that begin at the same moment both complete; each then sends under the session that it began and receives
under both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from vnet.protocols.codec.handshake import CookieReply, Initiation, Response, encodeHandshake
from vnet.protocols.machine.cookie import CookieHolder
from vnet.protocols.machine.device import Device
from vnet.protocols.machine.noise import (
    NO_PRESHARED_KEY,
    OpenedInitiation,
    SentInitiation,
    TransportKeys,
    createInitiation,
)
from vnet.protocols.machine.wipe import wipe

if TYPE_CHECKING:
    from vnet.protocols.machine.session import Session

__all__ = ["MAX_PRESHARED_KEYS", "Handshake", "HandshakeResult", "checkPresharedKeys"]

#: Preshared keys of one peer that are used.
MAX_PRESHARED_KEYS = 16

#: Initiations of one peer are not accepted faster than one in so many seconds.
INITIATION_INTERVAL = 0.02


def checkPresharedKeys(keys: Sequence[bytes]) -> None:
    """
    @raise ValueError: one of these is not 32 bytes.
    """
    if any(len(key) != 32 for key in keys):
        raise ValueError("a preshared key is 32 bytes")


class HandshakeResult(NamedTuple):
    """
    @ivar localIndex: how the peer addresses the session.
    @ivar remoteIndex: how we address it.
    @ivar keys: for the receiver of this to wipe.
    """

    localIndex: int
    remoteIndex: int
    keys: TransportKeys


class Handshake:
    """
    The handshakes of one peer, one after the other.
    """

    def __init__(self, device: Device, session: Session, publicKey: bytes) -> None:
        """
        @param session: what the index of an initiation stands for.
        @param publicKey: the peer's.
        @raise ValueError: the key is not one that can be agreed with.
        """
        agreed = device.static.agree(publicKey) if len(publicKey) == 32 else None
        if agreed is None:
            raise ValueError("a peer's public key is 32 bytes, not of low order")
        self._device = device
        self._session = session
        self._publicKey = publicKey
        self._staticStatic = bytearray(agreed)
        wipe(agreed)
        self._presharedKeys = [bytearray(NO_PRESHARED_KEY)]
        self._turn = 0
        self._unconfirmed = False
        self._cookies = CookieHolder(publicKey)
        self._sent: tuple[int, SentInitiation] | None = None
        self._sentTimestamp, self._receivedTimestamp = device.pastTimestamps.take(publicKey)
        self._receivedAt = float("-inf")

    def setPresharedKeys(self, keys: Sequence[bytes]) -> None:
        """
        Use these keys from now on.

        @param keys: 32 bytes each; of more than L{MAX_PRESHARED_KEYS}, the first; of none, zeros.
        @raise ValueError: one is of another size.
        """
        checkPresharedKeys(keys)
        old = self._presharedKeys
        new = [bytearray(key) for key in keys[:MAX_PRESHARED_KEYS]] or [bytearray(NO_PRESHARED_KEY)]
        if new == old:
            wipe(*new)
            return
        self._presharedKeys = new
        self._turn = 0
        self._unconfirmed = False
        wipe(*old)

    # As the initiator

    def initiate(self, now: float) -> bytes | None:
        """
        Begin a handshake, in place of any that is under way.

        @return: the message; L{None} when the peer's key allows none.
        """
        self.abandon()
        device = self._device
        index = device.indices.reserve()
        timestamp = device.timestamps.after(self._sentTimestamp)
        begun = createInitiation(
            device.static, self._publicKey, self._staticStatic, index, device.random(32), timestamp
        )
        if begun is None:
            device.indices.release(index)
            return None
        message, sent = begun
        self._sent = index, sent
        self._sentTimestamp = timestamp
        device.indices.assign(index, self._session)
        return self._encode(message, now)

    def finish(self, response: Response) -> HandshakeResult | None:
        """
        Open the response to our initiation.

        @return: L{None} when it is not authentic.
        """
        if self._sent is None or self._sent[0] != response.receiver:
            return None
        finished = self._sent[1].finish(response, self._presharedKeys)
        if finished is None:
            return None
        self._sent = None
        keys, self._turn = finished
        return HandshakeResult(response.receiver, response.sender, keys)

    def receiveCookie(self, reply: CookieReply, now: float) -> bool:
        """
        Keep a cookie for the messages to come.

        @return: whether it is authentic.
        """
        return self._cookies.receive(reply, now)

    def abandon(self) -> None:
        """
        Forget the initiation that we have sent, and erase its keys.
        """
        if self._sent is not None:
            index, sent = self._sent
            self._sent = None
            self._device.indices.release(index)
            sent.wipe()

    # As the responder

    def authenticate(self, initiation: OpenedInitiation, now: float) -> bool:
        """
        Check that an initiation is the peer's, newer than all before, and not one of too many.  Where it
        is not, this counts and wipes it.
        """
        timestamp = initiation.authenticate(self._staticStatic)
        if timestamp is None:
            self._device.counters["badInitiation"] += 1
        elif timestamp <= self._receivedTimestamp:
            self._device.counters["oldTimestamp"] += 1
        elif now - self._receivedAt < INITIATION_INTERVAL:
            self._device.counters["initiationFlood"] += 1
        else:
            self._receivedTimestamp = timestamp
            self._receivedAt = now
            return True
        initiation.wipe()
        return False

    def respond(self, initiation: OpenedInitiation, now: float) -> tuple[bytes, HandshakeResult] | None:
        """
        Answer an initiation that is authentic.

        @return: the message and the session, that waits to be confirmed.
        """
        if self._unconfirmed:
            self._turn = (self._turn + 1) % len(self._presharedKeys)
        device = self._device
        index = device.indices.reserve()
        made = initiation.respond(index, device.random(32), self._presharedKeys[self._turn])
        if made is None:
            device.indices.release(index)
            return None
        response, keys = made
        self._unconfirmed = True
        return self._encode(response, now), HandshakeResult(index, response.receiver, keys)

    def confirm(self) -> None:
        """
        The peer has used the session of our last response, so it knows the preshared key of that.
        """
        self._unconfirmed = False

    def erase(self) -> None:
        """
        Erase everything.  This may not be used again.
        """
        self.abandon()
        wipe(self._staticStatic, *self._presharedKeys)
        self._device.pastTimestamps.keep(self._publicKey, self._sentTimestamp, self._receivedTimestamp)

    def _encode(self, message: Initiation | Response, now: float) -> bytes:
        return self._cookies.addMacs(encodeHandshake(message), now)
