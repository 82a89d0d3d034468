"""
Mutations of valid inputs, for where no coverage leads the way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

__all__ = ["mutate"]

_NUMBERS = (0, 1, 2, 3, 4, 7, 8, 16, 20, 31, 32, 63, 64, 127, 128, 254, 255)


def mutate(random: Random, seeds: Sequence[bytes], maximum: int) -> bytes:
    """
    @param seeds: valid inputs; at least one.
    @param maximum: bytes of the result.
    """
    if random.random() < 0.05:
        return random.randbytes(random.randrange(min(maximum, 256) + 1))
    data = bytearray(random.choice(seeds))
    for _ in range(random.choice((0, 1, 1, 1, 2, 2, 3, 5, 8, 16))):
        random.choice(_MUTATIONS)(random, data, seeds)
    return bytes(data[:maximum])


def _place(random: Random, data: bytearray) -> int:
    return random.randrange(len(data) + 1)


def _flip(random: Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    if data:
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def _set(random: Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    if data:
        data[random.randrange(len(data))] = random.choice(_NUMBERS)


def _number(random: Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    """Set a number of several bytes to an extreme."""
    size = random.choice((2, 4, 8))
    place = _place(random, data)
    value = random.choice((0, 1, len(data), 1 << 8 * size - 1, (1 << 8 * size) - 1)) & ((1 << 8 * size) - 1)
    data[place : place + size] = value.to_bytes(size, random.choice(("big", "little")))


def _insert(random: Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    place = _place(random, data)
    data[place:place] = random.randbytes(random.choice((1, 1, 2, 4, 8, 40)))


def _delete(random: Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    place = _place(random, data)
    del data[place : place + random.choice((1, 1, 2, 4, 8, 40))]


def _cut(random: Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    del data[_place(random, data) :]


def _repeat(random: Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    place = _place(random, data)
    part = data[place : place + random.choice((1, 4, 16, 64))]
    data[place:place] = part * random.choice((1, 2, 20))


def _splice(random: Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    other = random.choice(seeds)
    data[_place(random, data) :] = other[random.randrange(len(other) + 1) :]


def _borrow(random: Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    other, start = random.choice(seeds), _place(random, data)
    place = random.randrange(len(other) + 1)
    size = random.randrange(1, 33)
    data[start : start + random.choice((0, size))] = other[place : place + size]


_MUTATIONS: tuple[Callable[[Random, bytearray, Sequence[bytes]], None], ...] = (
    *(_flip, _set, _number, _insert, _delete),
    *(_cut, _repeat, _splice, _borrow),
)
