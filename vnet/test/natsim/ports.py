"""
How a NAT chooses external ports (RFC 4787 section 4.2, and what the world does besides).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Protocol

import attrs

__all__ = ["Allocation", "Block", "Preserving", "RandomPorts", "Sequential"]

FIRST, LAST = 1024, 65535


class Allocation(Protocol):
    """
    Chooses the port of a new mapping.
    """

    def choose(
        self, inside: str, wanted: int, isFree: Callable[[int], bool], random: random.Random, now: float
    ) -> int | None:
        """
        @param inside: the address of the computer inside; C{wanted}: its port.
        @return: a port that C{isFree}; L{None}: there is none.
        """


@attrs.define(eq=False)
class RandomPorts:
    """
    Any port from C{low} to C{high}.
    """

    low: int = FIRST
    high: int = LAST

    def choose(
        self, inside: str, wanted: int, isFree: Callable[[int], bool], random: random.Random, now: float
    ) -> int | None:
        """See L{Allocation.choose}."""
        for _ in range(16):
            port = random.randint(self.low, self.high)
            if isFree(port):
                return port
        first = random.randint(self.low, self.high)
        candidates = [*range(first, self.high + 1), *range(self.low, first)]
        return next((port for port in candidates if isFree(port)), None)


@attrs.define(eq=False)
class Preserving:
    """
    The port that the computer inside has, while that is free; else C{otherwise}.
    """

    otherwise: Allocation = attrs.field(factory=RandomPorts)

    def choose(
        self, inside: str, wanted: int, isFree: Callable[[int], bool], random: random.Random, now: float
    ) -> int | None:
        """See L{Allocation.choose}."""
        return wanted if isFree(wanted) else self.otherwise.choose(inside, wanted, isFree, random, now)


@attrs.define(eq=False)
class Sequential:
    """
    Each port C{step} after the one before, and other users of the NAT take some in between.

    @ivar step: may be negative.
    @ivar noise: mappings of others a second, as a Poisson process.
    """

    step: int = 1
    noise: float = 0.0
    low: int = FIRST
    high: int = LAST
    _port: int | None = attrs.field(default=None, init=False)
    _at: float = attrs.field(default=0.0, init=False)

    def choose(
        self, inside: str, wanted: int, isFree: Callable[[int], bool], random: random.Random, now: float
    ) -> int | None:
        """See L{Allocation.choose}."""
        span = self.high - self.low + 1
        if self._port is None:
            self._port, self._at = random.randint(self.low, self.high), now
        others = _poisson(self.noise * (now - self._at), random)
        self._at = now
        for _ in range(span):
            self._port = self.low + (self._port - self.low + self.step * (others + 1)) % span
            others = 0
            if isFree(self._port):
                return self._port
        return None


@attrs.define(eq=False)
class Block:
    """
    Any port of a block of its own for each computer inside: what carriers do (port block allocation).
    """

    size: int
    low: int = FIRST
    high: int = LAST
    _blocks: dict[str, RandomPorts] = attrs.field(factory=dict, init=False)

    def choose(
        self, inside: str, wanted: int, isFree: Callable[[int], bool], random: random.Random, now: float
    ) -> int | None:
        """See L{Allocation.choose}."""
        if inside not in self._blocks:
            taken = {block.low for block in self._blocks.values()}
            starts = set(range(self.low, self.high + 2 - self.size, self.size)) - taken
            if not starts:
                return None
            start = random.choice(sorted(starts))
            self._blocks[inside] = RandomPorts(start, start + self.size - 1)
        return self._blocks[inside].choose(inside, wanted, isFree, random, now)


def _poisson(mean: float, random: random.Random) -> int:
    if mean <= 0.0:
        return 0
    if mean > 50.0:
        return max(0, round(random.gauss(mean, math.sqrt(mean))))
    limit, product, count = math.exp(-mean), random.random(), 0
    while product > limit:
        product *= random.random()
        count += 1
    return count
