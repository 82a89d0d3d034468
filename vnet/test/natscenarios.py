# -*- test-case-name: vnet.test.test_natscenarios -*-
"""
Long lives on L{vnet.test.natsim}: mappings that end soon, and NATs that have few.

From the command line::

    python -m vnet.test.natscenarios lifetime A=V B=R seed=1 minutes=30
    python -m vnet.test.natscenarios budget A=L seed=1
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from vnet.protocols.codec.ethernet import IPV4, memberMac
from vnet.protocols.codec.icmp import Echo, encodeEcho
from vnet.test.natoverlay import NatOverlay
from vnet.test.nattrial import Pair, Setting, memoryDirectory
from vnet.test.nodelab import URL, TestNode

__all__ = ["Budget", "Idling", "budget", "lifetime"]

_PACKET = 0.1
_PATIENCE = 1.0
_IN_A_ROW = 5
_EVERYONE = ("P", "F", "A", "R", "D", "E", "V", "S1", "S2", "B", "X", "M", "U", "T443", "6")


@attrs.frozen
class Idling:
    """
    What became of a pair over a long time.

    @ivar sent: echoes; C{lost}: those that got no answer within a second.
    @ivar longestGap: the most seconds in which no echo was answered while they were sent.
    @ivar gaps: the moments, in seconds from the start, in which five echoes or more in a row had no answer: chance does
        not do that.
    @ivar pathLost: how often a side had no path at all; C{changes}: how often a path was another.
    @ivar direct: whether the path is a direct one in the end.
    @ivar peaks: the most mappings at once, for each side and NAT.
    @ivar keepAlives: datagrams a minute that each side sent towards the other, while idle.
    """

    sent: int
    lost: int
    longestGap: float
    gaps: tuple[float, ...]
    pathLost: int
    changes: int
    direct: bool
    peaks: tuple[tuple[int, ...], ...]
    keepAlives: tuple[float, float]


@attrs.define(eq=False)
class _Traffic:
    """
    Echoes of the first side through the tunnel, answered by the other.
    """

    pair: Pair
    sent: int = 0
    lost: int = 0
    longestGap: float = 0.0
    gaps: list[float] = attrs.field(factory=list)

    def busy(self, seconds: float) -> None:
        """
        Send ten echoes a second.
        """
        one, other = self.pair.sides
        started = self.pair.seconds
        answeredAt, inARow = started, 0
        sentAt: dict[int, float] = {}
        while self.pair.seconds < started + seconds + _PATIENCE:
            now = self.pair.seconds
            if now < started + seconds:
                self.sent += 1
                sentAt[self.sent] = now
                one.node.device.deliver([self._frame(self.sent)])
            self.pair.run(_PACKET)
            for side in (one, other):
                side.node.answerEchoes()
            for echo in one.node.received:
                if sentAt.pop(echo.sequence, None) is not None:
                    self.longestGap = max(self.longestGap, self.pair.seconds - answeredAt)
                    answeredAt, inARow = self.pair.seconds, 0
            one.node.received.clear()
            for sequence in [each for each, at in sentAt.items() if at < now - _PATIENCE]:
                del sentAt[sequence]
                self.lost += 1
                inARow += 1
                if inARow == _IN_A_ROW:
                    self.gaps.append(round(now, 1))
        self.lost += len(sentAt)

    def _frame(self, sequence: int) -> bytes:
        return echoFrame(self.pair.sides[0].node, self.pair.sides[1].node, sequence)


def echoFrame(sender: TestNode, receiver: TestNode, sequence: int) -> bytes:
    """
    An echo request through the tunnel, as the sender's operating system makes it.
    """
    addresses = [bytes(map(int, _address(node).split("."))) for node in (sender, receiver)]
    packet = encodeEcho(Echo(addresses[0], addresses[1], 7, sequence & 0xFFFF, b"natsim"))
    return memberMac(addresses[1]) + sender.device.mac + IPV4 + packet


def _address(node: TestNode) -> str:
    welcome = node.core.welcome
    if welcome is None:
        raise AssertionError("not logged in")
    return welcome.address


def lifetime(
    kinds: tuple[str, str] = ("V", "R"), seed: int = 1, minutes: float = 30.0, setting: Setting | None = None
) -> Idling:
    """
    Run a pair for long, with idle phases of 10 to 170 seconds between busy ones of 5.
    """
    with tempfile.TemporaryDirectory(dir=memoryDirectory()) as directory:
        pair = Pair(kinds, seed, Path(directory), setting or Setting())
        pair.meet()
        pair.run(20.0)
        end, traffic, watch = pair.seconds + 60 * minutes, _Traffic(pair), _Watch(pair)
        idle, idleFor, idleSent = 10.0, 0.0, [0, 0]
        while pair.seconds < end:
            before = watch.sent()
            pair.run(idle, watch.look)
            after = watch.sent()
            idleFor, idleSent = (
                idleFor + idle,
                [x + b - a for x, a, b in zip(idleSent, before, after, strict=True)],
            )
            traffic.busy(5.0)
            watch.look()
            idle = 10.0 + (idle + 27.0) % 160.0
        found = Idling(
            sent=traffic.sent,
            lost=traffic.lost,
            longestGap=round(traffic.longestGap, 2),
            gaps=tuple(traffic.gaps),
            pathLost=watch.pathLost,
            changes=watch.changes,
            direct=pair.direct,
            peaks=tuple(tuple(side.site.peaks) for side in pair.sides),
            keepAlives=(round(60 * idleSent[0] / idleFor, 1), round(60 * idleSent[1] / idleFor, 1)),
        )
        pair.close()
        return found


@attrs.define(eq=False)
class _Watch:
    """
    Counts what happens to the paths.
    """

    pair: Pair
    pathLost: int = 0
    changes: int = 0
    _paths: list[Any] = attrs.field(factory=list)

    def look(self) -> bool:
        """Look."""
        paths = [side.path and side.path.address for side in self.pair.sides]
        if self._paths and paths != self._paths:
            for now, before in zip(paths, self._paths, strict=True):
                self.changes += now != before
                self.pathLost += now is None and before is not None
        self._paths = paths
        return False

    def sent(self) -> tuple[int, int]:
        """How many datagrams went to the other side."""
        one, other = self.pair.sides
        return one.sentTo(other), other.sentTo(one)


@attrs.frozen
class Budget:
    """
    What many peers cost one node.

    @ivar peak: the most mappings at once that the node had at its NAT; C{refused}: packets that got none.
    @ivar paths: for each kind, how many peers of it are C{direct}, C{relayed}, or have no path: C{none}.
    """

    peak: int
    refused: int
    paths: dict[str, dict[str, int]]


def budget(kind: str = "L", peers: Sequence[str] = _EVERYONE, seed: int = 1, minutes: float = 5.0) -> Budget:
    """
    Let a node behind a NAT of a kind meet peers of every kind, all at the same time.
    """
    count = 0

    def directory() -> str:
        nonlocal count
        count += 1
        return f"{memory}/{count}"

    with tempfile.TemporaryDirectory(dir=memoryDirectory()) as memory:
        overlay = NatOverlay(directory, 1, seed=seed, loss=0.02)
        site = overlay.site(kind)
        node = overlay.addBehind("middle", site)
        node.do(node.node.login(URL))
        node.do(node.node.create("lab", "password"))
        others = [
            (each, overlay.addBehind(f"{each} {number}", overlay.site(each)))
            for number, each in enumerate(peers)
        ]
        for _, other in others:
            other.do(other.node.login(URL))
        overlay.advance(5.0)
        joining = [other.node.join("lab", "password") for _, other in others]
        overlay.clock.run(60 * minutes)
        for asked in joining:
            asked.addErrback(lambda _: None)
        paths: dict[str, dict[str, int]] = {}
        for each, other in others:
            peer = node.core.peers.get(other.core.parts.identity.publicKey)
            path = None if peer is None else peer.path
            found = "none" if path is None else "relayed" if path.relayed else "direct"
            row = paths.setdefault(each, {})
            row[found] = row.get(found, 0) + 1
        refused = sum(nat.counters["refused"] for nat in site.nats)
        overlay.stopAll()
        return Budget(max(site.peaks, default=0), refused, paths)


def main(arguments: Sequence[str]) -> None:
    """
    See the module.
    """
    what, options = arguments[0], dict(each.split("=", 1) for each in arguments[1:])
    seed, minutes = int(options.get("seed", "1")), options.get("minutes")
    if what == "lifetime":
        kinds = (options.get("A", "V"), options.get("B", "R"))
        found: Any = lifetime(kinds, seed, float(minutes or 30))
    else:
        peers = options["B"].split(",") if "B" in options else _EVERYONE
        found = budget(options.get("A", "L"), peers, seed, float(minutes or 5))
    for name, value in attrs.asdict(found).items():
        print(f"{name:12} {value}")


if __name__ == "__main__":
    main(sys.argv[1:])
