"""
What happens in a trial of L{vnet.test.nattrial}, line by line.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from vnet.errors import DecodeError
from vnet.protocols.codec.stun import Class, decode
from vnet.protocols.codec.stunattributes import ERROR_CODE, USE_CANDIDATE, USERNAME, XOR_MAPPED_ADDRESS
from vnet.protocols.punch import Attempt
from vnet.test.nattrial import Pair, Side
from vnet.values import Address

__all__ = ["Trace", "describe"]

_WIREGUARD = {1: "initiation", 2: "response", 3: "cookie", 4: "data"}
_METHODS = {
    1: "binding",
    3: "allocate",
    4: "refresh",
    6: "send",
    7: "data",
    8: "permission",
    9: "channel-bind",
}


@attrs.define(eq=False)
class Trace:
    """
    Writes lines: the events of the two nodes, and perhaps what became of each packet between them.

    @ivar packets: C{""}: none; C{"peers"}: those between the sides, also through their NATs; C{"all"}.
    @ivar write: gets each line.
    """

    packets: str = ""
    write: Callable[[str], None] = lambda line: print(line)
    since: float = attrs.field(default=0.0, init=False)
    _pair: Pair | None = attrs.field(default=None, init=False)
    _names: dict[str, str] = attrs.field(factory=dict, init=False)
    _reports: dict[str, Any] = attrs.field(factory=dict, init=False)
    _paths: dict[str, Any] = attrs.field(factory=dict, init=False)
    _attempts: dict[Attempt, Side] = attrs.field(factory=dict, init=False)

    def begin(self, pair: Pair) -> None:
        """
        Write all of this pair from now on; for the rest of the process, as it listens to what classes do.
        """
        self._pair = pair
        self.line(
            "lab",
            f"{pair.kinds[0]} x {pair.kinds[1]}, seed {pair.seed}, round trip {pair.roundTrip * 1e3:.0f} ms",
        )
        for side in pair.sides:
            self._name(side)
            self._follow(side)
        self._listen()
        if self.packets:
            pair.overlay.net.packets.watcher = self._packet

    def _name(self, side: Side) -> None:
        for host in side.site.outside:
            self._names[host] = f"{side.name}-nat" if side.site.nats else side.name
        for host in side.computer.addresses:
            self._names[host] = side.name
        hosts = ", ".join(side.computer.addresses)
        self.line(side.name, f"at {hosts}; outside {', '.join(side.site.public[:4])}")

    def _follow(self, side: Side) -> None:
        core: Any = side.node.core
        connect, change = core.puncher.connect, core.whenChanged

        def connected(peer: bytes, **options: Any) -> Any:
            happened, wait = options["onEvent"], options["startAt"] - core.parts.clock.seconds()
            rest = {k: v for k, v in options.items() if k not in ("onEvent", "startAt")}

            def event(what: object) -> None:
                self.line(side.name, f"event {what}")
                happened(what)

            self.line(side.name, f"attempt in {wait:.3f} s, {rest}")
            attempt = connect(peer, **{**options, "onEvent": event})
            self._attempts[attempt] = side
            return attempt

        def changed() -> None:
            self._look(side)
            change()

        core.puncher.connect, core.whenChanged = connected, changed

    def _listen(self) -> None:
        """
        Hear the signals, too.
        """
        take = Attempt.remoteSignal

        def remoteSignal(attempt: Attempt, signal: Any) -> None:
            side = self._attempts.get(attempt)
            if side is not None:
                candidates = ", ".join(f"{each.kind} {each.address}" for each in signal.candidates)
                more = attrs.asdict(signal, recurse=False)
                rest = {k: v for k, v in more.items() if k not in ("credentials", "candidates")}
                self.line(side.name, f"is told {candidates}; {rest}")
            take(attempt, signal)

        Attempt.remoteSignal = remoteSignal  # type: ignore[assignment,method-assign]

    def _look(self, side: Side) -> None:
        report, path = side.node.core.nat.report(), side.path
        if report != self._reports.get(side.name):
            before = self._reports.get(side.name)
            self._reports[side.name] = report
            old = attrs.asdict(before, recurse=False) if before is not None else {}
            new = {k: v for k, v in attrs.asdict(report, recurse=False).items() if v != old.get(k)}
            self.line(side.name, "NAT " + ", ".join(f"{k} {v}" for k, v in new.items()))
        if path != self._paths.get(side.name):
            self._paths[side.name] = path
            self.line(side.name, f"path {path}")

    def line(self, who: str, what: str) -> None:
        """
        Write a line.
        """
        now = 0.0 if self._pair is None else self._pair.seconds
        self.write(f"{now - self.since:9.3f} {who:10} {what}")

    def _packet(self, what: str, data: bytes, source: Address, destination: Address, where: str) -> None:
        names = self._names
        between = source.host in names and destination.host in names
        if self.packets == "all" or between:
            place = names.get(where, where)
            ends = f"{self._end(source)} -> {self._end(destination)}"
            self.line(place, f"  {what:8} {ends} {describe(data)}")

    def _end(self, address: Address) -> str:
        return f"{self._names.get(address.host, address.host)}:{address.port}"


def describe(data: bytes) -> str:
    """
    What a datagram is, in a few words.
    """
    if len(data) >= 4 and data[0] in _WIREGUARD and data[1:4] == b"\0\0\0":
        return f"WireGuard {_WIREGUARD[data[0]]}, {len(data)} bytes"
    if data[:1] and 0x40 <= data[0] < 0x50:
        return f"channel {int.from_bytes(data[:2], 'big'):#x}: {describe(data[4:])}"
    try:
        message = decode(data)
    except DecodeError:
        return f"{len(data)} bytes {data[:8].hex()}"
    words = [_METHODS.get(message.method, f"method {message.method:#x}"), message.klass.name.lower()]
    words.append(message.transactionId.hex()[:8])
    mapped, error = message.get(XOR_MAPPED_ADDRESS), message.get(ERROR_CODE)
    if mapped is not None:
        words.append(f"mapped {mapped}")
    if error is not None and message.klass is Class.ERROR:
        words.append(f"{error.code}")
    if message.get(USERNAME) is not None:
        words.append("use-candidate" if USE_CANDIDATE in message else "check")
    return " ".join(words)
