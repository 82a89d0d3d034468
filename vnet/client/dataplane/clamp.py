# -*- test-case-name: vnet.test.test_clamp -*-
"""
Sees to it that packets fit the paths that they take, where those carry less than the interface takes::

    SYN, either way         the segment size in it is lowered to what the path carries
    too long, IPv4 that     cut into fragments, each of which fits
      may be fragmented
    up to 1,280 bytes       the same, whoever forbids it: all come from this computer, which may do so; while a larger size
                            is being looked for, also what is longer
    too long, else          its sender is told, and it is sent nevertheless: the IP outside fragments it

So TCP never needs fragments, 1,280 bytes always pass, and nothing is lost because it is long.  A peer whose path carries all
that the interface takes has no limit, and costs nothing here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from attrs import define, field, frozen
from twisted.internet.interfaces import IReactorTime

from vnet.errors import DecodeError
from vnet.protocols.codec.fragments import fragment, fragmentOwn, mayBeFragmented
from vnet.protocols.codec.icmp import encodeTooBig
from vnet.protocols.codec.mss import isSyn, lowerMss
from vnet.protocols.codec.runs import Run
from vnet.protocols.machine.pathmtu import BASE, OVERHEAD
from vnet.protocols.machine.ratelimit import KeyedLimit

__all__ = ["LEAST", "Clamp", "Limit"]

LEAST = 1280
"""Bytes of a packet that is sent whatever the path carries (RFC 8200 section 5)."""

_HEADERS4, _HEADERS6 = 40, 60
_PAD = 16
_ERRORS_RATE, _ERRORS_BURST = 10, 10


@frozen
class Limit:
    """
    What a path carries.

    @ivar fits: bytes of a packet that needs no fragments.
    @ivar mtu: bytes of a packet that may be sent; not less than L{LEAST}.
    @ivar cuts: bytes of a packet that is cut to fit, whoever forbids it.
    @ivar mss4: bytes of a TCP segment over IPv4; C{mss6}: over IPv6.
    """

    fits: int
    mtu: int
    cuts: int
    mss4: int
    mss6: int

    @classmethod
    def of(cls, size: int, interface: int, isSettled: bool = True) -> Limit | None:
        """
        @param size: of a UDP payload that the path carries whole, bytes.
        @param isSettled: whether nothing larger is being looked for: senders that are told remember it for minutes.
        @param interface: bytes of a packet that the interface takes.
        @return: L{None}: the path carries all of them.
        """
        if size - OVERHEAD >= interface:
            return None
        # What is sealed is padded to so many bytes.
        fits = (size - OVERHEAD) // _PAD * _PAD
        mtu = max(fits, LEAST)
        return cls(fits, mtu, mtu if isSettled else interface, fits - _HEADERS4, fits - _HEADERS6)


@define(eq=False, repr=False)
class Clamp:
    """
    The limits of all peers.

    @ivar counters: C{clamped}: segment sizes that were lowered; C{fragmented}: packets that were cut; C{tooBig}: packets that
        were longer than the path carries; C{tooBigTold}: of those, whose senders were told.
    """

    _interface: int
    _clock: IReactorTime
    counters: Counter[str] = field(factory=Counter)
    _limits: dict[bytes, Limit | None] = field(factory=dict, init=False)
    _number: int = field(default=0, init=False)
    _base: Limit | None = field(init=False)
    _errors: KeyedLimit = field(factory=lambda: KeyedLimit(_ERRORS_RATE, _ERRORS_BURST), init=False)

    def __attrs_post_init__(self) -> None:
        self._base = Limit.of(BASE, self._interface, isSettled=False)

    def setSize(self, publicKey: bytes, size: int, isSettled: bool = True) -> None:
        """
        A peer's path carries UDP payloads of so many bytes.

        @param isSettled: whether nothing larger is being looked for.
        """
        self._limits[publicKey] = Limit.of(size, self._interface, isSettled)

    def forget(self, publicKey: bytes) -> None:
        """
        Nothing is known of a peer's path any more.
        """
        self._limits.pop(publicKey, None)

    def limitOf(self, publicKey: bytes) -> Limit | None:
        """
        The limit of a peer; L{None}: there is none, and nothing has to be done.
        """
        return self._limits.get(publicKey, self._base)

    def mtuOf(self, publicKey: bytes) -> int:
        """
        Bytes of a packet to a peer that may be sent.
        """
        limit = self.limitOf(publicKey)
        return self._interface if limit is None else limit.mtu

    def outgoing(
        self, publicKey: bytes, limit: Limit, packets: Sequence[bytes], errors: list[bytes]
    ) -> list[bytes]:
        """
        Make packets for a peer fit.

        @param packets: with finished checksums.
        @param errors: gets IP packets that are to be handed to the operating system.
        @return: what is to be sent.
        """
        fits = limit.fits
        fitting: list[bytes] = []
        for packet in packets:
            if len(packet) > fits:
                fitting += self._tooLong(publicKey, limit, packet, errors)
            else:
                fitting.append(self._lowered(limit, packet) if isSyn(packet) else packet)
        return fitting

    def incoming(self, limit: Limit, runs: Sequence[Run]) -> Sequence[Run]:
        """
        See to it that the operating system sends a peer nothing that does not fit.

        @param runs: of packets; a SYN is in none with others.
        @return: what is to be handed to it.
        """
        for run in runs:
            if len(run) == 1 and isSyn(run[0]):
                return [
                    [self._lowered(limit, each) for each in run] if len(run) == 1 else run for run in runs
                ]
        return runs

    def _lowered(self, limit: Limit, packet: bytes) -> bytes:
        lowered = lowerMss(packet, limit.mss4, limit.mss6)
        if lowered is not packet:
            self.counters["clamped"] += 1
        return lowered

    def _tooLong(self, publicKey: bytes, limit: Limit, packet: bytes, errors: list[bytes]) -> Sequence[bytes]:
        if mayBeFragmented(packet):
            self.counters["fragmented"] += 1
            return fragment(packet, limit.fits)
        if len(packet) <= limit.cuts:
            self._number = (self._number + 1) & 0xFFFFFFFF
            fragments = fragmentOwn(packet, limit.fits, self._number)
            self.counters["fragmented"] += len(fragments) > 1
            return fragments
        self.complain(publicKey, limit, packet, len(packet), errors)
        return (packet,)

    def complain(self, publicKey: bytes, limit: Limit, packet: bytes, size: int, errors: list[bytes]) -> None:
        """
        Tell the sender of a packet, or of a train of packets, that it is too long, unless it was told often enough.

        @param packet: its beginning, with an IP header whose length is not more than this.
        @param size: of the packet, or of each of the train.
        @param errors: gets the IP packet for the operating system.
        """
        if size <= limit.cuts:
            return
        self.counters["tooBig"] += 1
        if not self._errors.allow(publicKey, self._clock.seconds()):
            return
        try:
            errors.append(encodeTooBig(packet, limit.mtu))
        except DecodeError:
            return
        self.counters["tooBigTold"] += 1
