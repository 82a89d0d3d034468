# -*- test-case-name: vnet.test.test_wireguard -*-
"""
The numbers by which peers address our handshakes and sessions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["IndexTable"]

Entry = TypeVar("Entry")


class IndexTable(Generic[Entry]):
    """
    Random numbers of 32 bits, each used once at a time.

    @ivar entries: what each index stands for; not to be changed.
    """

    def __init__(self, random: Callable[[int], bytes]) -> None:
        self.entries: dict[int, Entry | None] = {}
        self._random = random

    def reserve(self) -> int:
        """
        A number that stands for nothing yet, and that is given to nobody else.
        """
        while True:
            index = int.from_bytes(self._random(4), "little")
            if index not in self.entries:
                self.entries[index] = None
                return index

    def assign(self, index: int, entry: Entry) -> None:
        """
        Make a reserved index, or one in use, stand for C{entry}.
        """
        self.entries[index] = entry

    def release(self, index: int) -> None:
        """
        Make the index free.
        """
        self.entries.pop(index, None)
