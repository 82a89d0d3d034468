# -*- test-case-name: vnet.test.test_pathmtu -*-
"""
How long the datagrams may be that a path carries whole: packetization layer path MTU discovery for datagrams (RFC 8899).

No router is believed, and none needs to say anything: checks of the peer are made as long as a size, and the answer shows
that this size arrives.  Sizes are those of UDP payloads.  States in the words of RFC 8899 section 5.2::

    disabled --path--> base --a size arrives--> searching --nothing left to ask--> complete
                        |  \\                       ^                                  |  |
                        |   `--not even the base--> error                             |  `--raised, after a while--> searching
                        ^                                                             |
                        `-------------- the size that is used does not arrive --------'

One round asks for some sizes at once, and for a check without padding: only where that is answered, and a size is not, the
size is too large; else the path itself is in trouble, which is for others to judge.  The first round asks for the sizes that
links usually have, so that nearly always one round trip is enough; the next ones divide what is left.

An idle path costs nothing: that the size is still right is asked while the path carries traffic, or is doubted.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable

import attrs

from vnet.errors import DecodeError
from vnet.protocols.codec.stun import Message, decode
from vnet.values import Address

__all__ = ["BASE", "OVERHEAD", "SMALLEST", "PathMtu", "Resized"]

OVERHEAD = 32
"""Bytes that WireGuard adds to a packet."""

BASE = 1280 + OVERHEAD
"""What is used before anything is known: it carries a packet of 1,280 bytes."""

SMALLEST = 1200
"""What is used where not even the base arrives whole: each path of IPv6 carries that."""

_LINKS = (9000, 1500, 1492)
_HEADERS4, _HEADERS6, _CHANNEL = 28, 48, 4
# Packets are padded to a multiple of 16 bytes.
_STEP = 16
_PARTS = 4
_TRIES, _AGAIN, _LAST = 4, 0.2, 0.6
_ROUNDS = 12
_LONGEST_WAIT = 3.0
_CONFIRM, _DOUBT, _CALM, _RESTART = 30.0, 1.0, 60.0, 5.0
_FIRST_RAISE, _LONGEST_RAISE = 60.0, 600.0
_FIRST_PAUSE, _LONGEST_PAUSE = 5.0, 300.0
_KNOWN = 8


@attrs.frozen
class Resized:
    """
    What is known of the size has changed.

    @ivar size: of a UDP payload that arrives whole, bytes.
    @ivar isSettled: whether nothing larger is being looked for.
    """

    size: int
    isSettled: bool


@attrs.define(eq=False, repr=False)
class _Round:
    """
    Sizes that are asked for together.

    @ivar wanted: those of which nothing is known yet; 0 stands for the check without padding.
    @ivar arrived: the largest that was answered; C{lost}: the smallest that was not.
    @ivar answered: whether anything was.
    @ivar ids: the transactions, and their sizes.
    """

    wanted: set[int]
    dueAt: float
    tries: int = 0
    arrived: int = 0
    lost: int | None = None
    answered: bool = False
    ids: dict[bytes, int] = attrs.field(factory=dict)

    def lose(self, size: int) -> None:
        self.wanted.discard(size)
        if size:
            self.lost = size if self.lost is None else min(self.lost, size)

    def arrive(self, size: int) -> None:
        self.answered = True
        self.arrived = max(self.arrived, size)
        self.wanted = {each for each in self.wanted if each > size}


class PathMtu:
    """
    The machine, for the path in use to one peer.  See L{vnet.driver.DatagramMachine} for its five verbs; wake the driver
    after calling any other method.

    @ivar state: C{"disabled"}, C{"base"}, C{"searching"}, C{"complete"} or C{"error"}.
    @ivar probes: how many datagrams were sent.
    """

    def __init__(
        self,
        maximum: int,
        request: Callable[[bytes, Address, int], bytes | None],
        isAuthentic: Callable[[Message], bool],
        random: Callable[[int], bytes],
    ) -> None:
        """
        @param maximum: the largest size that is of use.
        @param request: writes a check with a transaction id, for an address, made this long; 0: as short as it is.  L{None}: it
            cannot yet.
        @param isAuthentic: whether the peer has made an answer.
        @param random: returns so many unpredictable bytes.
        """
        self._maximum = maximum + -maximum % 4
        self._request = request
        self._isAuthentic = isAuthentic
        self._random = random
        self._path: Address | None = None
        self._rtt = 0.0
        self._lower, self._upper = 0, self._maximum + 1
        self._round: _Round | None = None
        self._rounds = 0
        self._startAt: float | None = None
        self._raiseAt: float | None = None
        self._raisePause = _FIRST_RAISE
        self._pause = _FIRST_PAUSE
        self._confirmedAt = self._restartedAt = self._doubtedAt = float("-inf")
        self._doubtPause = _DOUBT
        self._confirmAt: float | None = None
        self._isStale = False
        self._known: OrderedDict[Address, int] = OrderedDict()
        self._told = Resized(BASE, False)
        self._events: deque[Resized] = deque()
        self.state = "disabled"
        self.probes = 0

    @property
    def size(self) -> int:
        """
        What is used: the largest size that is known to arrive, or else the base.
        """
        return self._lower or (BASE if self._upper > BASE else SMALLEST)

    @property
    def isSettled(self) -> bool:
        """
        Whether nothing larger is being looked for.
        """
        return self.state in ("complete", "error")

    # What the owner says

    def select(self, path: Address | None, rtt: float, now: float) -> None:
        """
        This path is used from now on; L{None}: there is none.

        @param rtt: seconds of a round trip.
        """
        self._rtt = rtt
        if path == self._path:
            return
        if self._path is not None and self._lower:
            self._known[self._path] = self._lower
            while len(self._known) > _KNOWN:
                self._known.popitem(last=False)
        self._path, self._round, self._startAt, self._confirmAt = path, None, None, None
        self._lower, self._upper, self._isStale = 0, self._maximum + 1, False
        self.state = "disabled"
        if path is not None:
            self._lower = self._known.pop(path, 0)
            self._pause, self._raisePause = _FIRST_PAUSE, _FIRST_RAISE
            self._begin(now)
        self._tell()

    def restart(self, now: float) -> None:
        """
        The network may have changed, and what was found not be true any more.  What is under way is finished first.
        """
        self._known.clear()
        if self._path is None or now - self._restartedAt < _RESTART:
            self.doubt(now)
            return
        self._restartedAt = now
        self._raisePause = _FIRST_RAISE
        if self._round is None:
            self._upper = self._maximum + 1
            self._begin(now)
        else:
            self._isStale = True

    def noteTraffic(self, now: float) -> bool:
        """
        The path carries traffic.  Cheap to call often.

        @return: whether the driver has to be woken.
        """
        if self._path is None or self._round is not None or self._startAt is not None:
            return False
        if self._raiseAt is not None and now >= self._raiseAt:
            self._raisePause = min(2 * self._raisePause, _LONGEST_RAISE)
            self._upper = self._maximum + 1
            self._begin(now)
            return True
        return now - self._confirmedAt >= _CONFIRM and self._confirm(now)

    def doubt(self, now: float) -> bool:
        """
        What is sent gets no answer: it may be too long.  That the size is right is asked at once, or soon, where it was asked
        just now; more and more seldom while it turns out to be right.

        @return: whether the driver has to be woken.
        """
        if self._path is None or self._round is not None or not self._lower or self._confirmAt is not None:
            return False
        if now - self._doubtedAt >= _CALM:
            self._doubtPause = _DOUBT
        at = self._confirmedAt + self._doubtPause
        self._doubtPause = min(2 * self._doubtPause, _CONFIRM)
        self._doubtedAt = now
        if at > now:
            self._confirmAt = at
            return True
        return self._confirm(now)

    def expects(self, transactionId: bytes) -> bool:
        """
        Whether an answer with this id is one for this machine.
        """
        return self._round is not None and transactionId in self._round.ids

    def refused(self, transactionId: bytes, now: float) -> None:
        """
        A datagram of this machine was too long for this computer itself.
        """
        current = self._round
        size = None if current is None else current.ids.get(transactionId)
        if current is not None and size:
            current.lose(size)
            self._judge(now)

    # The five verbs

    def receive(self, data: bytes, addr: Address, now: float) -> None:
        """
        An answer of the peer has come, perhaps.
        """
        current = self._round
        try:
            message = decode(data)
        except DecodeError:
            return
        size = None if current is None else current.ids.get(message.transactionId)
        if current is None or size is None or addr != self._path or not self._isAuthentic(message):
            return
        current.arrive(size)
        if size > self._lower:
            self._lower = size
            self.state = "searching"
            self._tell()
        self._judge(now)

    def datagramsToSend(self, now: float) -> list[tuple[bytes, Address]]:
        """
        Take the checks of this turn.
        """
        current, path = self._round, self._path
        if current is None or path is None or now < current.dueAt or current.tries >= _TRIES:
            return []
        sent: list[tuple[bytes, Address]] = []
        for size in sorted(current.wanted):
            transactionId = self._random(12)
            data = self._request(transactionId, path, size)
            if data is not None:
                current.ids[transactionId] = size
                sent.append((data, path))
        current.tries += 1
        wait = (_LAST if current.tries == _TRIES else _AGAIN) + 2 * self._rtt
        current.dueAt = now + min(wait, _LONGEST_WAIT)
        self.probes += len(sent)
        return sent

    def deadline(self) -> float | None:
        """
        When a turn, or the next round, begins.
        """
        if self._round is not None:
            return self._round.dueAt
        return min((time for time in (self._startAt, self._confirmAt) if time is not None), default=None)

    def timerFired(self, now: float) -> None:
        """
        Do what is due.
        """
        current = self._round
        if current is None:
            if self._startAt is not None and now >= self._startAt:
                self._begin(now)
            elif self._confirmAt is not None and now >= self._confirmAt:
                self._confirm(now)
        elif now >= current.dueAt and current.tries >= _TRIES:
            for size in tuple(current.wanted) if current.answered else ():
                current.lose(size)
            self._end(current, now)

    def nextEvent(self) -> Resized | None:
        """
        Take the oldest event.
        """
        return self._events.popleft() if self._events else None

    # Rounds

    def _begin(self, now: float) -> None:
        """
        Search, from what usual links carry; that the size in use arrives is asked again.
        """
        self.state = "searching" if self._lower else "base"
        self._rounds, self._startAt, self._raiseAt = 0, None, None
        wanted = {*self._usual(), self._lower or BASE}
        sizes = {each for each in wanted if self._lower <= each < self._upper} or self._between()
        if sizes:
            self._ask(sizes, now)
            self._tell()
        else:
            self._complete(now)

    def _confirm(self, now: float) -> bool:
        if self._lower:
            self._ask({self._lower}, now)
        return bool(self._lower)

    def _ask(self, sizes: set[int], now: float) -> None:
        self._round, self._confirmAt = _Round({0, *sizes}, now), None

    def _usual(self) -> set[int]:
        """
        What links carry that are usual, under the headers of this path.
        """
        path = self._path
        if path is None:
            return set()
        headers = [_HEADERS6 if ":" in path.host else _HEADERS4]
        if path.allocation:
            # Which family leads to the relay is not said by the peer's address.
            headers = [_HEADERS4 + _CHANNEL, _HEADERS6 + _CHANNEL]
        sizes = {link - each for link in _LINKS for each in headers}
        return {min(each, self._maximum) for each in sizes}

    def _between(self) -> set[int]:
        """
        Sizes that divide what is left.
        """
        low = self._lower or SMALLEST - _STEP
        # Sizes whose packets are not a multiple of 16 bytes long carry no more than the next smaller one.
        left = [each for each in range(low + -low % _STEP, self._upper, _STEP) if each > low]
        parts = range(1 if self._lower else 0, _PARTS)
        return {left[len(left) * part // _PARTS] for part in parts} if left else set()

    def _judge(self, now: float) -> None:
        """
        See whether the round has told all that it can.
        """
        current = self._round
        if current is not None and not any(current.wanted) and (current.answered or 0 not in current.wanted):
            self._end(current, now)

    def _end(self, current: _Round, now: float) -> None:
        self._round = None
        if current.lost is not None:
            self._upper = min(self._upper, current.lost)
        if not current.answered:
            # The path itself does not answer.
            self._startAt = now + self._pause
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
            return
        self._pause, self._confirmedAt = _FIRST_PAUSE, now
        wasStale, self._isStale = self._isStale, False
        if wasStale:
            self._upper = current.lost or self._maximum + 1
        if self._lower >= self._upper:
            # The size in use does not arrive any more.
            self._lower = current.arrived
            self._begin(now)
            self._tell()
            return
        if wasStale:
            self._begin(now)
            return
        self._rounds += 1
        more = self._between() if self._upper <= self._maximum and self._rounds < _ROUNDS else set()
        if more:
            self._ask(more, now)
        else:
            self._complete(now)

    def _complete(self, now: float) -> None:
        self.state = "complete" if self._lower else "error"
        if self._raiseAt is None and self._lower < self._maximum:
            self._raiseAt = now + self._raisePause
        self._tell()

    def _tell(self) -> None:
        now = Resized(self.size, self.isSettled)
        if now != self._told:
            self._told = now
            self._events.append(now)
