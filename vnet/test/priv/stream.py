"""
A stream of numbered datagrams, and what arrives of it: a program for tests of what a change of path costs.

    python -m vnet.test.priv.stream receive ADDRESS PORT
    python -m vnet.test.priv.stream send ADDRESS PORT RATE SECONDS

The receiver answers each datagram, so that the stream has two directions as a game has, and prints what it got as JSON when its
standard input ends.  The sender prints how many it sent, and how many answers it got.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import sys
import time
from collections import Counter

from attrs import asdict, define, field

__all__ = ["Received", "main"]

_NUMBER = struct.Struct("!Q")
_SIZE = 100


@define
class Received:
    """
    What arrived.

    @ivar longest: seconds of the longest time without any, between the first and the last.
    """

    unique: int = 0
    duplicates: int = 0
    longest: float = 0.0
    missing: list[int] = field(factory=list)


@define
class _Tally:
    """
    Counts numbers.
    """

    _seen: Counter[int] = field(factory=Counter)
    _last: float | None = None
    _longest: float = 0.0

    def add(self, data: bytes) -> None:
        """
        A datagram has come.
        """
        now = time.monotonic()
        if self._last is not None:
            self._longest = max(self._longest, now - self._last)
        self._last = now
        self._seen[_NUMBER.unpack_from(data)[0]] += 1

    def summary(self) -> Received:
        """
        What it is in all.
        """
        count = max(self._seen, default=-1) + 1
        missing = [number for number in range(count) if number not in self._seen]
        duplicates = self._seen.total() - len(self._seen)
        return Received(len(self._seen), duplicates, round(self._longest, 3), missing[:50])


def _opened(address: str) -> socket.socket:
    return socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)


def _receive(address: str, port: int) -> Received:
    opened, tally = _opened(address), _Tally()
    opened.bind((address, port))
    print("ready", flush=True)
    while True:
        ready, _, _ = select.select([opened, sys.stdin], [], [])
        if opened in ready:
            data, source = opened.recvfrom(2048)
            tally.add(data)
            opened.sendto(data, source)
        elif not sys.stdin.readline():
            return tally.summary()


def _send(address: str, port: int, rate: float, seconds: float) -> Received:
    opened, tally = _opened(address), _Tally()
    opened.connect((address, port))
    opened.setblocking(False)
    start, number, total = time.monotonic(), 0, int(rate * seconds)
    while number < total or time.monotonic() < start + seconds + 2:
        due = min(total, int((time.monotonic() - start) * rate) + 1)
        while number < due:
            opened.send(_NUMBER.pack(number).ljust(_SIZE, b"."))
            number += 1
        wait = max(0.0, start + number / rate - time.monotonic()) if number < total else 0.1
        while select.select([opened], [], [], min(wait, 0.1))[0]:
            tally.add(opened.recv(2048))
            wait = 0.0
    return tally.summary()


def main() -> None:
    """
    The program.
    """
    verb, address, port, *rest = sys.argv[1:]
    if verb == "receive":
        summary = _receive(address, int(port))
    else:
        summary = _send(address, int(port), float(rest[0]), float(rest[1]))
    print(json.dumps(asdict(summary)), flush=True)


if __name__ == "__main__":
    main()
