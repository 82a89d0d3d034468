# -*- test-case-name: vnet.test.test_schedule -*-
"""
Which of many things has the next deadline.
"""

from __future__ import annotations

from collections.abc import Hashable
from heapq import heapify, heappop, heappush
from math import inf
from typing import Generic, TypeVar

__all__ = ["Schedule"]

Key = TypeVar("Key", bound=Hashable)


class Schedule(Generic[Key]):
    """
    A heap of deadlines, one for each key.

    A deadline that moves back is not moved in the heap: the key comes up too early, and is put in again
    by whoever looks after it.  So a packet that puts off a timer costs nothing here.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Key]] = []
        self._at: dict[Key, float] = {}
        self._order = 0

    def update(self, key: Key, deadline: float | None) -> float:
        """
        The key is to come up at C{deadline} or before; not at all when that is L{None}.

        @return: when it comes up.
        """
        if deadline is None:
            self._at.pop(key, None)
            return inf
        at = self._at.get(key)
        if at is not None and at <= deadline:
            return at
        self._at[key] = deadline
        self._order += 1
        heappush(self._heap, (deadline, self._order, key))
        if len(self._heap) > 2 * len(self._at) + 64:
            self._heap = [entry for entry in self._heap if self._at.get(entry[2]) == entry[0]]
            heapify(self._heap)
        return deadline

    def deadline(self) -> float | None:
        """
        When the first key comes up.
        """
        heap = self._heap
        while heap:
            at, _, key = heap[0]
            if self._at.get(key) == at:
                return at
            heappop(heap)
        return None

    def due(self, now: float) -> list[Key]:
        """
        Take out the keys whose time has come.
        """
        keys = []
        while (at := self.deadline()) is not None and at <= now:
            key = heappop(self._heap)[2]
            del self._at[key]
            keys.append(key)
        return keys
