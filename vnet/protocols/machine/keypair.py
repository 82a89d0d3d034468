# -*- test-case-name: vnet.test.test_erasure -*-
"""
The keys of one WireGuard session (whitepaper sections 5.4.5 and 6.2), and those that a peer may have at
once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, NoReturn

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from vnet.protocols.codec.transport import headerPrefix
from vnet.protocols.machine.noise import TransportKeys
from vnet.protocols.machine.replay import ReplayWindow
from vnet.values import Buffer

if TYPE_CHECKING:
    from vnet.protocols.machine.session import Session

__all__ = [
    "MAXIMUM_RETIRED",
    "REJECT_AFTER_MESSAGES",
    "REJECT_AFTER_TIME",
    "REKEY_AFTER_MESSAGES",
    "REKEY_AFTER_TIME",
    "Keypair",
    "Keypairs",
]

#: Counters from which a session asks for the next one, and at which it ends.
REKEY_AFTER_MESSAGES = 2**60
REJECT_AFTER_MESSAGES = 2**64 - 2**13 - 1

#: The same as seconds of age.
REKEY_AFTER_TIME = 120.0
REJECT_AFTER_TIME = 180.0

#: Sessions that were replaced and are still received under: with two, the one that the peer sends with is always there.
MAXIMUM_RETIRED = 2

_Cipher = Callable[[bytes, Buffer, None], bytes]
_CipherInto = Callable[[bytes, Buffer, None, memoryview], int]


class Keypair:
    """
    One session: a key for each direction, with the counters.

    @ivar session: whose it is.
    @ivar localIndex: by which the peer addresses us.
    @ivar prefix: the first 8 bytes of each message that we send; C{prefixNumber} the same as a little-endian number, and
        C{received} that of each message that we receive.
    @ivar seal: the cipher of what we send: nonce, plaintext, L{None}; C{sealInto} takes a buffer for the result, too.
    @ivar open: the cipher of what we receive; raises C{InvalidTag}; C{openInto} takes a buffer for the result, too.
    @ivar sent: the next counter to send.
    @ivar isInitiator: whether we began the handshake, so that it is on us to rekey by age.
    @ivar createdAt: seconds.
    @ivar heardAt: when the peer has used it last; L{createdAt} before it has.
    """

    __slots__ = (
        "accept",
        "createdAt",
        "heardAt",
        "isInitiator",
        "localIndex",
        "open",
        "openInto",
        "prefix",
        "prefixNumber",
        "received",
        "replay",
        "seal",
        "sealInto",
        "sent",
        "session",
    )

    def __init__(
        self,
        session: Session,
        localIndex: int,
        remoteIndex: int,
        keys: TransportKeys,
        isInitiator: bool,
        now: float,
    ) -> None:
        """
        @param keys: wiped here; only the ciphers keep them, and cleanse them when they are freed.
        """
        self.session = session
        self.localIndex = localIndex
        self.prefix = headerPrefix(remoteIndex)
        self.prefixNumber = int.from_bytes(self.prefix, "little")
        self.received = int.from_bytes(headerPrefix(localIndex), "little")
        sending = ChaCha20Poly1305(keys.send)
        self.seal: _Cipher = sending.encrypt
        self.sealInto: _CipherInto = sending.encrypt_into
        receiving = ChaCha20Poly1305(keys.receive)
        self.open: _Cipher = receiving.decrypt
        self.openInto: _CipherInto = receiving.decrypt_into
        keys.wipe()
        self.sent = 0
        self.replay = ReplayWindow()
        self.accept = self.replay.accept
        self.isInitiator = isInitiator
        self.createdAt = self.heardAt = now

    def isAlive(self, now: float) -> bool:
        """
        Whether the session is young enough to send and to receive.
        """
        return now - self.createdAt < REJECT_AFTER_TIME

    def canSend(self, count: int, now: float) -> bool:
        """
        Whether C{count} more messages may be sent.
        """
        return self.sent + count <= REJECT_AFTER_MESSAGES and now - self.createdAt < REJECT_AFTER_TIME

    def wantsRekey(self, now: float) -> bool:
        """
        Whether it is time to hand-shake anew, after sending.
        """
        if self.sent > REKEY_AFTER_MESSAGES:
            return True
        return self.isInitiator and now - self.createdAt >= REKEY_AFTER_TIME

    def erase(self) -> None:
        """
        Let go of the ciphers.  The keypair may not be used again.
        """
        self.seal = self.open = self.sealInto = self.openInto = _erased


def _erased(*_: object) -> NoReturn:
    raise RuntimeError("the keys of this session have been erased")


class Keypairs:
    """
    The sessions of one peer.

    A session that is replaced is kept for a while, since the peer may still send with it.  Where initiations have crossed
    each side sends with the session that it began itself, until a handshake much later, so it is not enough to know what we
    have sent with: which ones are kept is told by when the peer has used them.

    @ivar current: what we send with.
    @ivar next: as a responder, a session that the peer has not yet confirmed by a message: not to be sent
        with.
    @ivar retired: what the peer may still send with, at most L{MAXIMUM_RETIRED}.
    """

    def __init__(self, forget: Callable[[int], None]) -> None:
        """
        @param forget: called with the index of each keypair that goes.
        """
        self._forget = forget
        self.current: Keypair | None = None
        self.next: Keypair | None = None
        self.retired: list[Keypair] = []

    def __iter__(self) -> Iterator[Keypair]:
        return (keypair for keypair in (*self.retired, self.current, self.next) if keypair is not None)

    def addInitiated(self, keypair: Keypair) -> None:
        """
        A handshake that we began is complete: its keys can be used at once.
        """
        replaced = self.current, self.next
        self.current, self.next = keypair, None
        self._retire(replaced, keypair.createdAt)

    def addResponded(self, keypair: Keypair) -> None:
        """
        We have answered a handshake: its keys wait until the peer has used them.
        """
        self._drop(self.next)
        self.next = keypair

    def heard(self, keypair: Keypair, now: float) -> bool:
        """
        An authentic message has come under C{keypair}.

        @return: whether that has made it the current one.
        """
        keypair.heardAt = now
        if keypair is not self.next:
            return False
        replaced = self.current
        self.current, self.next = keypair, None
        self._retire((replaced,), now)
        return True

    def erase(self) -> None:
        """
        Erase all of them.
        """
        for keypair in self:
            self._drop(keypair)
        self.current = self.next = None
        self.retired = []

    def _retire(self, replaced: Iterable[Keypair | None], now: float) -> None:
        known = [*self.retired, *(keypair for keypair in replaced if keypair is not None)]
        useful = [keypair for keypair in known if keypair.isAlive(now)]
        self.retired = sorted(useful, key=lambda keypair: keypair.heardAt)[-MAXIMUM_RETIRED:]
        for keypair in known:
            if keypair not in self.retired:
                self._drop(keypair)

    def _drop(self, keypair: Keypair | None) -> None:
        if keypair is not None:
            self._forget(keypair.localIndex)
            keypair.erase()
